"""What becomes of a statement: paid to the agent's account, rejected, its flags dismissed.

Called by the API, where people decide, and by `worker`.

A payment is one posting with the statement in its key, in the transaction that says so (P2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from cryptowatch.agents.hierarchy import Refusal, Status
from cryptowatch.agents.listing import State, StatementView, event_of, read_statement, statement_view
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.accounts import ensure_accounts, house, player
from cryptowatch.ledger.events import append_events
from cryptowatch.ledger.postings import post_all
from cryptowatch.ledger.rules import CustomerAccount, HouseAccount, customer_posting
from cryptowatch.ledger.rules import Kind as PostingKind
from cryptowatch.money import BaseUnits

SQL = load_queries(__package__, "deciding.sql")


@dataclass(frozen=True, slots=True)
class Decider:
    """Who decides, why, and when. `decimals`: asset -> decimals."""

    by: str
    reason: str | None
    decimals: Mapping[str, int]
    now: datetime


async def pay_statement(
    conn: Connection, statement_id: UUID, decider: Decider
) -> StatementView | Refusal | None:
    """Pay what is held, once its time is over and every flag is dismissed. None = no such statement."""
    row = await _held(conn, statement_id)
    if row is None or isinstance(row, Refusal):
        return row
    refusal = _not_yet(row, decider.now)
    if refusal is not None:
        return refusal
    own, other = await ensure_accounts(
        conn, [player(row["account_id"], row["asset"]), house("commission", row["asset"])]
    )
    posting = customer_posting(
        PostingKind.BONUS,
        f"commission:{statement_id.hex}",
        CustomerAccount(own),
        HouseAccount(other),
        BaseUnits(int(row["amount"])),
        reference=show_id(Kind.STATEMENT, statement_id),
    )
    await post_all(conn, [posting], decider.now)
    return await _decided(conn, statement_id, State.PAID, decider)


def _not_yet(row: asyncpg.Record, now: datetime) -> Refusal | None:
    if row["held_until"] > now:
        return Refusal("wrong_state", f"it is held until {row['held_until'].isoformat()}")
    if row["flagged"]:
        return Refusal("wrong_state", "a person must decide about its flags first")
    if row["agent_status"] != Status.ACTIVE:
        return Refusal("account_not_active", "the agent is suspended")
    if row["account_status"] == "frozen":
        return Refusal("account_frozen", "the agent's account is frozen")
    return None


async def reject_statement(
    conn: Connection, statement_id: UUID, decider: Decider
) -> StatementView | Refusal | None:
    """It is never paid. None = no such statement."""
    row = await _held(conn, statement_id)
    if row is None or isinstance(row, Refusal):
        return row
    return await _decided(conn, statement_id, State.REJECTED, decider)


async def dismiss_flag(
    conn: Connection, statement_id: UUID, anomaly: str, decider: Decider
) -> StatementView | Refusal | None:
    """A person looked, and it may be paid all the same. None = no such statement, or no such flag."""
    row = await _held(conn, statement_id)
    if row is None or isinstance(row, Refusal):
        return row
    dismissed = await conn.fetchval(
        SQL["dismiss"], statement_id, anomaly, decider.by, decider.reason, decider.now
    )
    if dismissed is None:
        return None
    await conn.execute(SQL["touch"], statement_id, decider.now)
    return await _told(conn, statement_id, "commission.flag_dismissed", decider)


async def _held(conn: Connection, statement_id: UUID) -> asyncpg.Record | Refusal | None:
    """A statement about which something can be decided; nobody else's until the transaction ends."""
    row = await conn.fetchrow(SQL["hold"], statement_id)
    if row is not None and row["state"] != State.HELD:
        return Refusal("wrong_state", f"the statement is {row['state']}")
    return row


async def _decided(conn: Connection, statement_id: UUID, state: State, decider: Decider) -> StatementView:
    await conn.execute(SQL["decide"], statement_id, state, decider.by, decider.reason, decider.now)
    return await _told(conn, statement_id, f"commission.{state}", decider)


async def _told(conn: Connection, statement_id: UUID, kind: str, decider: Decider) -> StatementView:
    """The one event of a change (P8), and the statement as it is after it."""
    row = await read_statement(conn, statement_id)
    assert row is not None
    await append_events(conn, [event_of(row, kind, decider.decimals, decider.now)])
    return statement_view(row, decider.decimals)


async def payable(conn: Connection, limit: int, now: datetime) -> Sequence[UUID]:
    """Held statements for which nothing is left to wait."""
    return [row["id"] for row in await conn.fetch(SQL["payable"], now, limit)]
