"""`GET /v1/events/stream`: the event log as it grows, as server-sent events (SSE of the HTML standard).

Made by `app`; `pipeline` lets callers in. One poller reads the feed for all streams and keeps its latest part; a stream
that is further behind reads by itself until it has caught up. So a slow reader is slow for itself alone, loses nothing,
and costs one write's buffer (P10). A stream whose key is revoked or expires ends; so does each after a while, and at
shutdown: its reader comes again with `Last-Event-ID`, which is the `sequence` that it has seen.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgspec
from aiohttp import web

from cryptowatch.api.calls import Id, Position, Text, body_id
from cryptowatch.api.events import refuse_beyond
from cryptowatch.api.keys import find_callers
from cryptowatch.api.problems import refuse
from cryptowatch.api.services import Services
from cryptowatch.db.pool import connection
from cryptowatch.errors import ConcurrentUpdate, DatabaseUnavailable
from cryptowatch.ids import Kind
from cryptowatch.ledger.events import Event, feed_head, read_events, sequence_events
from cryptowatch.ledger.payload import event_view

LAST_ID_HEADER = "Last-Event-ID"
#: Events in one write, and in one look at the feed.
_PAGE = 200
#: Streams that catch up at a time: the pool's connections are for others too.
_CATCHING_UP_MAX: Final = 2
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_POSITION_MAX = 2**63 - 1
_POSITION_DIGITS = len(str(_POSITION_MAX))

Write = Callable[[bytes], Awaitable[None]]


class StreamQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Events after a `sequence`; without it, those from now on. `Last-Event-ID` goes before it.

    `type` may name several, separated by commas.
    """

    after: Position | None = None
    type: Text | None = None
    account_id: Id | None = None


@dataclass(eq=False, slots=True)
class Stream:
    """One reader. `position`: what it has been sent, or passed over for it."""

    authorization: str | None
    scope: str
    types: Sequence[str] | None
    account_id: UUID | None
    position: int
    transport: asyncio.Transport | None
    ended: bool = False

    @property
    def is_open(self) -> bool:
        """Known before the next write to a reader that is gone fails."""
        return self.transport is not None and not self.transport.is_closing()

    def wants(self, event: Event) -> bool:
        return (self.types is None or event.type in self.types) and self.account_id in (
            None,
            event.account_id,
        )


