"""Withdrawals that are asked for at once share a transaction, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from cryptowatch.api import groups
from cryptowatch.db.pool import Pool, open_pool
from tests.api.test_money import withdrawal
from tests.api.world import Answer, Caller, World, running_api, settings, uuid_of
from tests.support.running import until, waiting_for_locks

BTC = 100_000_000


@asynccontextmanager
async def busy(world: World, backend: Caller, database: str) -> AsyncIterator[list["asyncio.Task[Answer]"]]:
    """Two groups stand still: whoever asks meanwhile is in the next one. Gives the two requests."""
    accounts = [await rich(world, backend) for _ in range(2)]
    blocker = await asyncpg.connect(database)
    try:
        async with blocker.transaction():
            await blocker.execute("SELECT FROM account FOR UPDATE")
            first = []
            for account in accounts:
                first.append(asyncio.create_task(backend.post("/v1/withdrawals", withdrawal(account))))
                await until(lambda: waiting_for_locks(blocker, len(first)))
            yield first
    finally:
        await blocker.close()


async def rich(world: World, backend: Caller) -> str:
    account = await world.account(backend)
    await world.give(account, BTC)
    return account


async def under_way(world: World, count: int) -> None:
    async def there() -> bool:
        name = "cryptowatch_api_requests_in_flight"
        return world.services.metrics.registry.get_sample_value(name) == count

    await until(there)


async def test_each_of_a_group_has_its_own_outcome(world: World, backend: Caller, database: str) -> None:
    good = [await rich(world, backend) for _ in range(3)]
    poor, stranger = await world.account(backend), Caller(backend.session, backend.url, "cwk_" + "x" * 43, "")
    bodies = [withdrawal(account) for account in good]
    refused = {
        "insufficient_withdrawable": withdrawal(poor),
        "unknown_account": withdrawal("acc_" + "0" * 32),
        "invalid_address": withdrawal(good[0], address="nonsense"),
    }
    async with busy(world, backend, database) as first:
        asked = [
            asyncio.create_task(backend.post("/v1/withdrawals", body))
            for body in (*bodies, *refused.values())
        ]
        asked.append(asyncio.create_task(stranger.post("/v1/withdrawals", withdrawal(good[1]))))
        await under_way(world, len(asked) + 2)
    answers = await asyncio.gather(*asked)
    assert [answer.status for answer in await asyncio.gather(*first)] == [202, 202]
    assert [answer.body["state"] for answer in answers[:3]] == ["queued"] * 3
    assert [answer.code for answer in answers[3:]] == [*refused, "unauthorized"]
    together = await world.pool.fetchval(
        "SELECT count(DISTINCT xmin::text) FROM withdrawal WHERE account_id = ANY ("
        "SELECT id FROM account ORDER BY id LIMIT 3)"
    )
    assert together == 1
    assert await world.pool.fetchval("SELECT count(*) FROM withdrawal") == 5
    assert await world.pool.fetchval("SELECT count(*) FROM idempotency") == 7, "not of what never began"


async def test_one_that_fails_takes_no_other_with_it(world: World, backend: Caller, database: str) -> None:
    accounts = [await rich(world, backend) for _ in range(3)]
    await world.pool.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'says the test'; END $$;"
        "CREATE TRIGGER fail BEFORE INSERT ON withdrawal FOR EACH ROW WHEN (NEW.memo = 'fail') "
        "EXECUTE FUNCTION fail()"
    )
    memos = ["", "fail", ""]
    async with busy(world, backend, database):
        asked = [
            asyncio.create_task(backend.post("/v1/withdrawals", withdrawal(account, memo=memo)))
            for account, memo in zip(accounts, memos, strict=True)
        ]
        await under_way(world, 5)
    assert [answer.status for answer in await asyncio.gather(*asked)] == [202, 500, 202]
    assert (await backend.get(f"/v1/accounts/{accounts[1]}/balances")).body[0]["held"] == "0.00000000"


async def test_who_waits_for_a_lock_holds_up_nobody_else(
    world: World, pool: Pool, backend: Caller, database: str
) -> None:
    """The group loses its patience with the lock, and falls apart."""
    chosen = settings(database)
    stuck, *others = [await rich(world, backend) for _ in range(3)]
    async with (
        open_pool(database, application_name="impatient", size_max=5, lock_timeout_s=0.2) as impatient,
        running_api(impatient, chosen, world.clock) as second,
    ):
        there = Caller(second.session, second.url, backend.key, backend.key_id)
        async with busy(world, there, database) as first:
            asked = [
                asyncio.create_task(there.post("/v1/withdrawals", withdrawal(account)))
                for account in (stuck, *others)
            ]
            answers = await asyncio.gather(*first, *asked)
            assert {answer.status for answer in answers} == {503}
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT FROM account WHERE id = $1 FOR UPDATE", uuid_of(stuck))
            answers = await asyncio.gather(
                *(there.post("/v1/withdrawals", withdrawal(account)) for account in (stuck, *others))
            )
    assert [answer.status for answer in answers] == [503, 202, 202]


async def test_who_comes_while_a_group_is_decided_gathers_and_two_groups_share_what_there_is(
    world: World, backend: Caller, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_GATHERING_S", 30)
    accounts = [await rich(world, backend) for _ in range(4)]
    blocker = await asyncpg.connect(database)
    try:
        async with blocker.transaction():
            await blocker.execute("SELECT FROM account FOR UPDATE")
            asked = [
                asyncio.create_task(backend.post("/v1/withdrawals", withdrawal(account)))
                for account in accounts
            ]
            await under_way(world, 4)
            await until(lambda: waiting_for_locks(blocker, 1))
    finally:
        await blocker.close()
    assert {answer.status for answer in await asyncio.gather(*asked)} == {202}
    times = {
        (await backend.get(f"/v1/withdrawals?account_id={account}")).body["data"][0]["created_at"]
        for account in accounts
    }
    assert len(times) == 3, "one that came first, half of the four, and who is left"


async def test_one_account_and_one_key_come_one_after_the_other(
    world: World, backend: Caller, database: str
) -> None:
    account, other = await rich(world, backend), await rich(world, backend)
    async with busy(world, backend, database):
        same_key = [
            asyncio.create_task(
                backend.post("/v1/withdrawals", withdrawal(account, "0.3"), idempotency_key="k1")
            )
            for _ in range(3)
        ]
        more = [
            asyncio.create_task(backend.post("/v1/withdrawals", withdrawal(account, "0.3"))) for _ in range(4)
        ]
        elsewhere = asyncio.create_task(backend.post("/v1/withdrawals", withdrawal(other)))
        await under_way(world, 10)
    keyed = [answer for answer in await asyncio.gather(*same_key) if answer.status != 409]
    assert keyed
    assert {answer.body["id"] for answer in keyed} == {keyed[0].body["id"]}
    assert sorted(answer.status for answer in await asyncio.gather(*more)) == [202, 202, 422, 422]
    assert (await elsewhere).status == 202
    assert (await backend.get(f"/v1/accounts/{account}/balances")).body[0]["held"] == "0.90030000"
