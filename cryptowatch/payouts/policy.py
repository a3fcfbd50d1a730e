"""What becomes of a withdrawal that is asked for: a pure function of the request and of the facts around it.

Called by `requests`, which gathers the facts (`facts`) and carries the decision out. Every rule says what it compared;
the findings are stored with the withdrawal and shown as its `decision`. The first rule that refuses gives the answer.
Refusals are stable codes with a sentence for people.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from cryptowatch.ledger.rules import Balance
from cryptowatch.money import BaseUnits, format_amount, parse_amount
from cryptowatch.settings.assets import AssetSettings
from cryptowatch.settings.withdrawals import WAGER_DECIMALS, AssetPolicy
from cryptowatch.settings.withdrawals import Limit as LimitSettings

_ONE_WAGER = 10**WAGER_DECIMALS


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so much (base units), or so many, within any so many hours; None does not limit."""

    hours: int
    amount: int | None
    count: int | None
    #: Binds accounts whose KYC level is at most this; None binds all.
    level_max: int | None = None


@dataclass(frozen=True, slots=True)
class WithdrawalPolicy:
    """An asset's withdrawal rules on one chain, in base units. `fee` is what the player pays on top."""

    decimals: int
    minimum: BaseUnits
    maximum: BaseUnits
    fee: BaseUnits
    #: The chain can pay multiples of this alone: its contract counts in fewer decimals than the ledger.
    unit: int = 1
    #: What goes to a stranger waits for the provider's verdict.
    screened: bool = False
    approval_from: int | None = None
    second_approval_from: int | None = None
    travel_rule_from: int | None = None
    #: In thousandths: 1500 is once and a half of what was deposited.
    wager_thousandths: int = 0
    account_limits: Sequence[Limit] = ()
    kyc_limits: Sequence[Limit] = ()
    global_limits: Sequence[Limit] = ()


def withdrawal_policy(settings: AssetSettings, policy: AssetPolicy, *, screened: bool) -> WithdrawalPolicy:
    decimals = settings.decimals

    def units(text: str | None) -> BaseUnits | None:
        return None if text is None else parse_amount(text, decimals)

    def limits(given: Sequence[LimitSettings]) -> tuple[Limit, ...]:
        return tuple(
            Limit(limit.hours, units(limit.amount), limit.count, getattr(limit, "level_max", None))
            for limit in given
        )

    return WithdrawalPolicy(
        decimals=decimals,
        minimum=parse_amount(settings.withdrawal_min, decimals),
        maximum=parse_amount(settings.withdrawal_max, decimals),
        fee=parse_amount(settings.withdrawal_fee, decimals),
        unit=int(10**settings.scale),
        screened=screened,
        approval_from=units(policy.approval_from),
        second_approval_from=units(policy.second_approval_from),
        travel_rule_from=units(policy.travel_rule_from),
        wager_thousandths=parse_amount(policy.wager_times, WAGER_DECIMALS),
        account_limits=limits(policy.account_limits),
        kyc_limits=limits(policy.kyc_limits),
        global_limits=limits(policy.global_limits),
    )


class Owner(StrEnum):
    """Whose the address is."""

    STRANGER = "stranger"  # paid on the chain
    PLAYER = "player"  # of this platform: paid in the ledger
    WALLET = "wallet"  # ours: change, an account that sends, or not given to anybody yet


class Used(msgspec.Struct, frozen=True):
    """What an account, or everybody, asked for within a window and still has or got."""

    amount: int
    count: int


class Facts(msgspec.Struct, frozen=True):
    """What the database says of the moment, in base units. `used` and `used_by_all` are by hours of the window."""

    status: str
    kyc_level: int
    balance: Balance
    owner: Owner = Owner.STRANGER
    owner_status: str | None = None
    denied: bool = False
    #: A case makes the account's withdrawals wait.
    under_review: bool = False
    #: The request says who sends and who receives.
    travel_rule: bool = False
    #: Whether the account pays only to addresses that it allowed, and from when on this one can be paid.
    allow_list: bool = False
    usable_at: datetime | None = None
    #: The account's own limits of the asset, instead of the settings'.
    own_limits: Sequence[Limit] | None = None
    used: Mapping[int, Used] = msgspec.field(default_factory=dict)
    used_by_all: Mapping[int, Used] = msgspec.field(default_factory=dict)
    deposited: int = 0
    wagered: int = 0


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105 - nothing speaks against it
    REVIEW = "review"  # a person must approve
    REFUSE = "refuse"


