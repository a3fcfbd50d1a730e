"""Whether referrals qualify, and what is earned by it: every account that something happened to is looked at anew.

Called by `worker` inside the transaction that moves its place in the feed. Events only say whom to look at; what is
decided follows from the facts as they are now, by `rules`. So it means nothing in which order events come, or how
often, and a referral ends where its last facts are. Keeps P2: a round of a referral is decided once (its rewards are
unique), and P8: each step of a referral and of a reward is one event.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import asyncpg

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import derived_id
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.referrals.counts import count_qualified
from cryptowatch.referrals.facts import Promises, gone_deposits, lock_referrals, standings, ties
from cryptowatch.referrals.machine import Event
from cryptowatch.referrals.rewards import Draft, Move, create_rewards, lock_rewards, move_rewards
from cryptowatch.referrals.rules import (
    Caps,
    Done,
    Programme,
    Promise,
    Ties,
    act_done,
    findings,
    promised,
    within,
)
from cryptowatch.referrals.tallies import Counted, hold_tallies
from cryptowatch.referrals.view import referral_event

SQL = load_queries(__package__, "qualify.sql")


@dataclass(frozen=True, slots=True)
class _Qualified:
    row: asyncpg.Record
    programme: Programme
    done: Done

    @property
    def deposit_id(self) -> UUID | None:
        return None if self.done.deposit is None else self.done.deposit.id


async def reconsider(
    conn: Connection, account_ids: Collection[UUID], decimals: Mapping[str, int], now: datetime
) -> None:
    """Brings the referrals of these accounts where the facts are."""
    rows = await lock_referrals(conn, account_ids)
    if not rows:
        return
    gone = await gone_deposits(conn, [row["deposit_id"] for row in rows if row["deposit_id"] is not None])
    undone = [row for row in rows if row["deposit_id"] in gone]
    if undone:
        await _undo(conn, undone, decimals, now)
        rows = await lock_referrals(conn, account_ids)
    promises = Promises(decimals)
    pending = [(row, promises.of(row)) for row in rows if row["state"] == "pending"]
    standing = await standings(conn, pending)
    qualified = [
        _Qualified(row, programme, done)
        for row, programme in pending
        if (done := act_done(programme.act, standing[row["account_id"]])) is not None
    ]
    if qualified:
        told = await _step(conn, "qualified", [(q.row, q.deposit_id) for q in qualified], now)
        drafts = await _drafts(conn, qualified, now)
        await append_events(conn, [*told, *await create_rewards(conn, drafts, decimals, now)])
    if qualified or undone:
        await count_qualified(
            conn, [q.row["ancestors"] for q in qualified], [row["ancestors"] for row in undone]
        )


async def _undo(
    conn: Connection, rows: Sequence[asyncpg.Record], decimals: Mapping[str, int], now: datetime
) -> None:
    """Their deposits are gone: what was earned by them is, too, paid or not."""
    accounts, rounds = [row["account_id"] for row in rows], [row["round"] for row in rows]
    rewards = await lock_rewards(conn, accounts, rounds)
    moves = [Move(reward, Event.REVERSE, reason="the deposit was reversed") for reward in rewards]
    await append_events(conn, await _step(conn, "pending", [(row, None) for row in rows], now))
    await move_rewards(conn, moves, decimals, now)


async def _step(
    conn: Connection,
    state: str,
    referrals: Sequence[tuple[asyncpg.Record, UUID | None]],
    now: datetime,
) -> list[NewEvent]:
    """The referrals' own rows; the events that tell of it are the caller's to write."""
    moved = await conn.fetch(
        SQL["move_referrals"],
        [row["account_id"] for row, _ in referrals],
        [state] * len(referrals),
        [deposit_id for _, deposit_id in referrals],
        now,
    )
    what = "qualified" if state == "qualified" else "disqualified"
    return [referral_event(row, what, row["version"], now) for row in moved]


async def _drafts(conn: Connection, qualified: Sequence[_Qualified], now: datetime) -> list[Draft]:
    """What every ancestor gets, after caps and fraud rules. The tallies are held from here on."""
    earned = [(q, p) for q in qualified for p in promised(q.programme, q.done, q.row["ancestors"])]
    keys = [Counted(p.referrer, q.row["programme_id"], p.asset, p.level, now.date()).keys for q, p in earned]
    tallies = await hold_tallies(conn, [key for of_one in keys for key in of_one])
    found = await ties(conn, [(q.row["account_id"], p.referrer, q.programme.fraud) for q, p in earned])
    drafts = []
    for (q, promise), own, tie in zip(earned, keys, found, strict=True):
        caps = q.programme.caps.get(promise.asset, Caps())
        granted, cap = within(promise.amount, caps, [tallies[key] for key in own])
        for key in own:
            tallies[key] += granted
        drafts.append(_draft(q, replace(promise, amount=granted), cap, tie, now))
    return drafts


def _draft(q: _Qualified, promise: Promise, cap: str | None, tie: Ties, now: datetime) -> Draft:
    row, against = q.row, findings(q.programme.fraud, tie)
    event = Event.SUSPECT if against else Event.QUALIFY
    if promise.amount == 0:
        event = Event.EXHAUST
    round_ = row["round"] + 1
    return Draft(
        id=derived_id(now, b"referral", row["account_id"].bytes, b"%d:%d" % (round_, promise.level)),
        account_id=row["account_id"],
        round=round_,
        level=promise.level,
        referrer_id=promise.referrer,
        programme_id=row["programme_id"],
        terms_version=row["terms_version"],
        deposit_id=q.deposit_id,
        asset=promise.asset,
        amount=promise.amount,
        event=event,
        findings=against,
        reason=cap,
        due_at=now + q.programme.hold,
    )
