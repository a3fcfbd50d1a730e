"""Our own fee estimator: what it needs to know, and what it says of made-up markets."""

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from cryptowatch.chains.backlog import EDGES, Backlog, backlog
from cryptowatch.chains.forecast import Forecaster, chance_within, least_costly

START = datetime(2026, 1, 1, tzinfo=UTC)
BLOCK = 1_000_000
INTERVAL_S = 600


def pool(**weights: int) -> Backlog:
    """`at_5000=…`: so much weight at 5,000."""
    return backlog([(int(name.removeprefix("at_")), weight) for name, weight in weights.items()], BLOCK)


def watched(minutes: int, *, before: Backlog, after: Backlog, height: int = 100) -> Forecaster:
    """Between two looks with no block in between."""
    forecaster = Forecaster(INTERVAL_S)
    forecaster.note(START, height, before)
    forecaster.note(START + timedelta(minutes=minutes), height, after)
    return forecaster


def simulated(blocks: int, waiting: float, joining: float) -> float:
    """The chance that `chance_within` works out, by trying."""
    randomness, hits = random.Random(1), 0
    for _ in range(20_000):
        passed = 0.0
        for number in range(1, blocks + 1):
            passed += randomness.expovariate(1)
            if waiting + joining * passed <= number:
                hits += 1
                break
    return hits / 20_000


@pytest.mark.parametrize(
    ("blocks", "waiting", "joining"),
    [(1, 0.5, 0.3), (1, 0.0, 1.0), (3, 1.2, 0.8), (6, 4.0, 0.9), (6, 2.0, 1.2), (24, 10.0, 0.7)],
)
def test_the_chance_is_that_of_blocks_that_come_at_random(
    blocks: int, waiting: float, joining: float
) -> None:
    assert chance_within(blocks, waiting, joining) == pytest.approx(
        simulated(blocks, waiting, joining), abs=0.015
    )


@pytest.mark.parametrize(
    ("waiting", "joining", "chance"), [(0.9, 0, 1), (1.0, 0, 1), (1.1, 0, 0), (1.1, 0.5, 0), (1.0, 0.5, 0)]
)
def test_where_nothing_is_left_to_chance(waiting: float, joining: float, chance: float) -> None:
    assert chance_within(1, waiting, joining) == chance


def test_it_says_nothing_before_it_has_watched_for_half_an_hour() -> None:
    early = watched(29, before=pool(), after=pool())
    assert not early.is_ready and early.rate(6, 200) is None
    assert Forecaster(INTERVAL_S).rate(6, 200) is None
    ready = watched(30, before=pool(), after=pool())
    assert ready.is_ready and ready.history_s == 1_800
    assert ready.rate(6, 200) == 0


def test_time_across_a_block_is_not_counted_as_nobody_knows_what_joined_in_it() -> None:
    forecaster = watched(20, before=pool(), after=pool())
    forecaster.note(START + timedelta(minutes=40), 101, pool())
    assert forecaster.history_s == 1_200
    forecaster.note(START + timedelta(minutes=50), 101, pool())
    assert forecaster.history_s == 1_800


def test_a_reorg_begins_anew_as_a_block_does() -> None:
    forecaster = watched(30, before=pool(), after=pool())
    forecaster.note(START + timedelta(minutes=40), 99, pool(at_5000=9 * BLOCK))
    assert forecaster.history_s == 1_800


def test_without_inflow_the_backlog_alone_decides() -> None:
    full = pool(at_9000=BLOCK, at_5000=BLOCK, at_2000=BLOCK)
    forecaster = watched(30, before=full, after=full)
    first, second, third = (forecaster.rate(target, 400) for target in (1, 2, 3))
    assert first is not None and second is not None
    assert first > 5_000 and 2_000 < second <= 5_000 and third == 0


def test_what_joins_above_a_rate_pushes_it_back_and_what_joins_below_does_not() -> None:
    before = pool(at_2000=BLOCK // 2)
    rich = watched(30, before=before, after=pool(at_2000=BLOCK // 2, at_9000=2 * BLOCK))
    poor = watched(30, before=before, after=pool(at_2000=BLOCK // 2, at_1000=2 * BLOCK))
    assert (rich.rate(1, 400) or 0) > 9_000
    assert 1_000 < (poor.rate(1, 400) or 0) <= 2_000


def test_what_leaves_is_not_taken_for_inflow() -> None:
    forecaster = watched(30, before=pool(at_9000=5 * BLOCK), after=pool())
    assert forecaster.rate(1, 9_900) == 0


def test_who_wants_to_miss_less_never_pays_less_and_who_has_time_never_more() -> None:
    joined = backlog([(rate, BLOCK // 10) for rate in range(1_000, 21_000, 500)], BLOCK)
    forecaster = watched(30, before=pool(), after=joined)
    by_cost = [forecaster.rate(3, percent) or 0 for percent in range(10, 2_000, 50)]
    assert by_cost == sorted(by_cost) and len(set(by_cost)) > 2
    by_target = [forecaster.rate(target, 400) or 0 for target in (1, 2, 3, 6, 12)]
    assert by_target == sorted(by_target, reverse=True)


@pytest.mark.parametrize(
    ("miss_cost_percent", "rate"), [(100, 1_000), (150, 1_000), (200, 2_000), (700, 4_000)]
)
def test_a_bid_weighs_what_it_pays_too_much_against_what_a_miss_costs(
    miss_cost_percent: int, rate: int
) -> None:
    """1,000 gets in with one chance in two; else 2,000 does with three in five of what is left; 4,000 always.

    Too much on average: 0 % of a bid of 1,000, 50 % of one of 2,000, 180 % of one of 4,000.
    """
    rates, chances = np.array([1_000, 2_000, 4_000]), np.array([0.5, 0.8, 1.0])
    assert rates[least_costly(rates, chances, miss_cost_percent)] == rate


@pytest.mark.parametrize("miss_cost_percent", [1, 400])
def test_no_bid_counts_on_what_waits_above_it_going_away(miss_cost_percent: int) -> None:
    """However little a miss matters: a bid that is sure to miss saves nothing."""
    full = pool(at_5000=2 * BLOCK)
    forecaster = watched(30, before=full, after=full)
    assert 5_000 < (forecaster.rate(1, miss_cost_percent) or 0) < 5_100
    assert forecaster.rate(2, miss_cost_percent) == 0


def test_nobody_pays_less_than_the_floor_so_that_it_is_not_too_much() -> None:
    """A bid of ten times the lowest rate is dear, and one of ten times what nobody takes is not."""
    joined = backlog([(rate, BLOCK // 20) for rate in range(100, 2_000, 20)], BLOCK)
    forecaster = watched(30, before=pool(), after=joined)
    assert (forecaster.rate(4, 30, 1_000) or 0) > (forecaster.rate(4, 30) or 0) > 0


def test_short_targets_go_by_the_last_half_hour_and_long_ones_by_the_day() -> None:
    """Twenty quiet hours, then an hour in which more joins at a high rate than blocks can take."""
    forecaster = Forecaster(INTERVAL_S)
    for hour in range(20):
        forecaster.note(START + timedelta(hours=hour), hour, pool())
        forecaster.note(START + timedelta(hours=hour, minutes=59), hour, pool())
    forecaster.note(START + timedelta(hours=20), 20, pool())
    forecaster.note(START + timedelta(hours=21), 20, pool(at_9000=9 * BLOCK))
    assert (forecaster.rate(6, 200) or 0) > 9_000
    assert forecaster.rate(144, 200) == 0


def test_what_is_older_than_a_day_is_forgotten() -> None:
    forecaster = watched(60, before=pool(), after=pool(at_9000=9 * BLOCK))
    forecaster.note(START + timedelta(hours=26), 101, pool())
    assert forecaster.history_s == 0 and forecaster.rate(1, 400) is None


def test_its_memory_is_bounded() -> None:
    forecaster = Forecaster(INTERVAL_S)
    for number in range(900):
        at = START + timedelta(minutes=number)
        forecaster.note(at, number, pool())
        forecaster.note(at + timedelta(seconds=30), number, pool())
    assert forecaster.history_s == 30 * 401


def test_a_market_that_no_rate_is_sure_in_takes_the_highest() -> None:
    forecaster = watched(30, before=pool(), after=backlog([(2 * EDGES[-1], 9 * BLOCK)], BLOCK))
    assert forecaster.rate(1, 9_900) == EDGES[-1]
