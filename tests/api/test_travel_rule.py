"""Who sends and who receives: asked for from an amount on, kept apart, and shown to nobody but compliance."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from cryptowatch.api.keys import Scope
from cryptowatch.db.pool import Pool
from cryptowatch.settings.withdrawals import AssetPolicy, Withdrawals
from tests.api.test_money import withdrawal
from tests.api.world import Caller, World, running_api, settings
from tests.support.moving_clock import MovingClock

GIVEN = {
    "originator": {"name": "Olga Origin", "country": "EE", "birth_date": "1990-01-31"},
    "beneficiary": {"name": "Bert Beneficiary"},
    "vasp": "Other Exchange",
}


@pytest_asyncio.fixture
async def world(pool: Pool, database: str) -> AsyncIterator[World]:
    policy = Withdrawals(assets={"BTC": AssetPolicy(travel_rule_from="0.5")})
    chosen = settings(database).model_copy(update={"withdrawals": policy})
    async with running_api(pool, chosen, MovingClock()) as running:
        yield running


async def test_it_is_asked_for_from_an_amount_on_and_shown_to_compliance_alone(
    world: World, backend: Caller
) -> None:
    account = await world.account(backend)
    await world.give(account, 200_000_000)
    asked = withdrawal(account, amount="0.5")
    refused = await backend.post("/v1/withdrawals", asked)
    assert (refused.status, refused.code) == (422, "travel_rule_required")
    without = await backend.post("/v1/withdrawals", withdrawal(account, amount="0.4"))
    with capture_logs() as logs:
        accepted = await backend.post("/v1/withdrawals", {**asked, "travel_rule": GIVEN})
    assert (accepted.status, accepted.body["state"]) == (202, "queued")
    officer = await world.caller([Scope.COMPLIANCE])
    path = f"/v1/withdrawals/{accepted.body['id']}/travel-rule"
    assert (await officer.get(path)).body == GIVEN
    assert (await officer.get(path.replace(accepted.body["id"], without.body["id"]))).code == "not_found"
    others = await world.caller([scope for scope in Scope if scope is not Scope.COMPLIANCE])
    assert (await others.get(path)).code == "forbidden"
    seen = [
        await others.get(f"/v1/withdrawals/{accepted.body['id']}"),
        await others.get("/v1/events"),
        accepted,
    ]
    stored = await world.pool.fetchval(
        "SELECT string_agg(convert_from(body, 'utf8'), '') || (SELECT string_agg(data::text, '') FROM event) "
        "|| (SELECT string_agg(w::text, '') FROM withdrawal w) FROM idempotency"
    )
    assert not any(name in str((seen, logs, stored)) for name in ("Olga", "Bert", "Exchange"))


@pytest.mark.parametrize(
    "given",
    [
        {"originator": {"name": "A"}},
        {"originator": {"name": ""}, "beneficiary": {"name": "B"}},
        {"originator": {"name": "A", "country": "Estonia"}, "beneficiary": {"name": "B"}},
        {"originator": {"name": "A"}, "beneficiary": {"name": "B"}, "more": 1},
    ],
)
async def test_what_is_not_whole_is_refused_and_writes_nothing(
    world: World, backend: Caller, given: dict[str, object]
) -> None:
    account = await world.account(backend)
    await world.give(account, 200_000_000)
    refused = await backend.post("/v1/withdrawals", withdrawal(account, travel_rule=given))
    assert refused.code == "invalid_request"
    assert await world.pool.fetchval("SELECT count(*) FROM travel_rule") == 0
