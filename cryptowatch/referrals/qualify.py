"""Whether referrals qualify, and what is earned by it: every account that something happened to is looked at anew.

Called by `worker` inside the transaction that moves its place in the feed. Events only say whom to look at; what is
decided follows from the facts as they are now, by `rules`. So it means nothing in which order events come, or how
often, and a referral ends where its last facts are. Keeps P2: a round of a referral is decided once (its rewards are
unique), and P8: each step of a referral and of a reward is one event.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import derived_id
from cryptowatch.ledger.events import append_events
from cryptowatch.referrals.counts import count_undone
from cryptowatch.referrals.decisions import Draft, Qualified, write_decisions
from cryptowatch.referrals.facts import Pair, Promises, lock_referrals, standings, weigh
from cryptowatch.referrals.machine import Event
from cryptowatch.referrals.rewards import Move, lock_rewards, move_rewards
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
from cryptowatch.referrals.tallies import TallyKey, counted_in
from cryptowatch.referrals.view import referral_event

SQL = load_queries(__package__, "qualify.sql")


class _Earned(msgspec.Struct, frozen=True):
    """An act that is done, and under which terms."""

    of: Qualified
    programme: Programme
    done: Done


async def reconsider(
    conn: Connection, account_ids: Collection[UUID], promises: Promises, now: datetime
) -> None:
    """Brings the referrals of these accounts where the facts are."""
    held = await lock_referrals(conn, account_ids, promises)
    undone = [row for row, _ in held if row["gone"]]
    if undone:
        await _undo(conn, undone, promises.decimals, now)
        held = await lock_referrals(conn, account_ids, promises)
    pending = [(row, programme) for row, programme in held if row["state"] == "pending"]
    standing = await standings(conn, pending)
    earned = [
        _Earned(Qualified(row, None if done.deposit is None else done.deposit.id), programme, done)
        for row, programme in pending
        if (done := act_done(programme.act, standing[row["account_id"]])) is not None
    ]
    lines = [row["ancestors"] for row in undone]
    if earned:
        drafts = await _drafts(conn, earned, now)
        await write_decisions(conn, [one.of for one in earned], drafts, lines, now)
    elif lines:
        await count_undone(conn, lines)


async def _undo(
    conn: Connection, rows: Sequence[asyncpg.Record], decimals: Mapping[str, int], now: datetime
) -> None:
    """Their deposits are gone: what was earned by them is, too, paid or not."""
    accounts, rounds = [row["account_id"] for row in rows], [row["round"] for row in rows]
    rewards = await lock_rewards(conn, accounts, rounds)
    moves = [Move(reward, Event.REVERSE, reason="the deposit was reversed") for reward in rewards]
    pending = await conn.fetch(SQL["undo"], accounts, now)
    await append_events(conn, [referral_event(row, "disqualified", row["version"], now) for row in pending])
    await move_rewards(conn, moves, decimals, now)


async def _drafts(conn: Connection, earned: Sequence[_Earned], now: datetime) -> list[Draft]:
    """What every ancestor gets, after caps and fraud rules. The tallies are held from here on."""
    due = [(one, p) for one in earned for p in promised(one.programme, one.done, one.of.row["ancestors"])]
    keys = [
        counted_in(p.referrer, one.of.row["programme_id"], p.asset, p.level, now.date()) for one, p in due
    ]
    pairs = [Pair(one.of.row["account_id"], p.referrer, one.programme.fraud) for one, p in due]
    tallies, found = await weigh(conn, [key for of_one in keys for key in of_one], pairs)
    drafts = []
    for (one, promise), own, tie in zip(due, keys, found, strict=True):
        caps = one.programme.caps.get(promise.asset, Caps())
        granted, cap = within(promise.amount, caps, [tallies[key] for key in own])
        for key in own:
            tallies[key] += granted
        drafts.append(_draft(one, replace(promise, amount=granted), own, cap, tie, now))
    return drafts


def _draft(
    one: _Earned,
    promise: Promise,
    tallies: Sequence[TallyKey],
    cap: str | None,
    tie: Ties,
    now: datetime,
) -> Draft:
    row, against = one.of.row, findings(one.programme.fraud, tie)
    event = Event.SUSPECT if against else Event.QUALIFY
    if promise.amount == 0:
        event = Event.EXHAUST
    return Draft(
        id=derived_id(
            now, b"referral", row["account_id"].bytes, b"%d:%d" % (row["round"] + 1, promise.level)
        ),
        of=one.of,
        promise=promise,
        tallies=tallies,
        event=event,
        findings=against,
        reason=cap,
        decimals=one.programme.decimals[promise.asset],
        due_at=now + one.programme.hold,
    )
