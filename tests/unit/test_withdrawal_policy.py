"""The withdrawal policy: each rule where it passes, where it does not, and at its exact boundary."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from cryptowatch.chains.denied import BrokenDenyList, parse_denied
from cryptowatch.chains.port import InvalidAddress
from cryptowatch.ledger.rules import Balance
from cryptowatch.money import BaseUnits
from cryptowatch.payouts.destination import read_destination
from cryptowatch.payouts.policy import (
    Facts,
    Limit,
    Owner,
    Refusal,
    Used,
    Verdict,
    WithdrawalPolicy,
    account_limits,
    decide,
    window,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = WithdrawalPolicy(8, BaseUnits(100), BaseUnits(10_000), BaseUnits(5))
FACTS = Facts("active", 1, Balance(total=100_000))

OWN_WALLET, PLAYER = {"owner": Owner.WALLET}, {"owner": Owner.PLAYER, "owner_status": "active"}
A_DAY = (Limit(24, 1_000, 3),)
LEVELS = (Limit(24, 500, None, level_max=0), Limit(720, 900, None, level_max=1))
TRAVEL = {"travel_rule_from": 1_000}
APPROVALS = {"approval_from": 2_000, "second_approval_from": 5_000}


def used(amount: int, count: int, hours: int = 24) -> dict[int, Used]:
    return {hours: Used(amount, count)}


@dataclass
class Case:
    """`expected`: the code of a refusal, or the number of people who must approve."""

    name: str
    amount: int
    expected: str | int
    facts: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("an active account is paid", 1_000, 0),
    Case("a self-excluded account may take its money out", 1_000, 0, {"status": "self_excluded"}),
    Case("a frozen account is not paid", 1_000, "account_frozen", {"status": "frozen"}),
    Case("our own wallet is not paid", 1_000, "own_address", OWN_WALLET),
    Case("a player of the platform is paid", 1_000, 0, PLAYER),
    Case("a frozen player is paid once a person agrees", 1_000, 1, {**PLAYER, "owner_status": "frozen"}),
    Case("a denied address is not paid", 1_000, "address_denied", {"denied": True}),
    Case("what a case holds waits for a person", 1_000, 1, {"under_review": True}),
    Case("and hides no refusal", 99, "amount_below_minimum", {"under_review": True}),
    Case("what goes to a stranger is screened", 1_000, 1, {}, {"screened": True}),
    Case("what goes to a player is not", 1_000, 0, PLAYER, {"screened": True}),
    Case("below the travel rule's amount nothing is asked", 999, 0, {}, TRAVEL),
    Case("from it on who sends and receives must be said", 1_000, "travel_rule_required", {}, TRAVEL),
    Case("and where it is, it is paid", 1_000, 0, {"travel_rule": True}, TRAVEL),
    Case("a player of the platform is no other provider's", 1_000, 0, PLAYER, TRAVEL),
    Case("an address that was never allowed is not paid", 1_000, "address_not_allowed", {"allow_list": True}),
    Case(
        "an address cools off until its very moment",
        1_000,
        "address_not_allowed",
        {"allow_list": True, "usable_at": NOW + timedelta(microseconds=1)},
    ),
    Case("and is paid from then on", 1_000, 0, {"allow_list": True, "usable_at": NOW}),
    Case("a list that does not bind binds nobody", 1_000, 0, {"usable_at": NOW + timedelta(days=1)}),
    Case("the minimum", 100, 0),
    Case("below the minimum", 99, "amount_below_minimum"),
    Case("the maximum", 10_000, 0),
    Case("beyond the maximum", 10_001, "limit_exceeded"),
    Case("a multiple of the chain's unit", 1_000, 0, {}, {"unit": 100}),
    Case("what the chain cannot express", 1_001, "amount_too_precise", {}, {"unit": 100}),
    Case("what the ledger can express inside it", 1_001, 0, PLAYER, {"unit": 100}),
    Case("the balance covers amount and fee", 1_000, 0, {"balance": Balance(total=1_005)}),
    Case("one unit less", 1_000, "insufficient_withdrawable", {"balance": Balance(total=1_004)}),
    Case("inside the ledger there is no fee", 1_000, 0, {**PLAYER, "balance": Balance(total=1_000)}),
    Case(
        "money that is not final stays",
        1_000,
        "insufficient_withdrawable",
        {"balance": Balance(total=2_000, unfinalized=996)},
    ),
    Case(
        "held money is not there twice",
        1_000,
        "insufficient_withdrawable",
        {"balance": Balance(total=2_000, held=996)},
    ),
    Case("up to a day's limit", 400, 0, {"used": used(600, 2)}, {"account_limits": A_DAY}),
    Case("beyond it", 401, "limit_exceeded", {"used": used(600, 2)}, {"account_limits": A_DAY}),
    Case("the last of a day", 100, 0, {"used": used(0, 2)}, {"account_limits": A_DAY}),
    Case(
        "one more than a day's number",
        100,
        "limit_exceeded",
        {"used": used(0, 3)},
        {"account_limits": A_DAY},
    ),
    Case(
        "an account's own limit instead of the settings'",
        2_000,
        0,
        {"used": used(600, 5), "own_limits": (Limit(24, 2_600, None),)},
        {"account_limits": A_DAY},
    ),
    Case(
        "and beyond its own",
        2_001,
        "limit_exceeded",
        {"used": used(600, 5), "own_limits": (Limit(24, 2_600, None),)},
        {"account_limits": A_DAY},
    ),
    Case("none of its own at all", 9_000, 0, {"own_limits": ()}, {"account_limits": A_DAY}),
    Case(
        "nothing is allowed by zero",
        100,
        "limit_exceeded",
        {"used": used(0, 0), "own_limits": (Limit(24, None, 0),)},
    ),
    Case(
        "up to the KYC level's limit",
        500,
        0,
        {"kyc_level": 0, "used": {24: Used(0, 0), 720: Used(400, 9)}},
        {"kyc_limits": LEVELS},
    ),
    Case(
        "beyond the lower of two",
        501,
        "limit_exceeded",
        {"kyc_level": 0, "used": {24: Used(0, 0), 720: Used(0, 0)}},
        {"kyc_limits": LEVELS},
    ),
    Case("the next level has the wider one alone", 900, 0, {"used": used(0, 0, 720)}, {"kyc_limits": LEVELS}),
    Case("beyond it", 901, "limit_exceeded", {"used": used(0, 0, 720)}, {"kyc_limits": LEVELS}),
    Case("above all named levels", 9_000, 0, {"kyc_level": 2}, {"kyc_limits": LEVELS}),
    Case("up to everybody's limit", 400, 0, {"used_by_all": used(600, 2)}, {"global_limits": A_DAY}),
    Case("beyond it", 401, "limit_exceeded", {"used_by_all": used(600, 2)}, {"global_limits": A_DAY}),
    Case("what stays inside is not part of it", 9_000, 0, PLAYER, {"global_limits": A_DAY}),
    Case(
        "wagered as often as asked",
        1_000,
        0,
        {"deposited": 333, "wagered": 500},
        {"wager_thousandths": 1_500},
    ),
    Case(
        "one unit less",
        1_000,
        "wager_required",
        {"deposited": 333, "wagered": 499},
        {"wager_thousandths": 1_500},
    ),
    Case("nothing deposited, nothing to wager", 1_000, 0, {}, {"wager_thousandths": 1_500}),
    Case("no wager asked", 1_000, 0, {"deposited": 10**9}),
    Case("below the first threshold nobody is asked", 1_999, 0, {}, APPROVALS),
    Case("from it on one", 2_000, 1, {}, APPROVALS),
    Case("below the second", 4_999, 1, {}, APPROVALS),
    Case("from it on two", 5_000, 2, {}, APPROVALS),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_rule_holds_at_its_exact_boundary(case: Case) -> None:
    decision = decide(
        case.amount, msgspec.structs.replace(FACTS, **case.facts), replace(POLICY, **case.policy), NOW
    )
    outcome = decision.approvals if decision.refusal is None else decision.refusal.code
    assert outcome == case.expected
    refused = any(finding.verdict is Verdict.REFUSE for finding in decision.findings)
    reviewed = any(finding.verdict is Verdict.REVIEW for finding in decision.findings)
    assert refused == (decision.refusal is not None)
    assert reviewed == (decision.approvals > 0)


def test_a_decision_tells_what_every_rule_compared() -> None:
    policy = replace(POLICY, account_limits=A_DAY, approval_from=2_000)
    decision = decide(400, msgspec.structs.replace(FACTS, used=used(600, 2)), policy, NOW)
    assert [(finding.rule, finding.compared) for finding in decision.findings] == [
        ("status", {"status": "active"}),
        ("owner", {"owner": "stranger"}),
        ("deny_list", {"listed": "false"}),
        ("amount", {"amount": "0.00000400", "minimum": "0.00000100", "maximum": "0.00010000"}),
        ("account_limit", {"hours": "24", "used": "0.00000600", "limit": "0.00001000"}),
        ("account_limit_count", {"hours": "24", "used": "2", "limit": "3"}),
        ("balance", {"needed": "0.00000405", "withdrawable": "0.00100000"}),
        ("approval", {"amount": "0.00000400", "approval_from": "0.00002000"}),
    ]


def test_of_several_refusals_the_one_that_cannot_be_helped_is_told() -> None:
    facts = msgspec.structs.replace(FACTS, status="frozen", denied=True, balance=Balance())
    decision = decide(1, facts, POLICY, NOW)
    assert decision.refusal is not None
    assert decision.refusal.code == "account_frozen"
    assert sum(finding.verdict is Verdict.REFUSE for finding in decision.findings) == 4


@given(st.integers(1, 20_000), st.integers(0, 3_000), st.integers(0, 3))
def test_whatever_is_asked_no_limit_is_ever_passed(amount: int, before: int, level: int) -> None:
    policy = replace(POLICY, account_limits=A_DAY, kyc_limits=LEVELS)
    facts = msgspec.structs.replace(FACTS, kyc_level=level, used={24: Used(before, 1), 720: Used(before, 1)})
    if decide(amount, facts, policy, NOW).refusal is None:
        for limit in account_limits(facts, policy):
            assert limit.amount is None or before + amount <= limit.amount


def test_a_window_of_a_day_is_a_day_long() -> None:
    assert window(24) == timedelta(days=1)


def reader(*addresses: str, elsewhere: str = "") -> Callable[[str], bytes | InvalidAddress]:
    def read(text: str) -> bytes | InvalidAddress:
        if text in addresses:
            return text.encode()
        return InvalidAddress("a typing error", other_network=text == elsewhere)

    return read


READERS = {
    "bitcoin": reader("bc1a", elsewhere="tb1a"),
    "ethereum": reader("0xa", "0xb"),
    "other": reader("0xa", "0xb"),
}


@pytest.mark.parametrize(
    ("text", "chain", "found"),
    [
        ("bc1a", "bitcoin", b"bc1a"),
        ("tb1a", "bitcoin", "network_mismatch"),
        ("0xa", "bitcoin", "network_mismatch"),
        ("bc1a", "ethereum", "network_mismatch"),
        ("nonsense", "bitcoin", "invalid_address"),
    ],
)
def test_an_address_of_elsewhere_is_told_as_such(text: str, chain: str, found: bytes | str) -> None:
    got = read_destination(text, chain, READERS)
    assert (got.code if isinstance(got, Refusal) else got) == found


def test_whoever_pastes_an_address_of_another_chain_reads_which() -> None:
    got = read_destination("0xa", "bitcoin", READERS)
    assert got == Refusal("network_mismatch", "an address of ethereum or other, but this is bitcoin")


def test_a_deny_list_knows_addresses_by_what_they_pay_and_others_by_their_text() -> None:
    text = "# sanctions\n\n0xa  # on both\nother 0xb\nTRON-address\n"
    denied = parse_denied(text, READERS)
    assert denied.lines == 3
    assert denied.covers("ethereum", b"0xa", "any case")
    assert denied.covers("other", b"0xb", "0xb")
    assert not denied.covers("ethereum", b"0xb", "0xb")
    assert denied.covers("tron", b"?", "tron-ADDRESS")
    assert not denied.covers("bitcoin", b"bc1a", "bc1a")


@pytest.mark.parametrize("line", ["ethereum bc1a", "litecoin 0xa", "ethereum 0xa 0xb"])
def test_a_line_that_fits_nowhere_breaks_the_list_and_is_named(line: str) -> None:
    with pytest.raises(BrokenDenyList, match="line 2: "):
        parse_denied(f"0xa\n{line}\n", READERS)
