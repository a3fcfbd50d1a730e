"""The worker against real endpoints that are slow, down, broken, gone or back again, on a real database."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest
from aiohttp import web

from cryptowatch.db.pool import Connection, connection, transaction
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ledger.events import feed_head
from cryptowatch.webhooks import deliveries
from cryptowatch.webhooks.endpoints import (
    EndpointSecretView,
    State,
    delete_endpoint,
    patch_endpoint,
    ping_endpoint,
    replay,
    rotate_secret,
)
from cryptowatch.webhooks.machine import Answered, Verdict
from cryptowatch.webhooks.machine import State as DeliveryState
from cryptowatch.webhooks.sealing import Seal
from cryptowatch.webhooks.worker import FINISH_BATCH
from tests.webhooks.receiver import Receiver, receiving
from tests.webhooks.world import World, endpoint_id


def failing(status: int, times: int, headers: dict[str, str] | None = None) -> object:
    left = Counter(tries=times)

    def answer(_: object) -> web.Response:
        left["tries"] -= 1
        return web.Response(status=status if left["tries"] >= 0 else 204, headers=headers)

    return answer


async def claimed_anew(hooks: World, *endpoints: EndpointSecretView) -> Sequence[deliveries.Claimed]:
    """All that was delivered, pending once more, and claimed by a worker that has not told its outcomes yet."""
    async with connection(hooks.pool) as conn:
        await conn.execute("UPDATE webhook_delivery SET state = 'pending', attempts = 0, leased_until = NULL")
        places = {endpoint_id(endpoint): 9 for endpoint in endpoints}
        return await deliveries.claim(conn, places, 30, hooks.clock.now())


def finished(claimed: Sequence[deliveries.Claimed], *states: str) -> list[deliveries.Finished]:
    return [
        deliveries.Finished(one, Answered(200), Verdict(DeliveryState(state)))
        for one, state in zip(claimed, states, strict=True)
    ]


async def until_somebody_waits(conn: Connection) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(10):
        while not await conn.fetchval(waiting):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.02)


async def test_an_event_arrives_signed_and_in_the_contracts_form(hooks: World, hook: Receiver) -> None:
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working():
        [got] = await hook.until(1)
        await hooks.until_states(endpoint, "delivered")
    assert got.verified_by(endpoint.secret)
    assert not got.verified_by("whsec_" + "A" * 43 + "=")
    assert set(got.event) == {"id", "type", "created_at", "sequence", "entity", "data"}
    assert got.event["type"] == "deposit.credited"
    assert got.event["entity"] == {"kind": "deposit", "id": "dep_1", "version": 1}
    assert got.event["data"] == {"id": "dep_1"}
    assert got.headers["webhook-id"] == got.event["id"]
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 60


async def test_an_endpoint_hears_only_of_what_it_asked_for(hooks: World, hook: Receiver) -> None:
    named = await hooks.endpoint(hook.url, ["deposit.credited"])
    grouped = await hooks.endpoint(hook.url, ["withdrawal.*"])
    everything = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    await hooks.happen("dep_1", what="finalized")
    await hooks.happen("wd_1", kind="withdrawal", what="queued")
    async with hooks.working():
        await hooks.until_states(named, "delivered")
        await hooks.until_states(grouped, "delivered")
        await hooks.until_states(everything, "delivered", "delivered", "delivered")


async def test_what_happened_before_an_endpoint_is_not_sent_to_it(hooks: World, hook: Receiver) -> None:
    await hooks.happen("dep_0")
    async with connection(hooks.pool) as conn:
        await conn.fetchval("SELECT sequence_events(100)")
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working():
        await hooks.until_states(endpoint, "delivered")
    assert [got.entity for got in hook.received] == [("dep_1", 1)]


async def test_a_failed_attempt_is_repeated_later_with_the_same_id_and_body(
    hooks: World, hook: Receiver
) -> None:
    hook.answer = failing(500, 1)  # type: ignore[assignment]
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working():
        row = await hooks.until_attempts(endpoint, 1)
        assert (row["state"], row["last_status"]) == ("pending", 500)
        await asyncio.sleep(0.2)
        assert len(hook.received) == 1
        hooks.clock.move(5.1)
        await hooks.until_states(endpoint, "delivered")
    first, second = hook.received
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) >= 5
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 500, 503])
async def test_only_2xx_is_success(hooks: World, hook: Receiver, status: int) -> None:
    hook.answer = lambda _: web.Response(status=status, headers={"Location": hook.url})
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working():
        row = await hooks.until_attempts(endpoint, 1)
    assert (row["state"], row["last_status"]) == ("pending", status)
    assert len(hook.received) == 1


async def test_after_the_last_attempt_a_delivery_is_dead_until_replayed(hooks: World, hook: Receiver) -> None:
    hook.answer = failing(500, 3)  # type: ignore[assignment]
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working():
        for attempts in (1, 2):
            await hooks.until_attempts(endpoint, attempts)
            hooks.clock.move(90)
        [row] = await hooks.until_states(endpoint, "dead")
        assert row["attempts"] == 3
        hooks.clock.move(10**6)
        await asyncio.sleep(0.2)
        assert len(hook.received) == 3
        async with transaction(hooks.pool) as conn:
            await replay(conn, endpoint_id(endpoint), 0, hooks.clock.now())
        await hooks.until_states(endpoint, "delivered")
    assert len({got.headers["webhook-id"] for got in hook.received}) == 1


async def test_events_of_one_entity_arrive_in_order_though_the_first_fails(
    hooks: World, hook: Receiver
) -> None:
    seen: list[tuple[str, int]] = []

    def answer(got: object) -> web.Response:
        entity = got.entity  # type: ignore[attr-defined]
        seen.append(entity)
        return web.Response(status=500 if seen.count(("dep_1", 1)) == 1 and entity == ("dep_1", 1) else 204)

    hook.answer = answer
    endpoint = await hooks.endpoint(hook.url)
    for _ in range(3):
        await hooks.happen("dep_1", "dep_2")
    async with hooks.working():
        await hooks.until_states(
            endpoint, "pending", "delivered", "pending", "delivered", "pending", "delivered"
        )
        hooks.clock.move(6)
        await hooks.until_states(endpoint, *["delivered"] * 6)
    assert [version for entity, version in seen if entity == "dep_1"] == [1, 1, 2, 3]
    assert [version for entity, version in seen if entity == "dep_2"] == [1, 2, 3]


async def test_order_holds_with_many_entities_and_failures_at_random_places(
    hooks: World, hook: Receiver
) -> None:
    delivered: dict[str, list[int]] = {}
    tries: Counter[tuple[str, int]] = Counter()

    def answer(got: object) -> web.Response:
        entity, version = got.entity  # type: ignore[attr-defined]
        tries[entity, version] += 1
        if (hash((entity, version, 7)) % 3 == 0) and tries[entity, version] == 1:
            return web.Response(status=500)
        delivered.setdefault(entity, []).append(version)
        return web.Response(status=204)

    hook.answer = answer
    endpoint = await hooks.endpoint(hook.url)
    for _ in range(5):
        await hooks.happen(*(f"dep_{n}" for n in range(12)))
    async with hooks.working(), hooks.working():
        for _ in range(400):
            # Less than the lease of an attempt that is under way.
            hooks.clock.move(1.5)
            await asyncio.sleep(0.05)
            if (
                all(row["state"] == "delivered" for row in await hooks.rows(endpoint))
                and len(delivered) == 12
            ):
                break
        await hooks.until_states(endpoint, *["delivered"] * 60)
    for versions in delivered.values():
        # At least once: a lease that ran out may repeat one, but none is passed over or turned around.
        assert sorted(set(versions)) == [1, 2, 3, 4, 5]
        assert [v for n, v in enumerate(versions) if v not in versions[:n]] == [1, 2, 3, 4, 5]


async def test_gone_disables_the_endpoint_and_nothing_is_lost(hooks: World, hook: Receiver) -> None:
    hook.answer = failing(410, 1)  # type: ignore[assignment]
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working():
        await hooks.until_attempts(endpoint, 1)
        await hooks.happen("dep_2")
        hooks.clock.move(3600)
        await asyncio.sleep(0.2)
        assert len(hook.received) == 1
        async with connection(hooks.pool) as conn:
            row = await conn.fetchrow("SELECT state, reason FROM webhook_endpoint")
            told = await conn.fetchval("SELECT count(*) FROM event WHERE type = 'webhook_endpoint.disabled'")
        assert row is not None
        assert (row["state"], row["reason"], told) == ("disabled", "it answered 410 Gone", 1)
        async with transaction(hooks.pool) as conn:
            await patch_endpoint(
                conn,
                endpoint_id(endpoint),
                url=None,
                description=None,
                event_types=None,
                state=State.ENABLED,
                now=hooks.clock.now(),
            )
        await hooks.until_states(endpoint, "delivered", "delivered")


@pytest.mark.parametrize("good_in_between", [False, True])
async def test_an_endpoint_that_answers_nothing_well_for_days_is_disabled_and_loses_nothing(
    hooks: World, hook: Receiver, good_in_between: bool
) -> None:
    hooks.settings = hooks.settings.model_copy(update={"disable_after_days": 2, "schedule_s": (86_400,) * 3})
    hook.answer = lambda got: web.Response(
        status=204 if good_in_between and got.entity == ("dep_2", 1) else 500
    )
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working():
        await hooks.until_attempts(endpoint, 1)
        hooks.clock.move(1.3 * 86_400)
        await hooks.until_attempts(endpoint, 2)
        if good_in_between:
            await hooks.happen("dep_2")
            await hooks.until_states(endpoint, "pending", "delivered")
        hooks.clock.move(1.3 * 86_400)
        await hooks.until_attempts(endpoint, 3)
    async with connection(hooks.pool) as conn:
        row = await conn.fetchrow("SELECT state, reason FROM webhook_endpoint")
        told = await conn.fetchval("SELECT count(*) FROM event WHERE type = 'webhook_endpoint.disabled'")
    assert row is not None
    assert (row["state"], told) == (("enabled", 0) if good_in_between else ("disabled", 1))
    assert good_in_between or row["reason"].startswith("nothing was answered well since ")
    assert (await hooks.rows(endpoint))[0]["state"] == "pending"


@pytest.mark.parametrize("status", [429, 503])
async def test_who_asks_for_time_gets_it_for_all_its_deliveries(
    hooks: World, hook: Receiver, status: int
) -> None:
    hook.answer = failing(status, 1, {"Retry-After": "30"})  # type: ignore[assignment]
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working():
        await hooks.until_attempts(endpoint, 1)
        await hooks.happen("dep_2")
        hooks.clock.move(20)
        await asyncio.sleep(0.2)
        assert len(hook.received) == 1
        hooks.clock.move(11)
        await hooks.until_states(endpoint, "delivered", "delivered")


async def test_an_endpoint_that_is_too_slow_is_cut_off(hooks: World, hook: Receiver) -> None:
    hook.delay_s = 2
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working():
        row = await hooks.until_attempts(endpoint, 1)
    assert (row["state"], row["last_problem"]) == ("pending", "no answer within 0.5 s")


async def test_an_endpoint_that_is_down_gets_everything_when_it_is_back(hooks: World) -> None:
    endpoint = await hooks.endpoint("http://127.0.0.1:9/")
    await hooks.happen("dep_1", "dep_2")
    async with hooks.working(), receiving() as back:
        for _ in range(100):
            rows = await hooks.rows(endpoint)
            if len(rows) == 2 and all(row["last_problem"] == "cannot connect" for row in rows):
                break
            await asyncio.sleep(0.02)
        async with transaction(hooks.pool) as conn:
            await patch_endpoint(
                conn,
                endpoint_id(endpoint),
                url=back.url,
                description=None,
                event_types=None,
                state=None,
                now=hooks.clock.now(),
            )
        hooks.clock.move(61)
        await hooks.until_states(endpoint, "delivered", "delivered")
        assert len(back.received) == 2


async def test_a_slow_endpoint_does_not_hold_up_the_others(hooks: World, hook: Receiver) -> None:
    hook.delay_s = 0.4
    slow = await hooks.endpoint(hook.url)
    async with receiving() as quick_hook:
        quick = await hooks.endpoint(quick_hook.url)
        await hooks.happen(*(f"dep_{n}" for n in range(40)))
        async with hooks.working():
            started = time.monotonic()
            await hooks.until_states(quick, *["delivered"] * 40)
            took_s = time.monotonic() - started
            undelivered = [row for row in await hooks.rows(slow) if row["state"] != "delivered"]
    assert undelivered
    assert took_s < 3
    assert hook.in_flight_max <= hooks.settings.concurrency


async def test_requests_at_a_time_are_bounded(hooks: World, hook: Receiver) -> None:
    # On a busy machine a request that was given up would still be at the receiver's.
    hooks.settings = hooks.settings.model_copy(update={"timeout_s": 30})
    hook.delay_s = 0.05
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen(*(f"dep_{n}" for n in range(30)))
    async with hooks.working():
        await hooks.until_states(endpoint, *["delivered"] * 30)
    assert 1 < hook.in_flight_max <= hooks.settings.concurrency


async def test_two_workers_share_the_work_and_send_each_event_once(hooks: World, hook: Receiver) -> None:
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen(*(f"dep_{n}" for n in range(100)))
    async with hooks.working(), hooks.working():
        await hooks.until_states(endpoint, *["delivered"] * 100)
    assert Counter(got.headers["webhook-id"] for got in hook.received).most_common(1)[0][1] == 1


async def test_a_worker_that_dies_leaves_its_delivery_to_the_next_after_the_lease(
    hooks: World, hook: Receiver
) -> None:
    """Claimed, and never heard of again: what a SIGKILL after the claim leaves."""
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working() as worker:
        await worker.fan_out()
        # Leaving earlier could cancel the worker's own fan-out, and there would be no delivery at all.
        await hooks.until_states(endpoint, "delivered")
    async with connection(hooks.pool) as conn:
        await conn.execute("UPDATE webhook_delivery SET state = 'pending', leased_until = NULL, attempts = 0")
        claimed = await deliveries.claim(conn, {endpoint_id(endpoint): 5}, 30, hooks.clock.now())
        assert len(claimed) == 1
        assert await deliveries.claim(conn, {endpoint_id(endpoint): 5}, 30, hooks.clock.now()) == []
    before = len(hook.received)
    async with hooks.working():
        await asyncio.sleep(0.2)
        assert len(hook.received) == before
        hooks.clock.move(31)
        [row] = await hooks.until_states(endpoint, "delivered")
    assert row["attempts"] == 2


async def test_the_outcome_of_an_attempt_that_lost_its_lease_is_dropped(hooks: World, hook: Receiver) -> None:
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working() as worker:
        await worker.fan_out()
        await hooks.until_states(endpoint, "delivered")
    async with connection(hooks.pool) as conn:
        await conn.execute("UPDATE webhook_delivery SET state = 'pending', attempts = 0")
        now = hooks.clock.now()
        [stale] = await deliveries.claim(conn, {endpoint_id(endpoint): 1}, 1, now)
        [fresh] = await deliveries.claim(conn, {endpoint_id(endpoint): 1}, 1, now + timedelta(seconds=2))
        assert (stale.id, stale.attempts, fresh.attempts) == (fresh.id, 1, 2)
        verdict = Verdict(DeliveryState.DEAD)
        lost = deliveries.Finished(stale, Answered(500), verdict)
        await deliveries.finish(conn, [lost], set(), timedelta(days=5), now)
        late = deliveries.Finished(stale, Answered(200), Verdict(DeliveryState.DELIVERED))
        await deliveries.arrive(conn, [late], now)
    assert [row["state"] for row in await hooks.rows(endpoint)] == ["pending"]


async def test_an_endpoint_that_answers_another_delivery_well_is_not_taken_for_failing(
    hooks: World, hook: Receiver
) -> None:
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1", "dep_2")
    async with hooks.working() as worker:
        await hooks.until_states(endpoint, "delivered", "delivered")
    for expected in (0, 1):
        batch = finished(await claimed_anew(hooks, endpoint), "delivered", "pending")
        await worker._write(batch[expected:])
        assert await hooks.pool.fetchval("SELECT failures FROM webhook_endpoint") == expected


async def test_outcomes_of_a_batch_are_written_together_or_not_at_all(
    hooks: World, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written again after half of it was kept, an outcome could meet a delivery that began anew meanwhile."""
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1", "dep_2")
    async with hooks.working() as worker:
        await hooks.until_states(endpoint, "delivered", "delivered")
    batch = finished(await claimed_anew(hooks, endpoint), "delivered", "dead")

    async def lost(*_: object) -> int:
        raise ConcurrentUpdate("deadlock")

    with monkeypatch.context() as failing:
        failing.setattr(deliveries, "finish", lost)
        with pytest.raises(ConcurrentUpdate):
            await worker._write(batch)
    assert [row["state"] for row in await hooks.rows(endpoint)] == ["pending", "pending"]
    await worker._write(batch)
    assert sorted(row["state"] for row in await hooks.rows(endpoint)) == ["dead", "delivered"]


