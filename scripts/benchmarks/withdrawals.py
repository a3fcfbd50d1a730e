"""`withdrawals`: 10,000 withdrawals through the HTTP API of a daemon process, and out to a real bitcoind.

Each passes the policy, holds its money, is queued and told as two events, under an Idempotency-Key of its own. Floor: a
bare aiohttp handler that inserts and commits one row on the same Postgres server. Neighbours disturb either, so short
samples alternate, those of requests that are alone among them, and the median of the rates' ratios is told. Then the
queue is sent, one in ten of it urgent: who is broadcast when is read from the database, and nobody may be left.
"""

import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import aiohttp

from benchmarks._http_load import http_request, load
from benchmarks._servers import bare_server, cryptowatch, ready, rich_accounts, seasoned
from benchmarks.reporting import Report
from cryptowatch import devnet
from cryptowatch.chains.bitcoin.address import address_of
from cryptowatch.db.pool import Pool, open_pool
from cryptowatch.devnet import Net

WITHDRAWALS, ROUNDS, CONNECTIONS, ACCOUNTS = 10_000, 10, 40, 5_000
UNLOADED = 200
#: Until each connection of the pools has the statements prepared: a few groups of requests meet one that does not.
WARM_UP = 2_000
URGENT_EVERY = 10
GOAL_RATE, GOAL_P99 = 0.4, 10
#: What pays for all of them.
COINS, COIN = 30, "1"
#: The signer's `outputs_max`, without the change.
_BATCHES = {"CRYPTOWATCH_CHAINS__BITCOIN__BATCHING__COUNT_MAX": "499"}
_SEND_TIMEOUT_S = 240


async def run(report: Report) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="cw-bench-", ignore_cleanup_errors=True)
        )
        Path(folder).chmod(0o711)
        net = await stack.enter_async_context(devnet.up(Path(folder), bitcoin_nodes=1))
        pool = await stack.enter_async_context(
            open_pool(net.postgres_dsn, application_name="benchmark", size_max=2)
        )
        accounts = await rich_accounts(pool, ACCOUNTS)
        await pool.execute("CREATE DATABASE bare")
        await stack.enter_async_context(cryptowatch(net, "run", "--roles", "watch,api"))
        bare = await stack.enter_async_context(bare_server(net))
        await ready(net)
        await _fund(net)
        await seasoned(pool)
        await _requests(net, bare, _written(net, accounts), report)
        await _sending(net, pool, report)


async def _requests(net: Net, bare: int, requests: Iterator[bytes], report: Report) -> None:
    """The first ones find nothing prepared, on either side: they are not counted."""
    port = int(net.api_url.rpartition(":")[2])
    for warmed in (bare, port):
        await load(warmed, list(itertools.islice(requests, WARM_UP)), CONNECTIONS, 202)
    ours, floors, latencies, alone = list[float](), list[float](), list[float](), list[float]()
    for _ in range(ROUNDS):
        part = list(itertools.islice(requests, WITHDRAWALS // ROUNDS))
        floor_s, _ = await load(bare, part, CONNECTIONS, 202)
        _, one_by_one = await load(port, list(itertools.islice(requests, UNLOADED // ROUNDS)), 1, 202)
        ours_s, seconds = await load(port, part, CONNECTIONS, 202)
        ours.append(len(part) / ours_s)
        floors.append(len(part) / floor_s)
        latencies += seconds
        alone += one_by_one
    ratio = statistics.median(own / floor for own, floor in zip(ours, floors, strict=True))
    report(
        f"withdrawals requested, {CONNECTIONS} connections",
        statistics.median(ours),
        "/s",
        "bare aiohttp + INSERT",
        statistics.median(floors),
        ratio,
        f">= {GOAL_RATE} of it",
        ratio >= GOAL_RATE,
    )
    p99, unloaded = statistics.quantiles(latencies, n=100)[98] * 1000, statistics.median(alone) * 1000
    report(
        "  99th percentile of their time",
        p99,
        "ms",
        "unloaded median",
        unloaded,
        p99 / unloaded,
        f"<= {GOAL_P99} times",
        p99 <= GOAL_P99 * unloaded,
    )


async def _sending(net: Net, pool: Pool, report: Report) -> None:
    """Blocks come whenever nothing more can leave before one."""
    async with (
        cryptowatch(net, "signer", environment=_BATCHES),
        cryptowatch(net, "run", "--roles", "send", environment=_BATCHES),
    ):
        started_s = time.perf_counter()
        left = before = await _left(pool)
        while left and time.perf_counter() - started_s < _SEND_TIMEOUT_S:
            await asyncio.sleep(2)
            now = await _left(pool)
            if now == left:
                await net.mine(1)
            left = now
        seconds = time.perf_counter() - started_s
    report("withdrawals broadcast by bitcoind", (before - left) / seconds, "/s")
    report("  left behind", left, "", None, None, None, "0", left == 0)
    urgent = [row["urgent"] for row in await pool.fetch(_TRANSACTIONS)]
    last, needed = max(n for n, has in enumerate(urgent, 1) if has), sum(urgent)
    goal = "before all others"
    report(
        "  last transaction with an urgent one",
        last,
        f"of {len(urgent)}",
        None,
        None,
        None,
        goal,
        last == needed,
    )


#: Each transaction, in the order of broadcast, and whether an urgent one is in it.
_TRANSACTIONS = """
SELECT bool_or(w.priority = 'urgent') AS urgent FROM withdrawal w JOIN attempt a ON a.lineage_id = w.lineage_id
WHERE a.number = 1 GROUP BY a.lineage_id ORDER BY min(a.broadcast_at)
"""


async def _left(pool: Pool) -> int:
    """Requested, and not broadcast."""
    count: int = await pool.fetchval(
        "SELECT count(*) FROM withdrawal w WHERE NOT EXISTS (SELECT FROM attempt a "
        "WHERE a.lineage_id = w.lineage_id AND a.broadcast_at IS NOT NULL)"
    )
    return count


def _written(net: Net, accounts: Sequence[UUID]) -> Iterator[bytes]:
    """Requests without end: every one by another account than the ones around it, to a stranger."""
    randomness = random.Random(1)
    for number, account in enumerate(itertools.cycle(accounts)):
        body = {
            "account_id": f"acc_{account.hex}",
            "asset": "BTC",
            "chain": "bitcoin",
            "amount": "0.0005",
            "address": address_of(b"\x00\x14" + randomness.randbytes(20), "regtest"),
            "priority": "normal" if number % URGENT_EVERY else "urgent",
        }
        headers = {"Authorization": f"Bearer {net.api_key}", "Idempotency-Key": f"withdrawal-{number}"}
        yield http_request("/v1/withdrawals", headers, body)


async def _fund(net: Net) -> None:
    """Deposits that are final: the coins that pay."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {net.api_key}"}) as session:

        async def post(path: str, body: object) -> str:
            async with session.post(net.api_url + path, json=body) as answer:
                found = await answer.json()
                return str(found["id"] if path == "/v1/accounts" else found["address"])

        account = await post("/v1/accounts", {"external_id": "depositor"})
        path = f"/v1/accounts/{account}/addresses"
        addresses = [await post(path, {"chain": "bitcoin"}) for _ in range(COINS)]
    await net.send_many(dict.fromkeys(addresses, COIN))
    await net.mine(6)
