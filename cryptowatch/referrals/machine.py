"""The machine of a reward: what becomes of what a referrer earns by one referral, as a pure function.

    pending - the act is done -> held | flagged, when something speaks against it | rejected, when caps leave nothing
    held - the hold period is over -> paid | flagged, when something speaks against it by now
    flagged - a person -> held | rejected
    held - a person -> rejected
    held | flagged | paid - the deposit that it is for was reversed -> reversed

A referral whose act is not done is pending and has no rewards yet. What is reversed or rejected stays so: a referral
that qualifies again, by another deposit or by the same one in another block, earns a reward of another round.

Called by `rewards`. Keeps P2: each edge into or out of `paid` carries one ledger effect, and there is one of each.
"""

from enum import StrEnum


class State(StrEnum):
    PENDING = "pending"
    HELD = "held"
    FLAGGED = "flagged"
    PAID = "paid"
    REJECTED = "rejected"
    REVERSED = "reversed"


class Event(StrEnum):
    QUALIFY = "qualify"  # the act is done
    EXHAUST = "exhaust"  # it is done, and the caps leave nothing
    SUSPECT = "suspect"  # a fraud rule found something
    APPROVE = "approve"
    REJECT = "reject"
    PAY = "pay"  # the hold period is over
    REVERSE = "reverse"  # the act is undone


class Effect(StrEnum):
    """What becomes of the amount in the tallies and in the ledger, in the same transaction."""

    RESERVE = "reserve"  # counts against the caps from now on
    FREE = "free"  # no longer
    PAY = "pay"
    TAKE_BACK = "take_back"  # out of the ledger, and no longer against the caps


_TRANSITIONS: dict[tuple[State, Event], tuple[State, Effect | None]] = {
    (State.PENDING, Event.QUALIFY): (State.HELD, Effect.RESERVE),
    (State.PENDING, Event.SUSPECT): (State.FLAGGED, Effect.RESERVE),
    (State.PENDING, Event.EXHAUST): (State.REJECTED, None),
    (State.HELD, Event.PAY): (State.PAID, Effect.PAY),
    (State.HELD, Event.SUSPECT): (State.FLAGGED, None),
    (State.HELD, Event.REJECT): (State.REJECTED, Effect.FREE),
    (State.HELD, Event.REVERSE): (State.REVERSED, Effect.FREE),
    (State.FLAGGED, Event.APPROVE): (State.HELD, None),
    (State.FLAGGED, Event.REJECT): (State.REJECTED, Effect.FREE),
    (State.FLAGGED, Event.REVERSE): (State.REVERSED, Effect.FREE),
    (State.PAID, Event.REVERSE): (State.REVERSED, Effect.TAKE_BACK),
}

EDGES = frozenset((before, after) for (before, _), (after, _) in _TRANSITIONS.items())


def advance(state: State, event: Event) -> tuple[State, Effect | None] | None:
    """The next state and what becomes of the amount; None when the event is not for this state."""
    return _TRANSITIONS.get((state, event))
