"""Unconfirmed transactions as a block's builder takes them."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cryptowatch.chains.bitcoin.packages import Waiting, packages

Pool = dict[str, Waiting]


def rates(pool: Pool) -> dict[str, int]:
    """Satoshi per weight unit of the package that each is in."""
    return {member: package.fee // package.weight for package in packages(pool) for member in package.members}


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({}, {}),
        ({"a": Waiting(100, 10)}, {"a": 10}),
        # A parent that is not in the pool is in a block already.
        ({"a": Waiting(100, 10, ("mined",))}, {"a": 10}),
        # A child that pays more lifts its parent, one that pays less does not, and leaves it alone.
        ({"p": Waiting(10, 10), "c": Waiting(90, 10, ("p",))}, {"p": 5, "c": 5}),
        ({"p": Waiting(90, 10), "c": Waiting(10, 10, ("p",))}, {"p": 9, "c": 1}),
        # Two children: the better one takes the parent along, the other is chosen by itself.
        (
            {"p": Waiting(0, 10), "c": Waiting(80, 10, ("p",)), "d": Waiting(20, 10, ("p",))},
            {"p": 4, "c": 4, "d": 2},
        ),
        # The second child pays better than what must come before it, so that all are chosen together.
        (
            {"p": Waiting(0, 10), "c": Waiting(80, 10, ("p",)), "d": Waiting(70, 10, ("p",))},
            {"p": 5, "c": 5, "d": 5},
        ),
        # A grandchild pays for all.
        (
            {"p": Waiting(0, 10), "c": Waiting(0, 10, ("p",)), "g": Waiting(90, 10, ("c",))},
            {"p": 3, "c": 3, "g": 3},
        ),
        # A child of two, one of which needs no help.
        (
            {"p": Waiting(90, 10), "q": Waiting(10, 10), "c": Waiting(50, 10, ("p", "q"))},
            {"p": 9, "q": 3, "c": 3},
        ),
    ],
)
def test_the_package_of_each(pool: Pool, expected: dict[str, int]) -> None:
    assert rates(pool) == expected


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    pool: Pool = {}
    for number in range(draw(st.integers(0, 9))):
        parents = draw(st.sets(st.sampled_from(sorted(pool)), max_size=3)) if pool else set()
        entry = Waiting(draw(st.integers(0, 100)), draw(st.integers(1, 50)), tuple(sorted(parents)))
        pool[str(number)] = entry
    return pool


@given(pools())
def test_everyone_is_in_one_package_and_no_child_before_its_parents(pool: Pool) -> None:
    chosen = [member for package in packages(pool) for member in package.members]
    assert sorted(chosen) == sorted(pool)
    for place, member in enumerate(chosen):
        assert not set(pool[member].parents) & set(chosen[place:])
    found = list(packages(pool))
    assert sum(package.fee for package in found) == sum(entry.fee for entry in pool.values())
    assert sum(package.weight for package in found) == sum(entry.weight for entry in pool.values())


def test_a_set_larger_than_nodes_keep_is_taken_apart() -> None:
    pool = {"p": Waiting(0, 10)} | {str(n): Waiting(100, 10, ("p",)) for n in range(64)}
    assert rates(pool) == {"p": 0} | {str(n): 10 for n in range(64)}
