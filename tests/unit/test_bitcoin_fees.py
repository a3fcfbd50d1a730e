"""Fee bids: within floor and cap whatever nodes say, and replacements that nodes will relay."""

from dataclasses import dataclass
from typing import cast

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cryptowatch.chains.bitcoin.fees import BitcoinFees
from cryptowatch.chains.plans import Bid, Plan
from cryptowatch.chains.port import FeeMarket
from cryptowatch.settings.chains import BitcoinFeeSettings, Priority

FEES = BitcoinFees(BitcoinFeeSettings(floor_sat_vb=2, cap_sat_vb=100, fallback_sat_vb=7))
MARKET = FeeMarket({1: 50_000, 2: 40_000, 6: 20_000, 24: 3_000}, floor=1_000)
PRIORITIES: list[Priority] = ["economy", "normal", "urgent"]


@dataclass(frozen=True)
class Paid:
    """What of a plan a replacement goes by."""

    fee: int
    size: int = 1000


def raised(market: FeeMarket, previous_sat_kvb: int) -> int | None:
    bid = FEES.raised(market, cast(Plan, Paid(previous_sat_kvb)), "normal")
    return None if bid is None else bid.rate


@pytest.mark.parametrize(("priority", "bid"), [("urgent", 40_000), ("normal", 20_000), ("economy", 3_000)])
def test_each_priority_bids_what_its_target_asks(priority: Priority, bid: int) -> None:
    assert FEES.bid(MARKET, priority) == Bid(bid)


def test_a_target_that_no_node_knows_takes_the_next_faster_one() -> None:
    assert FEES.bid(FeeMarket({3: 9_000}), "normal").rate == 9_000


def test_without_an_estimate_the_fallback_is_bid() -> None:
    assert FEES.bid(FeeMarket(), "normal").rate == 7_000


def test_the_floors_lift_a_bid_and_the_cap_lowers_it() -> None:
    assert FEES.bid(FeeMarket({6: 500}), "normal").rate == 2_000
    assert FEES.bid(FeeMarket({6: 500}, floor=5_500), "normal").rate == 5_500
    assert FEES.bid(FeeMarket({6: 900_000}), "normal").rate == 100_000


@pytest.mark.parametrize(("floor", "beyond"), [(100_000, False), (100_001, True)])
def test_a_market_beyond_the_cap_is_waited_out(floor: int, beyond: bool) -> None:
    assert FEES.beyond_cap(FeeMarket(floor=floor)) is beyond


def test_a_bump_follows_the_market_up_and_else_goes_up_by_a_quarter() -> None:
    assert raised(MARKET, 10_000) == 20_000
    assert raised(MARKET, 40_000) == 50_000


def test_a_bump_at_low_rates_goes_up_by_a_whole_relay_increment() -> None:
    assert raised(FeeMarket({6: 1_000}), 2_000) == 3_000


@pytest.mark.parametrize(("previous", "bumped"), [(80_000, 100_000), (80_001, None), (100_000, None)])
def test_a_bump_stops_at_the_cap(previous: int, bumped: int | None) -> None:
    assert raised(MARKET, previous) == bumped


rates = st.integers(0, 10**7)


@pytest.mark.parametrize(
    ("paid", "waited", "stuck"),
    [
        # The market asks 20 sat/vB of a normal payment, whose target is 6 blocks.
        (20_000, 5, False),
        (20_000, 6, True),
        # Left behind by what a raise adds at least: not before the setting says, but before the target.
        (16_000, 2, False),
        (16_000, 3, True),
        (16_001, 3, False),
        (16_001, 6, True),
    ],
)
def test_an_attempt_is_stuck_at_its_targets_end_or_when_the_market_left_it_behind(
    paid: int, waited: int, stuck: bool
) -> None:
    assert FEES.is_stuck(MARKET, cast(Plan, Paid(paid)), "normal", waited) is stuck


@pytest.mark.parametrize(
    ("paid", "waited", "stuck"),
    [(19_999, 6, True), (20_000, 6, False), (20_000, 11, False), (20_000, 12, True)],
)
def test_one_that_pays_what_our_own_estimate_asks_for_is_given_its_patience_twice(
    paid: int, waited: int, stuck: bool
) -> None:
    market = FeeMarket({6: 90_000}, 1_000, forecast={"normal": 20_000})
    assert FEES.is_stuck(market, cast(Plan, Paid(paid)), "normal", waited) is stuck


def test_nobody_follows_the_market_beyond_the_cap_early() -> None:
    market = FeeMarket({6: 900_000}, 1_000)
    assert not FEES.is_stuck(market, cast(Plan, Paid(90_000)), "normal", 3)
    assert FEES.is_stuck(market, cast(Plan, Paid(80_000)), "normal", 3)


def test_our_own_estimate_goes_before_what_nodes_say() -> None:
    market = FeeMarket({6: 90_000}, 1_000, (50_000,), {"normal": 20_000})
    assert FEES.bid(market, "normal").rate == 20_000
    assert FEES.bid(market, "urgent").rate == 50_000, "of a priority that it says nothing of, nodes are asked"


@pytest.mark.parametrize(
    ("estimates", "projection", "bid"),
    [
        # Within two blocks: what gets into the second one, if nodes' estimates ask for no more.
        ({2: 9_000}, (30_000, 12_000, 1_000), 12_000),
        ({2: 19_000}, (30_000, 12_000, 1_000), 19_000),
        ({}, (30_000, 3_000), 7_000),
        ({}, (30_000,), 30_000),
    ],
)
def test_without_our_own_estimate_a_bid_is_no_less_than_what_gets_in_now(
    estimates: dict[int, int], projection: tuple[int, ...], bid: int
) -> None:
    assert FEES.bid(FeeMarket(estimates, 1_000, projection), "urgent").rate == bid


def test_a_payments_fee_is_rounded_up_to_whole_satoshi() -> None:
    assert FEES.payment_fee(Bid(1_000)) == 141
    assert FEES.payment_fee(Bid(1_001)) == 142


markets = st.builds(FeeMarket, st.dictionaries(st.integers(1, 200), rates, max_size=8), rates)


@given(markets, st.sampled_from(PRIORITIES))
def test_every_bid_is_within_floor_and_cap(market: FeeMarket, priority: Priority) -> None:
    assert 2_000 <= FEES.bid(market, priority).rate <= 100_000


@given(markets, st.integers(1_000, 100_000))
def test_every_bump_is_one_that_nodes_relay(market: FeeMarket, previous: int) -> None:
    bumped = raised(market, previous)
    assert bumped is None or previous + 1_000 <= bumped <= 100_000
