"""The confirmation machine: what happens to one deposit, as a pure function.

    detected -> confirming -> credited -> finalized
        |           |            `- orphaned -> reversed - included -> confirming
        |           `- orphaned -> detected
        `- conflict mined, or evicted everywhere -> replaced - seen -> detected, included -> confirming
    detected | confirming - quarantine -> quarantined - release -> where the chain says it is

Whatever a block includes is confirming, or credited at once when that block makes it deep enough: a state that no
transaction would commit is no state, and tells nothing.

Called by `watcher` (blocks), `pending` (mempool) and `release` (a person). Keeps P2: every credit carries the
inclusion that it is for, and an event that comes twice changes nothing. Keeps P6: a finalized deposit moves only
when a person accepts a reorg below finality; the watcher halts until then.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

import msgspec
from msgspec.structs import replace

from cryptowatch.chains.agreement import BlockPoint


class State(StrEnum):
    DETECTED = "detected"
    CONFIRMING = "confirming"
    CREDITED = "credited"
    FINALIZED = "finalized"
    REVERSED = "reversed"
    REPLACED = "replaced"
    QUARANTINED = "quarantined"


#: Every edge that a deposit can take.
EDGES: frozenset[tuple[State, State]] = frozenset(
    {
        (State.DETECTED, State.CONFIRMING),
        (State.DETECTED, State.CREDITED),
        (State.DETECTED, State.REPLACED),
        (State.DETECTED, State.QUARANTINED),
        (State.CONFIRMING, State.DETECTED),
        (State.CONFIRMING, State.CREDITED),
        (State.CONFIRMING, State.QUARANTINED),
        (State.CREDITED, State.FINALIZED),
        (State.CREDITED, State.REVERSED),
        (State.FINALIZED, State.REVERSED),
        (State.REVERSED, State.CONFIRMING),
        (State.REVERSED, State.CREDITED),
        (State.REVERSED, State.REPLACED),
        (State.REPLACED, State.DETECTED),
        (State.REPLACED, State.CONFIRMING),
        (State.REPLACED, State.CREDITED),
        (State.QUARANTINED, State.DETECTED),
        (State.QUARANTINED, State.CONFIRMING),
        (State.QUARANTINED, State.REPLACED),
    }
)


class Deposit(msgspec.Struct, frozen=True, cache_hash=True):
    """What the machine knows of a deposit. `block` is the block that it is in on the chain we follow.

    Cheap to make and to look up by: the deposits of a full block move in a few ways, each worked out once.
    """

    state: State
    credit_confirmations: int
    finalize_confirmations: int
    block: BlockPoint | None = None
    #: How often a block has included it: part of the ledger's keys, so that a re-mined deposit credits again.
    inclusion: int = 0
    quarantine: str | None = None

    @property
    def due_height(self) -> int | None:
        """The head height at which the next threshold is reached, if one lies ahead."""
        if self.block is None:
            return None
        if self.state is State.CONFIRMING:
            return self.block.height + self.credit_confirmations - 1
        if self.state is State.CREDITED:
            return self.block.height + self.finalize_confirmations - 1
        return None


# Events: what the chain or a person did.


@dataclass(frozen=True, slots=True)
class Seen:
    """Enough nodes hold the transaction in their mempools."""


@dataclass(frozen=True, slots=True)
class Included:
    """The block that the quorum agreed on holds the transaction; the chain is followed up to `height`."""

    block: BlockPoint
    height: int
    final_height: int | None = None


@dataclass(frozen=True, slots=True)
class Orphaned:
    """That block left the chain. Of any other block than the deposit's own it means nothing here."""

    block: BlockPoint
    #: A person accepted a reorg below finality: only then may a finalized deposit be reversed.
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class HeadMoved:
    height: int
    #: Up to which block the nodes call the chain final; None where depth alone decides.
    final_height: int | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """It cannot confirm as things stand: another use of an input was mined, or no node holds it any more."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """A person let it go on."""


Event = Seen | Included | Orphaned | HeadMoved | Lost | Quarantine | Release


class Effect(StrEnum):
    """What the ledger must do in the same database transaction; each with the deposit's inclusion in its key."""

    CREDIT = "credit"
    FINALIZE = "finalize"
    REVERSE = "reverse"


