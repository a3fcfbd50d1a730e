"""Whatever is sent, the answer is clear:

Problem JSON with a stable code and a request id, never a traceback.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cryptowatch.db import embedded
from cryptowatch.db.migrate import migrate
from cryptowatch.db.pool import Pool, open_pool
from tests.api.world import Caller, World, running_api, settings
from tests.support.moving_clock import MovingClock

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nonsense",
        b"NaN",
        b'{"external_id": "a"',
        b'{"external_id": "\xff"}',
        b"\xff\xfe",
        b'{"external_id": "\\ud800"}',
        b'{"external_id": "\\udc00\\ud800"}',
        b'{"external_id": "a"}{"x":1}',
    ],
)
async def test_what_is_not_json_is_said_to_be_none(backend: Caller, raw: bytes) -> None:
    answer = await backend.call("POST", "/v1/accounts", data=raw, headers=JSON)
    assert (answer.status, answer.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b"[]",
        b"1",
        b"[" * 100_000,
        b"{}",
        b'{"external_id": null}',
        b'{"external_id": 1}',
        b'{"external_id": ""}',
        b'{"external_id": "a\\u0000b"}',
        b'{"external_id": "a", "surprise": 1}',
        b'{"external_id": "' + b"x" * 201 + b'"}',
        b'{"external_id": "a", "metadata": {"k\\u0000": "v"}}',
        b'{"external_id": "a", "metadata": {"k": "v\\u0000"}}',
        b'{"external_id": "a", "metadata": {"k": 1}}',
        b'{"external_id": "a", "metadata": {"k": {"deep": 1}}}',
        b'{"external_id": "a", "metadata": ' + json.dumps({str(n): "" for n in range(51)}).encode() + b"}",
        b'{"external_id": "a", "metadata": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    ],
)
async def test_what_has_another_form_is_refused(backend: Caller, raw: bytes) -> None:
    answer = await backend.call("POST", "/v1/accounts", data=raw, headers=JSON)
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize("level", ["1e400", "9" * 500, "-1", "11", "1.5", "true", '"1"'])
async def test_a_number_out_of_range_is_refused(world: World, backend: Caller, level: str) -> None:
    account = await world.account(backend)
    raw = f'{{"kyc_level": {level}}}'
    answer = await backend.call("PATCH", f"/v1/accounts/{account}", data=raw.encode(), headers=JSON)
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_unusual_but_proper_text_goes_in_and_comes_back(backend: Caller) -> None:
    name = "\u0001\u001f\u007f\u0085\u2028\ufeff\U0001f3b0 'quote\" -- ; \\ %s $1"
    answer = await backend.post("/v1/accounts", {"external_id": name, "metadata": {name[:40]: name}})
    assert (answer.status, answer.body["external_id"], answer.body["metadata"]) == (
        201,
        name,
        {name[:40]: name},
    )


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1001",
        "limit=x",
        "limit=1&limit=2",
        "limit=" + "9" * 400,
        "surprise=1",
        "cursor=x",
        "cursor=%00",
        "cursor=" + "A" * 101,
        "status=gone",
        "cursor=%ff",
        "limit=%ed%a0%80",
        "cursor=AAAA",
        "limit=",
    ],
)
async def test_a_wrong_parameter_is_refused(backend: Caller, query: str) -> None:
    answer = await backend.get(f"/v1/accounts?{query}")
    assert answer.status == 400
    assert answer.code in ("invalid_request", "invalid_cursor")


@pytest.mark.parametrize(
    "query", ["after=-1", "after=9223372036854775808", "after=x", "account_id=x", "type=%00"]
)
async def test_wrong_parameters_of_events_are_refused(backend: Caller, query: str) -> None:
    assert (await backend.get(f"/v1/events?{query}")).code == "invalid_request"


@pytest.mark.parametrize(
    ("headers", "data"),
    [
        ({"Content-Type": "text/plain"}, b"{}"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"a=1"),
        ({}, b"{}"),
        ({"Content-Type": "application/json; charset=utf-16"}, b"{}"),
        ({"Content-Type": "\u00e9"}, b"{}"),
        ({**JSON, "Content-Encoding": "gzip"}, gzip.compress(b'{"external_id": "a"}', mtime=0)),
        ({**JSON, "Content-Encoding": "br"}, b"{}"),
    ],
)
async def test_another_media_type_is_not_taken(backend: Caller, headers: dict[str, str], data: bytes) -> None:
    answer = await backend.call("POST", "/v1/accounts", data=data, headers=headers)
    assert answer.status in (400, 415)
    assert answer.status == 400 or answer.code == "unsupported_media_type"


async def test_a_body_beyond_the_limit_is_refused(world: World, backend: Caller) -> None:
    size = world.services.settings.api.body_bytes_max
    answer = await backend.call("POST", "/v1/accounts", data=b" " * (size + 1), headers=JSON)
    assert (answer.status, answer.code) == (413, "body_too_large")


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(120):
        yield b" " * 10_000


async def test_a_chunked_body_beyond_the_limit_is_refused_too(backend: Caller) -> None:
    answer = await backend.call("POST", "/v1/accounts", data=chunks(), headers=JSON)
    assert (answer.status, answer.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/accounts",
        "/v1/accounts/",
        "/v1/nothing",
        "/%00",
        "/%ff",
        "/..//",
        "/v1/accounts/a/b/c",
    ],
)
async def test_an_unknown_path_is_not_found(backend: Caller, path: str) -> None:
    answer = await backend.get(path)
    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_wrong_method_is_told_which_are_right(backend: Caller) -> None:
    answer = await backend.call("DELETE", "/v1/accounts")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(",")) == {"GET", "POST"}


async def test_only_the_usual_expectation_is_met(backend: Caller) -> None:
    body = {"external_id": "a"}
    met = await backend.post("/v1/accounts", body, headers={"Expect": "100-continue"})
    assert met.status == 201
    refused = await backend.call(
        "POST", "/v1/accounts", json=body, headers={"Expect": "the-spanish-inquisition"}
    )
    assert (refused.status, refused.body["code"]) == (417, "expectation_failed")


async def test_a_request_id_is_taken_when_harmless_and_made_otherwise(backend: Caller) -> None:
    given = await backend.get("/v1/nothing", headers={"X-Request-Id": "abc-123"})
    assert given.headers["X-Request-Id"] == given.body["request_id"] == "abc-123"
    made = await backend.get("/v1/nothing", headers={"X-Request-Id": "<script>" * 20})
    assert made.headers["X-Request-Id"].startswith("req_")


#: Longer than the first answers of a process take on a busy machine.
ANSWER_S = 1.5


async def test_too_many_requests_at_once_are_refused_while_health_still_answers(
    pool: Pool, database: str
) -> None:
    async with running_api(pool, settings(database, concurrent_requests_max=2), MovingClock()) as world:
        backend = await world.caller()
        account = await world.account(backend)
        await world.give(account, 1000)
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT FROM customer_balance FOR UPDATE")
            body = {"account_id": account, "asset": "BTC", "kind": "bet", "amount": "0.00000001"}
            waiting = [asyncio.create_task(backend.post("/v1/transfers", body)) for _ in range(2)]
            under_way = "cryptowatch_api_requests_in_flight"
            while world.services.metrics.registry.get_sample_value(under_way) != 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            refused = await backend.get("/v1/accounts")
            assert (refused.status, refused.code) == (503, "overloaded")
            assert int(refused.headers["Retry-After"]) > 0
            assert (await backend.get("/health/live")).status == 200
        assert [(await answer).status for answer in waiting] == [201, 201]
        assert (await backend.get("/v1/accounts")).status == 200


async def test_an_answer_that_takes_too_long_is_cut_and_its_effect_undone(pool: Pool, database: str) -> None:
    async with running_api(pool, settings(database, request_timeout_s=ANSWER_S), MovingClock()) as world:
        backend = await world.caller()
        account = await world.account(backend)
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT FROM account FOR UPDATE")
            late = await backend.patch(f"/v1/accounts/{account}", {"kyc_level": 2})
            assert (late.status, late.code) == (504, "request_timeout")
        assert (await backend.get(f"/v1/accounts/{account}")).body["kyc_level"] == 0


async def test_an_answer_of_a_group_that_takes_too_long_comes_with_the_same_key(
    pool: Pool, database: str
) -> None:
    async with running_api(pool, settings(database, request_timeout_s=ANSWER_S), MovingClock()) as world:
        backend = await world.caller()
        account = await world.account(backend)
        await world.give(account, 1000)
        body = {"account_id": account, "asset": "BTC", "kind": "bet", "amount": "0.00000001"}
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT FROM customer_balance FOR UPDATE")
            late = await backend.post("/v1/transfers", body, idempotency_key="k1")
            assert (late.status, late.code) == (504, "request_timeout")
        while (again := await backend.post("/v1/transfers", body, idempotency_key="k1")).status == 409:
            assert again.code == "in_progress"
        assert (again.status, again.body["balance"]["total"]) == (201, "0.00000999")


async def drip() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.sleep(5)


async def test_a_body_that_does_not_come_is_not_waited_for(pool: Pool, database: str) -> None:
    async with running_api(pool, settings(database, request_timeout_s=0.3), MovingClock()) as world:
        backend = await world.caller()
        answer = await backend.call("POST", "/v1/accounts", data=drip(), headers=JSON)
        assert (answer.status, answer.code) == (408, "timeout")


async def test_a_database_that_is_away_is_said_so_and_comes_back(short_dir: Path) -> None:
    folder = short_dir / "stopped"
    dsn = await embedded.start(folder, fast_unsafe=True)
    migrate(dsn)
    async with (
        open_pool(dsn, application_name="test", size_max=4) as pool,
        running_api(pool, settings(dsn), MovingClock()) as world,
    ):
        backend = await world.caller()
        assert (await backend.get("/health/ready")).status == 200
        await embedded.stop(folder)
        for path in ("/v1/accounts", "/health/ready", "/v1/accounts"):
            answer = await backend.get(path)
            assert (answer.status, answer.code) == (503, "database_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
        assert (await backend.get("/health/live")).status == 200
        await embedded.start(folder, fast_unsafe=True)
        assert (await backend.get("/v1/accounts")).status == 200
    await embedded.stop(folder)


async def test_a_mistake_of_ours_is_answered_without_its_traceback(
    world: World, backend: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("cryptowatch.api.accounts.player_view", broken)
    answer = await backend.post("/v1/accounts", {"external_id": "a"})
    assert (answer.status, answer.code) == (500, "internal_error")
    assert "secret" not in json.dumps(answer.body)
    monkeypatch.undo()
    assert (await backend.post("/v1/accounts", {"external_id": "a"})).status == 201
