"""A dump, restored elsewhere, goes on where it stopped: keys, balances, positions."""

import subprocess

import pytest

from cryptowatch.db.embedded import programs_dir
from cryptowatch.db.pool import connection, open_pool, transaction
from cryptowatch.ledger.events import NewEvent, append_events, read_events, sequence_events
from cryptowatch.ledger.rules import Kind, Status
from tests.database.world import NOW, World, create_world


def run(program: str, *arguments: str) -> None:
    subprocess.run([str(programs_dir() / program), *arguments], check=True, capture_output=True, timeout=60)


async def test_p2_p8_a_restored_dump_goes_on_without_repeating_or_skipping(
    world: World, database: str, empty_database: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    player = await world.player(final=100, unfinalized=20)
    bet = world.posting(Kind.BET, player, 30)
    await world.post(bet)
    async with transaction(world.pool) as conn:
        for n in (1, 2, 3):
            await append_events(conn, [NewEvent("t", "deposit", "d", n, None, "{}", NOW)])
    async with connection(world.pool) as conn:
        await sequence_events(conn, limit=2)

    dump = str(tmp_path_factory.mktemp("dump") / "ledger.dump")
    run("pg_dump", "-Fc", "-f", dump, database)
    run("pg_restore", "--exit-on-error", "-d", empty_database, dump)

    async with open_pool(empty_database, application_name="test", size_max=2) as pool:
        restored = await create_world(pool)
        restored.keys = world.keys
        await restored.assert_sound()
        assert (await restored.post(bet)).status is Status.EXISTS
        await restored.done(Kind.WIN, player, 5)
        async with transaction(pool) as conn:
            await append_events(conn, [NewEvent("t", "deposit", "d", 4, None, "{}", NOW)])
        async with connection(pool) as conn:
            await sequence_events(conn)
            feed = await read_events(conn, 0, 10)
        assert [(event.position, event.entity_version) for event in feed] == [(n, n) for n in (1, 2, 3, 4)]
        await restored.assert_sound()
