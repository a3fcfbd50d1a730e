"""The pool: exact amounts, transactions, and errors that say what is known."""

import asyncio
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from cryptowatch.db.pool import Pool, connection, open_pool, transaction, transaction_by_keys
from cryptowatch.errors import ConcurrentUpdate, DatabaseUnavailable
from cryptowatch.money import AMOUNT_MAX


@pytest.mark.parametrize("amount", [0, 1, -1, AMOUNT_MAX, -AMOUNT_MAX, 10**30])
async def test_amounts_come_back_as_the_same_integer_alone_and_in_arrays(pool: Pool, amount: int) -> None:
    async with connection(pool) as conn:
        row = await conn.fetchrow("SELECT $1::numeric(78, 0), $2::numeric[]", amount, [amount, None])
    assert row is not None
    assert (row[0], type(row[0]), row[1]) == (amount, int, [amount, None])


@pytest.mark.parametrize("amount", [1.0, Decimal(1), True, "1"])
async def test_amounts_that_are_not_integers_are_refused(pool: Pool, amount: Any) -> None:
    async with connection(pool) as conn:
        with pytest.raises(asyncpg.DataError, match="int of base units"):
            await conn.fetchval("SELECT $1::numeric", amount)


async def test_a_fraction_from_the_database_is_refused_not_rounded(pool: Pool) -> None:
    async with connection(pool) as conn:
        with pytest.raises(ValueError, match=r"1\.5"):
            await conn.fetchval("SELECT 1.5::numeric")


async def test_a_transaction_commits_when_its_block_ends_and_tells_its_seconds(pool: Pool) -> None:
    seen: list[float] = []
    async with transaction(pool, observe_seconds=seen.append) as conn:
        await conn.execute("CREATE TABLE t (n int)")
    async with connection(pool) as conn:
        assert await conn.fetchval("SELECT count(*) FROM t") == 0
    assert len(seen) == 1
    assert 0 < seen[0] < 10


async def test_a_transaction_rolls_back_when_its_block_raises_and_passes_the_error_on(pool: Pool) -> None:
    seen: list[float] = []

    async def fail() -> None:
        async with transaction(pool, observe_seconds=seen.append) as conn:
            await conn.execute("CREATE TABLE t (n int)")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with connection(pool) as conn:
        assert await conn.fetchval("SELECT to_regclass('t')") is None
    assert len(seen) == 1


async def test_a_transaction_by_keys_commits_or_rolls_back_whole_and_its_way_to_plan_ends_with_it(
    pool: Pool,
) -> None:
    async with connection(pool) as conn:
        await conn.execute("CREATE TABLE t (n int)")
    async with transaction_by_keys(pool) as conn:
        await conn.execute("INSERT INTO t VALUES (1)")
        assert await conn.fetchval("SHOW plan_cache_mode") == "force_generic_plan"

    async def fail(query: str, problem: Exception) -> None:
        async with transaction_by_keys(pool) as conn:
            await conn.execute("INSERT INTO t VALUES (2)")
            await conn.execute(query)
            raise problem

    with pytest.raises(LookupError):
        await fail("SELECT 1", LookupError("x"))
    with pytest.raises(ConcurrentUpdate):
        await fail("SELECT 1", asyncpg.DeadlockDetectedError("x"))
    with pytest.raises(asyncpg.UndefinedTableError):
        await fail("SELECT FROM missing", LookupError("x"))
    async with connection(pool) as conn:
        assert [row["n"] for row in await conn.fetch("SELECT n FROM t")] == [1]
        assert await conn.fetchval("SHOW plan_cache_mode") == "auto"
        await conn.execute("DROP TABLE t")


async def test_a_deadlock_is_a_concurrent_update(pool: Pool) -> None:
    async def lock(first: int, second: int, ready: asyncio.Event, other: asyncio.Event) -> None:
        async with transaction(pool) as conn:
            await conn.execute("SELECT pg_advisory_xact_lock($1)", first)
            ready.set()
            await other.wait()
            await conn.execute("SELECT pg_advisory_xact_lock($1)", second)

    one, two = asyncio.Event(), asyncio.Event()
    results = await asyncio.gather(lock(1, 2, one, two), lock(2, 1, two, one), return_exceptions=True)
    assert [type(r) for r in results if r is not None] == [ConcurrentUpdate]


async def test_a_serialization_failure_is_a_concurrent_update(pool: Pool) -> None:
    with pytest.raises(ConcurrentUpdate):
        async with transaction(pool) as conn:
            await conn.execute("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$")


@pytest.mark.parametrize("begin", [transaction, transaction_by_keys])
async def test_a_backend_that_dies_leaves_the_outcome_unknown(pool: Pool, begin: Any) -> None:
    async def die() -> None:
        async with connection(pool) as killer, begin(pool) as conn:
            pid = await conn.fetchval("SELECT pg_backend_pid()")
            await killer.execute("SELECT pg_terminate_backend($1)", pid)
            await conn.fetchval("SELECT pg_sleep(5)")

    with pytest.raises(DatabaseUnavailable):
        await die()


@pytest.mark.parametrize("begin", [transaction, transaction_by_keys])
async def test_a_connection_closed_under_us_leaves_the_outcome_unknown(pool: Pool, begin: Any) -> None:
    async def lose() -> None:
        async with begin(pool) as conn:
            conn.terminate()
            await conn.fetchval("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await lose()


async def test_a_wrong_argument_is_a_mistake_not_an_unavailable_database(pool: Pool) -> None:
    async with connection(pool) as conn:
        with pytest.raises(asyncpg.DataError):
            await conn.fetchval("SELECT $1::bigint", "one")
        assert await conn.fetchval("SELECT $1::bigint", 1) == 1


async def test_a_query_beyond_the_statement_timeout_leaves_the_outcome_unknown(database: str) -> None:
    async with open_pool(database, application_name="test", size_max=1, statement_timeout_s=0.05) as pool:
        with pytest.raises(DatabaseUnavailable):
            async with transaction(pool) as conn:
                await conn.execute("SELECT pg_sleep(5)")


async def test_a_wrong_query_is_neither(pool: Pool) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with transaction(pool) as conn:
            await conn.execute("SELECT * FROM no_such_table")


async def test_a_server_that_is_away_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable):
        async with open_pool("postgresql://x@localhost:1/x", application_name="test", size_max=1):
            pass