@pytest.mark.parametrize("states", ["delivered delivered", "delivered dead", "dead dead"])
async def test_who_writes_outcomes_waits_for_an_endpoint_before_it_holds_deliveries(
    hooks: World, hook: Receiver, states: str
) -> None:
    """As who fans out: the other way round, two workers could wait for each other."""
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1", "dep_2")
    async with hooks.working() as worker:
        await hooks.until_states(endpoint, "delivered", "delivered")
    batch = finished(await claimed_anew(hooks, endpoint), *states.split())
    await hooks.pool.execute("UPDATE webhook_endpoint SET failures = 1, failing_since = now()")
    async with transaction(hooks.pool) as fanning_out, connection(hooks.pool) as other:
        assert await fanning_out.fetch("SELECT FROM webhook_endpoint FOR NO KEY UPDATE")
        writing = asyncio.create_task(worker._write(batch))
        await until_somebody_waits(other)
        assert len(await other.fetch("SELECT FROM webhook_delivery FOR UPDATE NOWAIT")) == 2
    await writing
    assert sorted(row["state"] for row in await hooks.rows(endpoint)) == sorted(states.split())


async def test_endpoints_that_begin_to_fail_while_outcomes_wait_for_another_are_left_as_they_are(
    hooks: World, hook: Receiver
) -> None:
    """Endpoints are held in one order; one that was not held with the others would come after it."""
    first, second = sorted([await hooks.endpoint(hook.url), await hooks.endpoint(hook.url)], key=endpoint_id)
    await hooks.happen("dep_1")
    async with hooks.working() as worker:
        await hooks.until_states(first, "delivered")
        await hooks.until_states(second, "delivered")
    fail = "UPDATE webhook_endpoint SET failures = 1, failing_since = now() WHERE id = $1"
    arrived = finished(await claimed_anew(hooks, first, second), "delivered", "delivered")
    await hooks.pool.execute(fail, endpoint_id(second))
    async with transaction(hooks.pool) as holding, connection(hooks.pool) as other:
        await holding.execute(
            "SELECT FROM webhook_endpoint WHERE id = $1 FOR NO KEY UPDATE", endpoint_id(second)
        )
        writing = asyncio.create_task(worker._write(arrived))
        await until_somebody_waits(other)
        await other.execute(fail, endpoint_id(first))
    await writing
    failures = {
        row["id"]: row["failures"] for row in await hooks.pool.fetch("SELECT * FROM webhook_endpoint")
    }
    assert failures == {endpoint_id(first): 1, endpoint_id(second): 0}
    for endpoint in (first, second):
        assert [row["state"] for row in await hooks.rows(endpoint)] == ["delivered"]


