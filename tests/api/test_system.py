"""Chains, health, metrics and the document."""

import re

from cryptowatch.api.openapi import codes_of, docs_page, openapi_document
from cryptowatch.api.problems import CODES
from cryptowatch.api.routes import ROUTES
from cryptowatch.db.pool import Pool
from tests.api.world import Caller, World, running_api, settings
from tests.support.moving_clock import MovingClock


async def test_chains_show_height_finality_halt_and_live_nodes(world: World, backend: Caller) -> None:
    [fresh] = (await backend.get("/v1/chains")).body
    assert (fresh["chain"], fresh["height"], fresh["halted"], fresh["agreed_height"]) == (
        "bitcoin",
        None,
        None,
        105,
    )
    async with world.pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO chain (chain, asset, height, hash, halted, halted_at, updated_at) "
            "VALUES ('bitcoin', 'BTC', 100, $1, 'deep reorg', now(), now())",
            b"\1" * 32,
        )
    [chain] = (await backend.get("/v1/chains")).body
    assert (chain["height"], chain["finalized_height"], chain["hash"]) == (100, 98, "01" * 32)
    assert chain["halted"]["reason"] == "deep reorg"
    assert chain["nodes"] == [
        {
            "name": "one",
            "state": "healthy",
            "height": 104,
            "lag_blocks": 1,
            "latency_s": 0.01,
            "problem": None,
        }
    ]


async def test_a_process_that_does_not_watch_shows_what_the_tables_tell(pool: Pool, database: str) -> None:
    async with running_api(pool, settings(database), MovingClock(), watching=False) as world:
        backend = await world.caller()
        assert (await backend.get("/v1/chains")).body[0]["nodes"][0]["state"] == "unknown"
        async with pool.acquire() as conn:
            await conn.execute("INSERT INTO node VALUES ('bitcoin', 'one', 'quarantined', 1, now())")
        [chain] = (await backend.get("/v1/chains")).body
        assert (chain["nodes"][0]["state"], chain["agreed_height"]) == ("quarantined", None)


async def test_metrics_count_calls_by_route_and_never_show_ids(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    await backend.get(f"/v1/accounts/{account}")
    await backend.get("/v1/nothing")
    nobody = Caller(world.session, world.url, None, "")
    async with nobody.session.get(world.url + "/metrics") as response:
        text = await response.text()
    assert 'api_request_seconds_count{method="GET /v1/accounts/{account_id}",state="2xx"} 1.0' in text
    assert 'api_request_seconds_count{method="other",state="4xx"} 1.0' in text
    assert account not in text
    assert "cryptowatch_build_info" in text


async def test_metrics_can_be_asked_for_by_name(world: World, backend: Caller) -> None:
    async def shown(*names: str) -> set[str]:
        asked = [("name[]", name) for name in names]
        async with world.session.get(world.url + "/metrics", params=asked) as response:
            lines = (await response.text()).splitlines()
        return {re.split(r"[ {]", line)[0] for line in lines if not line.startswith("#")}

    await backend.get("/v1/chains")
    wanted = {"cryptowatch_build_info", "cryptowatch_api_request_seconds_count"}
    assert await shown(*wanted) == wanted
    assert await shown("cryptowatch_nothing") == set()
    assert wanted < await shown()


async def test_the_document_and_its_page_need_no_key_and_no_other_host(world: World) -> None:
    for path, kind in (("/openapi.json", "application/json"), ("/docs", "text/html")):
        async with world.session.get(world.url + path) as response:
            assert response.status == 200
            assert response.content_type == kind
            text = await response.text()
    assert not re.search(r"(src|href)=[\"']?https?:", text)
    assert "<script" not in text


def test_every_call_and_every_problem_is_documented() -> None:
    document = openapi_document(ROUTES)
    documented = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert {(route.method, route.path) for route in ROUTES} <= documented
    for route in ROUTES:
        responses = document["paths"][route.path][route.method.lower()]["responses"]
        assert {str(CODES[code][0]) for code in codes_of(route)} <= set(responses)
        assert str(route.status) in responses
    page = docs_page(document)
    assert all(route.path in page for route in ROUTES)


def test_every_code_has_a_use_or_belongs_to_the_contract() -> None:
    used = {code for route in ROUTES for code in codes_of(route)}
    assert set(CODES) - used == {"method_not_allowed", "expectation_failed"}
