"""Runs simulations of several daemons, one for each seed: `python -m tests.attacks.simulate 0-99 --ticks 3000`.

Seeds are numbers and ranges of them. It brings a Postgres of its own, and ends with the first seed that fails: with
what was wrong, and all that happened before.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import asyncpg
import structlog

from cryptowatch.db import embedded
from cryptowatch.db.migrate import migrate
from cryptowatch.db.pool import prepare_connection
from tests.attacks.network import deposit_of
from tests.attacks.outside import DEPOSIT, EVENTS
from tests.attacks.simulation import PLAYERS, Odds, Simulation
from tests.attacks.turns import Turns, open_pool_in_turns
from tests.attacks.world import FINALITY, World
from tests.support.devnet_fixtures import database_dsn
from tests.support.fake_nodes import HandClock

TICKS = 3_000
ADDRESSES = 400
ROUNDS_MAX = 80
#: More than all players ask for, once everything shall come to its end.
RESERVES = 10**10
_BONUS = 10**11
_UNDER_WAY = """
SELECT EXISTS (SELECT FROM lineage WHERE state IN ('open', 'confirmed'))
    OR EXISTS (SELECT FROM withdrawal WHERE state IN ('in_review', 'queued', 'sending', 'confirmed'))
"""
_COUNTS = """
SELECT 'withdrawals' AS what, count(*) FROM withdrawal
UNION ALL SELECT 'transactions', count(*) FROM lineage
UNION ALL SELECT 'attempts', count(*) FROM attempt
UNION ALL SELECT 'joined', count(*) FROM withdrawal w WHERE EXISTS (
    SELECT FROM attempt a WHERE a.lineage_id = w.lineage_id AND a.number = 1
        AND cardinality(a.positions) < w.batch_place)
UNION ALL SELECT kind, count(*) FROM lineage WHERE kind <> 'payout' GROUP BY kind
UNION ALL SELECT reason, count(*) FROM lineage WHERE state = 'dead' GROUP BY reason
UNION ALL SELECT type, count(*) FROM event WHERE type LIKE '%reorged' GROUP BY type
UNION ALL SELECT e.data::jsonb ->> 'reason', count(*) FROM event e WHERE e.type = 'withdrawal.queued'
    AND e.data::jsonb ->> 'reason' IS NOT NULL GROUP BY 1
"""


class SimulationFailed(AssertionError):
    """Says the seed, what happened, and at the end what is wrong."""


async def simulate(dsn: str, seed: int, ticks: int = TICKS) -> Simulation:
    """In an empty database with the current schema. Raises SimulationFailed."""
    async with AsyncExitStack() as stack:
        connections = [await asyncpg.connect(dsn) for _ in range(2)]
        for one in connections:
            stack.push_async_callback(one.close)
            await prepare_connection(one)
        control, looks = connections
        chance, clock, turns = Random(seed), HandClock(), Turns(control)
        pool = await stack.enter_async_context(open_pool_in_turns(dsn, application_name="people", size_max=4))
        people = World(pool, clock=clock, randbytes=chance.randbytes)
        await people.open(ADDRESSES)
        simulation = Simulation(looks, people, clock, chance, Odds.drawn(chance), turns, EVENTS, had=_BONUS)
        simulation.note(str(simulation.odds))
        try:
            for number in range(simulation.odds.daemons):
                name = f"d{number}"
                own = await stack.enter_async_context(
                    open_pool_in_turns(dsn, application_name=name, size_max=6)
                )
                simulation.adds_daemon(name, own)
            await _begin(simulation)
            await simulation.play(ticks)
            await _finish(simulation)
        except Exception as problem:
            steps = "\n".join(simulation.steps)
            raise SimulationFailed(f"{steps}\nseed {seed}: {type(problem).__name__}: {problem}") from problem
        finally:
            await turns.stop()
        return simulation


async def _begin(of: Simulation) -> None:
    """Players with a final deposit each, or one of them alone."""
    for _ in range(PLAYERS):
        of.accounts.append(await of.people.rich())
    for number, (_, script) in enumerate(of.accounts[: of.odds.coins]):
        of.network.sends(deposit_of(number, script, DEPOSIT + of.chance.randint(0, DEPOSIT)))
    for _ in range(FINALITY):
        of.network.mine(of.network.waiting(), of.clock.now())
    for daemon in of.daemons:
        await daemon.watcher.follow()
    await of.turns.prepare()


async def _finish(of: Simulation) -> None:
    """Faults end, money is there, miners take what waits, and people approve: all must come to its end."""
    await of.ends_what_runs()
    await of.check()
    _, script = of.accounts[0]
    reserves = deposit_of(len(of.network.known), script, RESERVES)
    of.network.sends(reserves)
    for number in range(ROUNDS_MAX):
        of.network.mine(of.network.waiting(), of.clock.now())
        daemon = of.daemons[number % len(of.daemons)]
        await daemon.watcher.follow()
        await of.approves_all()
        for _ in range(2):
            await daemon.world.pay()
        of.clock.seconds += 600
        if of.network.branch.is_deep(reserves, FINALITY) and not await of.looks.fetchval(_UNDER_WAY):
            break
    else:
        raise AssertionError("something stands still for ever")
    await of.check_at_the_end()


def seeds_of(words: Sequence[str]) -> Iterator[int]:
    for word in words:
        first, _, last = word.partition("-")
        yield from range(int(first), int(last or first) + 1)


async def _run(folder: Path, seeds: Sequence[int], ticks: int) -> None:
    async with embedded.running(folder, fast_unsafe=True) as server:
        control = await asyncpg.connect(server)
        await control.execute("CREATE DATABASE migrated")
        await asyncio.to_thread(migrate, database_dsn(server, "migrated"))
        for seed in seeds:
            name, started_s = f"seed_{seed}", time.monotonic()
            await control.execute(f"CREATE DATABASE {name} TEMPLATE migrated STRATEGY file_copy")
            await simulate(database_dsn(server, name), seed, ticks)
            took_s = time.monotonic() - started_s
            told = await _counts(database_dsn(server, name))
            await control.execute(f"DROP DATABASE {name} WITH (FORCE)")
            print(f"seed {seed}: {took_s:.1f} s, {told}", flush=True)
        await control.close()


async def _counts(dsn: str) -> str:
    """What was reached, so that one sees what seeds are worth."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(_COUNTS)
    await connection.close()
    return ", ".join(f"{row['count']} {row['what']}" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="+", help="such as 7 or 0-99")
    parser.add_argument("--ticks", type=int, default=TICKS)
    given = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory(prefix="cw-") as folder:
        os.chmod(folder, 0o711)
        try:
            asyncio.run(_run(Path(folder) / "postgres", list(seeds_of(given.seeds)), given.ticks))
        except SimulationFailed as failed:
            raise SystemExit(str(failed)) from None


if __name__ == "__main__":
    main()
