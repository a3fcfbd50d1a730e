"""Readers of the event feed that keep their place in the database: each event has its effect once (P2).

Called by the features that learn from the log what others did. A consumer's place moves in the transaction that
writes what it made of the events, so whatever is killed when, it goes on where its effects end; two processes take
turns. Whoever acts outside the database reads without holding the place (`look`) and moves it afterwards (`move`):
then an event may be acted on again, and must be recognized there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ledger.events import Event

SQL = load_queries(__package__, "consumers.sql")


@dataclass(frozen=True, slots=True)
class Portion:
    """The positions after `after` up to `until`, and of their events those of the types asked for."""

    after: int
    until: int
    events: Sequence[Event]


async def take(conn: Connection, name: str, types: Sequence[str] | None, limit: int) -> Portion | None:
    """The next `limit` positions of a consumer, whose place is held: it is done with them when the transaction commits.

    None: there is nothing new, or another process is at it.
    """
    wanted = None if types is None else list(types)
    rows = await conn.fetch(SQL["take"], name, limit, wanted)
    if not rows and await conn.fetchval(SQL["place"], name) is None:
        await conn.execute(SQL["begin"], name)
        rows = await conn.fetch(SQL["take"], name, limit, wanted)
    return _portion(rows)


async def look(conn: Connection, name: str, types: Sequence[str] | None, limit: int) -> Portion | None:
    """As `take`, without moving or holding the place: another process may be at the same events."""
    return _portion(await conn.fetch(SQL["look"], name, limit, None if types is None else list(types)))


def _portion(rows: Sequence[asyncpg.Record]) -> Portion | None:
    if not rows:
        return None
    after, until, *_ = rows[0]
    # Positions have no gaps, and whoever sees one sees all before it: no more events lie between.
    return Portion(after, until, [Event(*own) for _, _, *own in rows if own[0] is not None])


async def place(conn: Connection, name: str) -> int:
    """The last position that a consumer is done with; 0 before the first."""
    return await conn.fetchval(SQL["place"], name) or 0


async def move(conn: Connection, name: str, portion: Portion) -> None:
    """Done with a portion that was looked at. Raises ConcurrentUpdate when the place is not where the portion began."""
    if portion.after == 0:
        await conn.execute(SQL["begin"], name)
    if await conn.fetchval(SQL["move"], name, portion.after, portion.until) is None:
        raise ConcurrentUpdate(f"another process moved the consumer {name}")
