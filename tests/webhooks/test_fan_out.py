"""What a worker takes from the feed is its own to attempt: in each entity's order, and for as long as its lease."""

import asyncio
from datetime import timedelta

import msgspec

from cryptowatch.db.pool import connection, transaction
from cryptowatch.ledger.events import sequence_events
from cryptowatch.webhooks import deliveries
from cryptowatch.webhooks.endpoints import EndpointSecretView, replay
from cryptowatch.webhooks.worker import WebhookWorker
from tests.webhooks.receiver import Receiver
from tests.webhooks.world import World, endpoint_id


async def fanned_out(hooks: World, endpoint: EndpointSecretView, places: int) -> list[tuple[str, int]]:
    """What one transaction of the fan-out claims, by a worker that does nothing more: (entity, version)."""
    async with transaction(hooks.pool) as conn:
        await sequence_events(conn)
        taken = await deliveries.fan_out(conn, endpoint_id(endpoint), places, 30, hooks.clock.now())
    entities = [msgspec.json.decode(claimed.body)["entity"] for claimed in taken.claimed]
    return [(entity["id"], entity["version"]) for entity in entities]


async def test_what_is_taken_from_the_feed_is_claimed_at_once_as_far_as_places_reach(
    hooks: World, hook: Receiver
) -> None:
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1", "dep_2", "dep_3")
    assert await fanned_out(hooks, endpoint, 2) == [("dep_1", 1), ("dep_2", 1)]
    rows = await hooks.rows(endpoint)
    assert [(row["attempts"], row["leased_until"] is not None) for row in rows] == [
        (1, True),
        (1, True),
        (0, False),
    ]
    async with connection(hooks.pool) as conn:
        [left] = await deliveries.claim(conn, {endpoint_id(endpoint): 5}, 30, hooks.clock.now())
    assert left.id == rows[2]["id"]


async def test_only_the_first_of_an_entity_is_claimed_from_the_feed(hooks: World, hook: Receiver) -> None:
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1", "dep_1", "dep_2")
    assert await fanned_out(hooks, endpoint, 9) == [("dep_1", 1), ("dep_2", 1)]
    # The first one waits for its outcome, and so do all that come later.
    await hooks.happen("dep_1", "dep_3")
    assert await fanned_out(hooks, endpoint, 9) == [("dep_3", 1)]
    async with connection(hooks.pool) as conn:
        assert await deliveries.claim(conn, {endpoint_id(endpoint): 9}, 30, hooks.clock.now()) == []


async def test_a_replay_claims_nothing_that_waits_already(hooks: World, hook: Receiver) -> None:
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1", "dep_2")
    async with hooks.working():
        await hooks.until_states(endpoint, "delivered", "delivered")
    async with connection(hooks.pool) as conn:
        await conn.execute("UPDATE webhook_delivery SET state = 'pending' WHERE entity_id = 'dep_1'")
    async with transaction(hooks.pool) as conn:
        await replay(conn, endpoint_id(endpoint), 0, hooks.clock.now())
    assert await fanned_out(hooks, endpoint, 9) == [("dep_2", 1)]


async def test_a_worker_that_dies_after_taking_from_the_feed_leaves_it_to_the_next_after_the_lease(
    hooks: World, hook: Receiver
) -> None:
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    assert await fanned_out(hooks, endpoint, 9) == [("dep_1", 1)]
    async with hooks.working():
        await asyncio.sleep(0.2)
        assert hook.received == []
        hooks.clock.move(31)
        [row] = await hooks.until_states(endpoint, "delivered")
    assert row["attempts"] == 2


async def until_age_told(hooks: World, worker: WebhookWorker, seconds: range) -> None:
    """Looks until it is: a look of the worker's own that began before the clock was moved may end after ours."""
    async with asyncio.timeout(10):
        while True:
            await worker._look_after()
            age_s = hooks.metrics.registry.get_sample_value(
                "cryptowatch_webhook_oldest_undelivered_age_seconds"
            )
            if age_s is not None and int(age_s) in seconds:
                return
            await asyncio.sleep(0.02)


async def test_what_happens_while_an_endpoint_is_left_alone_waits_in_the_feed_and_its_age_is_told(
    hooks: World, hook: Receiver
) -> None:
    endpoint = await hooks.endpoint(hook.url)
    async with connection(hooks.pool) as conn:
        until = hooks.clock.now() + timedelta(hours=1)
        await conn.execute("UPDATE webhook_endpoint SET paused_until = $1", until)
    await hooks.happen("dep_1")
    async with hooks.working() as worker:
        await asyncio.sleep(0.1)
        assert await hooks.rows(endpoint) == []
        hooks.clock.move(100)
        await until_age_told(hooks, worker, range(100, 110))
        hooks.clock.move(3600)
        await hooks.until_states(endpoint, "delivered")
        await until_age_told(hooks, worker, range(1))
