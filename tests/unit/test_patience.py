"""When a send waits for cheaper fees, and that it never waits beyond its deadline."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cryptowatch.sending.patience import Patience, Wait, percentile, wait_for_cheaper

PATIENCE = Patience({"economy": 1_000, "normal": 0}, cheap_percent=25, tolerance_percent=20, levels_min=8)
#: A day on which fees were 10, 20, 30 and 40, each as long.
DAY = [10, 10, 20, 20, 30, 30, 40, 40]


def waits(level: int, *, priority: str = "economy", age_s: float = 0) -> bool:
    return wait_for_cheaper(level, DAY, priority, age_s, PATIENCE) is not None


@pytest.mark.parametrize(
    ("age_s", "acceptable"),
    # A fifth above the 25th percentile, and up to the highest of the day.
    [(0, 12), (20, 24), (330, 24), (400, 36), (999, 48)],
)
def test_the_longer_it_waits_the_less_it_asks_for(age_s: float, acceptable: int) -> None:
    assert not waits(acceptable, age_s=age_s)
    assert waits(acceptable + 1, age_s=age_s)


def test_at_its_deadline_it_takes_whatever_is_asked() -> None:
    assert waits(1_000_000, age_s=999.9)
    assert not waits(1_000_000, age_s=1_000)


@pytest.mark.parametrize("priority", ["normal", "urgent"])
def test_who_has_no_deadline_never_waits(priority: str) -> None:
    assert not waits(1_000_000, priority=priority)


def test_while_too_little_is_known_nothing_waits() -> None:
    assert wait_for_cheaper(1_000, DAY[1:], "economy", 0, PATIENCE) is None


def test_the_answer_says_what_it_waits_for_and_how_long() -> None:
    assert wait_for_cheaper(25, DAY, "economy", 100, PATIENCE) == Wait(25, 24, 900)


def test_a_request_of_the_future_is_a_new_one() -> None:
    """Clocks of two machines differ."""
    assert wait_for_cheaper(13, DAY, "economy", -5, PATIENCE) == Wait(13, 12, 1_005)


@pytest.mark.parametrize(("percent", "level"), [(1, 10), (25, 10), (26, 20), (50, 20), (99, 40), (100, 40)])
def test_a_percentile_is_a_level_that_was(percent: int, level: int) -> None:
    assert percentile(DAY, percent) == level


@given(
    st.integers(0, 100),
    st.lists(st.integers(0, 100), min_size=8),
    st.floats(0, 2_000),
    st.floats(0, 2_000),
)
def test_who_has_waited_longer_never_waits_when_a_younger_one_leaves(
    level: int, recent: list[int], one_s: float, other_s: float
) -> None:
    younger, older = sorted((one_s, other_s))
    if wait_for_cheaper(level, recent, "economy", younger, PATIENCE) is None:
        assert wait_for_cheaper(level, recent, "economy", older, PATIENCE) is None
