"""Each promise is broken by force, and the verification names it."""

from uuid import uuid4

import pytest

from cryptowatch.db.pool import connection, transaction
from cryptowatch.ledger.balances import roll_up
from cryptowatch.ledger.events import NewEvent, append_events, sequence_events
from cryptowatch.ledger.replay import Invariant
from cryptowatch.ledger.rules import Kind, house_transfer
from cryptowatch.ledger.verify import Report, verify
from cryptowatch.money import BaseUnits
from tests.database.world import NOW, World, force


async def lively(world: World) -> World:
    """Some of everything: two players, holds open and resolved, credits, house transfers, events."""
    for _ in range(2):
        player = await world.player(final=100, unfinalized=50, held=20)
        settled = await world.done(Kind.HOLD, player, 10)
        await world.done(Kind.HOLD_SETTLE, player, 10, resolves=settled)
        await world.done(Kind.BET, player, 30)
        released = await world.done(Kind.HOLD, player, 5)
        await world.done(Kind.HOLD_RELEASE, player, 5, resolves=released)
    await world.post_all(house_transfer("fee", world.custody, world.fees, BaseUnits(1)))
    async with transaction(world.pool) as conn:
        for n in (1, 2, 3):
            await append_events(conn, [NewEvent("t", "deposit", "d", n, uuid4(), "{}", NOW)])
    async with connection(world.pool) as conn:
        await roll_up(conn)
        await sequence_events(conn, limit=2)
    await world.done(Kind.BET, player, 1)
    return world


async def broken(world: World, table: str, statement: str) -> set[Invariant]:
    async with connection(world.pool) as conn:
        if table in ("posting", "event", "event_position"):
            await force(conn, table, statement)
        else:
            await conn.execute(statement)
        return {finding.invariant for finding in (await verify(conn)).findings}


async def test_a_sound_ledger_has_no_findings_and_counts_what_was_read(world: World) -> None:
    steps: list[tuple[int, int]] = []
    await lively(world)
    async with connection(world.pool) as conn:
        report = await verify(conn, progress=lambda done, total: steps.append((done, total)))
    assert (report.sound, report.findings, report.count) == (True, [], 0)
    assert (report.accounts, report.events) == (6, 3)
    assert steps[-1] == (report.postings, report.postings)
    assert report.postings == 18


FIRST = "id = (SELECT min(id) FROM posting WHERE kind = '{}')"


