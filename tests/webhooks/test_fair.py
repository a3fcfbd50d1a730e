"""Who is served next, and who waits meanwhile."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

from cryptowatch.webhooks.deliveries import Claimed
from cryptowatch.webhooks.fair import FairQueue

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SLOW, QUICK = UUID(int=1), UUID(int=2)


def delivery(endpoint_id: UUID, number: int) -> Claimed:
    return Claimed(UUID(int=number), endpoint_id, 1, "https://example.com/", f"evt_{number}", b"", (), NOW)


async def taken(queue: FairQueue, sent: Claimed | None = None) -> Claimed | None:
    """What is there for a sender; None when it would wait."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            return await queue.get(sent)
    return None


async def test_the_least_busy_endpoint_is_served_and_none_has_more_than_its_share() -> None:
    queue = FairQueue(2)
    for number in range(5):
        queue.put(delivery(SLOW, number))
    queue.put(delivery(QUICK, 9))
    served = [await taken(queue) for _ in range(4)]
    assert [item.endpoint_id for item in served if item] == [SLOW, QUICK, SLOW]
    assert served[3] is None
    assert [item.endpoint_id for item in queue.drain()] == [SLOW] * 3


async def test_a_place_that_is_free_again_is_given_on() -> None:
    queue = FairQueue(1)
    first, second = delivery(SLOW, 1), delivery(SLOW, 2)
    queue.put(first)
    queue.put(second)
    assert await taken(queue) == first
    assert await taken(queue) is None
    assert await taken(queue, first) == second


async def test_everybody_who_waits_is_woken_when_there_is_something_for_all() -> None:
    queue = FairQueue(3)
    waiting = [asyncio.create_task(queue.get()) for _ in range(4)]
    await asyncio.sleep(0)
    for number in range(4):
        queue.put(delivery(SLOW, number))
    await asyncio.sleep(0.01)
    assert sum(task.done() for task in waiting) == 3
    # One sender takes its own place again for another endpoint: the place at the slow one goes to who waits.
    queue.put(delivery(QUICK, 9))
    await asyncio.sleep(0.01)
    assert all(task.done() for task in waiting)
    assert (await taken(queue, delivery(SLOW, 0))) == delivery(SLOW, 3)


async def test_a_sender_that_ends_passes_its_turn_on() -> None:
    queue = FairQueue(2)
    ending, staying = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(delivery(SLOW, 1))
    ending.cancel()
    async with asyncio.timeout(1):
        assert await staying == delivery(SLOW, 1)
