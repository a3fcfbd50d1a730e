"""Fee bids: within floor and cap whatever nodes say, and replacements that nodes will relay."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cryptowatch.chains.port import FeeMarket
from cryptowatch.sending.fees import beyond_cap, bid_sat_kvb, bump_sat_kvb
from cryptowatch.settings import Fees

FEES = Fees(floor_sat_vb=2, cap_sat_vb=100, fallback_sat_vb=7)
MARKET = FeeMarket({1: 50_000, 2: 40_000, 6: 20_000, 24: 3_000}, floor=1_000)
PRIORITIES = ["economy", "normal", "urgent"]


@pytest.mark.parametrize(("priority", "bid"), [("urgent", 40_000), ("normal", 20_000), ("economy", 3_000)])
def test_each_priority_bids_what_its_target_asks(priority: str, bid: int) -> None:
    assert bid_sat_kvb(MARKET, FEES, [priority]) == bid


def test_a_batch_bids_for_the_most_urgent_of_it() -> None:
    assert bid_sat_kvb(MARKET, FEES, PRIORITIES) == bid_sat_kvb(MARKET, FEES, ["urgent"])


def test_a_target_that_no_node_knows_takes_the_next_faster_one() -> None:
    assert bid_sat_kvb(FeeMarket({3: 9_000}), FEES, ["normal"]) == 9_000


def test_without_an_estimate_the_fallback_is_bid() -> None:
    assert bid_sat_kvb(FeeMarket(), FEES, ["normal"]) == 7_000


def test_the_floors_lift_a_bid_and_the_cap_lowers_it() -> None:
    assert bid_sat_kvb(FeeMarket({6: 500}), FEES, ["normal"]) == 2_000
    assert bid_sat_kvb(FeeMarket({6: 500}, floor=5_500), FEES, ["normal"]) == 5_500
    assert bid_sat_kvb(FeeMarket({6: 900_000}), FEES, ["normal"]) == 100_000


@pytest.mark.parametrize(("floor", "beyond"), [(100_000, False), (100_001, True)])
def test_a_market_beyond_the_cap_is_waited_out(floor: int, beyond: bool) -> None:
    assert beyond_cap(FeeMarket(floor=floor), FEES) is beyond


def test_a_bump_follows_the_market_up_and_else_goes_up_by_a_quarter() -> None:
    assert bump_sat_kvb(MARKET, FEES, 10_000, ["normal"]) == 20_000
    assert bump_sat_kvb(MARKET, FEES, 40_000, ["normal"]) == 50_000


def test_a_bump_at_low_rates_goes_up_by_a_whole_relay_increment() -> None:
    assert bump_sat_kvb(FeeMarket({6: 1_000}), FEES, 2_000, ["normal"]) == 3_000


@pytest.mark.parametrize(("previous", "bumped"), [(80_000, 100_000), (80_001, None), (100_000, None)])
def test_a_bump_stops_at_the_cap(previous: int, bumped: int | None) -> None:
    assert bump_sat_kvb(MARKET, FEES, previous, ["normal"]) == bumped


rates = st.integers(0, 10**7)
markets = st.builds(FeeMarket, st.dictionaries(st.integers(1, 200), rates, max_size=8), rates)


@given(markets, st.lists(st.sampled_from(PRIORITIES), min_size=1))
def test_every_bid_is_within_floor_and_cap(market: FeeMarket, priorities: list[str]) -> None:
    assert 2_000 <= bid_sat_kvb(market, FEES, priorities) <= 100_000


@given(markets, st.integers(1_000, 100_000), st.lists(st.sampled_from(PRIORITIES), min_size=1))
def test_every_bump_is_one_that_nodes_relay(market: FeeMarket, previous: int, priorities: list[str]) -> None:
    bumped = bump_sat_kvb(market, FEES, previous, priorities)
    assert bumped is None or previous + 1_000 <= bumped <= 100_000
