"""Bids of EIP-1559: within floor and cap, and every bump is one that nodes relay."""

from dataclasses import replace
from decimal import Decimal

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from cryptowatch.chains.ethereum.fees import EthereumFees, highest_base_fee
from cryptowatch.chains.ethereum.payments import EthereumPlan, EthereumPlanner
from cryptowatch.chains.plans import Bid, Sender
from cryptowatch.chains.port import FeeMarket
from cryptowatch.settings.chains import EthereumFeeSettings, Gas, Priority
from tests.support.account_wallet import FACTS, GWEI, SENDER, account

SETTINGS = EthereumFeeSettings(
    cap_gwei=Decimal(300),
    tip_floor_gwei=Decimal("0.05"),
    tip_cap_gwei=Decimal(20),
    tip_fallback_gwei=Decimal(1),
    target_blocks={"economy": 10, "normal": 3, "urgent": 1},
)
FEES = EthereumFees(SETTINGS, bump_after_blocks=3)
CAP = 300 * GWEI
#: 8^5 and 9^5 million wei: what the base fee is now, and after five full blocks.
NOW, LATER = 32_768_000_000, 59_049_000_000
MARKET = FeeMarket({1: 4 * GWEI, 3: 2 * GWEI, 10: GWEI}, floor=NOW)
PLANNER = EthereumPlanner(FACTS, Gas(), None)

priorities = st.sampled_from(list(SETTINGS.target_blocks))
markets = st.builds(
    FeeMarket,
    st.dictionaries(st.integers(1, 20), st.integers(0, 400 * GWEI), max_size=4),
    st.integers(0, 400 * GWEI),
)


def planned(rate: int, tip: int) -> EthereumPlan:
    return PLANNER.void(Sender(account(SENDER), (44, 1, 1), 7), Bid(rate, tip))


@pytest.mark.parametrize(
    ("priority", "bid"),
    [
        ("urgent", Bid(LATER + 4 * GWEI, 4 * GWEI)),
        ("normal", Bid(LATER + 2 * GWEI, 2 * GWEI)),
        ("economy", Bid(LATER + GWEI, GWEI)),
    ],
)
def test_a_bid_outlasts_five_full_blocks_and_offers_the_tip_of_its_target(
    priority: Priority, bid: Bid
) -> None:
    assert FEES.bid(MARKET, priority) == bid
    assert FEES.market_rate(MARKET, priority) == MARKET.floor + bid.tip


@pytest.mark.parametrize(
    ("base_fee", "blocks", "highest"),
    [
        (800, 1, 800),
        (800, 2, 900),
        # EIP-1559: rounded down in each block, and at least 1 more.
        (100, 3, 126),
        (7, 2, 8),
        (0, 3, 2),
        (NOW, 6, LATER),
    ],
)
def test_the_base_fee_rises_by_an_eighth_a_full_block(base_fee: int, blocks: int, highest: int) -> None:
    assert highest_base_fee(base_fee, blocks) == highest


@pytest.mark.parametrize("floor", [0, NOW, CAP])
def test_what_is_signed_once_follows_the_base_fee_up_to_the_cap_and_tips_as_the_market_does(
    floor: int,
) -> None:
    market = replace(MARKET, floor=floor)
    assert FEES.signed_once(market, "normal") == Bid(CAP, 2 * GWEI)
    # It is never stuck for its rate, while the market is not beyond the cap.
    plan = planned(FEES.signed_once(market, "normal").rate, 2 * GWEI)
    assert not FEES.is_stuck(replace(MARKET, floor=CAP - GWEI), plan, "economy", 9)


def test_a_target_that_no_node_knows_takes_the_next_faster_one_and_then_the_fallback() -> None:
    assert FEES.bid(FeeMarket({1: 4 * GWEI}, 0), "economy").tip == 4 * GWEI
    assert FEES.bid(FeeMarket({10: 4 * GWEI}, 0), "urgent").tip == GWEI
    assert FEES.bid(FeeMarket(), "urgent") == Bid(GWEI + 5, GWEI)


