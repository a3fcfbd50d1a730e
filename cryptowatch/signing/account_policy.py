"""What the signer signs for accounts with nonces: limits per transaction and per rolling hour, by asset. Pure.

Called by `signing.service` with the history that `signing.log` kept. Keeps P9, and backs P3: a lineage's attempts must
all use one nonce of one account, so that at most one of them can ever be in the chain. Such a group of transactions is
charged for its dearest member only: signing the same again charges nothing, a fee bump charges the increase.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from cryptowatch.signing.policy import HOUR_MS, Reason, Refusal


@dataclass(frozen=True, slots=True)
class AmountLimits:
    """Of one asset, in base units, to others."""

    transaction_max: int
    hourly_max: int


@dataclass(frozen=True, slots=True)
class ColdAccounts:
    """The cold accounts by the signer's own settings. `hourly_max`: by asset; one that is missing never goes there."""

    accounts: frozenset[bytes] = frozenset()
    hourly_max: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """One chain's bounds. What a thief of the daemon could take is the sum of the hourly ones."""

    assets: Mapping[str, AmountLimits]
    fee_max: int
    hourly_fee_max: int
    gas_price_max_wei: int
    hourly_signings_max: int
    batch_max: int
    #: When given, only these are ever paid.
    allowed: frozenset[bytes] | None = None
    cold: ColdAccounts = ColdAccounts()
    #: So many groups of conflicting transactions are remembered. A forgotten one is charged in full again.
    lineages_max: int = 50_000


@dataclass(frozen=True, slots=True)
class AccountProposal:
    """A transaction as the policy sees it; `signing.ethereum` says what counts as paid to strangers."""

    lineage_id: str
    #: "account:nonce": what every transaction of the group uses.
    resource: str
    #: (destination, asset, amount) of what goes to strangers.
    foreign: tuple[tuple[bytes, str, int], ...]
    #: The most that the network can take.
    fee: int
    gas_price_wei: int
    #: Accounts paid or swept.
    batch: int
    #: The same of what goes to cold accounts.
    cold: tuple[tuple[bytes, str, int], ...] = ()

    def leaving(self) -> Counter[str]:
        return _by_asset(self.foreign)

    def going_cold(self) -> Counter[str]:
        return _by_asset(self.cold)


def _by_asset(payments: Sequence[tuple[bytes, str, int]]) -> Counter[str]:
    amounts: Counter[str] = Counter()
    for _, asset, amount in payments:
        amounts[asset] += amount
    return amounts


class AccountSigning(msgspec.Struct, frozen=True, tag="accounts"):
    """One signature given: what the log keeps and the history is rebuilt from. Amounts as text: they exceed 64 bits."""

    chain: str
    time_ms: int
    lineage_id: str
    txid: str
    resource: str
    leaving: Mapping[str, str]
    fee: str
    #: What it added to the hour.
    charged: Mapping[str, str]
    fee_charged: str
    #: What went to cold accounts, and what that added to their own hour.
    cold: Mapping[str, str] = {}
    cold_charged: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Charge:
    """What a signing adds to the hour."""

    amounts: Mapping[str, int]
    fee: int
    cold: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Group:
    """Signed transactions of one nonce."""

    lineage_ids: set[str] = field(default_factory=set)
    leaving: dict[str, int] = field(default_factory=dict)
    cold: dict[str, int] = field(default_factory=dict)
    fee: int = 0


