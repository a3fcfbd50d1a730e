"""The confirmation machine: each rule with its negative, and whole histories of a chain that turns back."""

from dataclasses import dataclass
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.deposits.machine import (
    EDGES,
    Deposit,
    Effect,
    Event,
    HeadMoved,
    Included,
    Lost,
    Orphaned,
    Quarantine,
    Release,
    Seen,
    State,
    Step,
    advance,
)

BLOCK, OTHER = BlockPoint(100, b"block"), BlockPoint(100, b"other")
CREDIT, FINALIZE = 2, 6
IN_BLOCK = {State.CONFIRMING, State.CREDITED, State.FINALIZED}


def deposit(state: State, *, block: BlockPoint | None = None, inclusion: int = 0) -> Deposit:
    """One in this state; in BLOCK where the state needs a block."""
    if state in IN_BLOCK:
        block, inclusion = BLOCK, 1
    reason = "dust" if state is State.QUARANTINED else None
    return Deposit(state, CREDIT, FINALIZE, block, inclusion, reason)


HELD = deposit(State.QUARANTINED, block=BLOCK, inclusion=1)

#: (before, event) -> states passed through, the ledger's work.
MOVES: list[tuple[Deposit, Event, list[State], list[Effect]]] = [
    (deposit(State.DETECTED), Included(BLOCK, 100), [State.CONFIRMING], []),
    (deposit(State.DETECTED), Included(BLOCK, 101), [State.CREDITED], [Effect.CREDIT]),
    (
        deposit(State.DETECTED),
        Included(BLOCK, 105),
        [State.CREDITED, State.FINALIZED],
        [Effect.CREDIT, Effect.FINALIZE],
    ),
    (deposit(State.DETECTED), Lost(), [State.REPLACED], []),
    (deposit(State.DETECTED), Quarantine("dust"), [State.QUARANTINED], []),
    (deposit(State.CONFIRMING), Orphaned(BLOCK), [State.DETECTED], []),
    (deposit(State.CONFIRMING), Quarantine("dust"), [State.QUARANTINED], []),
    (deposit(State.CONFIRMING), HeadMoved(101), [State.CREDITED], [Effect.CREDIT]),
    (deposit(State.CONFIRMING), HeadMoved(104), [State.CREDITED], [Effect.CREDIT]),
    (
        deposit(State.CONFIRMING),
        HeadMoved(105),
        [State.CREDITED, State.FINALIZED],
        [Effect.CREDIT, Effect.FINALIZE],
    ),
    (deposit(State.CREDITED), HeadMoved(105), [State.FINALIZED], [Effect.FINALIZE]),
    (deposit(State.CREDITED), Orphaned(BLOCK), [State.REVERSED], [Effect.REVERSE]),
    (deposit(State.FINALIZED), Orphaned(BLOCK, accepted=True), [State.REVERSED], [Effect.REVERSE]),
    (deposit(State.REVERSED), Included(OTHER, 100), [State.CONFIRMING], []),
    (deposit(State.REVERSED), Included(OTHER, 101), [State.CREDITED], [Effect.CREDIT]),
    (deposit(State.REVERSED), Lost(), [State.REPLACED], []),
    (deposit(State.REPLACED), Seen(), [State.DETECTED], []),
    (deposit(State.REPLACED), Included(OTHER, 100), [State.CONFIRMING], []),
    (deposit(State.REPLACED), Included(OTHER, 101), [State.CREDITED], [Effect.CREDIT]),
    (deposit(State.QUARANTINED), Release(), [State.DETECTED], []),
    (deposit(State.QUARANTINED), Lost(), [State.REPLACED], []),
    (HELD, Release(), [State.CONFIRMING], []),
]