@dataclass(slots=True)
class LiveFeed:
    """The streams of one process. Positions of the feed have no gaps: what is kept is those up to `_head`."""

    services: Services
    streams: set[Stream] = field(default_factory=set)
    _head: int | None = None
    _kept: deque[Event] = field(default_factory=deque)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _catching_up: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CATCHING_UP_MAX))
    _checked_s: float = 0.0
    _closing: bool = False

    async def step(self) -> int:
        """Read what is new, for all; how many. Nothing while nobody listens."""
        if not self.streams:
            self._head = None
            self._kept.clear()
            return 0
        async with connection(self.services.pool) as conn:
            await sequence_events(conn)
            head = await feed_head(conn) if self._head is None else self._head
            new = await read_events(conn, head, _PAGE)
        self._head = head + len(new)
        self._kept += new
        while len(self._kept) > self.services.settings.api.stream_events_kept:
            self._kept.popleft()
        if await self._end_those_without_a_key() or new:
            self._wake()
        return len(new)

    async def _end_those_without_a_key(self) -> bool:
        """Whether there are any."""
        now_s = self.services.clock.monotonic_s()
        if now_s < self._checked_s + self.services.settings.api.stream_heartbeat_s:
            return False
        self._checked_s = now_s
        open_by_now = [*self.streams]
        headers = {stream.authorization for stream in open_by_now}
        async with connection(self.services.pool) as conn:
            callers = await find_callers(conn, headers, self.services.clock.now())
        for stream in open_by_now:
            caller = callers.get(stream.authorization)
            stream.ended = caller is None or stream.scope not in caller.scopes
        return any(stream.ended for stream in open_by_now)

    def end_all(self) -> None:
        """At shutdown."""
        self._closing = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def answer(
        self, request: web.Request, query: StreamQuery, scope: str, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        """Streams until it ends for one of the reasons above. Raises Refused before it has begun."""
        settings, metrics = self.services.settings.api, self.services.metrics.api
        stream = await self._opened(request, query, scope)
        if sum(other.is_open for other in self.streams) >= settings.streams_max:
            metrics.overloaded.inc()
            raise refuse("overloaded", f"{settings.streams_max} streams are open")
        self.streams.add(stream)
        metrics.streams.set(len(self.streams))
        response = web.StreamResponse(headers={**_HEADERS, **headers})

        async def write(data: bytes) -> None:
            async with asyncio.timeout(settings.request_timeout_s):
                await response.write(data)

        try:
            await response.prepare(request)
            await self._follow(stream, write)
            async with asyncio.timeout(settings.request_timeout_s):
                await response.write_eof()
        except (ConnectionError, TimeoutError, DatabaseUnavailable, ConcurrentUpdate):
            # The reader is gone, or comes again; what it has not got is in the feed.
            response.force_close()
        finally:
            self.streams.discard(stream)
            metrics.streams.set(len(self.streams))
        return response

    async def _opened(self, request: web.Request, query: StreamQuery, scope: str) -> Stream:
        account_id = None
        if query.account_id is not None:
            account_id = body_id(Kind.ACCOUNT, query.account_id, "invalid_request")
        after = _last_id(request.headers.get(LAST_ID_HEADER))
        if after is None:
            after = query.after
        async with connection(self.services.pool) as conn:
            await sequence_events(conn)
            head = await feed_head(conn)
        after = head if after is None else refuse_beyond(after, head)
        types = None if query.type is None else query.type.split(",")
        return Stream(
            request.headers.get("Authorization"), scope, types, account_id, after, request.transport
        )

    async def _follow(self, stream: Stream, write: Write) -> None:
        clock, settings = self.services.clock, self.services.settings.api
        await write(b"retry: 1000\n" + _place(stream))
        wrote_s = clock.monotonic_s()
        ends_s = wrote_s + settings.stream_lifetime_s
        while not (stream.ended or self._closing) and (now_s := clock.monotonic_s()) < ends_s:
            changed = self._changed
            page = self._latest(stream)
            if page is None:
                page = await self._earlier(stream)
            if page:
                await write(b"".join(map(_shown, page)))
                wrote_s = now_s
            elif now_s >= wrote_s + settings.stream_heartbeat_s:
                await write(b": still here\n" + _place(stream))
                wrote_s = now_s
            if self._head is None or stream.position >= self._head:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(wrote_s + settings.stream_heartbeat_s, ends_s) - now_s):
                        await changed.wait()

    def _latest(self, stream: Stream) -> Sequence[Event] | None:
        """What is new for the stream of what is kept; None when that does not reach back to it."""
        if self._head is None or stream.position >= self._head:
            return ()
        skipped = stream.position - (self._head - len(self._kept))
        if skipped < 0:
            return None
        new = [self._kept[n] for n in range(skipped, min(skipped + _PAGE, len(self._kept)))]
        stream.position = new[-1].position
        return [event for event in new if stream.wants(event)]

    async def _earlier(self, stream: Stream) -> Sequence[Event]:
        """The stream's next events, from the database."""
        assert self._head is not None
        head = self._head
        async with self._catching_up, connection(self.services.pool) as conn:
            found = await read_events(conn, stream.position, _PAGE, stream.types, stream.account_id, head)
        stream.position = found[-1].position if len(found) == _PAGE else head
        return found


def _last_id(header: str | None) -> int | None:
    """Raises Refused (400) when it is not one that a stream gave."""
    if header is None or header == "":
        return None
    known = header.isascii() and header.isdigit() and len(header) <= _POSITION_DIGITS
    if not known or int(header) > _POSITION_MAX:
        raise refuse("invalid_request", f"{LAST_ID_HEADER} is the `id` of an event of this stream")
    return int(header)


def _place(stream: Stream) -> bytes:
    """An id without an event: where the reader goes on if it never gets another one."""
    return b"id: %d\n\n" % stream.position


def _shown(event: Event) -> bytes:
    """One event, in the bytes of webhooks. A line's end within JSON is mere space."""
    body = msgspec.json.encode(event_view(event)).replace(b"\r", b" ").replace(b"\n", b" ")
    return b"id: %d\ndata: %b\n\n" % (event.position, body)