@pytest.mark.parametrize(
    ("told", "tip"),
    [(0, GWEI // 20), (GWEI // 20 + 1, GWEI // 20 + 1), (20 * GWEI, 20 * GWEI), (21 * GWEI, 20 * GWEI)],
)
def test_a_tip_is_within_its_own_floor_and_cap(told: int, tip: int) -> None:
    assert FEES.bid(FeeMarket({1: told}, GWEI), "urgent") == Bid(highest_base_fee(GWEI, 6) + tip, tip)


def test_the_cap_lowers_a_bid_and_never_below_its_tip() -> None:
    assert FEES.bid(FeeMarket({1: GWEI}, 5 * NOW), "urgent") == Bid(5 * LATER + GWEI, GWEI)
    assert FEES.bid(FeeMarket({1: GWEI}, 6 * NOW), "urgent") == Bid(CAP, GWEI)
    low = replace(FEES, settings=SETTINGS.model_copy(update={"cap_gwei": Decimal(20)}))
    assert low.bid(FeeMarket({1: 25 * GWEI}, GWEI), "urgent") == Bid(20 * GWEI, 20 * GWEI)


@pytest.mark.parametrize(("floor", "beyond"), [(CAP, False), (CAP + 1, True)])
def test_a_market_whose_base_fee_is_beyond_the_cap_is_waited_out(floor: int, beyond: bool) -> None:
    assert FEES.beyond_cap(FeeMarket({}, floor)) is beyond


def test_an_attempt_is_stuck_after_its_target_and_not_before_the_settings_say() -> None:
    assert [FEES.patience_blocks(priority) for priority in ("economy", "normal", "urgent")] == [10, 3, 3]


@pytest.mark.parametrize(
    ("rate", "waited", "stuck"),
    [
        # Enough for the base fee and the lowest tip: until its target's end.
        (NOW + GWEI // 20, 9, False),
        (NOW + GWEI // 20, 10, True),
        # Less: no block can take it, whatever its target.
        (NOW + GWEI // 20 - 1, 2, False),
        (NOW + GWEI // 20 - 1, 3, True),
    ],
)
def test_an_attempt_that_the_base_fee_left_behind_is_stuck_before_its_target(
    rate: int, waited: int, stuck: bool
) -> None:
    assert FEES.is_stuck(MARKET, planned(rate, GWEI // 100), "economy", waited) is stuck


def test_a_bump_follows_the_market_up() -> None:
    assert FEES.raised(MARKET, planned(40 * GWEI, GWEI), "urgent") == Bid(LATER + 4 * GWEI, 4 * GWEI)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Bid(80 * GWEI, 8 * GWEI), Bid(90 * GWEI, 9 * GWEI)),
        (Bid(80 * GWEI + 1, 8 * GWEI + 1), Bid(90 * GWEI + 2, 9 * GWEI + 2)),
        # Each of both by itself.
        (Bid(80 * GWEI, GWEI), Bid(90 * GWEI, 4 * GWEI)),
        (Bid(40 * GWEI, 8 * GWEI), Bid(LATER + 4 * GWEI, 9 * GWEI)),
    ],
)
def test_a_bump_raises_both_fees_by_an_eighth_at_least(old: Bid, new: Bid) -> None:
    assert FEES.raised(MARKET, planned(old.rate, old.tip), "urgent") == new


def test_a_bump_from_nothing_is_one_more_all_the_same() -> None:
    free = replace(
        FEES,
        settings=SETTINGS.model_copy(update={"tip_floor_gwei": Decimal(0), "tip_fallback_gwei": Decimal(0)}),
    )
    assert free.bid(FeeMarket(), "urgent") == Bid(5, 0)
    assert free.raised(FeeMarket(), planned(5, 0), "urgent") == Bid(6, 1)


def test_a_tip_may_be_raised_beyond_its_own_cap_but_nothing_beyond_the_cap() -> None:
    """A replacement needs an eighth more of both, so that a low tip cap would keep base fees from being followed."""
    assert FEES.raised(MARKET, planned(80 * GWEI, 20 * GWEI), "urgent") == Bid(90 * GWEI, 22_500_000_000)
    assert FEES.raised(MARKET, planned(250 * GWEI, 280 * GWEI), "urgent") is None


@pytest.mark.parametrize(
    ("old", "raised"), [(266 * GWEI, Bid(299_250_000_000, 4 * GWEI)), (267 * GWEI, None)]
)
def test_a_bump_stops_at_the_cap(old: int, raised: Bid | None) -> None:
    assert FEES.raised(MARKET, planned(old, GWEI), "urgent") == raised


@given(markets, priorities)
def test_every_bid_is_within_floor_and_cap(market: FeeMarket, priority: Priority) -> None:
    bid = FEES.bid(market, priority)
    assert GWEI // 20 <= bid.tip <= 20 * GWEI
    assert bid.tip <= bid.rate <= CAP
    if not FEES.beyond_cap(market):
        assert bid.rate >= market.floor


@given(markets, priorities, st.integers(1, CAP), st.integers(0, CAP))
def test_every_bump_is_one_that_nodes_relay(
    market: FeeMarket, priority: Priority, rate: int, tip: int
) -> None:
    assume(tip <= rate)
    bid = FEES.raised(market, planned(rate, tip), priority)
    if bid is not None:
        assert 8 * bid.rate >= 9 * rate and 8 * bid.tip >= 9 * tip
        assert bid.rate > rate and bid.tip > tip
        assert bid.tip <= bid.rate <= CAP
    else:
        assert 9 * max(rate, tip) > 8 * (CAP - 2)
