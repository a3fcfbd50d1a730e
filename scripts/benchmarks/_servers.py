"""A daemon and a bare handler beside it, each as a process of its own, for the benchmarks of the HTTP API."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import aiohttp

from cryptowatch.db.pool import Pool, transaction
from cryptowatch.devnet import Net
from cryptowatch.ids import derived_id
from cryptowatch.leash import leashed
from cryptowatch.ledger.accounts import ensure_players, open_house_accounts
from cryptowatch.ledger.postings import post_all
from cryptowatch.ledger.rules import Kind, customer_posting
from cryptowatch.money import BaseUnits

_START_TIMEOUT_S = 60
#: More than a benchmark writes.
_LOG_FILES, _LOG_FILE_BYTES = 12, 16_000_000


async def rich_accounts(pool: Pool, count: int) -> Sequence[UUID]:
    """With a whole bitcoin each."""
    now = datetime.now(UTC)
    found = [derived_id(now, number.to_bytes(4, "big")) for number in range(count)]
    houses = await open_house_accounts(pool, [("bonus", "BTC")])
    async with transaction(pool) as conn:
        await conn.execute(
            "INSERT INTO account (id, external_id, created_at, updated_at) SELECT id, id::text, $2, $2 "
            "FROM unnest($1::uuid[]) AS new (id)",
            found,
            now,
        )
        players = await ensure_players(conn, [(account, "BTC") for account in found])
        given = [
            customer_posting(
                Kind.BONUS, f"bonus:{player}", player, houses.id("bonus", "BTC"), BaseUnits(10**8)
            )
            for player in players.values()
        ]
        await post_all(conn, given, now)
    return found


async def seasoned(pool: Pool) -> None:
    """As in a server that has run for a while: analyzed, and with files of the write-ahead log to use again.

    A new one makes each file in the moment in which it is full, and whoever commits then waits for the disk.
    """
    await pool.execute("VACUUM ANALYZE")
    for _ in range(_LOG_FILES):
        await pool.execute(
            "SELECT pg_logical_emit_message(false, 'benchmark', repeat(' ', $1::int))", _LOG_FILE_BYTES
        )
    await pool.execute("CHECKPOINT")


async def ready(net: Net) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline_s:
            try:
                async with session.get(f"{net.api_url}/health/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)
    raise AssertionError("the daemon does not become ready")


@asynccontextmanager
async def cryptowatch(
    net: Net, command: str, *options: str, environment: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[None]:
    """A process as an operator starts it, but that the one key may call as often as it can."""
    environment = {
        "CRYPTOWATCH_API__RATE_PER_S": "1000000",
        "CRYPTOWATCH_API__RATE_BURST": "1000000",
        **environment,
    }
    arguments = ["-m", "cryptowatch", command, "--config", str(net.settings_file), *options]
    log = net.folder / f"{command}{''.join(options)}.log"
    async with python(arguments, environment, log):
        yield


@asynccontextmanager
async def bare_server(net: Net) -> AsyncIterator[int]:
    dsn = net.postgres_dsn.replace("/postgres?", "/bare?")
    async with python(["-m", "benchmarks._bare_server", dsn], {}, None) as process:
        assert process.stdout is not None
        yield int(await process.stdout.readline())


@asynccontextmanager
async def python(
    arguments: Sequence[str], environment: Mapping[str, str], log: Path | None
) -> AsyncIterator[asyncio.subprocess.Process]:
    output = asyncio.subprocess.PIPE if log is None else log.open("wb")
    here = os.pathsep.join(str(Path(__file__).parents[n]) for n in (1, 2))
    process = await asyncio.create_subprocess_exec(
        *leashed([sys.executable, *arguments]),
        env={**os.environ, "PYTHONPATH": here, **environment},
        stdout=output,
        stderr=None if log is None else asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