async def test_of_two_attempts_whose_outcomes_come_together_the_later_one_counts(
    hooks: World, hook: Receiver
) -> None:
    """The first one's lease ran out while it was under way."""
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working() as worker:
        await hooks.until_states(endpoint, "delivered")
    (first,) = await claimed_anew(hooks, endpoint)
    hooks.clock.move(31)
    async with connection(hooks.pool) as conn:
        (second,) = await deliveries.claim(conn, {endpoint_id(endpoint): 1}, 30, hooks.clock.now())
    for outcomes in ([(first, 200), (second, 204)], [(second, 204), (first, 200)]):
        await hooks.pool.execute("UPDATE webhook_delivery SET state = 'pending'")
        arrived = Verdict(DeliveryState.DELIVERED)
        await worker._write([deliveries.Finished(one, Answered(status), arrived) for one, status in outcomes])
        (row,) = await hooks.rows(endpoint)
        assert (row["state"], row["attempts"], row["last_status"]) == ("delivered", 2, 204)


@pytest.mark.parametrize("at_once", [FINISH_BATCH, 3])
async def test_what_was_claimed_and_not_sent_is_given_back_at_the_end(
    hooks: World, hook: Receiver, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("cryptowatch.webhooks.worker.FINISH_BATCH", at_once)
    hook.delay_s = 0.3
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen(*(f"dep_{n}" for n in range(20)))
    async with hooks.working():
        await hook.until(2)
    leased = [row for row in await hooks.rows(endpoint) if row["leased_until"] is not None]
    assert len(leased) <= hooks.settings.concurrency
    hook.delay_s = 0
    hooks.clock.move(60)
    async with hooks.working():
        await hooks.until_states(endpoint, *["delivered"] * 20)


async def test_a_database_that_goes_away_is_waited_for(hooks: World, hook: Receiver) -> None:
    endpoint = await hooks.endpoint(hook.url)
    async with hooks.working():
        for round_ in range(5):
            await hooks.happen(*(f"dep_{round_}_{n}" for n in range(10)))
            async with connection(hooks.pool) as conn:
                await conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            await asyncio.sleep(0.1)
        hooks.clock.move(61)
        await hooks.until_states(endpoint, *["delivered"] * 50, timeout_s=20)
    assert len({got.headers["webhook-id"] for got in hook.received}) == 50


async def test_both_secrets_sign_until_the_old_one_ends(hooks: World, hook: Receiver) -> None:
    endpoint = await hooks.endpoint(hook.url)
    async with transaction(hooks.pool) as conn:
        now = hooks.clock.now()
        rotated = await rotate_secret(
            conn, endpoint_id(endpoint), b"n" * 32, Seal(), now + timedelta(hours=1), now
        )
    assert rotated is not None
    async with hooks.working():
        await hooks.happen("dep_1")
        [during] = await hook.until(1)
        assert during.verified_by(endpoint.secret)
        assert during.verified_by(rotated.secret)
        await hooks.until_states(endpoint, "delivered")
        hooks.clock.move(3601)
        await hooks.happen("dep_2")
        after = (await hook.until(2))[1]
    # The reference library refuses a time that far ahead, so only the number of signatures is looked at.
    assert len(after.headers["webhook-signature"].split(" ")) == 1


async def test_a_ping_goes_to_its_endpoint_alone(hooks: World, hook: Receiver) -> None:
    pinged = await hooks.endpoint(hook.url, ["deposit.credited"])
    other = await hooks.endpoint(hook.url)
    async with transaction(hooks.pool) as conn:
        await ping_endpoint(conn, endpoint_id(pinged), hooks.clock.now())
    async with hooks.working():
        await hooks.until_states(pinged, "delivered")
    assert hook.received[0].event["type"] == "webhook_endpoint.ping"
    assert await hooks.rows(other) == []


async def test_a_replay_sends_everything_after_a_position_again_in_order(
    hooks: World, hook: Receiver
) -> None:
    endpoint = await hooks.endpoint(hook.url)
    for _ in range(4):
        await hooks.happen("dep_1")
    async with hooks.working():
        rows = await hooks.until_states(endpoint, *["delivered"] * 4)
        async with transaction(hooks.pool) as conn:
            await replay(conn, endpoint_id(endpoint), rows[1]["position"], hooks.clock.now())
        await hook.until(6)
        await hooks.until_states(endpoint, *["delivered"] * 4)
    assert [got.entity[1] for got in hook.received] == [1, 2, 3, 4, 3, 4]


async def test_a_replay_from_the_future_passes_nothing_over(hooks: World, hook: Receiver) -> None:
    endpoint = await hooks.endpoint(hook.url)
    async with transaction(hooks.pool) as conn:
        await replay(conn, endpoint_id(endpoint), 10**12, hooks.clock.now())
    await hooks.happen("dep_1")
    async with hooks.working():
        await hooks.until_states(endpoint, "delivered")


async def test_a_deleted_endpoint_hears_nothing_and_its_rows_go(hooks: World, hook: Receiver) -> None:
    endpoint = await hooks.endpoint(hook.url)
    hook.answer = lambda _: web.Response(status=500)
    await hooks.happen("dep_1")
    async with hooks.working():
        await hooks.until_attempts(endpoint, 1)
        async with transaction(hooks.pool) as conn:
            assert await delete_endpoint(conn, endpoint_id(endpoint), hooks.clock.now())
            assert not await delete_endpoint(conn, endpoint_id(endpoint), hooks.clock.now())
        hooks.clock.move(61)
        await hooks.happen("dep_2")
        await asyncio.sleep(0.2)
    assert len(hook.received) == 1
    async with connection(hooks.pool) as conn:
        assert await deliveries.forget_old(conn, hooks.clock.now()) == 1
    assert await hooks.rows(endpoint) == []


async def test_what_was_delivered_long_ago_is_forgotten_and_what_was_not_is_kept(
    hooks: World, hook: Receiver
) -> None:
    hook.answer = failing(500, 1)  # type: ignore[assignment]
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1", "dep_2")
    async with hooks.working():
        for _ in range(100):
            rows = await hooks.rows(endpoint)
            if sorted(row["state"] for row in rows if row["attempts"]) == ["delivered", "pending"]:
                break
            await asyncio.sleep(0.02)
    async with connection(hooks.pool) as conn:
        assert await deliveries.forget_old(conn, hooks.clock.now() - timedelta(days=1)) == 0
        assert await deliveries.forget_old(conn, hooks.clock.now() + timedelta(seconds=1)) == 1
    assert [row["state"] for row in await hooks.rows(endpoint)] == ["pending"]


async def test_the_queue_is_bounded_and_the_rest_waits_in_the_feed(
    hooks: World, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "WAITING_MAX", 10)
    hook.delay_s = 0.02
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen(*(f"dep_{n}" for n in range(50)))
    most = 0
    async with hooks.working():
        for _ in range(500):
            rows = await hooks.rows(endpoint)
            most = max(most, sum(row["state"] == "pending" for row in rows))
            if len(rows) == 50 and all(row["state"] == "delivered" for row in rows):
                break
            await asyncio.sleep(0.01)
        await hooks.until_states(endpoint, *["delivered"] * 50)
    assert 0 < most <= 10


async def test_the_backlog_is_shown(hooks: World, hook: Receiver) -> None:
    hook.answer = lambda _: web.Response(status=500)
    endpoint = await hooks.endpoint(hook.url)
    await hooks.happen("dep_1")
    async with hooks.working() as worker:
        await hooks.until_attempts(endpoint, 1)
        hooks.clock.move(4)
        await worker._look_after()
    registry = hooks.metrics.registry
    assert registry.get_sample_value("cryptowatch_webhook_undelivered") == 1
    age_s = registry.get_sample_value("cryptowatch_webhook_oldest_undelivered_age_seconds")
    assert age_s is not None
    assert 4 <= age_s < 10
    assert registry.get_sample_value("cryptowatch_webhook_deliveries_total", {"state": "retrying"}) == 1
    assert registry.get_sample_value("cryptowatch_event_log_lag_events", {"consumer": "webhooks"}) == 0
    async with connection(hooks.pool) as conn:
        assert await feed_head(conn) > 0
