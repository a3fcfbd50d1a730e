"""The limits that players set themselves: each where it holds, where it does not, and at its exact boundary."""

from dataclasses import dataclass, field
from datetime import date

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cryptowatch.accounts.limits import (
    LimitKind,
    Period,
    Played,
    PlayLimit,
    Rates,
    begin_of,
    earliest,
    reached,
    tightened,
)
from cryptowatch.accounts.traits import address_trait, ip_prefix
from cryptowatch.money import BaseUnits

#: A Wednesday.
TODAY = date(2026, 7, 15)
YESTERDAY, SUNDAY, LAST_MONTH = date(2026, 7, 14), date(2026, 7, 12), date(2026, 6, 30)
RATES = Rates({"BTC": 8, "USDT": 6}, {"BTC": 50_000 * 10**12, "USDT": 10**12})
UNRATED = Rates(RATES.decimals, {"USDT": 10**12})
BTC = 10**8

LOSS, WAGER, DEPOSIT = LimitKind.LOSS, LimitKind.WAGER, LimitKind.DEPOSIT
DAY, WEEK, MONTH = Period.DAY, Period.WEEK, Period.MONTH


@dataclass
class Case:
    name: str
    limit: PlayLimit
    amount: int
    over: bool
    played: list[Played] = field(default_factory=list)
    kind: LimitKind = LOSS
    asset: str = "BTC"


