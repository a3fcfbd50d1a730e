"""What waits for a block: buckets, the median of several nodes, and what gets into the next blocks."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cryptowatch.chains.backlog import EDGES, Backlog, backlog, median, projection

BLOCK = 1_000


def waiting(*packages: tuple[int, int]) -> Backlog:
    return backlog(packages, BLOCK)


pools = st.lists(st.tuples(st.integers(0, 2 * EDGES[-1]), st.integers(1, 2 * BLOCK)), max_size=8).map(
    lambda packages: backlog(packages, BLOCK)
)


def test_edges_ascend_by_a_hundredth() -> None:
    assert EDGES[:3] == (0, 100, 101)
    assert all(low < high <= low + low // 100 for low, high in pairwise(EDGES[1:]))


def test_a_package_counts_at_its_own_rate_and_below_and_not_above() -> None:
    pool = waiting((5_000, 300))
    own = max(n for n, edge in enumerate(EDGES) if edge <= 5_000)
    assert pool.above[own] == pool.above[0] == 300
    assert pool.above[own + 1] == 0


@pytest.mark.parametrize(
    ("packages", "lowest"),
    [
        ([], 0),
        ([(5_000, BLOCK)], 0),
        # One more than fits: only what pays as much as the better half does.
        ([(5_000, BLOCK), (2_000, 1)], 2_000),
        ([(5_000, BLOCK + 1)], 5_000),
    ],
)
def test_what_gets_into_the_next_block_pays_as_much_as_all_that_fits_with_it(
    packages: list[tuple[int, int]], lowest: int
) -> None:
    (rate,) = projection(waiting(*packages), 1)
    # Within a bucket: a hundredth.
    assert lowest <= rate <= lowest * 101 // 100 + 1


def test_later_blocks_take_what_the_first_left() -> None:
    first, second, third = projection(waiting((9_000, BLOCK), (5_000, BLOCK), (2_000, BLOCK)), 3)
    assert first > 5_000 >= second > 2_000 > third == 0


def test_beyond_the_last_bucket_nobody_is_outbid() -> None:
    assert projection(waiting((2 * EDGES[-1], BLOCK + 1)), 1) == (EDGES[-1],)


@given(pools, pools, pools)
def test_one_liar_of_three_cannot_move_the_median_beyond_what_the_honest_say(
    one: Backlog, other: Backlog, liar: Backlog
) -> None:
    found = median([one, liar, other])
    for place, weight in enumerate(found.above):
        told = one.above[place], other.above[place]
        assert min(told) <= weight <= max(told)


@given(st.lists(pools, min_size=1, max_size=4))
def test_the_median_is_a_backlog_too(told: list[Backlog]) -> None:
    above = median(told).above
    assert list(above) == sorted(above, reverse=True)


def test_of_two_the_emptier_one_is_taken() -> None:
    assert median([waiting((5_000, 300)), waiting()]) == waiting()