@pytest.mark.parametrize(
    ("table", "statement", "expected"),
    [
        (
            "customer_balance",
            "UPDATE customer_balance SET total = total + 1",
            {Invariant.CONSERVATION, Invariant.BALANCE},
        ),
        (
            "customer_balance",
            "UPDATE customer_balance SET version = version + 1",
            {Invariant.BALANCE},
        ),
        (
            "customer_balance",
            "DELETE FROM customer_balance WHERE account_id = (SELECT max(account_id) FROM customer_balance)",
            {Invariant.CONSERVATION, Invariant.BALANCE, Invariant.ENTRY, Invariant.HOUSE_BALANCE},
        ),
        (
            "house_balance",
            "UPDATE house_balance SET rolled_up = rolled_up + 1 WHERE rolled_up <> 0",
            {Invariant.CONSERVATION, Invariant.HOUSE_BALANCE},
        ),
        (
            "house_delta",
            "DELETE FROM house_delta",
            {Invariant.CONSERVATION, Invariant.HOUSE_BALANCE},
        ),
        (
            "house_delta",
            "UPDATE house_delta SET account_id = (SELECT min(account_id) FROM house_balance)",
            {Invariant.HOUSE_BALANCE},
        ),
        (
            "house_delta",
            "INSERT INTO house_delta VALUES (999999, 5)",
            {Invariant.HOUSE_BALANCE},
        ),
        (
            "posting",
            f"UPDATE posting SET amount = amount + 1 WHERE {FIRST.format('bet')}",
            {Invariant.HISTORY, Invariant.HOUSE_BALANCE},
        ),
        (
            "posting",
            f"DELETE FROM posting WHERE {FIRST.format('bet')}",
            {Invariant.HISTORY, Invariant.HOUSE_BALANCE},
        ),
        (
            "posting",
            f"UPDATE posting SET held_after = held_after + 1 WHERE {FIRST.format('bet')}",
            {Invariant.HISTORY},
        ),
        (
            "posting",
            "UPDATE posting SET resolves = NULL WHERE kind = 'hold_settle'",
            {Invariant.RESOLUTION},
        ),
        (
            "posting",
            "UPDATE posting SET kind = 'bet' WHERE kind = 'hold_settle'",
            {Invariant.HISTORY, Invariant.RESOLUTION},
        ),
        (
            "posting",
            "UPDATE posting SET kind = 'gift' WHERE kind = 'bet'",
            {Invariant.ENTRY, Invariant.HISTORY, Invariant.BALANCE},
        ),
        (
            "posting",
            f"UPDATE posting SET from_account = 999999 WHERE {FIRST.format('bet')}",
            {Invariant.ENTRY},
        ),
        (
            "posting",
            f"UPDATE posting SET to_account = 999999 WHERE {FIRST.format('bet')}",
            {Invariant.ENTRY, Invariant.HOUSE_BALANCE},
        ),
        (
            "posting",
            "UPDATE posting SET asset = 'ETH' WHERE kind = 'house_transfer'",
            {Invariant.ENTRY},
        ),
        (
            "event",
            "UPDATE event SET entity_version = 4 WHERE entity_version = 3",
            {Invariant.EVENT_VERSIONS},
        ),
        (
            "event",
            "DELETE FROM event WHERE entity_version = 3",
            {Invariant.EVENT_FEED},
        ),
        (
            "event_queue",
            "DELETE FROM event_queue",
            {Invariant.EVENT_FEED},
        ),
        (
            "event_position",
            "UPDATE event_position SET position = 3 WHERE position = 2",
            {Invariant.EVENT_FEED},
        ),
        (
            "event_position",
            "UPDATE event_position SET event_id = 23 WHERE position = 1",
            {Invariant.EVENT_FEED},
        ),
        (
            "event_position",
            "UPDATE event_position SET account_id = gen_random_uuid() WHERE position = 1",
            {Invariant.EVENT_FEED},
        ),
    ],
)
async def test_p1_p2_p8_what_is_broken_by_force_is_named(
    world: World, table: str, statement: str, expected: set[Invariant]
) -> None:
    await lively(world)
    assert await broken(world, table, statement) == expected


async def test_p1_a_posting_beyond_its_floor_is_named(world: World) -> None:
    player = await world.player(final=10)
    await world.done(Kind.BET, player, 10)
    statements = [
        "UPDATE posting SET amount = 11, total_after = -1 WHERE kind = 'bet'",
        "UPDATE customer_balance SET total = -1",
        "INSERT INTO house_delta SELECT to_account, 1 FROM posting WHERE kind = 'bet'",
    ]
    async with connection(world.pool) as conn:
        for statement in statements:
            await force(conn, "posting", statement)
    report = await world.verify()
    assert [finding.invariant for finding in report.findings] == [Invariant.FLOOR]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE posting DISABLE TRIGGER append_only",
        "ALTER TABLE posting ENABLE TRIGGER append_only",  # replicas would not fire it
        "DROP TRIGGER append_only ON event",
        "DROP INDEX posting_key",
        "ALTER TABLE customer_balance ALTER held TYPE numeric",
    ],
)
async def test_a_guard_that_is_off_is_named(world: World, statement: str) -> None:
    async with connection(world.pool) as conn:
        await conn.execute(statement)
    report = await world.verify()
    assert [finding.invariant for finding in report.findings] == [Invariant.GUARD]


async def test_findings_are_listed_up_to_a_bound_and_counted_beyond_it(world: World) -> None:
    for _ in range(3):
        await world.player(final=1)
    async with connection(world.pool) as conn:
        await conn.execute("UPDATE customer_balance SET version = 7")
        report: Report = await verify(conn, findings_max=2)
    assert (len(report.findings), report.count, report.sound) == (2, 3, False)


async def test_verification_reads_one_moment_while_money_moves(world: World) -> None:
    player = await world.player(final=10)
    async with connection(world.pool) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        await conn.fetchval("SELECT count(*) FROM posting")
        await world.done(Kind.BET, player, 3)
        assert (await verify(conn)).findings == []
