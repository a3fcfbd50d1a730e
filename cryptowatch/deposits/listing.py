"""Deposits as the API lists them: newest first, by account, state or chain. Reads only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.machine import State
from cryptowatch.deposits.records import read_record
from cryptowatch.deposits.view import DepositView, deposit_view

SQL = load_queries(__package__, "listing.sql")


@dataclass(frozen=True, slots=True)
class Filter:
    """What is None does not filter."""

    account_id: UUID | None = None
    state: State | None = None
    chain: str | None = None


async def read_deposit(conn: Connection, deposit_id: UUID) -> asyncpg.Record | None:
    """A row for `shown`."""
    return await conn.fetchrow(SQL["by_id"], deposit_id)


async def list_deposits(
    conn: Connection, wanted: Filter, *, limit: int, before: UUID | None
) -> Sequence[asyncpg.Record]:
    """Rows for `shown`, each query by the index that fits its narrowest filter."""
    if wanted.account_id is not None:
        return await conn.fetch(
            SQL["newest_by_account"], before, limit, wanted.chain, wanted.state, wanted.account_id
        )
    if wanted.state in (State.CREDITED, State.FINALIZED):
        return await conn.fetch(SQL[f"newest_{wanted.state}"], before, limit, wanted.chain)
    if wanted.state is not None:
        return await conn.fetch(SQL["newest_by_state"], before, limit, wanted.chain, wanted.state)
    return await conn.fetch(SQL["newest"], before, limit, wanted.chain)


def shown(row: asyncpg.Record, decimals: Mapping[str, int]) -> DepositView:
    """`decimals` by asset. Confirmations count from the block up to which the chain is applied."""
    record = read_record(row, decimals[row["asset"]])
    return deposit_view(
        deposit_id=record.id,
        account_id=record.account_id,
        chain=record.chain,
        asset=record.asset,
        amount=record.amount,
        decimals=record.decimals,
        tx_hash=record.tx_hash,
        position=record.position,
        address=record.address,
        deposit=record.deposit,
        head_height=row["head_height"],
        conflict=record.conflict,
        created_at=record.created_at,
        updated_at=row["updated_at"],
    )