#: Where an event changes nothing at all.
STAYS: list[tuple[Deposit, Event]] = [
    (deposit(State.DETECTED), Seen()),
    (deposit(State.DETECTED), HeadMoved(10_000)),
    (deposit(State.DETECTED), Orphaned(BLOCK)),
    (deposit(State.DETECTED), Release()),
    (deposit(State.CONFIRMING), HeadMoved(100)),
    (deposit(State.CONFIRMING), Orphaned(OTHER)),
    (deposit(State.CONFIRMING), Included(BLOCK, 105)),
    (deposit(State.CONFIRMING), Lost()),
    (deposit(State.CONFIRMING), Seen()),
    (deposit(State.CREDITED), HeadMoved(104)),
    (deposit(State.CREDITED), Included(BLOCK, 105)),
    (deposit(State.CREDITED), Lost()),
    (deposit(State.CREDITED), Quarantine("late")),
    (deposit(State.CREDITED), Orphaned(OTHER)),
    (deposit(State.FINALIZED), HeadMoved(10_000)),
    (deposit(State.FINALIZED), Lost()),
    (deposit(State.FINALIZED), Quarantine("late")),
    (deposit(State.FINALIZED), Orphaned(OTHER, accepted=True)),
    (deposit(State.REVERSED), HeadMoved(10_000)),
    (deposit(State.REVERSED), Seen()),
    (deposit(State.REVERSED), Quarantine("late")),
    (deposit(State.REPLACED), Lost()),
    (deposit(State.REPLACED), Quarantine("late")),
    (deposit(State.QUARANTINED), Seen()),
    (deposit(State.QUARANTINED), Quarantine("again")),
    (HELD, HeadMoved(10_000)),
    (HELD, Lost()),
]


@pytest.mark.parametrize(("before", "event", "passed", "effects"), MOVES)
def test_each_event_takes_a_deposit_where_it_should(
    before: Deposit, event: Event, passed: list[State], effects: list[Effect]
) -> None:
    step = advance(before, event)
    assert (list(step.passed), list(step.effects)) == (passed, effects)
    assert step.deposit.state is passed[-1]
    path = [before.state, *passed]
    assert set(pairwise(path)) <= EDGES


@pytest.mark.parametrize(("before", "event"), STAYS)
def test_an_event_that_is_not_for_the_state_changes_nothing(before: Deposit, event: Event) -> None:
    assert advance(before, event) == Step(before)


def test_the_table_of_moves_takes_every_edge_and_no_other() -> None:
    taken = set()
    for before, _, passed, _ in MOVES:
        path = [before.state, *passed]
        taken |= set(pairwise(path))
    assert taken == EDGES


def test_a_finalized_deposit_is_not_undone_by_a_reorg_that_nobody_accepted() -> None:
    """P6: the watcher halts before this; should it not, the process ends rather than the money."""
    with pytest.raises(AssertionError, match="halts"):
        advance(deposit(State.FINALIZED), Orphaned(BLOCK))


def test_a_deposit_is_in_one_block_at_a_time() -> None:
    with pytest.raises(AssertionError, match="one block"):
        advance(deposit(State.CONFIRMING), Included(OTHER, 100))


def test_what_is_quarantined_keeps_its_place_in_the_chain() -> None:
    held = advance(deposit(State.QUARANTINED), Included(BLOCK, 105)).deposit
    assert (held.state, held.block, held.inclusion) == (State.QUARANTINED, BLOCK, 1)
    assert advance(held, Orphaned(BLOCK)).deposit == replace(held, block=None)


def test_a_reason_is_kept_as_long_as_the_quarantine_and_no_longer() -> None:
    held = advance(deposit(State.DETECTED), Quarantine("dust")).deposit
    assert held.quarantine == "dust"
    assert advance(held, Release()).deposit.quarantine is None
    assert advance(held, Lost()).deposit.quarantine is None


@pytest.mark.parametrize(
    ("state", "due"), [(State.CONFIRMING, 101), (State.CREDITED, 105), (State.FINALIZED, None)]
)
def test_the_next_threshold_is_the_height_that_reaches_it(state: State, due: int | None) -> None:
    assert deposit(state).due_height == due


