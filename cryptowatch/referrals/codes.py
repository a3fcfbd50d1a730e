"""Referral codes as rows: the one that is drawn for each account, and those that people choose.

Called by the API inside its transactions. Uniqueness is the table's primary key over the folded spelling; a draw that
meets a taken code is drawn anew. What people do with codes is told by one event each (P8); a drawn code belongs to the
creation of its account.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.referrals.refusal import Refusal
from cryptowatch.referrals.spelling import BYTES, draw, fold, is_reserved

SQL = load_queries(__package__, "codes.sql")

#: A draw meets a taken code once in 33 million times among a million codes.
_DRAWS = 5


class CodeView(msgspec.Struct, frozen=True):
    """`programme_id` null: it refers under the default programme."""

    code: str
    account_id: str
    programme_id: str | None
    vanity: bool
    created_at: datetime
    disabled_at: datetime | None


async def own_code(
    conn: Connection, account_id: UUID, random_bytes: Callable[[int], bytes], now: datetime
) -> str:
    """The code that is the account's from the beginning, drawn when it is first asked for."""
    for _ in range(_DRAWS):
        found = await conn.fetchval(SQL["own"], account_id)
        if found is not None:
            return str(found)
        code = draw(random_bytes(BYTES))
        await conn.execute(SQL["insert"], code, code, account_id, None, False, now)
    found = await conn.fetchval(SQL["own"], account_id)
    if found is None:
        raise ConcurrentUpdate(f"{_DRAWS} draws met codes that are taken")
    return str(found)


async def choose_code(
    conn: Connection,
    account_id: UUID,
    text: str,
    programme_id: UUID | None,
    *,
    reserved: Collection[str],
    count_max: int,
    now: datetime,
) -> CodeView | Refusal:
    """A vanity code. The account must be there."""
    folded = fold(text)
    if folded is None:
        return Refusal("invalid_code", "a code has 4 to 20 letters and digits")
    if is_reserved(folded, reserved):
        return Refusal("code_taken", "the code reads as a reserved word")
    if programme_id is not None and not await conn.fetchval(SQL["programme_exists"], programme_id):
        return Refusal("unknown_programme", "no such programme")
    await conn.execute(SQL["lock_account"], account_id)
    if await conn.fetchval(SQL["count"], account_id) >= count_max:
        return Refusal("too_many_codes", f"an account has at most {count_max} codes")
    row = await conn.fetchrow(SQL["insert"], folded, text.upper(), account_id, programme_id, True, now)
    if row is None:
        return Refusal("code_taken", "the code, or one that looks like it, is taken")
    return await _told(conn, row, 1, "created", now)


async def disable_code(conn: Connection, text: str, now: datetime) -> bool:
    """False: there is no such code that refers. Who came by it stays referred."""
    row = await conn.fetchrow(SQL["disable"], fold(text), now)
    if row is not None:
        # The creation of a chosen code was told before, that of a drawn one with its account.
        await _told(conn, row, 2 if row["vanity"] else 1, "disabled", now)
    return row is not None


async def list_codes(conn: Connection, account_id: UUID) -> Sequence[CodeView]:
    return [_view(row) for row in await conn.fetch(SQL["of_account"], account_id)]


async def _told(conn: Connection, row: asyncpg.Record, version: int, what: str, now: datetime) -> CodeView:
    view = _view(row)
    event = NewEvent(
        type=f"referral_code.{what}",
        entity_kind="referral_code",
        entity_id=row["code"],
        entity_version=version,
        account_id=row["account_id"],
        data=msgspec.json.encode(view).decode(),
        created_at=now,
    )
    await append_events(conn, [event])
    return view


def _view(row: asyncpg.Record) -> CodeView:
    programme_id = row["programme_id"]
    return CodeView(
        code=row["shown"],
        account_id=show_id(Kind.ACCOUNT, row["account_id"]),
        programme_id=None if programme_id is None else show_id(Kind.PROGRAMME, programme_id),
        vanity=row["vanity"],
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
    )
