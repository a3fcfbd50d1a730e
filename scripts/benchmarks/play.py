"""`play`: bets and wins through the HTTP API of a daemon process, one by one and in batches.

Each has a round, moves money under a key of its own, and is added to its day. Floor: a bare aiohttp handler
that inserts and commits one row on the same Postgres server. Neighbours disturb either, so short samples alternate, and
the median of their ratios is told.
"""

import itertools
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks._http_load import http_request, load
from benchmarks._servers import bare_server, cryptowatch, ready, rich_accounts, seasoned
from benchmarks.reporting import Report
from cryptowatch import devnet
from cryptowatch.db.pool import open_pool
from cryptowatch.devnet import Net

TRANSFERS, ROUNDS, CONNECTIONS, ACCOUNTS = 20_000, 10, 40, 5_000
BATCH, BATCHES, BATCH_CONNECTIONS = 500, 8, 2
UNLOADED, WARM_UP = 300, 1_000
GOAL_RATE, GOAL_BATCH = 0.4, 5


async def run(report: Report) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="cw-bench-", ignore_cleanup_errors=True)
        )
        net = await stack.enter_async_context(devnet.up(Path(folder), bitcoin_nodes=1))
        pool = await stack.enter_async_context(
            open_pool(net.postgres_dsn, application_name="benchmark", size_max=2)
        )
        accounts = await rich_accounts(pool, ACCOUNTS)
        await pool.execute("CREATE DATABASE bare")
        await stack.enter_async_context(cryptowatch(net, "run", "--roles", "api"))
        bare = await stack.enter_async_context(bare_server(net))
        await ready(net)
        await seasoned(pool)
        await _measure(net, bare, _transfers(accounts), report)


async def _measure(net: Net, bare: int, transfers: Iterator[dict[str, Any]], report: Report) -> None:
    """The first ones find nothing prepared, on either side: they are not counted."""
    port = int(net.api_url.rpartition(":")[2])
    for warmed in (bare, port):
        await load(warmed, _singles(net, transfers, WARM_UP), CONNECTIONS, 201)
    await load(port, _batches(net, transfers, 2), BATCH_CONNECTIONS, 200)
    _, alone = await load(port, _singles(net, transfers, UNLOADED), 1, 201)
    ours, floors, batched, latencies = list[float](), list[float](), list[float](), list[float]()
    for _ in range(ROUNDS):
        part = _singles(net, transfers, TRANSFERS // ROUNDS)
        floor_s, _ = await load(bare, part, CONNECTIONS, 201)
        ours_s, seconds = await load(port, part, CONNECTIONS, 201)
        batches = _batches(net, transfers, BATCHES)
        batched_s, _ = await load(port, batches, BATCH_CONNECTIONS, 200)
        floors.append(len(part) / floor_s)
        ours.append(len(part) / ours_s)
        batched.append(BATCH * len(batches) / batched_s)
        latencies += seconds
    floor = statistics.median(floors)
    against = "bare aiohttp + INSERT"
    ratio = statistics.median(own / bare_rate for own, bare_rate in zip(ours, floors, strict=True))
    report(
        f"bets and wins, {CONNECTIONS} connections",
        statistics.median(ours),
        "/s",
        against,
        floor,
        ratio,
        f">= {GOAL_RATE} of it",
        ratio >= GOAL_RATE,
    )
    p99, unloaded = statistics.quantiles(latencies, n=100)[98] * 1000, statistics.median(alone) * 1000
    report("  99th percentile of their time", p99, "ms", "unloaded median", unloaded, p99 / unloaded)
    ratio = statistics.median(own / bare_rate for own, bare_rate in zip(batched, floors, strict=True))
    report(
        f"in batches of {BATCH}, {BATCH_CONNECTIONS} connections",
        statistics.median(batched),
        "/s",
        against,
        floor,
        ratio,
        f">= {GOAL_BATCH} times",
        ratio >= GOAL_BATCH,
    )


def _transfers(accounts: Sequence[UUID]) -> Iterator[dict[str, Any]]:
    """Bets, and of every other one a win in the same round, without end; neighbours are of other accounts."""
    for turn in itertools.count():
        for number, account in enumerate(accounts):
            yield {
                "account_id": f"acc_{account.hex}",
                "asset": "BTC",
                "amount": "0.00000010",
                "kind": "win" if turn % 3 == 1 else "bet",
                "product": "slots",
                "round": f"round {turn // 2}-{number}",
                "reference": f"{turn}-{number}",
            }


def _headers(net: Net) -> dict[str, str]:
    return {"Authorization": f"Bearer {net.api_key}"}


def _key(transfer: dict[str, Any]) -> str:
    return f"play-{transfer['reference']}"


def _singles(net: Net, transfers: Iterator[dict[str, Any]], count: int) -> list[bytes]:
    return [
        http_request("/v1/transfers", {**_headers(net), "Idempotency-Key": _key(one)}, one)
        for one in itertools.islice(transfers, count)
    ]


def _batches(net: Net, transfers: Iterator[dict[str, Any]], count: int) -> list[bytes]:
    return [
        http_request(
            "/v1/transfers/batch",
            _headers(net),
            {"transfers": [{**one, "key": _key(one)} for one in itertools.islice(transfers, BATCH)]},
        )
        for _ in range(count)
    ]
