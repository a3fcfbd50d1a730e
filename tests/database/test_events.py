"""P8: the event log. Appended with the change, told after commit, in an order without gaps."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ledger.events import (
    NewEvent,
    append_events,
    begin_telling,
    feed_head,
    read_events,
    sequence_events,
    unsequenced_events,
)
from cryptowatch.ledger.verify import verify
from tests.database.world import NOW


def event(
    entity: str, version: int, type_: str = "deposit.credited", account: UUID | None = None
) -> NewEvent:
    return NewEvent(type_, "deposit", entity, version, account, '{"a": 1,  "b":[]}', NOW)


async def append(pool: Pool, *events: NewEvent) -> None:
    async with transaction(pool) as conn:
        await append_events(conn, events)


async def told(pool: Pool) -> list[tuple[int, str, int]]:
    async with connection(pool) as conn:
        while await sequence_events(conn):
            pass
        assert (await verify(conn)).findings == []
        return [(e.position, e.entity_id, e.entity_version) for e in await read_events(conn, 0, 100_000)]


async def test_p8_an_event_is_told_exactly_as_written(pool: Pool) -> None:
    account = uuid4()
    await append(pool, event("a", 1, account=account))
    async with connection(pool) as conn:
        assert await read_events(conn, 0, 10) == []
        assert (await feed_head(conn), await unsequenced_events(conn)) == (0, 1)
        assert await sequence_events(conn) == 1
        (seen,) = await read_events(conn, 0, 10)
        assert (await feed_head(conn), await unsequenced_events(conn)) == (1, 0)
    assert (seen.position, seen.type, seen.entity_kind, seen.entity_id) == (
        1,
        "deposit.credited",
        "deposit",
        "a",
    )
    assert (seen.entity_version, seen.account_id, seen.data) == (1, account, '{"a": 1,  "b":[]}')
    assert seen.created_at == NOW


async def test_p8_an_event_is_gone_with_its_transaction(pool: Pool) -> None:
    async def fail() -> None:
        async with transaction(pool) as conn:
            await append_events(conn, [event("a", 1)])
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    await append(pool, event("b", 1))
    assert await told(pool) == [(1, "b", 1)]


@pytest.mark.parametrize("count", [1, 200])
async def test_p8_a_version_is_told_once(pool: Pool, count: int) -> None:
    events = [event(f"e{n}", 1) for n in range(count)]
    await append(pool, *events)
    with pytest.raises(ConcurrentUpdate):
        await append(pool, *events)


@pytest.mark.parametrize("count", [0, 5, 300])
async def test_p8_events_that_are_put_into_words_in_parts_are_told_in_their_order(
    pool: Pool, count: int
) -> None:
    events = [event(f"e{n % 7}", n // 7 + 1) for n in range(count)]
    async with transaction(pool) as conn:
        telling = await begin_telling(conn, count)
        telling.add(events[:2])
        telling.add([])
        await telling.add_in_slices(events[2:])
        await telling.append(conn)
    assert await told(pool) == [
        (place, e.entity_id, e.entity_version) for place, e in enumerate(events, start=1)
    ]


@pytest.mark.parametrize("count", [2, 200])
@pytest.mark.parametrize("more", [-1, 1])
async def test_p8_other_events_than_were_announced_are_refused_as_a_whole(
    pool: Pool, count: int, more: int
) -> None:
    async def tell() -> None:
        async with transaction(pool) as conn:
            telling = await begin_telling(conn, count)
            telling.add([event(f"e{n}", 1) for n in range(count + more)])
            await telling.append(conn)

    with pytest.raises(ValueError, match="announced"):
        await tell()
    assert await told(pool) == []


async def test_p8_an_event_that_commits_late_is_told_late_and_not_skipped(pool: Pool) -> None:
    async with pool.acquire() as slow:
        late = slow.transaction()
        await late.start()
        await append_events(slow, [event("late", 1)])
        await append(pool, event("early", 1))
        assert await told(pool) == [(1, "early", 1)]
        await late.commit()
    assert await told(pool) == [(1, "early", 1), (2, "late", 1)]


async def test_p8_sequencers_at_once_leave_no_gap_and_keep_each_entitys_order(pool: Pool) -> None:
    done = asyncio.Event()

    async def write(writer: int) -> None:
        for version in range(1, 31):
            await append(pool, event(f"w{writer}", version), event(f"x{writer}", version))

    async def sequence() -> None:
        while not done.is_set():
            async with connection(pool) as conn:
                await sequence_events(conn, limit=7)
            await asyncio.sleep(0)

    sequencers = [asyncio.create_task(sequence()) for _ in range(2)]
    await asyncio.gather(*(write(n) for n in range(6)))
    done.set()
    await asyncio.gather(*sequencers)
    feed = await told(pool)
    assert [position for position, _, _ in feed] == list(range(1, 361))
    for entity in {entity for _, entity, _ in feed}:
        assert [version for _, e, version in feed if e == entity] == list(range(1, 31))


async def test_p8_a_consumer_replays_from_any_position_by_type_and_account(pool: Pool) -> None:
    account = uuid4()
    await append(
        pool,
        event("a", 1, "deposit.detected", account),
        event("b", 1, "deposit.detected"),
        event("a", 2, "deposit.credited", account),
        event("a", 3, "deposit.finalized", account),
    )
    await told(pool)
    async with connection(pool) as conn:
        assert [e.position for e in await read_events(conn, 1, 2)] == [2, 3]
        assert [e.position for e in await read_events(conn, 0, 9, types=["deposit.detected"])] == [1, 2]
        assert [e.position for e in await read_events(conn, 1, 9, account_id=account)] == [3, 4]
        wanted = await read_events(conn, 0, 9, types=["deposit.finalized"], account_id=account)
        assert [e.position for e in wanted] == [4]


async def test_p8_a_limit_never_parts_an_entitys_events_from_earlier_ones(pool: Pool) -> None:
    await append(pool, *(event(f"e{n}", 1) for n in range(2_500)))
    await append(pool, *(event(f"e{n}", 2) for n in range(2_500)))
    async with connection(pool) as conn:
        assert [await sequence_events(conn, limit=1_500) for _ in range(4)] == [2_000, 1_500, 1_500, 0]
        feed = await read_events(conn, 0, 5_000)
    assert [e.entity_version for e in feed] == [1] * 2_500 + [2] * 2_500
    assert await told(pool) == [(e.position, e.entity_id, e.entity_version) for e in feed]


async def test_positions_are_given_by_indexes_even_where_the_plan_was_made_for_empty_tables(
    pool: Pool,
) -> None:
    """Else the sequencer reads all events for each of them, on a database that was never analyzed."""
    async with connection(pool) as conn:
        for number in range(10):
            await append(pool, event(f"first-{number}", 1))
            await sequence_events(conn)
        await append(pool, *(event(f"e{number}", 1) for number in range(300)))
        async with conn.transaction():
            assert await sequence_events(conn) == 300
            read = await conn.fetchval(
                "SELECT sum(seq_tup_read) FROM pg_stat_xact_user_tables "
                "WHERE relname IN ('event', 'event_position', 'event_queue')"
            )
    assert read == 0


async def test_p8_forty_thousand_events_fit_in_one_transaction(pool: Pool) -> None:
    await append(pool, *(event(f"e{n}", 1, account=uuid4()) for n in range(40_000)))
    async with connection(pool) as conn:
        counts = [await sequence_events(conn) for _ in range(5)]
        assert counts == [10_000] * 4 + [0]
        assert [e.position for e in await read_events(conn, 39_998, 10)] == [39_999, 40_000]


@pytest.mark.parametrize("table", ["event", "event_position"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_p8_what_was_told_cannot_be_changed(pool: Pool, table: str, statement: str) -> None:
    await append(pool, event("a", 1))
    await told(pool)
    column = "entity_version" if table == "event" else "position"
    async with connection(pool) as conn:
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await conn.execute(statement.format(table, column, column))


async def test_p8_an_event_without_a_place_in_the_queue_is_refused(pool: Pool) -> None:
    """As a daemon of a version would append one that left the queue to a trigger."""
    async with connection(pool) as conn:
        with pytest.raises(asyncpg.NotNullViolationError):
            await conn.execute(
                "INSERT INTO event (type, entity_kind, entity_id, entity_version, data, created_at) "
                "VALUES ('deposit.credited', 'deposit', 'a', 1, '{}', now())"
            )


async def test_p8_an_entity_told_twice_in_one_large_append_is_told_in_order(pool: Pool) -> None:
    """Its events lie in different rows of the queue."""
    told_of = [("first", 1), *((f"e{n}", 1) for n in range(2_500)), ("first", 2)]
    await append(pool, *(event(entity, version) for entity, version in told_of))
    assert [(entity, version) for _, entity, version in await told(pool)] == told_of
