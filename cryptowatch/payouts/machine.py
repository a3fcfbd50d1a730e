"""The withdrawal machine: what happens to one withdrawal, as a pure function.

    requested - policy -> queued | in_review - person -> queued | rejected
    requested | in_review - to a player of this platform -> finalized, in the ledger alone
    in_review - one of several people who must approve -> in_review
    queued -> sending -> confirmed -> finalized
    queued | in_review -> canceled
    queued - its account was frozen, is held by a case or owes a debt, or its address is denied -> in_review
    in_review - it waited for a case or a verdict alone -> queued | finalized
    in_review - the screening's verdict is no -> rejected
    sending - its lineage is dead, by a final conflict, or its payment failed in a batch for good -> queued
    sending - a final block holds an attempt from before it joined -> queued
    sending - the signer refused it alone -> in_review, in a batch -> queued, to be sent alone
    sending - its payment failed for good, alone -> failed
    confirmed - reorg -> sending

Called by `requests` (API), `reviews` (people) and `worker`. Keeps P3: the only ways back from `sending` are a lineage
of which no attempt can ever confirm, and a final transaction that shows that this payment was not made. The money is
held from the request until it is settled or given back, so each ending carries exactly one ledger effect.
"""

from enum import StrEnum


class State(StrEnum):
    REQUESTED = "requested"
    IN_REVIEW = "in_review"
    QUEUED = "queued"
    SENDING = "sending"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"
    REJECTED = "rejected"
    CANCELED = "canceled"
    FAILED = "failed"


class Event(StrEnum):
    PASS = "pass"  # noqa: S105 - policy found nothing
    REVIEW = "review"  # policy wants a person
    APPROVE = "approve"
    ENDORSE = "endorse"  # approved by one, and more must
    PAY_INSIDE = "pay_inside"  # nothing speaks against it, and the address is a player's of this platform
    REJECT = "reject"
    CANCEL = "cancel"
    BIND = "bind"  # part of a lineage now
    CONFIRM = "confirm"
    REORG = "reorg"  # the block of its transaction left the chain
    FINALIZE = "finalize"
    LINEAGE_DEAD = "lineage_dead"  # proven by a final conflict, or never signed
    LEFT_OUT = "left_out"  # an attempt that does not pay it is final
    UNPAID = "unpaid"  # its payment failed in a batch that is final: it is tried again, alone
    UNPAYABLE = "unpayable"  # its payment failed alone, for good: whoever should get it refuses
    LINEAGE_REFUSED = "lineage_refused"  # the signer will never sign it: a person must look
    BATCH_REFUSED = "batch_refused"  # the signer will never sign the batch: one of it may be the reason


class Effect(StrEnum):
    """The ledger's work in the same transaction."""

    HOLD = "hold"
    RELEASE = "release"
    SETTLE = "settle"
    PAY_INSIDE = "pay_inside"  # settled, and credited to another player


_TRANSITIONS: dict[tuple[State, Event], tuple[State, Effect | None]] = {
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
    (State.SENDING, Event.LEFT_OUT): (State.QUEUED, None),
    (State.SENDING, Event.UNPAID): (State.QUEUED, None),
    (State.SENDING, Event.UNPAYABLE): (State.FAILED, Effect.RELEASE),
    (State.SENDING, Event.LINEAGE_REFUSED): (State.IN_REVIEW, None),
    (State.SENDING, Event.BATCH_REFUSED): (State.QUEUED, None),
    (State.CONFIRMED, Event.REORG): (State.SENDING, None),
    (State.CONFIRMED, Event.FINALIZE): (State.FINALIZED, Effect.SETTLE),
}

EDGES = frozenset((before, after) for (before, _), (after, _) in _TRANSITIONS.items())


def advance(state: State, event: Event) -> tuple[State, Effect | None] | None:
    """The next state and the ledger's work; None when the event is not for this state (a late or doubled one)."""
    return _TRANSITIONS.get((state, event))
