"""Consumers of the event feed: each event is theirs once, whatever fails between."""

import asyncio

import pytest

from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ledger.consumers import look, move, take
from cryptowatch.ledger.events import NewEvent, append_events, sequence_events
from tests.database.world import NOW


async def _tell(pool: Pool, count: int, kind: str = "a.done") -> None:
    async with transaction(pool) as conn:
        await append_events(
            conn, [NewEvent(kind, "thing", f"{kind}{n}", 1, None, "{}", NOW) for n in range(count)]
        )
    async with connection(pool) as conn:
        await sequence_events(conn)


async def test_takes_every_event_once_and_in_order(pool: Pool) -> None:
    await _tell(pool, 5)
    seen = list[int]()
    while True:
        async with transaction(pool) as conn:
            portion = await take(conn, "reader", None, 2)
            if portion is None:
                break
            seen += [event.position for event in portion.events]
    assert seen == [1, 2, 3, 4, 5]


async def test_a_portion_comes_again_when_its_transaction_is_undone(pool: Pool) -> None:
    await _tell(pool, 1)
    async with connection(pool) as conn:
        undone = conn.transaction()
        await undone.start()
        portion = await take(conn, "reader", None, 10)
        assert portion is not None
        await undone.rollback()
    async with transaction(pool) as conn:
        again = await take(conn, "reader", None, 10)
    assert again == portion


async def test_other_types_are_passed_over_and_left_behind(pool: Pool) -> None:
    await _tell(pool, 3, "b.done")
    await _tell(pool, 1, "a.done")
    async with transaction(pool) as conn:
        portion = await take(conn, "reader", ["a.done"], 3)
        assert portion is not None
        assert (portion.until, list(portion.events)) == (3, [])
        portion = await take(conn, "reader", ["a.done"], 3)
    assert portion is not None
    assert [event.type for event in portion.events] == ["a.done"]


async def test_while_one_is_at_it_another_gets_nothing(pool: Pool) -> None:
    await _tell(pool, 2)
    async with transaction(pool) as first:
        # Its place exists for others only once it is committed.
        assert await take(first, "reader", None, 1) is not None
    async with transaction(pool) as first, transaction(pool) as second:
        assert await take(first, "reader", None, 1) is not None
        assert await take(second, "reader", None, 1) is None
    async with transaction(pool) as last:
        assert await take(last, "reader", None, 1) is None


async def test_what_is_taken_by_two_in_turns_is_taken_once(pool: Pool) -> None:
    await _tell(pool, 40)
    seen = list[int]()

    async def read() -> None:
        while len(seen) < 40:
            async with transaction(pool) as conn:
                portion = await take(conn, "reader", None, 3)
                if portion is not None:
                    assert [event.position for event in portion.events] == [
                        *range(portion.after + 1, portion.until + 1)
                    ]
                    seen.extend(event.position for event in portion.events)
            await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await asyncio.gather(read(), read(), read())
    assert sorted(seen) == [*range(1, 41)]


async def test_of_two_that_look_at_the_same_only_one_moves(pool: Pool) -> None:
    await _tell(pool, 1)
    async with connection(pool) as conn:
        portion = await look(conn, "reader", None, 1)
        assert portion is not None
        await move(conn, "reader", portion)
        with pytest.raises(ConcurrentUpdate):
            await move(conn, "reader", portion)
        assert await look(conn, "reader", None, 1) is None
