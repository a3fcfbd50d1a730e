"""`cryptowatch liabilities`: what operators publish, what an owner is given, and what the owner can check alone."""

import asyncio
import json
import stat
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from cryptowatch.cli.liabilities import app
from tests.api.test_keys_command import SETTINGS
from tests.api.world import Caller, World


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    path = tmp_path / "cryptowatch.toml"
    path.write_text(SETTINGS.format(dsn=database))
    return path


async def run(*words: object) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])


async def owing(world: World, backend: Caller, *amounts: int) -> list[str]:
    owners = [await world.account(backend) for _ in amounts]
    for owner, amount in zip(owners, amounts, strict=True):
        await world.give(owner, amount)
    return owners


async def test_each_owner_proves_the_own_balance_against_what_was_published(
    world: World, backend: Caller, config: Path, tmp_path: Path
) -> None:
    owners = await owing(world, backend, 5, 70_000_000, 11)
    folder = tmp_path / "export"
    done = await run("export", "--config", config, "--dir", folder)
    assert done.exit_code == 0, done.output
    [total] = json.loads((folder / "liabilities.json").read_text())["totals"]
    assert (total["asset"], total["base_units"], total["owners"]) == ("BTC", "70000016", 3)
    for owner, amount in zip(owners, ("5", "70000000", "11"), strict=True):
        given = await run("prove", "--dir", folder, "--account", owner, "--asset", "BTC")
        proof = tmp_path / "proof.json"
        proof.write_text(given.stdout)
        checked = await run("verify", "--proof", proof, "--published", folder / "liabilities.json")
        assert (checked.exit_code, checked.stdout.split()[0]) == (0, amount)
        # Nobody else's name is in it.
        assert not any(other in given.stdout for other in owners if other != owner)


async def test_a_balance_that_was_not_counted_is_told_so(
    world: World, backend: Caller, config: Path, tmp_path: Path
) -> None:
    owner, _ = await owing(world, backend, 5, 7)
    folder, proof = tmp_path / "export", tmp_path / "proof.json"
    await run("export", "--config", config, "--dir", folder)
    given = json.loads((await run("prove", "--dir", folder, "--account", owner, "--asset", "BTC")).stdout)
    proof.write_text(json.dumps(given | {"base_units": "6"}))
    lied = await run("verify", "--proof", proof, "--published", folder / "liabilities.json")
    assert lied.exit_code == 1
    assert "this balance is not part of the published total" in lied.stderr
    stranger = await run("prove", "--dir", folder, "--account", "acc_nobody", "--asset", "BTC")
    assert (stranger.exit_code, stranger.stdout) == (1, "")


async def test_leaves_are_private_a_total_is_never_replaced_and_changed_leaves_prove_nothing(
    world: World, backend: Caller, config: Path, tmp_path: Path
) -> None:
    owner, other = await owing(world, backend, 5, 7)
    folder = tmp_path / "export"
    await run("export", "--config", config, "--dir", folder)
    leaves = folder / "leaves-BTC.jsonl"
    assert stat.S_IMODE(leaves.stat().st_mode) == 0o600
    assert (await run("export", "--config", config, "--dir", folder)).exit_code == 1
    rows = [msgspec.json.decode(line) for line in leaves.read_bytes().splitlines()]
    kept = [row for row in rows if row["owner"] != other]
    leaves.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in kept))
    done = await run("prove", "--dir", folder, "--account", owner, "--asset", "BTC")
    assert done.exit_code == 1
    assert "they were changed" in done.stderr


async def test_debts_are_not_taken_off_and_nothing_owed_is_a_total_too(
    world: World, backend: Caller, config: Path, tmp_path: Path
) -> None:
    done = await run("export", "--config", config, "--dir", tmp_path / "empty")
    assert done.exit_code == 0
    [total] = json.loads((tmp_path / "empty/liabilities.json").read_text())["totals"]
    assert total == {"asset": "BTC", "base_units": "0", "owners": 0, "root": None}
    [rich, poor] = await owing(world, backend, 5, 7)
    await world.pool.execute(
        "UPDATE customer_balance SET total = -100 WHERE account_id = (SELECT id FROM ledger_account "
        "WHERE owner_id = $1)",
        poor.removeprefix("acc_"),
    )
    await run("export", "--config", config, "--dir", tmp_path / "with-debt")
    [total] = json.loads((tmp_path / "with-debt/liabilities.json").read_text())["totals"]
    assert (total["base_units"], total["owners"], rich != poor) == ("5", 1, True)
