"""Who may call: keys, scopes, expiry, revocation."""

import re
from datetime import timedelta
from typing import Any

import pytest

from cryptowatch.api.keys import Scope, revoke_key, write_last_used
from cryptowatch.api.routes import ROUTES
from cryptowatch.db.pool import Pool, connection
from tests.api.world import Caller, World, running_api, settings, uuid_of
from tests.support.moving_clock import MovingClock


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer cwk_",
        "Bearer cwk_" + "A" * 43,
        "Basic dXNlcjpwYXNz",
        "cwk_" + "A" * 43,
        "Bearer \u00e9" + "A" * 46,
        "Bearer " + "A" * 5000,
    ],
)
async def test_without_a_good_key_nobody_is_let_in(world: World, header: str | None) -> None:
    nobody = Caller(world.session, world.url, None, "")
    answer = await nobody.get("/v1/accounts", headers={} if header is None else {"Authorization": header})
    assert (answer.status, answer.code) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_key_that_differs_in_one_character_is_no_key(world: World, backend: Caller) -> None:
    assert backend.key is not None
    assert (await backend.get("/v1/accounts")).status == 200
    other = Caller(world.session, world.url, backend.key[:-1] + ("A" if backend.key[-1] != "A" else "B"), "")
    assert (await other.get("/v1/accounts")).status == 401


async def test_every_call_asks_for_its_own_scope(world: World) -> None:
    """With all other scopes the answer is 403; with just this one it is anything but 401 and 403."""
    others = {scope: await world.caller([one for one in Scope if one != scope]) for scope in Scope}
    just = {scope: await world.caller([scope]) for scope in Scope}
    wrong = []
    for route in ROUTES:
        path = route.path.format(**dict.fromkeys(re.findall(r"{(\w+)}", route.path), "x"))
        options: dict[str, Any] = {"json": {}} if route.method in ("POST", "PATCH", "PUT") else {}
        refused = await others[route.scope].call(route.method, path, **options)
        allowed = await just[route.scope].call(route.method, path, **options)
        if (refused.status, refused.code) != (403, "forbidden") or allowed.status in (401, 403):
            wrong.append((route.method, route.path, refused.status, allowed.status))
    assert not wrong


async def test_a_revoked_key_ends_with_the_next_request(world: World, backend: Caller) -> None:
    assert (await backend.get("/v1/accounts")).status == 200
    async with connection(world.pool) as conn:
        revoked = await revoke_key(conn, uuid_of(backend.key_id), world.clock.now())
        assert revoked is not None
        again = await revoke_key(conn, uuid_of(backend.key_id), world.clock.now() + timedelta(days=1))
    assert again == revoked
    assert (await backend.get("/v1/accounts")).status == 401


async def test_an_expired_key_ends_when_it_said(world: World) -> None:
    caller = await world.caller(expires_at=world.clock.now() + timedelta(hours=1))
    assert (await caller.get("/v1/accounts")).status == 200
    world.clock.move(3601)
    assert (await caller.get("/v1/accounts")).status == 401


async def test_keys_are_stored_as_digests_only(world: World, backend: Caller) -> None:
    assert backend.key is not None
    async with connection(world.pool) as conn:
        dump = await conn.fetchval("SELECT string_agg(k::text, ' ') FROM api_key k")
        assert backend.key not in dump
        assert backend.key[4:30] not in dump


async def test_last_use_never_goes_back(world: World, backend: Caller) -> None:
    now, key_id = world.clock.now(), uuid_of(backend.key_id)
    async with connection(world.pool) as conn:
        await write_last_used(conn, {key_id: now})
        await write_last_used(conn, {key_id: now - timedelta(hours=1)})
        assert await conn.fetchval("SELECT last_used_at FROM api_key WHERE id = $1", key_id) == now


async def test_uses_are_written_when_the_api_ends_not_with_each_request(pool: Pool, database: str) -> None:
    async with running_api(pool, settings(database), MovingClock()) as world:
        backend = await world.caller()
        await backend.get("/v1/accounts")
        before = await pool.fetchval("SELECT last_used_at FROM api_key")
    assert before is None
    assert await pool.fetchval("SELECT last_used_at FROM api_key") is not None