class Finding(msgspec.Struct, frozen=True):
    """One rule's verdict, and the numbers or names that it compared, as people read them."""

    rule: str
    verdict: Verdict
    compared: dict[str, str]


class Refusal(msgspec.Struct, frozen=True):
    """`code` is stable and part of the API; `detail` is for people."""

    code: str
    detail: str


class Decision(msgspec.Struct, frozen=True):
    findings: Sequence[Finding]
    refusal: Refusal | None
    #: So many people must approve; 0: it goes on by itself.
    approvals: int
    #: What the player pays on top: nothing where no transaction is needed.
    fee: BaseUnits


class _Case(msgspec.Struct, frozen=True):
    amount: int
    facts: Facts
    policy: WithdrawalPolicy
    now: datetime

    @property
    def fee(self) -> BaseUnits:
        return BaseUnits(0) if self.facts.owner is Owner.PLAYER else self.policy.fee

    def show(self, base_units: int) -> str:
        return format_amount(base_units, self.policy.decimals)


#: A finding, and the refusal that goes with it.
_Found = tuple[Finding, Refusal | None]
_Rule = Callable[[_Case], Iterator[_Found]]


def account_limits(facts: Facts, policy: WithdrawalPolicy) -> Sequence[Limit]:
    """Those that bind the account by itself: its own, or the settings'; and those of its KYC level."""
    own = policy.account_limits if facts.own_limits is None else facts.own_limits
    return [*own, *(limit for limit in policy.kyc_limits if facts.kyc_level <= (limit.level_max or 0))]


def decide(amount: int, facts: Facts, policy: WithdrawalPolicy, now: datetime) -> Decision:
    """Every rule is asked, so that the record is whole; the first refusal counts."""
    case = _Case(amount, facts, policy, now)
    found = [finding for rule in _RULES for finding in rule(case)]
    needed = max([_approvals(case), *(1 for finding, _ in found if finding.verdict is Verdict.REVIEW)])
    refusals = [refusal for _, refusal in found if refusal is not None]
    return Decision([finding for finding, _ in found], refusals[0] if refusals else None, needed, case.fee)


def _found(rule: str, refusal: tuple[str, str] | None, **compared: str) -> _Found:
    verdict = Verdict.PASS if refusal is None else Verdict.REFUSE
    return Finding(rule, verdict, compared), None if refusal is None else Refusal(*refusal)


def _status(case: _Case) -> Iterator[_Found]:
    """Self-excluded players may always take money out; frozen accounts do nothing."""
    frozen = case.facts.status == "frozen"
    refusal = ("account_frozen", "the account is frozen") if frozen else None
    yield _found("status", refusal, status=case.facts.status)


def _owner(case: _Case) -> Iterator[_Found]:
    refusal = None
    if case.facts.owner is Owner.WALLET:
        refusal = ("own_address", "the address is our own wallet's: nobody would get the money")
    yield _found("owner", refusal, owner=case.facts.owner)
    if case.facts.owner_status == "frozen":
        yield Finding("recipient", Verdict.REVIEW, {"status": "frozen"}), None


def _denied(case: _Case) -> Iterator[_Found]:
    refusal = ("address_denied", "the address is on the deny list") if case.facts.denied else None
    yield _found("deny_list", refusal, listed=str(case.facts.denied).lower())


def _compliance(case: _Case) -> Iterator[_Found]:
    """Told only where it matters: what compliance looks at is nobody else's."""
    if case.facts.under_review:
        yield Finding("compliance", Verdict.REVIEW, {"case": "open"}), None


def _screening(case: _Case) -> Iterator[_Found]:
    if case.policy.screened and case.facts.owner is Owner.STRANGER:
        yield Finding("screening", Verdict.REVIEW, {"verdict": "pending"}), None


def _travel_rule(case: _Case) -> Iterator[_Found]:
    threshold, given = case.policy.travel_rule_from, case.facts.travel_rule
    if threshold is None or case.facts.owner is not Owner.STRANGER:
        return
    refusal = None
    if case.amount >= threshold and not given:
        refusal = (
            "travel_rule_required",
            f"from {case.show(threshold)} on, say who sends and who receives it",
        )
    yield _found("travel_rule", refusal, travel_rule_from=case.show(threshold), given=str(given).lower())


