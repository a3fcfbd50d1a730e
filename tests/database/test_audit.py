"""The audit log on a real database: sealed in order without waiting, unchangeable, and verified to the first lie."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from cryptowatch.compliance.audit import Report, append_entry, read_head, seal, verify
from cryptowatch.compliance.chain import ORIGIN, Entry
from cryptowatch.db.pool import Pool, connection, transaction
from tests.database.world import NOW, force

ENTRY = Entry("key_1", "POST /v1/x", ["acc_1"], "req_1", bytes(32), "200", NOW)


async def append(pool: Pool, *actions: str) -> None:
    for action in actions:
        async with transaction(pool) as conn:
            await append_entry(conn, replace(ENTRY, action=action))


async def sealed(pool: Pool, limit: int = 100) -> int:
    async with transaction(pool) as conn:
        return await seal(conn, limit)


async def checked(pool: Pool, anchors: dict[int, bytes] | None = None) -> Report:
    async with connection(pool) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        return await verify(conn, anchors or {})


async def log_of(pool: Pool) -> list[str]:
    rows = await pool.fetch(
        "SELECT action FROM audit_seal s JOIN audit_entry e ON e.id = entry_id ORDER BY position"
    )
    return [row["action"] for row in rows]


async def test_entries_are_sealed_in_order_by_portions_and_the_chain_holds(pool: Pool) -> None:
    assert (await checked(pool)).head.hash == ORIGIN
    await append(pool, "a", "b", "c")
    assert [await sealed(pool, 2) for _ in range(3)] == [2, 1, 0]
    await append(pool, "d")
    report = await checked(pool)
    assert (report.head.position, report.waiting, report.broken) == (3, 1, None)
    async with connection(pool) as conn:
        assert await read_head(conn) == report.head


async def test_an_entry_that_commits_late_is_sealed_late_and_one_that_is_undone_never(pool: Pool) -> None:
    async with pool.acquire() as slow, pool.acquire() as undone:
        late, never = slow.transaction(), undone.transaction()
        await late.start()
        await never.start()
        await append_entry(slow, replace(ENTRY, action="late"))
        await append_entry(undone, replace(ENTRY, action="never"))
        await append(pool, "early")
        assert await sealed(pool) == 1
        await late.commit()
        await never.rollback()
    assert await sealed(pool) == 1
    assert await log_of(pool) == ["early", "late"]
    assert (await checked(pool)).broken is None


async def test_two_sealers_at_once_seal_each_entry_once(pool: Pool) -> None:
    await append(pool, *map(str, range(30)))

    async def work() -> None:
        while await pool.fetchval("SELECT count(*) FROM audit_queue"):
            await sealed(pool, 3)

    await asyncio.gather(work(), work(), work())
    assert await log_of(pool) == list(map(str, range(30)))
    assert (await checked(pool)).broken is None


@pytest.mark.parametrize("table", ["audit_entry", "audit_seal"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_the_database_refuses_to_change_it(pool: Pool, table: str, statement: str) -> None:
    await append(pool, "a")
    await sealed(pool)
    column = "actor" if table == "audit_entry" else "hash"
    with pytest.raises(asyncpg.PostgresError, match="append-only"):
        await pool.execute(statement.format(table, column, column))


@pytest.mark.parametrize(
    ("table", "lie", "position", "problem"),
    [
        (
            "audit_entry",
            "UPDATE audit_entry SET actor = 'key_2' WHERE action = 'b'",
            2,
            "not what was sealed",
        ),
        (
            "audit_entry",
            "UPDATE audit_entry SET subjects = '{}' WHERE action = 'c'",
            3,
            "not what was sealed",
        ),
        (
            "audit_seal",
            "UPDATE audit_seal SET hash = sha256('x') WHERE position = 1",
            1,
            "not what was sealed",
        ),
        ("audit_seal", "DELETE FROM audit_seal WHERE position = 2", 2, "missing"),
        ("audit_seal", "DELETE FROM audit_seal WHERE position = 3", 0, "no place"),
    ],
)
async def test_a_lie_is_found_where_it_begins(
    pool: Pool, table: str, lie: str, position: int, problem: str
) -> None:
    await append(pool, "a", "b", "c")
    await sealed(pool)
    async with pool.acquire() as conn:
        await force(conn, table, lie)
    broken = (await checked(pool)).broken
    assert broken is not None
    assert broken.position == position
    assert problem in broken.problem


async def test_a_chain_made_anew_or_cut_off_betrays_itself_by_an_anchor(pool: Pool) -> None:
    await append(pool, "a", "b")
    await sealed(pool)
    anchor = (await checked(pool)).head
    assert (await checked(pool, {2: anchor.hash})).broken is None
    # As somebody would who holds the whole database: the last action never happened, and another one did.
    async with pool.acquire() as conn:
        await force(conn, "audit_seal", "DELETE FROM audit_seal WHERE position = 2")
        await force(conn, "audit_entry", "DELETE FROM audit_entry WHERE action = 'b'")
    assert (await checked(pool)).broken is None
    cut_off = (await checked(pool, {2: anchor.hash})).broken
    assert cut_off is not None and "ends here" in cut_off.problem
    await append(pool, "another")
    await sealed(pool)
    made_anew = (await checked(pool, {2: anchor.hash})).broken
    assert made_anew is not None and (made_anew.position, "made anew" in made_anew.problem) == (2, True)
