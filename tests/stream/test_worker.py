"""The feed in a real NATS server: complete, in order and once, whoever dies when, and however often."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from cryptowatch.clock import SystemClock
from cryptowatch.db.pool import Pool, connection, open_pool, transaction
from cryptowatch.devnet.nats import NAME, NatsServer, program
from cryptowatch.devnet.processes import Supervisor
from cryptowatch.errors import StreamUnavailable
from cryptowatch.instruments import DatabaseInstruments
from cryptowatch.ledger.consumers import place
from cryptowatch.ledger.events import NewEvent, append_events, feed_head, sequence_events
from cryptowatch.settings.stream import Stream
from cryptowatch.stream.worker import CONSUMER, StreamPublisher, run_stream
from cryptowatch.telemetry.metrics import create_metrics


@dataclass
class Streaming:
    """A database, a server, and publishers between them."""

    pool: Pool
    server: NatsServer
    supervisor: Supervisor
    told: int = 0

    @property
    def settings(self) -> Stream:
        return Stream(url=self.server.url, batch=50, timeout_s=1, poll_interval_s=0.01)

    def publisher(self) -> StreamPublisher:
        return StreamPublisher(self.pool, self.settings, create_metrics(CollectorRegistry()).stream)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        metrics = create_metrics(CollectorRegistry())
        task = asyncio.create_task(run_stream(self.pool, self.settings, SystemClock(), metrics.stream))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()

    async def happen(self, count: int) -> None:
        now = SystemClock().now()
        events = [
            NewEvent("deposit.credited", "deposit", f"dep_{n}", 1, None, "{}", now)
            for n in range(self.told, self.told + count)
        ]
        self.told += count
        async with transaction(self.pool) as conn:
            await append_events(conn, events)
        async with connection(self.pool) as conn:
            await sequence_events(conn)

    async def place(self) -> int:
        async with connection(self.pool) as conn:
            return await place(conn, CONSUMER)

    async def until_published(self) -> None:
        async with connection(self.pool) as conn:
            head = await feed_head(conn)
        async with asyncio.timeout(30):
            while await self.place() != head:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def consumed(self) -> Sequence[tuple[int, str]]:
        """All that a consumer of the stream sees: (its sequence in the event, entity), in the stream's order."""
        client = await nats.connect(self.server.url)
        try:
            context = client.jetstream()
            last = (await context.stream_info("cryptowatch")).state.messages
            reader = await context.pull_subscribe("cryptowatch.events.>", stream="cryptowatch")
            found = list[tuple[int, str]]()
            while len(found) < last:
                for message in await reader.fetch(min(500, last - len(found)), timeout=5):
                    event = json.loads(message.data)
                    await message.ack()
                    assert message.metadata.sequence.stream == event["sequence"]
                    assert message.headers is not None
                    assert message.headers["Nats-Msg-Id"] == event["id"]
                    found.append((event["sequence"], event["entity"]["id"]))
            return found
        finally:
            await client.close()

    async def strangers_message(self) -> None:
        client = await nats.connect(self.server.url)
        await client.jetstream().publish("cryptowatch.events.deposit.credited", b"{}")
        await client.close()

    async def everything_once(self) -> bool:
        return await self.consumed() == [(n + 1, f"dep_{n}") for n in range(self.told)]


@pytest_asyncio.fixture
async def streaming(database: str, tmp_path: Path) -> AsyncIterator[Streaming]:
    server = NatsServer(tmp_path / "nats")
    async with open_pool(database, application_name="test", size_max=12) as pool, Supervisor() as supervisor:
        await supervisor.run(program(server))
        yield Streaming(pool, server, supervisor)
    server.close()


async def test_nothing_is_lost_and_nothing_comes_twice_while_the_server_is_killed_again_and_again(
    streaming: Streaming,
) -> None:
    await streaming.happen(300)
    async with streaming.publishing():
        for _ in range(3):
            await streaming.happen(400)
            async with asyncio.timeout(30):
                while await streaming.place() < streaming.told - 350:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            await streaming.supervisor.kill(NAME)
            await streaming.happen(100)
            await streaming.supervisor.start(NAME)
        await streaming.until_published()
    assert await streaming.everything_once()


async def test_two_publishers_at_once_publish_everything_once(streaming: Streaming) -> None:
    await streaming.happen(2000)
    async with streaming.publishing(), streaming.publishing(), streaming.publishing():
        await streaming.until_published()
    assert await streaming.everything_once()


async def test_what_was_published_before_a_death_is_not_published_again(streaming: Streaming) -> None:
    """The process dies after the server stored the events and before its place moved; days may lie between."""
    await streaming.happen(120)
    first = streaming.publisher()
    assert [await first.step() for _ in range(4)] == [50, 50, 20, 0]
    await first.close()
    async with transaction(streaming.pool) as conn:
        await conn.execute("UPDATE consumer SET position = 30 WHERE name = $1", CONSUMER)
    await streaming.happen(5)
    second = streaming.publisher()
    assert await second.step() == 5
    await second.close()
    assert await streaming.everything_once()


async def test_a_place_beyond_the_streams_end_goes_back_to_it(streaming: Streaming) -> None:
    """A server that lost its disk, or the last minutes of it."""
    await streaming.happen(10)
    async with transaction(streaming.pool) as conn:
        await conn.execute("INSERT INTO consumer VALUES ($1, 7)", CONSUMER)
    publisher = streaming.publisher()
    assert await publisher.step() == 10
    await publisher.close()
    assert await streaming.everything_once()


async def test_a_stream_that_tells_another_story_gets_nothing(streaming: Streaming) -> None:
    """The database was restored from yesterday's backup, or somebody else publishes to our subjects."""
    await streaming.happen(3)
    publisher = streaming.publisher()
    await publisher.step()
    await streaming.happen(1)
    await streaming.strangers_message()
    with pytest.raises(StreamUnavailable, match="message 4 of the stream is not the event"):
        await publisher.step()
    await streaming.strangers_message()
    with pytest.raises(StreamUnavailable, match="ends at 5, beyond the feed's end 4"):
        await publisher.step()
    assert await streaming.place() == 3


async def test_how_far_a_consumer_is_behind_is_shown_also_while_the_server_is_away(
    streaming: Streaming,
) -> None:
    metrics = create_metrics(CollectorRegistry())
    await streaming.happen(8)
    publisher = streaming.publisher()
    await publisher.step()
    await streaming.supervisor.kill(NAME)
    await streaming.happen(5)
    with pytest.raises(StreamUnavailable):
        await publisher.step()
    await DatabaseInstruments(streaming.pool, metrics, SystemClock()).step()
    shown = metrics.registry.get_sample_value
    assert shown("cryptowatch_event_log_lag_events", {"consumer": CONSUMER}) == 5


async def test_a_server_without_tls_is_refused_where_the_url_asks_for_it(streaming: Streaming) -> None:
    settings = Stream(url=streaming.server.url.replace("nats://", "tls://"), timeout_s=1)
    publisher = StreamPublisher(streaming.pool, settings, create_metrics(CollectorRegistry()).stream)
    with pytest.raises(StreamUnavailable, match="TLS"):
        await publisher.step()