def _allowed(case: _Case) -> Iterator[_Found]:
    if not case.facts.allow_list:
        return
    usable_at = case.facts.usable_at
    refusal = None
    if usable_at is None:
        refusal = ("address_not_allowed", "the account pays only to addresses that it allowed")
    elif usable_at > case.now:
        refusal = ("address_not_allowed", f"the address can be paid from {usable_at.isoformat()} on")
    yield _found("allow_list", refusal, usable_at="never" if usable_at is None else usable_at.isoformat())


def _amount(case: _Case) -> Iterator[_Found]:
    policy, amount, show = case.policy, case.amount, case.show
    refusal = None
    if case.facts.owner is not Owner.PLAYER and amount % policy.unit:
        refusal = ("amount_too_precise", f"on this chain amounts are multiples of {show(policy.unit)}")
    elif amount < policy.minimum:
        refusal = ("amount_below_minimum", f"the minimum is {show(policy.minimum)}")
    elif amount > policy.maximum:
        refusal = ("limit_exceeded", f"the maximum is {show(policy.maximum)}")
    yield _found(
        "amount", refusal, amount=show(amount), minimum=show(policy.minimum), maximum=show(policy.maximum)
    )


def _velocity(case: _Case) -> Iterator[_Found]:
    facts, policy = case.facts, case.policy
    for limit in account_limits(facts, policy):
        rule = "account_limit" if limit.level_max is None else "kyc_limit"
        yield from _within(case, rule, limit, facts.used)
    if facts.owner is not Owner.PLAYER:
        for limit in policy.global_limits:
            yield from _within(case, "global_limit", limit, facts.used_by_all)


def _within(case: _Case, rule: str, limit: Limit, used: Mapping[int, Used]) -> Iterator[_Found]:
    before, whose = used[limit.hours], "all accounts'" if rule == "global_limit" else "the account's"
    window = f"{whose} limit within {limit.hours} hours"
    if limit.amount is not None:
        left = limit.amount - before.amount
        over = case.amount > left
        refusal = ("limit_exceeded", f"{window} is {case.show(limit.amount)}") if over else None
        compared = {"used": case.show(before.amount), "limit": case.show(limit.amount)}
        yield _found(rule, refusal, hours=str(limit.hours), **compared)
    if limit.count is not None:
        refusal = None
        if before.count + 1 > limit.count:
            refusal = ("limit_exceeded", f"{window} is {limit.count} withdrawals")
        yield _found(
            f"{rule}_count", refusal, hours=str(limit.hours), used=str(before.count), limit=str(limit.count)
        )


def _wager(case: _Case) -> Iterator[_Found]:
    if not case.policy.wager_thousandths:
        return
    wagered = case.facts.wagered
    needed = -(-case.facts.deposited * case.policy.wager_thousandths // _ONE_WAGER)
    refusal = None
    if wagered < needed:
        refusal = ("wager_required", f"{case.show(needed - wagered)} must be bet before money can leave")
    yield _found("wager", refusal, wagered=case.show(wagered), needed=case.show(needed))


def _balance(case: _Case) -> Iterator[_Found]:
    total, withdrawable = case.amount + case.fee, case.facts.balance.withdrawable
    refusal = None
    if total > withdrawable:
        refusal = (
            "insufficient_withdrawable",
            "the withdrawable balance does not cover the amount and its fee",
        )
    yield _found("balance", refusal, needed=case.show(total), withdrawable=case.show(withdrawable))


def _approval(case: _Case) -> Iterator[_Found]:
    first, second = case.policy.approval_from, case.policy.second_approval_from
    if first is None:
        return
    compared = {"approval_from": case.show(first)}
    if second is not None:
        compared["second_approval_from"] = case.show(second)
    verdict = Verdict.REVIEW if _approvals(case) else Verdict.PASS
    yield Finding("approval", verdict, {"amount": case.show(case.amount), **compared}), None


def _approvals(case: _Case) -> int:
    steps = (case.policy.approval_from, case.policy.second_approval_from)
    return sum(step is not None and case.amount >= step for step in steps)


#: In the order in which their refusals are told: what cannot be helped first.
_RULES: Sequence[_Rule] = (
    _status,
    _owner,
    _denied,
    _allowed,
    _amount,
    _velocity,
    _travel_rule,
    _wager,
    _balance,
    _compliance,
    _screening,
    _approval,
)


def window(hours: int) -> timedelta:
    """A withdrawal exactly so old does not count any more."""
    return timedelta(hours=hours)