@dataclass(frozen=True, slots=True)
class Step:
    """The deposit afterwards, the ledger's work, and each state passed through: one event for each of them (P8)."""

    deposit: Deposit
    effects: tuple[Effect, ...] = ()
    passed: tuple[State, ...] = ()


def advance(deposit: Deposit, event: Event) -> Step:
    """The one transition function. An event that does not apply, or comes again, changes nothing."""
    match event:
        case Seen():
            if deposit.state is State.REPLACED:
                return _to(deposit, State.DETECTED)
        case Included():
            return _included(deposit, event)
        case Orphaned(block, accepted):
            if deposit.block == block:
                return _orphaned(deposit, accepted)
        case HeadMoved():
            return _up_to(Step(deposit), event)
        case Lost():
            if deposit.block is None and (deposit.state, State.REPLACED) in EDGES:
                return _to(replace(deposit, quarantine=None), State.REPLACED)
        case Quarantine(reason):
            if (deposit.state, State.QUARANTINED) in EDGES:
                return _to(replace(deposit, quarantine=reason), State.QUARANTINED)
        case Release():
            if deposit.state is State.QUARANTINED:
                back = State.CONFIRMING if deposit.block else State.DETECTED
                return _to(replace(deposit, quarantine=None), back)
        case _:
            assert_never(event)
    return Step(deposit)


def _included(deposit: Deposit, event: Included) -> Step:
    block = event.block
    if deposit.block is not None:
        # The same block again is a replay; another one without an Orphaned between them cannot happen on one chain.
        assert deposit.block == block, "a deposit is in one block at a time"
        return Step(deposit)
    included = replace(deposit, block=block, inclusion=deposit.inclusion + 1)
    if deposit.state is State.QUARANTINED:
        return Step(included)
    if event.height - block.height + 1 < deposit.credit_confirmations:
        return _to(included, State.CONFIRMING)
    return _up_to(_to(included, State.CREDITED, Effect.CREDIT), event)


def _orphaned(deposit: Deposit, accepted: bool) -> Step:
    out = replace(deposit, block=None)
    match deposit.state:
        case State.CONFIRMING:
            return _to(out, State.DETECTED)
        case State.CREDITED:
            return _to(out, State.REVERSED, Effect.REVERSE)
        case State.FINALIZED if accepted:
            return _to(out, State.REVERSED, Effect.REVERSE)
        case State.QUARANTINED:
            return Step(out)
        case _:
            raise AssertionError(
                f"a {deposit.state} deposit's block was orphaned: the watcher halts before this"
            )


def _up_to(step: Step, head: HeadMoved | Included) -> Step:
    """Credit, and finality too when the head is already that far: catch-up sees both at once."""
    while (due := step.deposit.due_height) is not None and due <= head.height:
        credit = step.deposit.state is State.CONFIRMING
        if not credit and not _is_final(step.deposit, head):
            break
        reached = (
            _to(step.deposit, State.CREDITED, Effect.CREDIT)
            if credit
            else _to(step.deposit, State.FINALIZED, Effect.FINALIZE)
        )
        step = Step(reached.deposit, step.effects + reached.effects, step.passed + reached.passed)
    return step


def _is_final(deposit: Deposit, head: HeadMoved | Included) -> bool:
    return head.final_height is None or (
        deposit.block is not None and deposit.block.height <= head.final_height
    )


def _to(deposit: Deposit, state: State, *effects: Effect) -> Step:
    assert (deposit.state, state) in EDGES, f"no edge {deposit.state} -> {state}"
    return Step(replace(deposit, state=state), effects, (state,))