CASES = [
    Case("exactly the limit", PlayLimit(LOSS, DAY, "1", "BTC"), BTC, False),
    Case("one unit more", PlayLimit(LOSS, DAY, "1", "BTC"), BTC + 1, True),
    Case("nothing is allowed", PlayLimit(LOSS, DAY, "0", "BTC"), 1, True),
    Case(
        "what was lost before counts",
        PlayLimit(LOSS, DAY, "1", "BTC"),
        2,
        True,
        [Played(TODAY, "BTC", BTC - 1)],
    ),
    Case("up to what is left", PlayLimit(LOSS, DAY, "1", "BTC"), 1, False, [Played(TODAY, "BTC", BTC - 1)]),
    Case(
        "what was won makes room",
        PlayLimit(LOSS, DAY, "1", "BTC"),
        BTC,
        False,
        [Played(TODAY, "BTC", BTC, win=BTC)],
    ),
    Case(
        "what was refunded makes room for bets",
        PlayLimit(WAGER, DAY, "1", "BTC"),
        BTC,
        False,
        [Played(TODAY, "BTC", BTC, refund=BTC)],
        WAGER,
    ),
    Case(
        "what was won makes none for bets",
        PlayLimit(WAGER, DAY, "1", "BTC"),
        1,
        True,
        [Played(TODAY, "BTC", BTC, win=BTC)],
        WAGER,
    ),
    Case(
        "yesterday is another day",
        PlayLimit(LOSS, DAY, "1", "BTC"),
        BTC,
        False,
        [Played(YESTERDAY, "BTC", BTC)],
    ),
    Case("but the same week", PlayLimit(LOSS, WEEK, "1", "BTC"), 1, True, [Played(YESTERDAY, "BTC", BTC)]),
    Case(
        "Sunday is another week", PlayLimit(LOSS, WEEK, "1", "BTC"), BTC, False, [Played(SUNDAY, "BTC", BTC)]
    ),
    Case("but the same month", PlayLimit(LOSS, MONTH, "1", "BTC"), 1, True, [Played(SUNDAY, "BTC", BTC)]),
    Case(
        "June is another month",
        PlayLimit(LOSS, MONTH, "1", "BTC"),
        BTC,
        False,
        [Played(LAST_MONTH, "BTC", BTC)],
    ),
    Case("another asset", PlayLimit(LOSS, DAY, "1", "USDT"), 5 * BTC, False),
    Case("of another asset", PlayLimit(LOSS, DAY, "1", "BTC"), BTC, False, [Played(TODAY, "USDT", 10**9)]),
    Case("another kind", PlayLimit(DEPOSIT, DAY, "0", "BTC"), BTC, False),
    Case(
        "a deposit",
        PlayLimit(DEPOSIT, DAY, "1", "BTC"),
        1,
        True,
        [Played(TODAY, "BTC", deposited=BTC)],
        DEPOSIT,
    ),
    Case("in the reference currency", PlayLimit(LOSS, DAY, "50000"), BTC, False),
    Case("a dollar less", PlayLimit(LOSS, DAY, "49999"), BTC, True),
    Case(
        "over all assets",
        PlayLimit(LOSS, DAY, "50000"),
        BTC // 2,
        True,
        [Played(TODAY, "USDT", 25_000_000_000 + 100)],
    ),
    Case("exactly", PlayLimit(LOSS, DAY, "50000"), BTC // 2, False, [Played(TODAY, "USDT", 25_000_000_000)]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_limit_holds_exactly(case: Case) -> None:
    found = reached([case.limit], case.kind, case.asset, BaseUnits(case.amount), case.played, RATES, TODAY)
    assert (found is not None) == case.over
    assert found is None or found.limit == case.limit


def test_without_a_rate_nothing_is_allowed_that_needs_it() -> None:
    found = reached([PlayLimit(LOSS, DAY, "1000000")], LOSS, "BTC", BaseUnits(1), [], UNRATED, TODAY)
    assert found is not None
    assert found.limit is None
    own = [PlayLimit(LOSS, DAY, "1", "BTC")]
    assert reached(own, LOSS, "BTC", BaseUnits(1), [], UNRATED, TODAY) is None


def test_a_period_begins_with_the_calendar() -> None:
    assert [begin_of(period, TODAY) for period in Period] == [TODAY, date(2026, 7, 13), date(2026, 7, 1)]
    limits = [PlayLimit(LOSS, WEEK, "1"), PlayLimit(LOSS, MONTH, "1")]
    assert (earliest(limits, TODAY), earliest([], TODAY)) == (date(2026, 7, 1), TODAY)


def test_until_a_looser_limit_may_hold_the_tighter_one_does() -> None:
    now = [PlayLimit(LOSS, DAY, "1", "BTC"), PlayLimit(WAGER, DAY, "5", "BTC")]
    wanted = [PlayLimit(LOSS, DAY, "2", "BTC"), PlayLimit(WAGER, DAY, "4", "BTC"), PlayLimit(LOSS, WEEK, "9")]
    assert tightened(now, wanted, RATES.decimals) == [now[0], wanted[2], wanted[1]]
    assert tightened(now, [], RATES.decimals) == now


_LIMITS = st.lists(
    st.builds(
        PlayLimit,
        st.sampled_from([LOSS, WAGER]),
        st.sampled_from([DAY, WEEK]),
        st.integers(0, 5).map(str),
        st.just("BTC"),
    ),
    unique_by=lambda limit: limit.of,
    max_size=4,
)


@given(_LIMITS, _LIMITS, st.integers(0, 6 * 10**8), st.just("BTC"), st.sampled_from([LOSS, WAGER]))
def test_what_either_of_two_sets_of_limits_refuses_their_tightening_refuses(
    now: list[PlayLimit], wanted: list[PlayLimit], amount: int, asset: str, kind: LimitKind
) -> None:
    def over(limits: list[PlayLimit]) -> bool:
        return reached(limits, kind, asset, BaseUnits(amount), [], RATES, TODAY) is not None

    assert over(tightened(now, wanted, RATES.decimals)) == (over(now) or over(wanted))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("203.0.0.0/16", "203.0.0.0/16"),
        ("203.0.113.128/25", "203.0.113.0/24"),
        ("2001:db8:1:2ff:3::4", "2001:db8:1:200::/56"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("nonsense", None),
        ("203.0.113.7/33", None),
        ("", None),
    ],
)
def test_of_an_internet_address_only_the_network_is_kept(text: str, kept: str | None) -> None:
    assert ip_prefix(text) == kept


def test_a_hexadecimal_address_is_the_same_in_any_case() -> None:
    assert address_trait("ethereum", "0xAB") == address_trait("ethereum", "0xab")
    assert address_trait("bitcoin", "mAb") != address_trait("bitcoin", "mab")
    assert address_trait("ethereum", "0xab") != address_trait("base", "0xab")
