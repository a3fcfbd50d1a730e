"""The watch list answers as a set would, across every merge, and stays small."""

import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cryptowatch.chains import watchset
from cryptowatch.chains.watchset import WatchList, WatchSet

items = st.integers(0, 40).map(lambda n: n.to_bytes(22, "big"))


class SameAsASet(RuleBasedStateMachine):
    """Any order of additions and removals, with merges after every few items."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(watchset, "_RECENT_MIN", 3)
        self.ours = WatchSet()
        self.model: set[bytes] = set()

    @rule(added=st.lists(items, max_size=6))
    def add(self, added: list[bytes]) -> None:
        self.ours.add(added)
        self.model |= set(added)

    @rule(gone=st.lists(items, max_size=6))
    def discard(self, gone: list[bytes]) -> None:
        self.ours.discard(gone)
        self.model -= set(gone)

    @rule()
    def count(self) -> None:
        assert len(self.ours) == len(self.model)

    @invariant()
    def answers_agree(self) -> None:
        asked = [n.to_bytes(22, "big") for n in range(42)]
        assert self.ours.contains(asked) == [item in self.model for item in asked]

    def teardown(self) -> None:
        self.patch.undo()


SameAsASet.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSameAsASet = SameAsASet.TestCase


@given(st.sets(items), st.lists(items))
def test_what_was_there_from_the_start_is_found_and_nothing_else(
    held: set[bytes], asked: list[bytes]
) -> None:
    assert WatchSet(held).contains(asked) == [item in held for item in asked]


def test_no_question_gets_no_answer() -> None:
    assert WatchSet([b"a"]).contains([]) == []
    assert WatchSet().contains([b"a"]) == [False]


def test_destinations_and_resources_are_apart() -> None:
    watched = WatchList(destinations=[b"script"], resources=[b"outpoint"])
    assert watched.destinations([b"script", b"outpoint"]) == [True, False]
    assert watched.resources([b"script", b"outpoint"]) == [False, True]
    watched.add_destinations([b"second"])
    watched.add_resources([b"coin"])
    watched.discard_resources([b"outpoint", b"never there"])
    assert watched.destinations([b"script", b"second"]) == [True, True]
    assert watched.resources([b"outpoint", b"coin"]) == [False, True]


def test_p10_a_hundred_thousand_destinations_take_less_than_four_megabytes() -> None:
    def many() -> Iterable[bytes]:
        return (n.to_bytes(22, "big") for n in range(100_000))

    tracemalloc.start()
    watched = WatchSet(many())
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < 4_000_000
    assert all(watched.contains(list(many())))
