"""The audit log through the API and the commands: who did what, and nothing that was not done."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cryptowatch.api.keys import Scope
from cryptowatch.cli.commands import command_line
from cryptowatch.compliance.audit import seal
from cryptowatch.db.pool import transaction
from tests.api.test_keys_command import SETTINGS
from tests.api.test_money import transfer, withdrawal
from tests.api.world import Caller, World


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    path = tmp_path / "cryptowatch.toml"
    path.write_text(SETTINGS.format(dsn=database))
    return path


async def run(config: Path, *words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, command_line(), [*words, "--config", str(config)])


async def told(world: World, backend: Caller, **query: str) -> list[tuple[str, str, str]]:
    """(actor, action, outcome), oldest first."""
    async with transaction(world.pool) as conn:
        await seal(conn)
    answer = await backend.get("/v1/audit", params=query)
    assert answer.status == 200, answer
    return [(one["actor"], one["action"], one["outcome"]) for one in reversed(answer.body["data"])]


async def test_every_write_of_a_key_is_told_once_and_with_what_it_was_about(
    world: World, backend: Caller
) -> None:
    approver = await world.caller([Scope.ACCOUNTS])
    account = await world.account(backend)
    path = f"/v1/accounts/{account}"
    await approver.call("PATCH", path, json={"status": "frozen"}, headers={"X-Request-Id": "ours-1"})
    assert await told(world, backend, subject=account) == [
        (backend.key_id, "POST /v1/accounts", "201 active"),
        (approver.key_id, "PATCH /v1/accounts/{account_id}", "200 frozen"),
    ]
    [last, _] = (await backend.get("/v1/audit")).body["data"]
    assert (last["request_id"], last["subjects"], len(last["body_digest"])) == ("ours-1", [account], 64)


async def test_what_is_read_refused_repeated_or_told_elsewhere_leaves_no_entry(
    world: World, backend: Caller
) -> None:
    account = await world.account(backend)
    await world.give(account, 100_000_000)
    before = await told(world, backend)
    path = f"/v1/accounts/{account}"
    await backend.get(path)
    assert (await backend.patch(path, {"status": "nonsense"})).status == 400
    assert (await backend.post("/v1/withdrawals/wd_" + "0" * 32 + "/cancel")).status == 404
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.1"))).status == 201
    assert (
        await backend.post(f"{path}/traits", {"traits": [{"kind": "device", "value": "d"}]})
    ).status == 204
    asked = await backend.post("/v1/withdrawals", withdrawal(account, amount="0.1"))
    assert await told(world, backend) == before
    cancel = f"/v1/withdrawals/{asked.body['id']}/cancel"
    for _ in range(2):
        assert (await backend.post(cancel, idempotency_key="once")).status == 200
    assert (await backend.post(cancel)).code == "wrong_state"
    new = (backend.key_id, "POST /v1/withdrawals/{withdrawal_id}/cancel", "200 canceled")
    assert await told(world, backend) == [*before, new]


async def test_no_secret_gets_in(world: World, backend: Caller) -> None:
    made = await backend.post("/v1/webhook-endpoints", {"url": "http://127.0.0.1:1/hook"})
    assert made.status == 201
    await told(world, backend)
    assert made.body["secret"] not in json.dumps((await backend.get("/v1/audit")).body)
    assert (await (await world.caller([Scope.READ])).get("/v1/audit")).code == "forbidden"


async def test_pages_of_it_follow_each_other(world: World, backend: Caller) -> None:
    for _ in range(3):
        await world.account(backend)
    await told(world, backend)
    first = (await backend.get("/v1/audit?limit=2")).body
    second = (await backend.get("/v1/audit", params={"limit": "2", "cursor": first["next_cursor"]})).body
    assert [one["position"] for one in first["data"] + second["data"]] == [3, 2, 1]
    assert second["next_cursor"] is None


async def test_commands_are_told_and_a_head_kept_elsewhere_holds(
    world: World, backend: Caller, config: Path
) -> None:
    made = json.loads(
        (await run(config, "keys", "create", "--name", "x", "--scope", "read", "--json")).stdout
    )
    await run(config, "keys", "revoke", made["id"])
    commands = [(action, outcome) for _, action, outcome in await told(world, backend, subject=made["id"])]
    assert commands == [("keys create", "read"), ("keys revoke", "done")]
    head = (await run(config, "audit", "head")).stdout.strip()
    good = await run(config, "audit", "verify", "--anchor", head)
    assert (good.exit_code, good.stdout) == (0, "sound: 2 entries, 0 not yet sealed\n")
    lie = "2:" + "0" * 64
    bad = await run(config, "audit", "verify", "--anchor", lie, "--json")
    assert (bad.exit_code, json.loads(bad.stdout)["broken_at"]) == (1, 2)
    assert (await run(config, "audit", "verify", "--anchor", "2")).exit_code == 2
