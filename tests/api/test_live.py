"""`GET /v1/events/stream`: complete and in order for every reader, and no longer than its key is good."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from cryptowatch.api.keys import Scope, revoke_key
from cryptowatch.db.pool import Pool, transaction
from cryptowatch.ledger.events import NewEvent, append_events
from tests.api.world import Caller, World, running_api, settings, uuid_of
from tests.support.moving_clock import MovingClock

PATH = "/v1/events/stream"
QUICK = {
    "stream_heartbeat_s": 0.2,
    "stream_poll_interval_s": 0.02,
    "stream_events_kept": 10,
    "streams_max": 3,
    "stream_lifetime_s": 60,
}


@dataclass
class Reader:
    """An SSE client: what it was told, as a browser would see it."""

    response: aiohttp.ClientResponse
    last_id: str = ""
    comments: int = 0
    _told: list[dict[str, Any]] = field(default_factory=list)

    async def next(self) -> dict[str, Any] | None:
        """The next event; None at the stream's end."""
        data = ""
        while line := await self.response.content.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "data":
                data += value
            elif name == "" and value:
                self.comments += 1
            elif name == "" and data:
                event: dict[str, Any] = json.loads(data)
                assert self.last_id == str(event["sequence"])
                return event
        return None

    async def entities(self, count: int) -> list[str]:
        async with asyncio.timeout(10):
            events = [await self.next() for _ in range(count)]
        return [event["entity"]["id"] for event in events if event is not None]


@asynccontextmanager
async def reading(caller: Caller, query: str = "", last_id: str | None = None) -> AsyncIterator[Reader]:
    headers = {"Authorization": f"Bearer {caller.key}"}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    async with caller.session.get(caller.url + PATH + query, headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.headers["X-Request-Id"]
        yield Reader(response)


async def happen(world: World, first: int, count: int, kind: str = "thing.done") -> None:
    now = world.clock.now()
    events = [NewEvent(kind, "thing", f"{kind}:{n}", 1, None, "{}", now) for n in range(first, first + count)]
    async with transaction(world.pool) as conn:
        await append_events(conn, events)


@asynccontextmanager
async def quick_world(pool: Pool, database: str, **more: Any) -> AsyncIterator[World]:
    async with running_api(pool, settings(database, **{**QUICK, **more}), MovingClock()) as world:
        yield world


async def test_readers_from_now_from_before_and_after_a_break_get_everything_in_order(
    pool: Pool, database: str
) -> None:
    async with quick_world(pool, database) as world:
        backend = await world.caller({Scope.READ})
        await happen(world, 0, 300)
        everything = [f"thing.done:{n}" for n in range(340)]
        async with reading(backend) as live, reading(backend, "?after=0") as behind:
            await happen(world, 300, 30)
            assert await live.entities(30) == everything[300:330]
            assert await behind.entities(330) == everything[:330]
            await happen(world, 330, 10)
            assert await live.entities(10) == everything[330:]
        async with reading(backend, "?after=3", last_id="335") as resumed:
            assert await resumed.entities(5) == everything[335:]
        async with reading(backend, "?after=0&type=other.done,thing.gone") as picky:
            await happen(world, 0, 1, "thing.gone")
            await happen(world, 340, 1)
            await happen(world, 1, 1, "other.done")
            assert await picky.entities(2) == ["thing.gone:0", "other.done:1"]


async def test_a_quiet_stream_shows_life_and_where_to_go_on(pool: Pool, database: str) -> None:
    async with quick_world(pool, database) as world:
        backend = await world.caller({Scope.READ})
        async with reading(backend, "?type=none.such") as quiet:
            await happen(world, 0, 7)
            task = asyncio.create_task(quiet.next())
            async with asyncio.timeout(10):
                while quiet.last_id != "7" or not quiet.comments:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            task.cancel()


@pytest.mark.parametrize("end", ["revoked", "expired", "shutdown", "lifetime"])
async def test_a_stream_ends_with_its_key_its_time_or_its_server(pool: Pool, database: str, end: str) -> None:
    more = {"stream_lifetime_s": 0.3} if end == "lifetime" else {}
    async with quick_world(pool, database, **more) as world:
        expires_at = world.clock.now().replace(year=world.clock.now().year + 1)
        backend = await world.caller({Scope.READ}, expires_at=expires_at)
        async with reading(backend) as reader:
            if end == "revoked":
                async with transaction(pool) as conn:
                    await revoke_key(conn, uuid_of(backend.key_id), world.clock.now())
            if end == "expired":
                world.clock.move(400 * 86_400)
            if end == "shutdown":
                await world.app.shutdown()
            async with asyncio.timeout(10):
                assert await reader.next() is None


async def test_only_so_many_streams_are_open_at_once(pool: Pool, database: str) -> None:
    async with quick_world(pool, database) as world:
        backend = await world.caller({Scope.READ})
        async with reading(backend), reading(backend):
            async with reading(backend):
                refused = await backend.get(PATH)
                assert (refused.status, refused.code) == (503, "overloaded")
                assert refused.headers["Retry-After"] == "1"
            async with asyncio.timeout(10):
                while not await opens(backend):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)


async def opens(caller: Caller) -> bool:
    """Whether a stream can be opened; it is left at once."""
    headers = {"Authorization": f"Bearer {caller.key}"}
    async with caller.session.get(caller.url + PATH, headers=headers) as response:
        return response.status == 200


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("?after=-1", {}, "invalid_request"),
        ("?limit=3", {}, "invalid_request"),
        ("?after=9", {}, "invalid_request"),
        ("", {"Last-Event-ID": "9"}, "invalid_request"),
        ("?account_id=acc_x", {}, "invalid_request"),
        ("", {"Last-Event-ID": "evt_1"}, "invalid_request"),
        ("", {"Last-Event-ID": "9" * 19}, "invalid_request"),
        ("", {"Last-Event-ID": "9" * 30}, "invalid_request"),
        ("", {"Last-Event-ID": "0" * 20 + "9" * 20}, "invalid_request"),
        ("", {"Last-Event-ID": "0" * 5000}, "invalid_request"),
        ("", {"Authorization": "Bearer cwk_" + "A" * 43}, "unauthorized"),
    ],
)
async def test_what_cannot_be_streamed_is_refused_at_once(
    backend: Caller, path: str, headers: dict[str, str], code: str
) -> None:
    assert (await backend.get(PATH + path, headers=headers)).code == code
