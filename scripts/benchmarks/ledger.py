"""`ledger`: how fast money moves, against Postgres' own benchmark on the same server.

Everything is on: idempotency keys, history with balances, append-only guards, floors, a house account on the
other side of every posting, default durability (each commit is flushed to disk).

    one posting per call     one commit each, 8 connections
    ... through the pool     taking a connection for each one
    batches of 500           one commit each, 4 connections, each with players of its own, as a backend that
                             shards by player has them
    ... on shared players    every connection posts for any player: batches wait for each other's rows

Peer: pgbench's TPC-B-like, 8 clients, scale 50. Floor: pgbench inserts one small row and commits, 8 clients,
which is what a commit costs at least.

Neighbours disturb any of these, so short samples alternate, each is compared with the TPC-B samples right
before and after it, and the median of those ratios is told. At the end the whole ledger is verified: a
finding fails.
"""

import asyncio
import itertools
import random
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg

from benchmarks.reporting import Report
from cryptowatch.db import embedded
from cryptowatch.db.migrate import migrate
from cryptowatch.db.pool import Pool, connection, open_pool, transaction
from cryptowatch.ledger.accounts import ensure_players, open_house_accounts
from cryptowatch.ledger.balances import roll_up
from cryptowatch.ledger.postings import Posted, post, post_all, post_each
from cryptowatch.ledger.rules import CustomerAccount, HouseAccount, Kind, Posting, Status, customer_posting
from cryptowatch.ledger.verify import verify
from cryptowatch.money import BaseUnits

ASSET = "USDT"
PLAYERS = 50_000
FUNDS = BaseUnits(10**12)
SCALE = 50
CLIENTS = 8
BATCH = 500
BATCH_CONNECTIONS = 4
ROUNDS = 4
SAMPLE_S = 1
#: More postings than any sample can make.
FACTS_MAX = 60_000
FLOOR = "floor.sql"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

GOAL_SINGLE = 1.0
GOAL_BATCH = 6.0

Sample = Callable[[], Awaitable[float]]
#: Key, kind, player, amount in base units.
Fact = tuple[str, Kind, CustomerAccount, int]


