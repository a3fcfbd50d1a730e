"""The loop that keeps the stream equal to the feed. One per process with the role `stream`.

The stream itself says what it holds: its last message's place is the feed's position. Our own place (`consumers`) only
spares asking. It moves by compare-and-set after the server has stored the events, without a transaction around the
network (P4); wherever a process dies, what it had published is refused as out of turn, and the place follows. Several
processes waste work and nothing else. Keeps P8: consumers of the stream miss nothing and see nothing twice.
"""

from dataclasses import dataclass

import structlog

from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.errors import StreamUnavailable
from cryptowatch.ledger.consumers import Portion, look, move, place
from cryptowatch.ledger.events import feed_head, read_events
from cryptowatch.ledger.payload import event_id
from cryptowatch.loops import run_forever
from cryptowatch.settings.stream import Stream
from cryptowatch.stream.jetstream import JetStream, Last
from cryptowatch.stream.messages import OutOfTurn
from cryptowatch.telemetry.metrics import StreamMetrics

log = structlog.get_logger(__name__)

CONSUMER = "stream"


@dataclass(slots=True)
class StreamPublisher:
    pool: Pool
    settings: Stream
    metrics: StreamMetrics
    _stream: JetStream | None = None

    async def step(self) -> int:
        """Publish the next events; how many. Raises StreamUnavailable, after which it connects anew."""
        try:
            return await self._publish(await self._connected())
        except StreamUnavailable:
            self.metrics.connected.set(0)
            await self.close()
            raise

    async def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def _connected(self) -> JetStream:
        if self._stream is not None and self._stream.is_open:
            return self._stream
        await self.close()
        self._stream = await JetStream.open(self.settings)
        await self._agree(self._stream)
        self.metrics.connected.set(1)
        return self._stream

    async def _publish(self, stream: JetStream) -> int:
        async with connection(self.pool) as conn:
            portion = await look(conn, CONSUMER, None, self.settings.batch)
        if portion is None:
            return 0
        if isinstance(await stream.publish(portion.events), OutOfTurn):
            await self._agree(stream)
            return 1
        async with transaction(self.pool) as conn:
            await move(conn, CONSUMER, portion)
        self.metrics.published.inc(len(portion.events))
        return len(portion.events)

    async def _agree(self, stream: JetStream) -> None:
        """Take the stream's end for our place, forward or back.

        Raises StreamUnavailable when the two tell different stories: then a person must look.
        """
        async with connection(self.pool) as conn:
            ours = await place(conn, CONSUMER)
        last = await stream.last()
        async with transaction(self.pool) as conn:
            head = await feed_head(conn)
            known = await read_events(conn, last.sequence - 1, 1, until=last.sequence)
            _compare(last, head, event_id(known[0].id) if known else None)
            if ours != last.sequence:
                log.info(
                    "the stream's end is our place", stream=self.settings.name, end=last.sequence, ours=ours
                )
                await move(conn, CONSUMER, Portion(ours, last.sequence, ()))


def _compare(last: Last, head: int, known_id: str | None) -> None:
    if last.sequence > head:
        raise StreamUnavailable(f"the stream ends at {last.sequence}, beyond the feed's end {head}")
    if last.sequence and last.message_id not in (None, known_id):
        raise StreamUnavailable(f"message {last.sequence} of the stream is not the event of that sequence")


async def run_stream(pool: Pool, settings: Stream, clock: Clock, metrics: StreamMetrics) -> None:
    """The role `stream`, until cancelled."""
    publisher = StreamPublisher(pool, settings, metrics)
    try:
        await run_forever("stream", publisher.step, interval_s=settings.poll_interval_s, clock=clock)
    finally:
        await publisher.close()
