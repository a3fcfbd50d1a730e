"""P2 at the API: one effect per Idempotency-Key, whatever is retried, raced, killed or restarted."""

import asyncio
import os
import signal
import sys

import aiohttp
import asyncpg
import pytest

from tests.api.test_money import total, transfer, withdrawal
from tests.api.world import Caller, World, running_api, settings


async def test_p2_the_same_request_again_gives_the_same_answer_and_no_second_effect(
    world: World, backend: Caller
) -> None:
    account = await world.account(backend)
    first = await backend.post("/v1/transfers", transfer(account, "win", "1"), idempotency_key="k1")
    again = await backend.post("/v1/transfers", transfer(account, "win", "1"), idempotency_key="k1")
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await total(backend, account) == "1.00000000"


async def test_another_key_is_another_request(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    for key in ("k1", "k2"):
        await backend.post("/v1/transfers", transfer(account, "win", "1"), idempotency_key=key)
    assert await total(backend, account) == "2.00000000"


async def test_how_the_body_is_written_does_not_matter_what_it_says_does(
    world: World, backend: Caller
) -> None:
    account = await world.account(backend)
    body = transfer(account, "win", "1")
    await backend.post("/v1/transfers", body, idempotency_key="k1")
    turned = await backend.post("/v1/transfers", dict(reversed(body.items())), idempotency_key="k1")
    assert turned.status == 201
    other = await backend.post("/v1/transfers", {**body, "amount": "1.0"}, idempotency_key="k1")
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    elsewhere = await backend.post("/v1/withdrawals", withdrawal(account), idempotency_key="k1")
    assert (elsewhere.status, elsewhere.code) == (422, "idempotency_key_reused")


async def test_money_never_moves_without_a_key(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    for path in ("/v1/transfers", "/v1/withdrawals"):
        body = transfer(account, "win") if path == "/v1/transfers" else withdrawal(account)
        missing = await backend.post(path, body, idempotency_key=None)
        assert (missing.status, missing.code) == (400, "idempotency_key_missing")
        wrong = await backend.post(path, body, idempotency_key="x" * 256)
        assert (wrong.status, wrong.code) == (400, "invalid_idempotency_key")


async def test_keys_belong_to_the_api_key_that_sent_them(world: World, backend: Caller) -> None:
    account, other = await world.account(backend), await world.caller()
    await backend.post("/v1/transfers", transfer(account, "win", "1"), idempotency_key="k1")
    theirs = await other.post("/v1/transfers", transfer(account, "win", "2"), idempotency_key="k1")
    assert theirs.status == 201
    assert await total(backend, account) == "3.00000000"


async def test_a_final_refusal_is_kept_even_when_it_would_pass_now(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    refused = await backend.post("/v1/transfers", transfer(account, "bet"), idempotency_key="k1")
    await world.give(account, 100_000_000)
    again = await backend.post("/v1/transfers", transfer(account, "bet"), idempotency_key="k1")
    assert (again.status, again.body) == (422, refused.body)
    assert (await backend.post("/v1/transfers", transfer(account, "bet"), idempotency_key="k2")).status == 201


async def test_what_never_began_is_not_kept(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    malformed = await backend.post(
        "/v1/transfers", {**transfer(account), "asset": "DOGE"}, idempotency_key="k1"
    )
    assert malformed.code == "unknown_asset"
    assert (await backend.post("/v1/transfers", transfer(account, "win"), idempotency_key="k1")).status == 201


async def test_while_the_first_is_under_way_the_second_is_told_so(
    world: World, backend: Caller, database: str
) -> None:
    """Two processes on one database; the first stands still inside its transaction."""
    account = await world.account(backend)
    await world.give(account, 100_000_000)
    own_row = await asyncpg.connect(database)
    async with running_api(world.pool, settings(database), world.clock) as second:
        there = Caller(second.session, second.url, backend.key, backend.key_id)
        async with own_row.transaction():
            await own_row.execute("SELECT FROM customer_balance FOR UPDATE")
            first = asyncio.create_task(
                backend.post("/v1/transfers", transfer(account), idempotency_key="k1")
            )
            await asyncio.sleep(0.3)
            assert not first.done()
            early = await there.post("/v1/transfers", transfer(account), idempotency_key="k1")
            assert (early.status, early.code) == (409, "in_progress")
            assert int(early.headers["Retry-After"]) > 0
        done = await first
        late = await there.post("/v1/transfers", transfer(account), idempotency_key="k1")
    await own_row.close()
    assert (done.status, late.status, late.body) == (201, 201, done.body)
    assert await total(backend, account) == "0.50000000"


async def test_many_at_once_with_one_key_have_one_effect(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    answers = await asyncio.gather(
        *(
            backend.post("/v1/transfers", transfer(account, "win", "1"), idempotency_key="k1")
            for _ in range(20)
        )
    )
    done = [answer for answer in answers if answer.status == 201]
    assert done
    assert {answer.code for answer in answers if answer.status != 201} <= {"in_progress"}
    assert len({str(answer.body) for answer in done}) == 1
    assert await total(backend, account) == "1.00000000"


async def test_a_process_killed_before_commit_leaves_nothing_and_after_commit_the_answer(
    world: World, backend: Caller, database: str
) -> None:
    """The server ends the backend in the middle, as a SIGKILL of either side would.

    Then the same key again.
    """
    account = await world.account(backend)
    await world.give(account, 100_000_000)
    blocker = await asyncpg.connect(database)
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("SELECT FROM customer_balance FOR UPDATE")
    first = asyncio.create_task(backend.post("/v1/withdrawals", withdrawal(account), idempotency_key="k1"))
    await asyncio.sleep(0.3)
    await blocker.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND application_name = 'test'"
    )
    lost = await first
    assert (lost.status, lost.code) == (503, "database_unavailable")
    await transaction.rollback()
    await blocker.close()
    again = await backend.post("/v1/withdrawals", withdrawal(account), idempotency_key="k1")
    third = await backend.post("/v1/withdrawals", withdrawal(account), idempotency_key="k1")
    assert (again.status, third.body) == (202, again.body)
    assert len((await backend.get("/v1/withdrawals")).body["data"]) == 1


async def test_p2_a_process_killed_after_commit_and_before_its_answer_has_had_its_one_effect(
    world: World, backend: Caller, database: str
) -> None:
    account = await world.account(backend)
    await world.give(account, 100_000_000)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.api.dying_api", database, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    url = (await asyncio.wait_for(child.stdout.readline(), 30)).decode().strip()
    doomed = Caller(world.session, url, backend.key, backend.key_id)
    with pytest.raises(aiohttp.ClientError):
        await doomed.post("/v1/withdrawals", withdrawal(account), idempotency_key="k1")
    assert await child.wait() == -signal.SIGKILL
    again = await backend.post("/v1/withdrawals", withdrawal(account), idempotency_key="k1")
    assert (again.status, again.headers["Idempotent-Replayed"]) == (202, "true")
    [only] = (await backend.get("/v1/withdrawals")).body["data"]
    assert only == again.body
    assert (await backend.get(f"/v1/accounts/{account}/balances")).body[0]["held"] == "0.50010000"


async def test_the_ledger_still_knows_a_transfer_whose_answer_was_forgotten(
    world: World, backend: Caller
) -> None:
    account = await world.account(backend)
    key = os.urandom(8).hex()
    first = await backend.post("/v1/transfers", transfer(account, "win", "1"), idempotency_key=key)
    async with world.pool.acquire() as conn:
        await conn.execute("DELETE FROM idempotency")
    again = await backend.post("/v1/transfers", transfer(account, "win", "1"), idempotency_key=key)
    assert (again.status, again.body["balance"]) == (201, first.body["balance"])
    async with world.pool.acquire() as conn:
        await conn.execute("DELETE FROM idempotency")
    other = await backend.post("/v1/transfers", transfer(account, "win", "2"), idempotency_key=key)
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert await total(backend, account) == "1.00000000"
