"""Schemathesis over the whole document: no 5xx, no status or body that is not documented, whatever is sent.

Two rounds over every call: with generated ids, and with ids of things that exist, so that generated requests
get past the door too. Examples are bounded and derandomized: the same run every time, well under a minute.
"""

import asyncio
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from cryptowatch.agents.statements import close_period
from cryptowatch.agents.worker import agent_rules
from cryptowatch.api.openapi import openapi_document
from cryptowatch.api.routes import ROUTES
from cryptowatch.compliance.cases import Found, Outcome, add_finding
from cryptowatch.compliance.rules import Rule
from cryptowatch.db.pool import open_pool, transaction
from cryptowatch.ids import Kind, show_id
from tests.api.world import GOOD_ADDRESS, Caller, World, running_api, uuid_of
from tests.api.world import settings as api_settings
from tests.support.moving_clock import MovingClock
from tests.support.referrals import TERMS

_CONFORMS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_STRICT = [*_CONFORMS, negative_data_rejection, ignored_auth, unsupported_method]
_BOUNDED = settings(
    max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)

schema = schemathesis.openapi.from_dict(openapi_document(ROUTES))


@dataclass(frozen=True)
class Target:
    url: str
    key: str
    ids: dict[str, str]


@pytest.fixture(scope="module")
def target(postgres_server: str, migrated_template: str) -> Iterator[Target]:
    """An API in a thread of its own, as requests are made from this one."""
    from tests.support.devnet_fixtures import _copied

    ready: threading.Event = threading.Event()
    found: list[Target] = []
    for dsn in _copied(postgres_server, migrated_template):
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()
        thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(dsn, found, ready, stop)))  # noqa: B023
        thread.start()
        assert ready.wait(30)
        yield found[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


async def _serve(dsn: str, found: list[Target], ready: threading.Event, stop: asyncio.Event) -> None:
    async with (
        open_pool(dsn, application_name="fuzz", size_max=5) as pool,
        running_api(pool, api_settings(dsn, rate_per_s=100_000, rate_burst=100_000), MovingClock()) as world,
    ):
        backend = await world.caller()
        account = await world.account(backend)
        await world.give(account, 10**15)
        await world.offer_addresses(200)
        requested = await backend.post(
            "/v1/withdrawals",
            {
                "account_id": account,
                "asset": "BTC",
                "chain": "bitcoin",
                "amount": "1",
                "address": GOOD_ADDRESS,
            },
        )
        endpoint = await backend.post("/v1/webhook-endpoints", {"url": "http://127.0.0.1:1/"})
        body = {"chain": "bitcoin", "asset": "BTC", "direction": "overflow", "amount": "1"}
        bet = {"account_id": account, "asset": "BTC", "kind": "win", "amount": "1", "round": "round 1"}
        await backend.post("/v1/transfers", bet)
        rebalance = await backend.post("/v1/rebalances", body)
        programme = await backend.post("/v1/referrals/programmes", {"name": "it", "terms": TERMS})
        assert backend.key is not None
        found.append(
            Target(
                world.url,
                backend.key,
                {
                    "account_id": account,
                    "deposit_id": await world.deposit(account),
                    "withdrawal_id": requested.body["id"],
                    "endpoint_id": endpoint.body["endpoint"]["id"],
                    "rebalance_id": rebalance.body["id"],
                    "programme_id": programme.body["id"],
                    "reward_id": "rw_" + uuid.uuid4().hex,
                    "code": "LUCKY",
                    "delivery_id": "whd_" + uuid.uuid4().hex,
                    "round": "round 1",
                    "case_id": await _case(world, account),
                    **await _agents(world, backend, account),
                },
            )
        )
        ready.set()
        await stop.wait()


async def _case(world: World, account: str) -> str:
    now, case_id = world.clock.now(), uuid.uuid4()
    found = Found(uuid_of(account), Rule.VELOCITY, "BTC", "dep_1", {}, now)
    async with transaction(world.pool) as conn:
        assert await add_finding(conn, case_id, found, "note", now) is Outcome.OPENED
    return show_id(Kind.CASE, case_id)


async def _agents(world: World, backend: Caller, account: str) -> dict[str, str]:
    """One with a player of its own, and a statement that is held."""
    plan = await backend.post("/v1/commission-plans", {"name": "n", "rates": {"turnover": {"*": 1000}}})
    body = {"account_id": account, "plan_id": plan.body["id"], "name": "n"}
    agent = await backend.post("/v1/agents", body)
    player = await backend.post("/v1/accounts", {"external_id": "p", "agent_id": agent.body["id"]})
    await world.give(player.body["id"], 10**8)
    bet = {"account_id": player.body["id"], "asset": "BTC", "kind": "bet", "amount": "1"}
    await backend.post("/v1/transfers", bet)
    rules, now = agent_rules(world.services.settings).statements, world.clock.now()
    async with transaction(world.pool) as conn:
        await close_period(conn, now.date(), now.date() + timedelta(days=1), rules, now)
    [statement] = (await backend.get("/v1/agent-statements")).body["data"]
    return {"agent_id": agent.body["id"], "plan_id": plan.body["id"], "statement_id": statement["id"]}


@schema.parametrize()
@_BOUNDED
def test_generated_requests_get_documented_answers(case: Case[Any], target: Target) -> None:
    case.call_and_validate(
        base_url=target.url, headers={"Authorization": f"Bearer {target.key}"}, checks=_STRICT
    )


@schema.exclude(method="DELETE").parametrize()
@_BOUNDED
def test_generated_requests_about_real_things_get_documented_answers(case: Case[Any], target: Target) -> None:
    for name in case.path_parameters or {}:
        case.path_parameters[name] = target.ids[name]
    if isinstance(case.body, dict):
        if "account_id" in case.body:
            case.body["account_id"] = target.ids["account_id"]
        for name, value in (("asset", "BTC"), ("chain", "bitcoin")):
            if name in case.body:
                case.body[name] = value
    headers = {"Authorization": f"Bearer {target.key}", "Idempotency-Key": uuid.uuid4().hex}
    case.call_and_validate(base_url=target.url, headers=headers, checks=_CONFORMS)
