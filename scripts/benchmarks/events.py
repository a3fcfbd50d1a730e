"""`events`: from the event log in Postgres to NATS JetStream, on a real server with file storage.

Ours: the loop of the role `stream`, which reads the log, publishes each event at the place of its sequence, waits for
the server's word and commits its place. Peer: nats-py publishing the same bytes with acknowledgements, as many at once,
from memory, without a database. Neighbours disturb either, so short samples alternate, and the median of their ratios
is told.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import nats
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry

from benchmarks.reporting import Report
from cryptowatch.db import embedded
from cryptowatch.db.migrate import migrate
from cryptowatch.db.pool import Pool, connection, open_pool, transaction
from cryptowatch.devnet.nats import NatsServer, program
from cryptowatch.devnet.processes import Supervisor
from cryptowatch.ledger.events import NewEvent, append_events, feed_head, read_events, sequence_events
from cryptowatch.settings.stream import Stream
from cryptowatch.stream.messages import Message, message_of
from cryptowatch.stream.worker import StreamPublisher
from cryptowatch.telemetry.metrics import create_metrics

EVENTS, ROUNDS = 5_000, 6
GOAL = 0.5
#: What a deposit's event holds, about.
_DATA = '{"id":"dep_%032d","account_id":"acc_%032d","state":"credited","amount":"0.05000000","note":"%s"}'


async def run(report: Report) -> None:
    ours, peers = list[float](), list[float]()
    async with _pool() as pool, _server() as server:
        settings = Stream(url=server.url)
        publisher = StreamPublisher(pool, settings, create_metrics(CollectorRegistry()).stream)
        client = await nats.connect(server.url)
        peer = client.jetstream()
        await peer.add_stream(name="peer", subjects=["peer.>"])
        for round_number in range(ROUNDS + 1):
            messages = await _happen(pool, settings, round_number)
            ours_s, peer_s = await _publish(publisher), await _publish_as_peer(peer, messages, settings.batch)
            # The first round finds nothing prepared, on either side.
            if round_number:
                ours.append(EVENTS / ours_s)
                peers.append(EVENTS / peer_s)
        stored = [(await peer.stream_info(name)).state.messages for name in (settings.name, "peer")]
        assert stored == [EVENTS * (ROUNDS + 1)] * 2, stored
        await publisher.close()
        await client.close()
    ratio = statistics.median(own / other for own, other in zip(ours, peers, strict=True))
    report(
        "events from the log to JetStream",
        statistics.median(ours),
        "/s",
        "nats-py, same bytes, with acks",
        statistics.median(peers),
        ratio,
        f">= {GOAL} of it",
        ratio >= GOAL,
    )


async def _happen(pool: Pool, settings: Stream, round_number: int) -> Sequence[Message]:
    now = datetime.now(UTC)
    names = [f"{round_number}-{n}" for n in range(EVENTS)]
    events = [
        NewEvent("deposit.credited", "deposit", name, 1, None, _DATA % (n, n, "x" * 300), now)
        for n, name in enumerate(names)
    ]
    async with transaction(pool) as conn:
        await append_events(conn, events)
    async with connection(pool) as conn:
        before = await feed_head(conn)
        while await sequence_events(conn):
            pass
        told = await read_events(conn, before, EVENTS)
    return [message_of(event, "peer", "peer") for event in told]


async def _publish(publisher: StreamPublisher) -> float:
    started_s = time.perf_counter()
    while await publisher.step():
        pass
    return time.perf_counter() - started_s


async def _publish_as_peer(peer: JetStreamContext, messages: Sequence[Message], batch: int) -> float:
    started_s = time.perf_counter()
    for first in range(0, len(messages), batch):
        acks = [
            await peer.publish_async(
                message.subject, message.body, headers={"Nats-Msg-Id": message.headers["Nats-Msg-Id"]}
            )
            for message in messages[first : first + batch]
        ]
        await asyncio.gather(*acks)
    return time.perf_counter() - started_s


@asynccontextmanager
async def _pool() -> AsyncIterator[Pool]:
    with tempfile.TemporaryDirectory(prefix="cw-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        async with embedded.running(Path(folder) / "postgres") as dsn:
            await asyncio.to_thread(migrate, dsn)
            async with open_pool(dsn, application_name="bench", size_max=3) as pool:
                yield pool


@asynccontextmanager
async def _server() -> AsyncIterator[NatsServer]:
    with tempfile.TemporaryDirectory(prefix="cw-bench-", ignore_cleanup_errors=True) as folder:
        server = NatsServer(Path(folder))
        async with Supervisor() as supervisor:
            await supervisor.run(program(server))
            yield server
        server.close()
