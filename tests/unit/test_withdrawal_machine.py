"""The withdrawal machine: every transition, every refusal, and a hold that ends exactly once."""

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cryptowatch.payouts.machine import EDGES, Effect, Event, State, advance

#: The whole machine, once more: what is not here does not happen.
TRANSITIONS: dict[tuple[State, Event], tuple[State, Effect | None]] = {
    (State.REQUESTED, Event.PASS): (State.QUEUED, None),
    (State.REQUESTED, Event.REVIEW): (State.IN_REVIEW, None),
    (State.REQUESTED, Event.PAY_INSIDE): (State.FINALIZED, Effect.PAY_INSIDE),
    (State.IN_REVIEW, Event.APPROVE): (State.QUEUED, None),
    (State.IN_REVIEW, Event.ENDORSE): (State.IN_REVIEW, None),
    (State.IN_REVIEW, Event.PAY_INSIDE): (State.FINALIZED, Effect.PAY_INSIDE),
    (State.IN_REVIEW, Event.REJECT): (State.REJECTED, Effect.RELEASE),
    (State.IN_REVIEW, Event.CANCEL): (State.CANCELED, Effect.RELEASE),
    (State.QUEUED, Event.CANCEL): (State.CANCELED, Effect.RELEASE),
    (State.QUEUED, Event.REVIEW): (State.IN_REVIEW, None),
    (State.QUEUED, Event.BIND): (State.SENDING, None),
    (State.SENDING, Event.CONFIRM): (State.CONFIRMED, None),
    (State.SENDING, Event.LINEAGE_DEAD): (State.QUEUED, None),
    (State.SENDING, Event.LINEAGE_REFUSED): (State.IN_REVIEW, None),
    (State.SENDING, Event.BATCH_REFUSED): (State.QUEUED, None),
    (State.SENDING, Event.LEFT_OUT): (State.QUEUED, None),
    (State.SENDING, Event.UNPAID): (State.QUEUED, None),
    (State.SENDING, Event.UNPAYABLE): (State.FAILED, Effect.RELEASE),
    (State.CONFIRMED, Event.REORG): (State.SENDING, None),
    (State.CONFIRMED, Event.FINALIZE): (State.FINALIZED, Effect.SETTLE),
}
ENDED = {State.FINALIZED, State.REJECTED, State.CANCELED, State.FAILED}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_an_event_moves_a_withdrawal_as_the_table_says_or_not_at_all(state: State, event: Event) -> None:
    assert advance(state, event) == TRANSITIONS.get((state, event))


def test_the_edges_are_those_of_the_table() -> None:
    assert {(before, after) for (before, _), (after, _) in TRANSITIONS.items()} == EDGES


def test_p3_a_withdrawal_on_its_way_goes_back_only_when_it_can_never_be_paid_by_that_lineage() -> None:
    back = {
        event
        for event in Event
        if (step := advance(State.SENDING, event)) is not None and step[0] is not State.CONFIRMED
    }
    assert back == {
        Event.LINEAGE_DEAD,
        Event.LINEAGE_REFUSED,
        Event.BATCH_REFUSED,
        Event.LEFT_OUT,
        Event.UNPAID,
        Event.UNPAYABLE,
    }


@given(st.lists(st.sampled_from(Event), max_size=60))
def test_whatever_happens_the_hold_ends_once_and_only_with_the_withdrawal(events: list[Event]) -> None:
    state, effects = State.REQUESTED, []
    for event in events:
        step = advance(state, event)
        if step is None:
            continue
        assert state not in ENDED
        state, effect = step
        effects += [effect] if effect is not None else []
    assert len(effects) == (state in ENDED)
    if state in ENDED:
        paid = {Effect.SETTLE, Effect.PAY_INSIDE} if state is State.FINALIZED else {Effect.RELEASE}
        assert set(effects) <= paid
