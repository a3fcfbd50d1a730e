"""Readers of the event feed that keep their place in the database: each event has its effect once (P2).

Called by the features that learn from the log what others did. A consumer's place moves in the transaction that
writes what it made of the events, so whatever is killed when, it goes on where its effects end; two processes take
turns. Whoever acts outside the database reads without holding the place (`look`) and moves it afterwards (`move`):
then an event may be acted on again, and must be recognized there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ledger.events import Event, feed_head, read_events

SQL = load_queries(__package__, "consumers.sql")


@dataclass(frozen=True, slots=True)
class Portion:
    """The positions after `after` up to `until`, and of their events those of the types asked for."""

    after: int
    until: int
    events: Sequence[Event]


async def take(conn: Connection, name: str, types: Sequence[str] | None, limit: int) -> Portion | None:
    """The next `limit` positions of a consumer, whose place is held until the transaction ends.

    None: there is nothing new, or another process is at it.
    """
    held = await conn.fetchval(SQL["hold"], name)
    if held is None:
        await conn.execute(SQL["begin"], name)
        held = await conn.fetchval(SQL["hold"], name)
    return None if held is None else await _portion(conn, held, types, limit)


async def look(conn: Connection, name: str, types: Sequence[str] | None, limit: int) -> Portion | None:
    """As `take`, without holding the place: another process may be at the same events."""
    return await _portion(conn, await place(conn, name), types, limit)


async def place(conn: Connection, name: str) -> int:
    """The last position that a consumer is done with; 0 before the first."""
    return await conn.fetchval(SQL["place"], name) or 0


async def move(conn: Connection, name: str, portion: Portion) -> None:
    """Done with a portion. Raises ConcurrentUpdate when the place is not where the portion began."""
    if portion.after == 0:
        await conn.execute(SQL["begin"], name)
    if await conn.fetchval(SQL["move"], name, portion.after, portion.until) is None:
        raise ConcurrentUpdate(f"another process moved the consumer {name}")


async def _portion(conn: Connection, after: int, types: Sequence[str] | None, limit: int) -> Portion | None:
    until = min(after + limit, await feed_head(conn))
    if until <= after:
        return None
    # Positions have no gaps: no more than `limit` events lie between.
    events = await read_events(conn, after, limit, types, until=until)
    return Portion(after, until, events)