@dataclass
class Chain:
    """The chain as the watcher follows it: what it may tell a deposit."""

    height: int = 50
    branch: int = 0

    def block(self) -> BlockPoint:
        return BlockPoint(self.height, f"{self.height} of {self.branch}".encode())


class Histories(RuleBasedStateMachine):
    """Any order of blocks, reorgs, mempool sightings and people's decisions."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = Chain()
        self.deposit = Deposit(State.DETECTED, CREDIT, FINALIZE)
        self.done: list[tuple[Effect, int]] = []
        self.last: Event = Seen()

    def take(self, event: Event) -> None:
        before = self.deposit
        step = advance(before, event)
        path = [before.state, *step.passed]
        assert set(pairwise(path)) <= EDGES
        if before.state is State.FINALIZED and step.passed:
            assert isinstance(event, Orphaned)
            assert event.accepted
        self.done += [(effect, step.deposit.inclusion) for effect in step.effects]
        self.deposit, self.last = step.deposit, event

    @rule(mined=st.booleans(), looked_at_late=st.integers(0, FINALIZE))
    def next_block(self, mined: bool, looked_at_late: int) -> None:
        self.chain.height += 1
        block = self.chain.block()
        self.chain.height += looked_at_late
        if mined and self.deposit.block is None:
            self.take(Included(block, self.chain.height))
        self.take(HeadMoved(self.chain.height))

    @rule(depth=st.integers(1, 8), accepted=st.booleans())
    def reorg(self, depth: int, accepted: bool) -> None:
        fork = self.chain.height - depth
        block = self.deposit.block
        if block is not None and block.height > fork:
            if self.deposit.state is State.FINALIZED and not accepted:
                return
            self.take(Orphaned(block, accepted))
        self.chain.height, self.chain.branch = fork, self.chain.branch + 1

    @rule()
    def another_branch_is_left(self) -> None:
        self.take(Orphaned(BlockPoint(self.chain.height, b"not ours"), accepted=True))

    @rule(event=st.sampled_from([Seen(), Lost(), Quarantine("dust"), Release()]))
    def mempools_and_people(self, event: Event) -> None:
        self.take(event)

    @rule()
    def replay(self) -> None:
        """What was told last, told again."""
        assert advance(self.deposit, self.last) == Step(self.deposit)

    @invariant()
    def the_money_is_there_once_or_not_at_all(self) -> None:
        there = sum({Effect.CREDIT: 1, Effect.REVERSE: -1}.get(effect, 0) for effect, _ in self.done)
        assert there == (self.deposit.state in (State.CREDITED, State.FINALIZED))

    @invariant()
    def each_inclusion_is_credited_finalized_and_reversed_at_most_once_and_in_this_order(self) -> None:
        order = [Effect.CREDIT, Effect.FINALIZE, Effect.REVERSE]
        assert len(set(self.done)) == len(self.done)
        for inclusion in {number for _, number in self.done}:
            own = [effect for effect, number in self.done if number == inclusion]
            assert own[0] is Effect.CREDIT
            assert own == sorted(own, key=order.index)

    @invariant()
    def the_row_keeps_the_databases_constraints(self) -> None:
        own = self.deposit
        assert (own.state is State.QUARANTINED) == (own.quarantine is not None)
        assert own.state not in IN_BLOCK or own.block is not None
        assert own.state not in (State.DETECTED, State.REVERSED, State.REPLACED) or own.block is None

    @invariant()
    def no_threshold_is_passed_before_its_depth(self) -> None:
        own = self.deposit
        if own.block is None:
            return
        depth = self.chain.height - own.block.height + 1
        reached = {effect for effect, number in self.done if number == own.inclusion}
        if isinstance(self.last, HeadMoved) and own.state is State.CONFIRMING:
            assert depth < CREDIT
        if isinstance(self.last, HeadMoved) and Effect.CREDIT in reached and own.state is State.CREDITED:
            assert depth >= CREDIT or self.chain.branch > 0
            assert depth < FINALIZE


Histories.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestHistories = Histories.TestCase
