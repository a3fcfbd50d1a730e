"""Withdrawals as the API lists them: newest first, by account, state or chain. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.payouts.machine import State

SQL = load_queries(__package__, "listing.sql")


@dataclass(frozen=True, slots=True)
class Filter:
    """What is None does not filter."""

    account_id: UUID | None = None
    state: State | None = None
    chain: str | None = None


async def read_withdrawal(conn: Connection, withdrawal_id: UUID) -> asyncpg.Record | None:
    """A row for `view.withdrawal_view`."""
    return await conn.fetchrow(SQL["by_id"], withdrawal_id)


async def list_withdrawals(
    conn: Connection, wanted: Filter, *, limit: int, before: UUID | None
) -> Sequence[asyncpg.Record]:
    """Rows for `view.withdrawal_view`, each query by the index that fits its narrowest filter."""
    if wanted.account_id is not None:
        return await conn.fetch(
            SQL["newest_by_account"], before, limit, wanted.chain, wanted.state, wanted.account_id
        )
    if wanted.state is not None:
        return await conn.fetch(SQL["newest_by_state"], before, limit, wanted.chain, wanted.state)
    return await conn.fetch(SQL["newest"], before, limit, wanted.chain)
