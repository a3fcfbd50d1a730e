"""`cryptowatch verify-ledger`: for people and for programs."""

import asyncio
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cryptowatch.cli.ledger import verify_ledger
from cryptowatch.db.pool import connection
from tests.database.world import World

EXAMPLE = Path(__file__).parents[2] / "config" / "cryptowatch.example.toml"


@pytest.fixture
def command(database: str, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setenv("CRYPTOWATCH_DATABASE__DSN", database)
    app = typer.Typer()
    app.command()(verify_ledger)
    return app


async def break_it(world: World) -> None:
    await world.player(final=5)
    async with connection(world.pool) as conn:
        await conn.execute("UPDATE customer_balance SET total = 6")


async def test_a_sound_ledger_says_so_and_exits_with_0(world: World, command: typer.Typer) -> None:
    await world.player(final=5)
    done = await run(command, "--json")
    assert done[0] == 0
    assert json.loads(done[1]) == {
        "sound": True,
        "postings": 1,
        "accounts": 5,
        "events": 0,
        "count": 0,
        "findings": [],
        "findings_max": 1000,
    }
    assert "sound: 1 postings, 5 accounts" in (await run(command))[1]


async def test_a_broken_ledger_lists_what_is_broken_and_exits_with_1(
    world: World, command: typer.Typer
) -> None:
    await break_it(world)
    code, output = await run(command, "--json")
    assert code == 1
    assert [finding["invariant"] for finding in json.loads(output)["findings"]] == ["conservation", "balance"]
    code, output = await run(command, "--findings-max", "1")
    assert code == 1
    assert "conservation" in output
    assert "1 more" in output


async def run(command: typer.Typer, *arguments: str) -> tuple[int, str]:
    """In a thread, because the command runs a loop of its own."""
    call = ["--config", str(EXAMPLE), *arguments]
    result = await asyncio.to_thread(CliRunner().invoke, command, call)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout
