"""`webhooks`: deliveries from the event log to a real receiver in a process of its own.

Ours: the whole worker: feed, queue, leases, signatures, checked sockets, outcomes committed to a durable Postgres. The
peer is a bare aiohttp client that posts the same bytes to the same receiver over as many connections, from memory.
Samples alternate, and the median of their ratios is told.
"""

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec
from prometheus_client import CollectorRegistry

from benchmarks.reporting import Report
from cryptowatch.clock import SystemClock
from cryptowatch.db import embedded
from cryptowatch.db.migrate import migrate
from cryptowatch.db.pool import Pool, connection, open_pool, transaction
from cryptowatch.ids import derived_id
from cryptowatch.leash import leashed
from cryptowatch.ledger.events import NewEvent, append_events, feed_head, read_events, sequence_events
from cryptowatch.ledger.payload import event_view
from cryptowatch.plant import tune_garbage_collection
from cryptowatch.settings import Webhooks
from cryptowatch.telemetry.metrics import create_metrics
from cryptowatch.webhooks.endpoints import create_endpoint
from cryptowatch.webhooks.sealing import Seal
from cryptowatch.webhooks.worker import run_webhooks

#: So many that the first look at the feed, and the last outcomes' commit, are a small part of it.
EVENTS, ROUNDS = 20_000, 3
GOAL = 0.4
_DATA = '{"id":"dep_%032d","account_id":"acc_%032d","state":"credited","amount":"0.05000000","note":"%s"}'


async def run(report: Report) -> None:
    settings = Webhooks(allow_private_addresses=True)
    tune_garbage_collection()  # as the daemon does, and for the peer, too
    ours, peers = list[float](), list[float]()
    async with _pool() as pool, _receiver() as url, aiohttp.ClientSession() as session:
        await _endpoint(pool, url)
        metrics = create_metrics(CollectorRegistry())
        worker = asyncio.create_task(
            run_webhooks(
                pool,
                settings,
                SystemClock(),
                metrics.webhooks,
                metrics.database,
                random.Random(1).random,
                Seal(),
            )
        )
        for round_number in range(ROUNDS + 1):
            ours_s = await _delivered(pool, session, url, _prepared(round_number))
            peer_s = await _posted(session, url, await _told(pool), settings.concurrency)
            # The first round finds nothing prepared, on either side.
            if round_number:
                ours.append(EVENTS / ours_s)
                peers.append(EVENTS / peer_s)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        left = await pool.fetchval("SELECT count(*) FROM webhook_delivery WHERE state <> 'delivered'")
    ratio = statistics.median(own / other for own, other in zip(ours, peers, strict=True))
    report(
        "deliveries to one endpoint",
        statistics.median(ours),
        "/s",
        "bare aiohttp client",
        statistics.median(peers),
        ratio,
        f">= {GOAL} of it",
        ratio >= GOAL,
    )
    report("  left behind", left, "", None, None, None, "0", left == 0)


def _prepared(round_number: int) -> Sequence[NewEvent]:
    now = datetime.now(UTC)
    return [
        NewEvent(
            "deposit.credited", "deposit", f"{round_number}-{n}", 1, None, _DATA % (n, n, "x" * 300), now
        )
        for n in range(EVENTS)
    ]


async def _delivered(
    pool: Pool, session: aiohttp.ClientSession, url: str, events: Sequence[NewEvent]
) -> float:
    """Seconds from the commit of the events until the receiver has them all."""
    before = await _count(session, url)
    async with transaction(pool) as conn:
        await append_events(conn, events)
    started_s = time.perf_counter()
    while await _count(session, url) < before + len(events):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return time.perf_counter() - started_s


async def _count(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as answer:
        return int(await answer.text())


async def _told(pool: Pool) -> Sequence[bytes]:
    """The bodies that were delivered last."""
    async with connection(pool) as conn:
        await sequence_events(conn)
        events = await read_events(conn, await feed_head(conn) - EVENTS, EVENTS)
    return [msgspec.json.encode(event_view(event)) for event in events]


async def _posted(
    session: aiohttp.ClientSession, url: str, bodies: Sequence[bytes], connections: int
) -> float:
    waiting = iter(bodies)

    async def post(waiting: Iterator[bytes]) -> None:
        for body in waiting:
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                assert answer.status == 204
                await answer.read()

    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(post(waiting))
    return time.perf_counter() - started_s


async def _endpoint(pool: Pool, url: str) -> None:
    now = datetime.now(UTC)
    async with transaction(pool) as conn:
        await create_endpoint(
            conn,
            derived_id(now, os.urandom(16)),
            url=url,
            description="",
            event_types=[],
            secret_bytes=os.urandom(32),
            seal=Seal(),
            endpoints_max=1,
            now=now,
        )


@asynccontextmanager
async def _receiver() -> AsyncIterator[str]:
    here = os.pathsep.join(str(Path(__file__).parents[n]) for n in (1, 2))
    process = await asyncio.create_subprocess_exec(
        *leashed([sys.executable, "-m", "benchmarks._receiver"]),
        env={**os.environ, "PYTHONPATH": here},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/"
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def _pool() -> AsyncIterator[Pool]:
    with tempfile.TemporaryDirectory(prefix="cw-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        async with embedded.running(Path(folder) / "postgres") as dsn:
            await asyncio.to_thread(migrate, dsn)
            async with open_pool(dsn, application_name="bench", size_max=10) as pool:
                yield pool