class AccountHistory:
    """What one chain's earlier signings mean for the next. Rebuilt by recording the log in order."""

    def __init__(self, limits: AccountLimits) -> None:
        self._limits = limits
        self._charges: deque[tuple[int, Charge]] = deque()
        self._groups: OrderedDict[str, _Group] = OrderedDict()
        self._resource_of: dict[str, str] = {}
        self._time_ms = 0

    def judge(self, proposal: AccountProposal, now_ms: int) -> Charge | Refusal:
        """What signing would add to the hour, or why not. Changes nothing."""
        refusal = _beyond_transaction(proposal, self._limits) or self._contradiction(proposal)
        if refusal is not None:
            return refusal
        group = self._groups.get(proposal.resource, _Group())
        charge = Charge(
            _beyond(proposal.leaving(), group.leaving),
            max(0, proposal.fee - group.fee),
            _beyond(proposal.going_cold(), group.cold),
        )
        return self._beyond_hour(charge, now_ms) or charge

    def record(self, signing: AccountSigning) -> None:
        """Remember a signature that was given. In the log's order."""
        self._time_ms = max(self._time_ms, signing.time_ms)
        charge = Charge(_read(signing.charged), int(signing.fee_charged), _read(signing.cold_charged))
        self._charges.append((self._time_ms, charge))
        while self._charges[0][0] <= self._time_ms - HOUR_MS:
            self._charges.popleft()
        group = self._groups.setdefault(signing.resource, _Group())
        group.lineage_ids.add(signing.lineage_id)
        for known, amounts in ((group.leaving, signing.leaving), (group.cold, signing.cold)):
            for asset, amount in amounts.items():
                known[asset] = max(known.get(asset, 0), int(amount))
        group.fee = max(group.fee, int(signing.fee))
        self._resource_of[signing.lineage_id] = signing.resource
        self._groups.move_to_end(signing.resource)
        if len(self._groups) > self._limits.lineages_max:
            _, oldest = self._groups.popitem(last=False)
            for lineage_id in oldest.lineage_ids:
                self._resource_of.pop(lineage_id, None)

    def hourly_amounts(self, now_ms: int) -> Mapping[str, int]:
        """By asset, what left within the hour before now, without fees."""
        amounts: Counter[str] = Counter()
        for charge in self._within_hour(now_ms):
            amounts.update(charge.amounts)
        return amounts

    def _within_hour(self, now_ms: int) -> list[Charge]:
        """The charges that still count; a clock that was set back does not empty the hour."""
        return [charge for time_ms, charge in self._charges if time_ms > now_ms - HOUR_MS]

    def _beyond_hour(self, charge: Charge, now_ms: int) -> Refusal | None:
        within = self._within_hour(now_ms)
        if len(within) >= self._limits.hourly_signings_max:
            return Refusal(Reason.HOURLY_LIMIT, f"{len(within)} signatures were given within the hour")
        spent = Counter(self.hourly_amounts(now_ms))
        for asset, amount in charge.amounts.items():
            hourly_max = self._limits.assets[asset].hourly_max
            # What adds nothing is let through even when the hour is full: its money was counted before.
            if amount and spent[asset] + amount > hourly_max:
                detail = f"{spent[asset]} {asset} left within the hour and {amount} more would, at most {hourly_max}"
                return Refusal(Reason.HOURLY_LIMIT, detail)
        gone: Counter[str] = Counter()
        for one in within:
            gone.update(one.cold)
        for asset, amount in charge.cold.items():
            hourly_max = self._limits.cold.hourly_max[asset]
            if amount and gone[asset] + amount > hourly_max:
                detail = f"{gone[asset]} {asset} went to cold within the hour and {amount} more, at most {hourly_max}"
                return Refusal(Reason.HOURLY_LIMIT, detail)
        fees = sum(one.fee for one in within)
        if charge.fee and fees + charge.fee > self._limits.hourly_fee_max:
            detail = (
                f"{fees} in fees within the hour and {charge.fee} more, at most {self._limits.hourly_fee_max}"
            )
            return Refusal(Reason.HOURLY_LIMIT, detail)
        return None

    def _contradiction(self, proposal: AccountProposal) -> Refusal | None:
        known = self._resource_of.get(proposal.lineage_id)
        if known is not None and known != proposal.resource:
            return Refusal(
                Reason.LINEAGE_CONFLICT,
                f"lineage {proposal.lineage_id} has an attempt with another nonce",
            )
        return None


def _beyond(amounts: Mapping[str, int], charged: Mapping[str, int]) -> dict[str, int]:
    return {asset: max(0, amount - charged.get(asset, 0)) for asset, amount in amounts.items()}


def _read(amounts: Mapping[str, str]) -> dict[str, int]:
    return {asset: int(amount) for asset, amount in amounts.items()}


def _beyond_transaction(proposal: AccountProposal, limits: AccountLimits) -> Refusal | None:
    """The rules that need no history."""
    if proposal.batch > limits.batch_max:
        return Refusal(Reason.TOO_LARGE, f"{proposal.batch} accounts, at most {limits.batch_max}")
    fee_max = min(limits.fee_max, limits.hourly_fee_max)
    if proposal.fee > fee_max:
        return Refusal(Reason.FEE_TOO_HIGH, f"a fee of up to {proposal.fee}, at most {fee_max}")
    if proposal.gas_price_wei > limits.gas_price_max_wei:
        return Refusal(
            Reason.FEE_TOO_HIGH, f"{proposal.gas_price_wei} wei per gas, at most {limits.gas_price_max_wei}"
        )
    if any(amount <= 0 for _, _, amount in (*proposal.foreign, *proposal.cold)):
        return Refusal(Reason.INVALID_AMOUNT, "every payment has an amount above 0")
    for asset, amount in proposal.leaving().items():
        own = limits.assets.get(asset)
        if own is None:
            return Refusal(Reason.DESTINATION_NOT_ALLOWED, f"{asset} is never paid out")
        most = min(own.transaction_max, own.hourly_max)
        if amount > most:
            return Refusal(Reason.TRANSACTION_LIMIT, f"{amount} {asset} to others, at most {most}")
    for asset, amount in proposal.going_cold().items():
        most = limits.cold.hourly_max.get(asset, 0)
        if amount > most:
            return Refusal(Reason.TRANSACTION_LIMIT, f"{amount} {asset} to cold, at most {most} in an hour")
    if limits.allowed is not None and any(to not in limits.allowed for to, _, _ in proposal.foreign):
        return Refusal(Reason.DESTINATION_NOT_ALLOWED, "a destination is not on the allow-list")
    return None
