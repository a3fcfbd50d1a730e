"""Rewards as rows: each step by the machine writes the row, the tallies, the ledger and the event together (P2, P8).

Called by `qualify` (what is undone), `worker` (what is due) and `reviews` (people), inside their transactions.
A reward is paid as a bonus out of the house account `referral`, and taken back by what resolves that bonus: the keys
name the reward, so that neither happens twice, whatever is repeated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import asyncpg

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ledger.accounts import ensure_accounts, house, player
from cryptowatch.ledger.events import append_events
from cryptowatch.ledger.postings import post_all
from cryptowatch.ledger.rules import CustomerAccount, HouseAccount, Posting, customer_posting
from cryptowatch.ledger.rules import Kind as PostingKind
from cryptowatch.money import BaseUnits
from cryptowatch.referrals.machine import Effect, Event, State, advance
from cryptowatch.referrals.rules import Finding
from cryptowatch.referrals.tallies import TallyKey, count_effects, counted_in
from cryptowatch.referrals.view import decimals_of, reward_event

SQL = load_queries(__package__, "rewards.sql")

#: A reward's row after a step, and what it means for money.
_Moved: TypeAlias = tuple[asyncpg.Record, Effect | None]

#: The house's side of every reward.
ROLE = "referral"


@dataclass(frozen=True, slots=True)
class Move:
    """One step of a reward whose row is held, with its decimals. `findings` None leaves what was found."""

    row: asyncpg.Record
    event: Event
    findings: tuple[Finding, ...] | None = None
    reason: str | None = None
    decided_by: str | None = None


async def lock_rewards(
    conn: Connection, account_ids: Sequence[UUID], rounds: Sequence[int]
) -> Sequence[asyncpg.Record]:
    """What can still be reversed of these referrals' rounds, held."""
    return await conn.fetch(SQL["lock_of_rounds"], account_ids, rounds)


async def lock_reward(conn: Connection, reward_id: UUID) -> asyncpg.Record | None:
    return await conn.fetchrow(SQL["lock"], reward_id)


async def move_rewards(
    conn: Connection, moves: Sequence[Move], decimals: Mapping[str, int], now: datetime
) -> Sequence[asyncpg.Record]:
    """The rows afterwards; `decimals` are the settings'. Raises ConcurrentUpdate when one is not where it was read."""
    if not moves:
        return []
    steps = [take_step(State(move.row["state"]), move.event) for move in moves]
    rows = await conn.fetch(
        SQL["move"],
        [move.row["id"] for move in moves],
        [move.row["state"] for move in moves],
        [move.row["version"] for move in moves],
        [state for state, _ in steps],
        [None if move.findings is None else ",".join(move.findings) for move in moves],
        [move.reason for move in moves],
        [move.decided_by for move in moves],
        now,
    )
    if len(rows) != len(moves):
        raise ConcurrentUpdate("another writer moved one of these rewards first")
    done = {move.row["id"]: (move, effect) for move, (_, effect) in zip(moves, steps, strict=True)}
    approved = {id_ for id_, (move, _) in done.items() if move.event is Event.APPROVE}
    moved = [(row, done[row["id"]][1]) for row in rows]
    await _count(conn, moved)
    await _post(conn, [(r, effect) for r, effect in moved if effect in (Effect.PAY, Effect.TAKE_BACK)], now)
    told = [
        reward_event(
            row,
            decimals_of(done[row["id"]][0].row, decimals),
            now,
            "approved" if row["id"] in approved else None,
        )
        for row in rows
    ]
    await append_events(conn, told)
    return rows


def take_step(state: State, event: Event) -> tuple[State, Effect | None]:
    """The next state, and what becomes of the amount."""
    step = advance(state, event)
    assert step is not None, f"callers ask a {state} reward for what it can do, not for {event}"
    return step


async def _count(conn: Connection, moved: Sequence[_Moved]) -> None:
    counted = [(_counted(row), row["amount"], effect) for row, effect in moved if effect is not None]
    await count_effects(conn, counted)


def _counted(row: asyncpg.Record) -> Sequence[TallyKey]:
    return counted_in(row["referrer_id"], row["programme_id"], row["asset"], row["level"], row["day"])


async def _post(conn: Connection, moving: Sequence[_Moved], now: datetime) -> None:
    if not moving:
        return
    refs = {house(ROLE, row["asset"]) for row, _ in moving}
    refs |= {player(row["referrer_id"], row["asset"]) for row, _ in moving}
    ids = dict(zip(refs, await ensure_accounts(conn, list(refs)), strict=True))
    postings = [
        _posting(
            row,
            effect,
            CustomerAccount(ids[player(row["referrer_id"], row["asset"])]),
            HouseAccount(ids[house(ROLE, row["asset"])]),
        )
        for row, effect in moving
    ]
    await post_all(conn, postings, now)


def _posting(
    row: asyncpg.Record, effect: Effect | None, customer: CustomerAccount, house_account: HouseAccount
) -> Posting:
    paid, amount = f"referral:{row['id'].hex}:pay", BaseUnits(row["amount"])
    if effect is Effect.PAY:
        return customer_posting(PostingKind.BONUS, paid, customer, house_account, amount)
    key = f"referral:{row['id'].hex}:reverse"
    return customer_posting(PostingKind.BONUS_REVERSE, key, customer, house_account, amount, resolves=paid)
