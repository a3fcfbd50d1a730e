"""The event log (P8): every state change tells, in the transaction that makes it; and the order of the feed.

Features append; the `webhooks` and `api` roles sequence and read; consumers replay from a position.

Ids are taken before commit, so following ids could skip an event that commits late. Therefore an event gets
its public position afterwards, from a sequencer, among committed events only: positions have no gaps, never
change, and a reader that remembers the last one misses nothing. Events of one entity keep their order.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain, islice
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.copy import bigint, copy_chunks, joined, text, timestamp, uuid
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.loops import slices

SQL = load_queries(__package__, "events.sql")

#: About how many events one call of the sequencer takes: bounds the length of its transaction.
SEQUENCE_BATCH = 10_000


class NewEvent(msgspec.Struct, frozen=True):
    """`data` is JSON text, delivered as it stands. `entity_version` counts 1, 2, 3 … per entity: each change
    of an entity writes exactly one event, and the database refuses a version twice."""

    type: str
    entity_kind: str
    entity_id: str
    entity_version: int
    account_id: UUID | None
    data: str
    created_at: datetime


_NEW_EVENT: Final = attrgetter(*NewEvent.__struct_fields__)
#: What COPY writes: each event's own, then what it shares with others of its kind, as in `_shared_fields`.
_COPIED: Final = (
    "id",
    "entity_id",
    "entity_version",
    "account_id",
    "data",
    "type",
    "entity_kind",
    "created_at",
)
#: COPY is twice as fast per event but costs two more round trips per call.
_COPY_FROM: Final = 100


class Event(msgspec.Struct, frozen=True):
    position: int
    id: int
    type: str
    entity_kind: str
    entity_id: str
    entity_version: int
    account_id: UUID | None
    data: str
    created_at: datetime


async def append_events(connection: Connection, events: Sequence[NewEvent]) -> None:
    """Append in the caller's transaction, in order.

    Raises ConcurrentUpdate when an entity's version was told before: another writer was first.
    """
    telling = await begin_telling(connection, len(events))
    telling.add(events)
    await telling.append(connection)


class Telling:
    """`append_events` in steps, so that a full block's events are put into words while Postgres posts its money."""

    def __init__(self, count: int, ids: Iterator[int] | None) -> None:
        self._missing = count
        self._ids = ids
        self._events: list[NewEvent] = []
        self._chunks: list[bytes] = []

    async def add_in_slices(self, events: Iterable[NewEvent]) -> None:
        async for part in slices(events):
            self.add(part)

    def add(self, events: Sequence[NewEvent]) -> None:
        """The next ones, in order."""
        self._missing -= len(events)
        if self._ids is None:
            self._events += events
        elif events:
            self._chunks.append(joined(_COPIED, map(_row, islice(self._ids, len(events)), events)))

    async def _ready(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk

    async def append(self, connection: Connection) -> None:
        """Once, when all are in words. Raises as `append_events` does.

        Raises ValueError when they are not as many as were announced: none is lost, and no place in the feed is empty.
        """
        if self._missing:
            raise ValueError(f"{self._missing} more events were announced than told")
        try:
            if self._chunks:
                await copy_chunks(connection, "event", _COPIED, self._ready())
            elif self._events:
                await connection.execute(SQL["append"], *event_columns(self._events))
        except asyncpg.UniqueViolationError as error:
            raise ConcurrentUpdate(str(error)) from error


async def begin_telling(connection: Connection, count: int) -> Telling:
    """Announces so many events, in the caller's transaction, which has locked what they tell of.

    Without that lock another writer could tell of the same entity later, under lower ids.
    """
    if count < _COPY_FROM:
        return Telling(count, None)
    queued = await connection.fetch(SQL["queue"], count)
    return Telling(count, chain.from_iterable(sorted(row["event_ids"] for row in queued)))


def event_columns(events: Sequence[NewEvent]) -> Sequence[list[Any]]:
    """What `append_events` (0024-leaner-writes.sql) takes, for a statement that writes more than events.

    There, UniqueViolationError means what ConcurrentUpdate means here.
    """
    columns = [list(column) for column in zip(*map(_NEW_EVENT, events), strict=True)]
    return columns or [[] for _ in NewEvent.__struct_fields__]


def _row(id_: int, event: NewEvent) -> bytes:
    return b"".join(
        (
            bigint(id_),
            text(event.entity_id),
            bigint(event.entity_version),
            uuid(event.account_id),
            text(event.data),
            _shared_fields(event.type, event.entity_kind, event.created_at),
        )
    )


@lru_cache(maxsize=64)
def _shared_fields(event_type: str, entity_kind: str, created_at: datetime) -> bytes:
    return text(event_type) + text(entity_kind) + timestamp(created_at)


async def sequence_events(connection: Connection, limit: int = SEQUENCE_BATCH) -> int:
    """Give positions to about `limit` committed events; how many. 0: nothing waits, or another is at it.

    Events that one statement appended stay together by the thousand, so that it may be up to 999 more.

    On a connection without a transaction, or alone in one: positions are seen when it commits.
    """
    count: int = await connection.fetchval(SQL["sequence"], limit)
    return count


async def read_events(
    connection: Connection,
    after_position: int,
    limit: int,
    types: Sequence[str] | None = None,
    account_id: UUID | None = None,
    until: int | None = None,
) -> list[Event]:
    """The next `limit` events of the feed after a position (0: from the beginning), oldest first.

    `until`: none beyond that position.
    """
    wanted = None if types is None else list(types)
    if account_id is not None:
        rows = await connection.fetch(SQL["read_account"], after_position, limit, wanted, account_id, until)
    elif wanted is not None:
        rows = await connection.fetch(SQL["read_types"], after_position, limit, wanted, until)
    else:
        rows = await connection.fetch(SQL["read"], after_position, limit, until)
    return [Event(*row) for row in rows]


async def feed_head(connection: Connection) -> int:
    """The last position given; 0 before the first."""
    head: int = await connection.fetchval(SQL["head"])
    return head


async def unsequenced_events(connection: Connection) -> int:
    """How many committed events still wait for a position: the sequencer's lag."""
    count: int = await connection.fetchval(SQL["unsequenced"])
    return count
