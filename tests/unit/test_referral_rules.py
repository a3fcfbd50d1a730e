"""Referral programmes as pure rules: acts, rewards, caps, what speaks against a reward; each with its negative."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptowatch.referrals.machine import EDGES, Effect, Event, State, advance
from cryptowatch.referrals.rules import (
    ONE,
    Act,
    Activity,
    Caps,
    Deposit,
    Done,
    Finding,
    FirstDeposit,
    Fixed,
    Fraud,
    Programme,
    Reward,
    Share,
    Standing,
    Ties,
    Verified,
    act_done,
    findings,
    promised,
    scopes,
    within,
)
from cryptowatch.referrals.spelling import ALPHABET, draw, fold, is_reserved
from cryptowatch.referrals.terms import InvalidTerms, Terms, read_terms

DECIMALS = {"BTC": 8, "USDT": 6}
FIRST, SECOND, OTHER = (
    Deposit(UUID(int=n), a, v) for n, a, v in [(1, "BTC", 50), (2, "BTC", 99), (3, "ETH", 99)]
)
ANCESTORS = [UUID(int=n) for n in (101, 102, 103)]


def programme(*levels: Reward, act: Act | None = None, **caps: Caps) -> Programme:
    hour = timedelta(hours=1)
    return Programme(act or FirstDeposit({"BTC": 1}), levels, caps, hour, hour, Fraud(), DECIMALS)


@pytest.mark.parametrize(
    ("act", "standing", "done"),
    [
        (Verified(2), Standing(kyc_level=2), Done()),
        (Verified(2), Standing(kyc_level=1), None),
        (FirstDeposit({"BTC": 50}), Standing(deposits=[FIRST]), Done(FIRST)),
        (FirstDeposit({"BTC": 51}), Standing(deposits=[FIRST]), None),
        (FirstDeposit({"BTC": 51}), Standing(deposits=[FIRST, SECOND]), Done(SECOND)),
        (FirstDeposit({"BTC": 1}), Standing(deposits=[SECOND, FIRST]), Done(FIRST)),
        (FirstDeposit({"BTC": 1}), Standing(deposits=[OTHER]), None),
        (FirstDeposit({"BTC": 1}), Standing(kyc_level=9, bet=99), None),
        (Activity("BTC", 100), Standing(bet=100), Done()),
        (Activity("BTC", 100), Standing(bet=99), None),
    ],
)
def test_an_act_is_done_when_its_threshold_is_reached_and_not_before(
    act: Act, standing: Standing, done: Done | None
) -> None:
    assert act_done(act, standing) == done


def test_each_ancestor_gets_the_reward_of_its_level_and_nobody_beyond_the_levels() -> None:
    rewards = promised(programme(Share(100_000), Fixed("USDT", 7)), Done(SECOND), ANCESTORS)
    assert [(p.level, p.referrer, p.asset, p.amount) for p in rewards] == [
        (1, ANCESTORS[0], "BTC", 9),
        (2, ANCESTORS[1], "USDT", 7),
    ]


def test_who_would_get_nothing_is_left_out_and_the_next_level_is_not() -> None:
    rewards = promised(programme(Share(1), Fixed("BTC", 0), Fixed("BTC", 3)), Done(FIRST), ANCESTORS)
    assert [(p.level, p.amount) for p in rewards] == [(3, 3)]


@pytest.mark.parametrize(
    ("caps", "counted", "left"),
    [
        (Caps(), (10**9, 10**9, 10**9), (100, None)),
        (Caps(per_referrer=150), (50, 0, 0), (100, None)),
        (Caps(per_referrer=150), (51, 0, 0), (99, "cap_per_referrer")),
        (Caps(per_level=150), (999, 149, 999), (1, "cap_per_level")),
        (Caps(per_day=150), (999, 999, 150), (0, "cap_per_day")),
        (Caps(per_day=150), (999, 999, 151), (0, "cap_per_day")),  # the cap was lowered since
        (Caps(90, 80, 70), (0, 0, 0), (70, "cap_per_day")),
    ],
)
def test_a_reward_is_cut_to_what_the_lowest_cap_leaves(
    caps: Caps, counted: tuple[int, int, int], left: tuple[int, str | None]
) -> None:
    assert within(100, caps, counted) == left


@pytest.mark.parametrize(
    ("ties", "found"),
    [
        (Ties(), None),
        (Ties(shared=frozenset({"device"})), Finding.SAME_DEVICE),
        (Ties(siblings=True), Finding.SIBLING_DEVICE),
        (Ties(shared=frozenset({"ip_prefix"})), Finding.SAME_NETWORK),
        (Ties(shared=frozenset({"funding_address"})), Finding.SAME_FUNDING_ADDRESS),
        (Ties(shared=frozenset({"withdrawal_address"})), Finding.SAME_WITHDRAWAL_ADDRESS),
        (Ties(crossed=True), Finding.FUNDED_BY_REFERRER),
        (Ties(recent=3), None),
        (Ties(recent=4), Finding.PACE),
        (Ties(circular=True), Finding.CIRCULAR),
        (Ties(both_active=False), Finding.ACCOUNT_NOT_ACTIVE),
    ],
)
def test_what_speaks_against_a_reward_is_named(ties: Ties, found: Finding | None) -> None:
    assert findings(Fraud(pace_count=3), ties) == (() if found is None else (found,))


def test_rules_that_are_off_find_nothing_and_those_that_cannot_be_off_do() -> None:
    everything = frozenset({"device", "ip_prefix", "funding_address", "withdrawal_address"})
    ties = Ties(everything, crossed=True, siblings=True, recent=10**6, circular=True, both_active=False)
    off = Fraud(devices=False, networks=False, addresses=False, pace_count=None)
    assert findings(off, ties) == (Finding.CIRCULAR, Finding.ACCOUNT_NOT_ACTIVE)
    assert len(findings(Fraud(pace_count=1), ties)) == len(Finding)


# The machine.


def test_nothing_leaves_what_is_rejected_or_reversed_and_nothing_is_paid_from_flagged() -> None:
    assert {before for before, _ in EDGES}.isdisjoint({State.REJECTED, State.REVERSED})
    assert [before for before, after in EDGES if after is State.PAID] == [State.HELD]


@pytest.mark.parametrize("state", State)
def test_what_comes_twice_changes_nothing(state: State) -> None:
    for event in Event:
        step = advance(state, event)
        again = None if step is None else advance(step[0], event)
        assert again is None


STEPS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(Event)), max_size=60)
CAPS = st.builds(Caps, *[st.none() | st.integers(0, 300)] * 3)


@given(steps=STEPS, caps=CAPS, amounts=st.lists(st.integers(1, 200), min_size=6, max_size=6))
def test_no_history_brings_a_sum_beyond_a_cap_and_what_is_undone_leaves_its_part(
    steps: list[tuple[int, Event]], caps: Caps, amounts: list[int]
) -> None:
    """Six rewards of one referrer, at two levels on two days, through any events in any order."""
    states = [State.PENDING] * 6
    granted = [0] * 6
    day = date(2026, 11, 23)
    where = [scopes(1 + n % 2, day + timedelta(days=n % 3)) for n in range(6)]

    def counted(scope: str) -> int:
        alive = (State.HELD, State.FLAGGED, State.PAID)
        return sum(granted[n] for n in range(6) if states[n] in alive and scope in where[n])

    ledger = 0
    for n, event in steps:
        if states[n] is State.PENDING:
            granted[n], _ = within(amounts[n], caps, [counted(scope) for scope in where[n]])
            if granted[n] == 0:
                event = Event.EXHAUST
        step = advance(states[n], event)
        if step is not None and (event is not Event.EXHAUST or granted[n] == 0):
            states[n], effect = step
            ledger += {Effect.PAY: granted[n], Effect.TAKE_BACK: -granted[n]}.get(effect, 0) if effect else 0
        for scope in {scope for scopes_ in where for scope in scopes_}:
            cap = {"a": caps.per_referrer, "l": caps.per_level, "d": caps.per_day}[scope[0]]
            assert cap is None or counted(scope) <= cap
    assert ledger == sum(granted[n] for n in range(6) if states[n] is State.PAID)


@given(ppm=st.integers(1, ONE), amount=st.integers(1, 2**256 - 1))
def test_a_share_is_never_more_than_the_share(ppm: int, amount: int) -> None:
    rewards = promised(programme(Share(ppm)), Done(Deposit(UUID(int=1), "BTC", amount)), ANCESTORS)
    paid = sum(p.amount for p in rewards)
    assert paid * ONE <= amount * ppm < (paid + 1) * ONE


# Terms.

PERCENT: dict[str, Any] = {"kind": "percentage", "parts_per_million": 50_000}
GOOD: dict[str, Any] = {"act": {"kind": "first_deposit", "minimum": {"BTC": "0.001"}}, "levels": [PERCENT]}


def test_terms_are_read_in_base_units() -> None:
    terms = GOOD | {"caps": {"BTC": {"per_day": "1"}}, "fraud": {"pace_count": 5, "pace_hours": 2}}
    read = read_terms(msgspec.convert(terms, Terms), DECIMALS)
    assert read.act == FirstDeposit({"BTC": 100_000})
    assert read.levels == [Share(50_000)]
    assert read.caps == {"BTC": Caps(per_day=10**8)}
    assert (read.fraud.pace_count, read.fraud.pace) == (5, timedelta(hours=2))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"act": {"kind": "first_deposit", "minimum": {"DOGE": "1"}}}, "act.minimum.DOGE"),
        ({"act": {"kind": "first_deposit", "minimum": {"BTC": "0.000000001"}}}, "act.minimum.BTC"),
        ({"act": {"kind": "verified"}}, r"levels\[0\]"),
        ({"act": {"kind": "activity", "asset": "BTC", "bet": "0"}, "levels": []}, "act.bet|length"),
        ({"levels": [{"kind": "fixed", "asset": "ETH", "amount": "1"}]}, r"levels\[0\].amount"),
        ({"caps": {"USDT": {"per_level": "0.0000001"}}}, "caps.USDT.per_level"),
        ({"levels": [{"kind": "percentage", "parts_per_million": ONE + 1}]}, "levels"),
        ({"hold_s": -1}, "hold_s"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_terms_that_cannot_be_a_programme_name_what_is_wrong(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises((InvalidTerms, msgspec.ValidationError), match=named):
        read_terms(msgspec.convert(GOOD | wrong, Terms), DECIMALS)


# Codes.


@given(st.binary(min_size=6, max_size=6))
def test_a_drawn_code_has_no_letter_that_reads_as_another_and_folds_to_itself(randomness: bytes) -> None:
    code = draw(randomness)
    assert len(code) == 9
    assert set(code) <= set(ALPHABET)
    assert fold(code) == code


def test_codes_use_every_bit_of_their_randomness() -> None:
    codes = {draw((1 << bit).to_bytes(6, "big")) for bit in range(45)}
    assert len(codes) == 45


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("lucky-star", "1UCKYSTAR"),
        ("1ucky5tar", "1UCKY5TAR"),
        ("O0IL", "0011"),
        ("abc", None),
        ("a" * 21, None),
        ("grüße", None),
        ("", None),
        ("a b c d", None),
        ("----", None),
        ("ABCD\n", None),
    ],
)
def test_a_code_is_read_as_it_is_meant(text: str, folded: str | None) -> None:
    assert fold(text) == folded


def test_a_reserved_word_is_reserved_however_it_is_spelled() -> None:
    assert is_reserved(fold("off1c1al") or "", ["OFFICIAL"])
    assert not is_reserved(fold("officials") or "", ["OFFICIAL"])
