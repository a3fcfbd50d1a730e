"""What becomes of a statement: paid to the agent's account, rejected, its flags dismissed.

Called by the API, where people decide, and by `worker`.

A payment is one posting with the statement in its key, in the transaction that says so (P2).
"""

from collections.abc import Mapping, Sequence
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


async def pay_statement(
    conn: Connection,
    statement_id: UUID,
    by: str,
    reason: str | None,
    decimals: Mapping[str, int],
    now: datetime,
) -> StatementView | Refusal | None:
    """Pay what is held, once its time is over and every flag is dismissed. None = no such statement."""
    row = await conn.fetchrow(SQL["hold"], statement_id)
    if row is None:
        return None
    refusal = _not_yet(row, now)
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
    await post_all(conn, [posting], now)
    return await _decided(conn, statement_id, State.PAID, by, reason, decimals, now)


def _not_yet(row: asyncpg.Record, now: datetime) -> Refusal | None:
    if row["state"] != State.HELD:
        return Refusal("wrong_state", f"the statement is {row['state']}")
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
    conn: Connection,
    statement_id: UUID,
    by: str,
    reason: str | None,
    decimals: Mapping[str, int],
    now: datetime,
) -> StatementView | Refusal | None:
    """It is never paid. None = no such statement."""
    row = await conn.fetchrow(SQL["hold"], statement_id)
    if row is None:
        return None
    if row["state"] != State.HELD:
        return Refusal("wrong_state", f"the statement is {row['state']}")
    return await _decided(conn, statement_id, State.REJECTED, by, reason, decimals, now)


async def _decided(
    conn: Connection,
    statement_id: UUID,
    state: State,
    by: str,
    reason: str | None,
    decimals: Mapping[str, int],
    now: datetime,
) -> StatementView:
    await conn.execute(SQL["decide"], statement_id, state, by, reason, now)
    row = await read_statement(conn, statement_id)
    assert row is not None
    await append_events(conn, [event_of(row, f"commission.{state}", decimals[row["asset"]], now)])
    return statement_view(row, decimals[row["asset"]])


async def dismiss_flag(
    conn: Connection,
    statement_id: UUID,
    anomaly: str,
    by: str,
    reason: str,
    decimals: Mapping[str, int],
    now: datetime,
) -> StatementView | Refusal | None:
    """A person looked, and it may be paid all the same. None = no such statement, or no such flag."""
    row = await conn.fetchrow(SQL["hold"], statement_id)
    if row is None:
        return None
    if row["state"] != State.HELD:
        return Refusal("wrong_state", f"the statement is {row['state']}")
    if await conn.fetchval(SQL["dismiss"], statement_id, anomaly, by, reason, now) is None:
        return None
    await conn.execute(SQL["touch"], statement_id, now)
    row = await read_statement(conn, statement_id)
    assert row is not None
    await append_events(conn, [event_of(row, "commission.flag_dismissed", decimals[row["asset"]], now)])
    return statement_view(row, decimals[row["asset"]])


async def payable(conn: Connection, limit: int, now: datetime) -> Sequence[UUID]:
    """Held statements for which nothing is left to wait."""
    return [row["id"] for row in await conn.fetch(SQL["payable"], now, limit)]
