"""Where an account allows its withdrawals to go: added, listed, removed. Called by the API inside its transactions.

An address can be paid from `usable_at` on, so that whoever got into an account cannot add one and use it at once.
Whether the list binds is the account's `allow_list`; the withdrawal policy reads both. Each change tells (P8).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent, append_events

SQL = load_queries(__package__, "allowed.sql")


class AllowedAddressView(msgspec.Struct, frozen=True):
    """As the API and the events show it."""

    id: str
    account_id: str
    chain: str
    address: str
    label: str | None
    created_at: datetime
    usable_at: datetime


@dataclass(frozen=True, slots=True)
class NewAllowed:
    """`destination` is the address as the chain's own bytes."""

    id: UUID
    chain: str
    destination: bytes
    address: str
    label: str | None
    usable_at: datetime


async def allow_address(
    conn: Connection, account_id: UUID, new: NewAllowed, *, count_max: int, now: datetime
) -> tuple[AllowedAddressView, bool] | None:
    """(the address, whether this call added it); one that is there stays as old as it is. None: there are too many.

    The account's row is held, so that two calls at once count each other.
    """
    await conn.execute(SQL["lock_account"], account_id)
    existing = await conn.fetchrow(SQL["same"], account_id, new.chain, new.destination)
    if existing is not None:
        return _view(existing), False
    if await conn.fetchval(SQL["count"], account_id) >= count_max:
        return None
    row = await conn.fetchrow(
        SQL["insert"],
        new.id,
        account_id,
        new.chain,
        new.destination,
        new.address,
        new.label,
        now,
        new.usable_at,
    )
    assert row is not None
    await _tell(conn, row, "added", 1, now)
    return _view(row), True


async def list_allowed(conn: Connection, account_id: UUID) -> Sequence[AllowedAddressView]:
    """All of the account's: their number is bounded."""
    return [_view(row) for row in await conn.fetch(SQL["of_account"], account_id)]


async def remove_allowed(conn: Connection, account_id: UUID, allowed_id: UUID, now: datetime) -> bool:
    """False: the account has no such address."""
    row = await conn.fetchrow(SQL["delete"], account_id, allowed_id)
    if row is None:
        return False
    await _tell(conn, row, "removed", 2, now)
    return True


async def _tell(conn: Connection, row: asyncpg.Record, what: str, version: int, now: datetime) -> None:
    view = _view(row)
    event = NewEvent(
        type=f"allowed_address.{what}",
        entity_kind="allowed_address",
        entity_id=view.id,
        entity_version=version,
        account_id=row["account_id"],
        data=msgspec.json.encode(view).decode(),
        created_at=now,
    )
    await append_events(conn, [event])


def _view(row: asyncpg.Record) -> AllowedAddressView:
    return AllowedAddressView(
        id=show_id(Kind.ALLOWED_ADDRESS, row["id"]),
        account_id=show_id(Kind.ACCOUNT, row["account_id"]),
        chain=row["chain"],
        address=row["address"],
        label=row["label"],
        created_at=row["created_at"],
        usable_at=row["usable_at"],
    )
