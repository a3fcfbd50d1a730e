"""What was decided about referrals whose acts are done, written by one statement, however many rewards it is.

Called by `qualify`, which holds the referrals and the tallies: so the rows are known before they are written, and the
events (P8) are made of them. Keeps P2: a reward is unique per referral, round and level.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ledger.events import event_columns
from cryptowatch.referrals.counts import count_columns
from cryptowatch.referrals.machine import Event, State
from cryptowatch.referrals.rewards import take_step
from cryptowatch.referrals.rules import Finding, Promise
from cryptowatch.referrals.tallies import TallyKey, effect_columns
from cryptowatch.referrals.view import Row, referral_event, reward_event

SQL = load_queries(__package__, "decisions.sql")


class Qualified(msgspec.Struct, frozen=True):
    """A referral as it was held, and the deposit that it qualifies by, where the act is one."""

    row: asyncpg.Record
    deposit_id: UUID | None


class Draft(msgspec.Struct, frozen=True):
    """A reward of a referral's next round. `promise` is what the caps left of it; `reason` the cap that cut it.

    `tallies`: where it counts.
    """

    id: UUID
    of: Qualified
    promise: Promise
    tallies: Sequence[TallyKey]
    event: Event
    findings: tuple[Finding, ...]
    reason: str | None
    due_at: datetime
    #: Of the promise's asset.
    decimals: int


async def write_decisions(
    conn: Connection,
    qualified: Sequence[Qualified],
    drafts: Sequence[Draft],
    undone: Iterable[Sequence[UUID]],
    now: datetime,
) -> None:
    """`undone`: the ancestors of referrals that do not count as qualified any more.

    Raises ConcurrentUpdate when another writer decided one of them first.
    """
    steps = [take_step(State.PENDING, draft.event) for draft in drafts]
    told = [
        referral_event(_referral(one, now), "qualified", one.row["version"] + 1, now) for one in qualified
    ]
    for draft, (state, _) in zip(drafts, steps, strict=True):
        told.append(reward_event(_reward(draft, state, now), draft.decimals, now))
    try:
        await conn.execute(
            SQL["write"],
            now,
            now.date(),
            [one.row["account_id"] for one in qualified],
            [one.deposit_id for one in qualified],
            [draft.id for draft in drafts],
            [draft.of.row["account_id"] for draft in drafts],
            [draft.promise.level for draft in drafts],
            [draft.promise.asset for draft in drafts],
            [draft.promise.amount for draft in drafts],
            [state for state, _ in steps],
            [",".join(draft.findings) for draft in drafts],
            [draft.reason for draft in drafts],
            [draft.due_at for draft in drafts],
            *effect_columns(
                (draft.tallies, draft.promise.amount, effect)
                for draft, (_, effect) in zip(drafts, steps, strict=True)
                if effect is not None
            ),
            *count_columns([one.row["ancestors"] for one in qualified], undone),
            *event_columns(told),
        )
    except asyncpg.UniqueViolationError as problem:
        raise ConcurrentUpdate("another writer decided one of these rewards first") from problem


def _referral(one: Qualified, now: datetime) -> Row:
    return {**one.row, "state": "qualified", "deposit_id": one.deposit_id, "updated_at": now}


def _reward(draft: Draft, state: State, now: datetime) -> Row:
    """The row as it was inserted."""
    return {
        "id": draft.id,
        "account_id": draft.of.row["account_id"],
        "level": draft.promise.level,
        "referrer_id": draft.promise.referrer,
        "programme_id": draft.of.row["programme_id"],
        "terms_version": draft.of.row["terms_version"],
        "deposit_id": draft.of.deposit_id,
        "asset": draft.promise.asset,
        "amount": draft.promise.amount,
        "state": state,
        "findings": draft.findings,
        "reason": draft.reason,
        "decided_by": None,
        "due_at": draft.due_at,
        "version": 1,
        "created_at": now,
        "updated_at": now,
    }