async def run(report: Report) -> None:
    with _folder() as folder:
        async with embedded.running(folder) as server, _bench(server, folder) as bench:
            await _measure(bench, report)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that Postgres' user may enter, with the floor's script in it."""
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        (folder / FLOOR).write_text(
            "\\set n random(1, 1000000)\nINSERT INTO floor VALUES (:n, 1);\n", encoding="ascii"
        )
        yield folder


async def _measure(bench: "Bench", report: Report) -> None:
    samples: dict[str, Sample] = {
        "one posting per call": bench.held,
        "one posting per call, through the pool": bench.pooled,
        f"postings in batches of {BATCH}": bench.batches,
        f"postings in batches of {BATCH}, on shared players": bench.batches_on_shared_players,
    }
    goals = dict(zip(samples, (GOAL_SINGLE, None, GOAL_BATCH, None), strict=True))
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in samples}
    floor: list[float] = []
    before = await bench.tpcb()
    for _ in range(ROUNDS):
        for name, sample in samples.items():
            value = await sample()
            after = await bench.tpcb()
            peer = (before + after) / 2
            figures[name].append((value / peer, value, peer))
            before = after
        floor.append(await bench.floor())
    for name, rounds in figures.items():
        ratio, value, peer = (statistics.median(column) for column in zip(*rounds, strict=True))
        goal = goals[name]
        told, met = (None, None) if goal is None else (f">= {goal:g} times", ratio >= goal)
        report(name, value, "/s", "pgbench TPC-B", peer, ratio, told, met)
    single = statistics.median(value for _, value, _ in figures["one posting per call"])
    lowest = statistics.median(floor)
    report("floor: bare insert and commit, pgbench", lowest, "/s", "one posting", single, lowest / single)
    started_s = time.perf_counter()
    async with connection(bench.pool) as conn:
        found = await verify(conn)
    assert found.sound, found.findings[:5]
    report(
        "verification of all postings written here", found.postings / (time.perf_counter() - started_s), "/s"
    )


@dataclass
class Bench:
    server: str
    folder: Path
    pool: Pool
    game: HouseAccount
    players: list[CustomerAccount]
    random: random.Random

    async def held(self) -> float:
        async def client(facts: list[Fact], until_s: float) -> int:
            async with connection(self.pool) as conn:
                for done, fact in enumerate(facts):
                    if time.monotonic() > until_s:
                        return done
                    _check([await post(conn, self._posting(*fact), NOW)])
            return len(facts)

        return await self._rate(client, [self.players] * CLIENTS)

    async def pooled(self) -> float:
        async def client(facts: list[Fact], until_s: float) -> int:
            for done, fact in enumerate(facts):
                if time.monotonic() > until_s:
                    return done
                async with connection(self.pool) as conn:
                    _check([await post(conn, self._posting(*fact), NOW)])
            return len(facts)

        return await self._rate(client, [self.players] * CLIENTS)

    async def batches(self) -> float:
        shares = [self.players[n::BATCH_CONNECTIONS] for n in range(BATCH_CONNECTIONS)]
        return await self._rate(self._post_batches, shares)

    async def batches_on_shared_players(self) -> float:
        return await self._rate(self._post_batches, [self.players] * BATCH_CONNECTIONS)

    async def _post_batches(self, facts: list[Fact], until_s: float) -> int:
        async with connection(self.pool) as conn:
            for first in range(0, len(facts), BATCH):
                if time.monotonic() > until_s:
                    return first
                postings = [self._posting(*fact) for fact in facts[first : first + BATCH]]
                _check(await post_each(conn, postings, NOW))
        return len(facts)

    async def _rate(
        self,
        client: Callable[[list[Fact], float], Awaitable[int]],
        players_of_clients: list[list[CustomerAccount]],
    ) -> float:
        # What callers bring with them is made before the clock starts; postings are built while it runs.
        count = FACTS_MAX // len(players_of_clients)
        facts = [self._facts(count, players) for players in players_of_clients]
        started_s = time.monotonic()
        counts = await asyncio.gather(*(client(mine, started_s + SAMPLE_S) for mine in facts))
        return sum(counts) / (time.monotonic() - started_s)

    async def tpcb(self) -> float:
        return await self._pgbench("bench")

    async def floor(self) -> float:
        return await self._pgbench("bench", "-f", str(self.folder / FLOOR), sample_s=1)

    def _facts(self, count: int, players: list[CustomerAccount]) -> list[Fact]:
        """What a platform's backend would send: random keys, random players, bets and wins in turn."""
        kinds = itertools.cycle((Kind.BET, Kind.WIN))
        keys = (UUID(int=self.random.getrandbits(128)) for _ in range(count))
        chosen = self.random.choices(players, k=count)
        amounts = self.random.choices(range(1, 1000), k=count)
        return [
            (f"api:{key}", kind, player, amount)
            for key, kind, player, amount in zip(keys, kinds, chosen, amounts, strict=False)
        ]

    def _posting(self, key: str, kind: Kind, player: CustomerAccount, amount: int) -> Posting:
        return customer_posting(kind, key, player, self.game, BaseUnits(amount), reference="round-1234567")

    async def _pgbench(self, database: str, *more: str, sample_s: int = SAMPLE_S) -> float:
        process = await asyncio.create_subprocess_exec(
            embedded.pgbench(),
            "-n",
            "-c",
            str(CLIENTS),
            "-j",
            "2",
            "-T",
            str(sample_s),
            "-M",
            "prepared",
            *more,
            _database(self.server, database),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate()
        found = re.search(rb"tps = ([0-9.]+)", output)
        assert found is not None, "pgbench told no rate"
        return float(found.group(1))


def _check(answers: list[Posted]) -> None:
    assert all(answer.status is Status.CREATED for answer in answers)


@asynccontextmanager
async def _bench(server: str, folder: Path) -> AsyncIterator[Bench]:
    """Both databases filled; house deltas folded meanwhile, as the daemon does."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("CREATE DATABASE bench")
        admin.execute("CREATE DATABASE ledger")
    filling = await asyncio.create_subprocess_exec(
        embedded.pgbench(),
        "-i",
        "-q",
        "-s",
        str(SCALE),
        _database(server, "bench"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await filling.wait() == 0, "pgbench could not fill its database"
    with psycopg.connect(_database(server, "bench"), autocommit=True) as admin:
        admin.execute("CREATE TABLE floor (n int, m int)")
    dsn = _database(server, "ledger")
    await asyncio.to_thread(migrate, dsn)
    async with open_pool(dsn, application_name="bench", size_min=CLIENTS, size_max=CLIENTS + 1) as pool:
        houses = await open_house_accounts(pool, [("game", ASSET), ("custody:bench", ASSET)])
        players = await _funded_players(pool, houses.id("custody:bench", ASSET))
        async with connection(pool) as conn:
            await conn.execute("VACUUM ANALYZE")
        rolling = asyncio.create_task(_keep_rolling_up(pool))
        try:
            yield Bench(server, folder, pool, houses.id("game", ASSET), players, random.Random(1))
        finally:
            rolling.cancel()


async def _funded_players(pool: Pool, custody: HouseAccount) -> list[CustomerAccount]:
    players: list[CustomerAccount] = []
    for first in range(1, PLAYERS + 1, 10_000):
        owners = [(UUID(int=number), ASSET) for number in range(first, first + 10_000)]
        async with transaction(pool) as conn:
            made = list((await ensure_players(conn, owners)).values())
            await post_all(
                conn,
                [
                    customer_posting(Kind.DEPOSIT_CREDIT_FINAL, f"funds:{player}", player, custody, FUNDS)
                    for player in made
                ],
                NOW,
            )
        players += made
    return players


async def _keep_rolling_up(pool: Pool) -> None:
    while True:
        async with connection(pool) as conn:
            await roll_up(conn)
        await asyncio.sleep(1)


def _database(server: str, name: str) -> str:
    return server.replace("/postgres?", f"/{name}?", 1)
