"""Where deposits came from, shown to the screening provider: what it says of it, and what follows."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from pydantic import ValidationError

from cryptowatch.api.keys import Scope
from cryptowatch.chains.connect import ConnectedChain
from cryptowatch.chains.denied import Denied
from cryptowatch.compliance.findings import finding_rules
from cryptowatch.compliance.provider import open_provider
from cryptowatch.compliance.source_screening import SourceScreening, ask_again
from cryptowatch.compliance.sources import SourceWatch, source_rules
from cryptowatch.db.pool import Pool, transaction
from cryptowatch.plant import new_id
from cryptowatch.settings.compliance import Compliance
from tests.api.test_cases import cases, decide, state_of
from tests.api.test_money import withdrawal
from tests.api.test_screening import SECRET, provider, says, screening, secret_file, shown
from tests.api.world import Caller, World, running_api, settings, uuid_of
from tests.support.moving_clock import MovingClock
from tests.webhooks.receiver import Receiver

__all__ = ["provider", "secret_file"]  # fixtures


@pytest_asyncio.fixture
async def world(pool: Pool, database: str, provider: Receiver, secret_file: Path) -> AsyncIterator[World]:
    own = Compliance(screening=screening(provider.url, secret_file, deposits=True))
    chosen = settings(database).model_copy(update={"compliance": own})
    async with running_api(pool, chosen, MovingClock()) as running:
        yield running


def looking(world: World, assets: list[str] | None = None, **changes: Any) -> SourceScreening:
    chosen, clock, metrics = world.services.settings, world.clock, world.services.metrics.compliance
    own = chosen.compliance.screening.model_copy(update=changes)
    decimals = {
        asset: chosen.decimals[asset] for asset in assets or chosen.decimals if asset in chosen.decimals
    }
    findings = finding_rules(chosen, metrics, new_id)
    asked = open_provider(own, clock, metrics)
    patience = timedelta(seconds=own.deposits_patience_s)
    return SourceScreening(world.pool, clock, asked, own.deposits_default, patience, decimals, findings)


async def deposited(world: World, account: str, *addresses: str) -> str:
    """A credited deposit, and what nodes said of its sources, as `sources` notes it."""
    deposit = await world.deposit(
        account, 50_000_000, state="credited", block_height=1, block_hash=bytes(32), due_height=3
    )
    await world.give(account, 50_000_000)
    for address in addresses:
        await world.pool.execute(
            "INSERT INTO deposit_source VALUES ($1, $2, false, $3)",
            uuid_of(deposit),
            address,
            world.clock.now(),
        )
    await world.pool.execute("INSERT INTO source_screening_queue VALUES ($1)", uuid_of(deposit))
    return deposit


async def test_the_provider_is_asked_once_about_each_deposit_and_all_its_sources(
    world: World, backend: Caller, provider: Receiver
) -> None:
    account = await world.account(backend)
    deposit = await deposited(world, account, "bcrt1qb", "bcrt1qa")
    provider.answer = lambda _: says('{"verdict": "pass"}')
    assert await shown(world, "source_screenings_pending") == 1
    assert await looking(world).step() == 1
    assert await looking(world).step() == 0
    [question] = provider.received
    assert question.verified_by(SECRET)
    assert question.event == {
        "type": "deposit",
        "id": deposit,
        "account_id": account,
        "chain": "bitcoin",
        "asset": "BTC",
        "amount": "0.50000000",
        "tx_hash": await world.pool.fetchval("SELECT encode(tx_hash, 'hex') FROM deposit"),
        "addresses": ["bcrt1qa", "bcrt1qb"],
    }
    assert await shown(world, "source_screenings_pending") == 0
    assert await cases(await world.caller([Scope.COMPLIANCE])) == []


@pytest.mark.parametrize("asks", [True, False])
async def test_a_deposit_out_of_coins_without_an_address_is_shown_where_deposits_are(
    world: World, backend: Caller, provider: Receiver, asks: bool
) -> None:
    deposit = await deposited(world, await world.account(backend))
    await world.pool.execute("DELETE FROM source_screening_queue")
    [row] = await world.pool.fetch("SELECT * FROM deposit")
    chosen = world.services.settings
    rules = replace(source_rules(chosen), shown=asks)
    findings = finding_rules(chosen, world.services.metrics.compliance, new_id)
    chain = cast(ConnectedChain, SimpleNamespace(chain="bitcoin"))
    watch = SourceWatch(chain, world.pool, world.clock, Denied, rules, findings)
    async with transaction(world.pool) as conn:
        await watch._note(conn, row, [], world.clock.now())
    provider.answer = lambda _: says('{"verdict": "pass"}')
    assert await looking(world).step() == asks
    assert [(got.event["id"], got.event["addresses"]) for got in provider.received] == [(deposit, [])] * asks


@pytest.mark.parametrize("verdict", ["review", "refuse"])
async def test_what_does_not_pass_opens_a_case_that_holds_the_accounts_withdrawals_until_it_is_cleared(
    world: World, backend: Caller, provider: Receiver, verdict: str
) -> None:
    account, other = await world.account(backend), await world.account(backend)
    deposit = await deposited(world, account, "bcrt1qa")
    await deposited(world, other, "bcrt1qb")
    provider.answer = lambda got: says(
        f'{{"verdict": "{verdict if got.event["id"] == deposit else "pass"}", "reference": "r-1"}}'
    )
    await looking(world).step()
    officer = await world.caller([Scope.COMPLIANCE])
    [case] = await cases(officer)
    assert (case["account_id"], case["rule"], case["subject"]) == (account, "screened_source", deposit)
    assert case["action"] == "hold"
    assert case["compared"] == {
        "chain": "bitcoin",
        "verdict": verdict,
        "answered": "true",
        "reference": "r-1",
    }
    held, free = [
        (await backend.post("/v1/withdrawals", withdrawal(one, amount="0.1"))).body
        for one in (account, other)
    ]
    assert (held["reason"], free["reason"]) == ("compliance, screening", "screening")
    await decide(officer, case["id"], "cleared")
    assert (await state_of(backend, held["id"]))[0] == "in_review"
    assert await shown(world, "cases_opened_total", rule="screened_source") == 1


def test_each_wait_for_an_answer_is_as_long_as_all_before_it_within_bounds_and_none_goes_beyond_the_patience() -> (
    None
):
    since = datetime(2026, 1, 1, tzinfo=UTC)

    def asked(patience_s: int) -> list[float]:
        now, found = since, [0.0]
        while (again := ask_again(since, now, timedelta(seconds=patience_s))) is not None:
            assert again > now
            now = again
            found.append((now - since).total_seconds())
        return found

    assert asked(0) == [0]
    assert asked(3) == [0, 3]
    assert asked(100) == [0, 5, 10, 20, 40, 80, 100]
    assert asked(1300) == [0, 5, 10, 20, 40, 80, 160, 320, 620, 920, 1220, 1300]


@pytest.mark.parametrize("patience_s", [0, 100])
@pytest.mark.parametrize(("default", "opened"), [("pass", 0), ("review", 1), ("refuse", 1)])
async def test_where_no_answer_comes_for_long_enough_the_setting_for_deposits_holds(
    world: World, backend: Caller, provider: Receiver, default: str, opened: int, patience_s: int
) -> None:
    await deposited(world, await world.account(backend), "bcrt1qa")
    provider.answer = lambda _: says("down", 503)
    for second in range(0, patience_s + 1, 2):
        # Each time another process, as it were.
        await looking(world, deposits_default=default, default="pass", deposits_patience_s=patience_s).step()
        if second < patience_s:
            assert await world.pool.fetchval("SELECT count(*) FROM source_screening") == 0
            world.clock.move(2)
    assert len(provider.received) in (range(6, 9) if patience_s else [1])
    assert len({got.event["id"] for got in provider.received}) == 1
    assert await shown(world, "source_screenings_pending") == 0
    assert len(await cases(await world.caller([Scope.COMPLIANCE]))) == opened
    row = await world.pool.fetchrow("SELECT verdict, answered FROM source_screening")
    assert row is not None
    assert tuple(row) == (default, False)


async def test_a_provider_that_is_away_for_a_while_is_told_and_opens_no_cases(
    world: World, backend: Caller, provider: Receiver
) -> None:
    provider.answer = lambda _: says("down", 503)
    for _ in range(3):
        await deposited(world, await world.account(backend), "bcrt1qa")
    assert await shown(world, "source_screening_unanswered_age_seconds") == 0
    assert await looking(world).step() == 3
    world.clock.move(600)
    assert await shown(world, "source_screening_unanswered_age_seconds") == pytest.approx(600, abs=30)
    assert await looking(world).step() == 3
    refused = await deposited(world, await world.account(backend), "bcrt1qb")
    provider.answer = lambda got: says(
        f'{{"verdict": "{"refuse" if got.event["id"] == refused else "pass"}"}}'
    )
    assert await looking(world).step() == 1
    world.clock.move(200)
    assert await looking(world).step() == 0
    world.clock.move(100)
    assert await looking(world).step() == 3
    rows = await world.pool.fetch("SELECT verdict, answered FROM source_screening ORDER BY verdict")
    assert [tuple(row) for row in rows] == [("pass", True)] * 3 + [("refuse", True)]
    [case] = await cases(await world.caller([Scope.COMPLIANCE]))
    assert case["subject"] == refused
    assert await shown(world, "source_screening_unanswered_age_seconds") == 0


async def test_without_a_provider_the_setting_for_deposits_holds_at_once(
    world: World, backend: Caller
) -> None:
    await deposited(world, await world.account(backend), "bcrt1qa")
    assert await looking(world, url=None).step() == 1
    assert await world.pool.fetchval("SELECT verdict FROM source_screening") == "review"


async def test_two_that_ask_at_once_write_one_verdict_and_open_one_case(
    world: World, backend: Caller, provider: Receiver
) -> None:
    for _ in range(5):
        await deposited(world, await world.account(backend), "bcrt1qa")
    provider.answer = lambda _: says('{"verdict": "refuse"}')
    await asyncio.gather(looking(world).step(), looking(world).step())
    assert len(await cases(await world.caller([Scope.COMPLIANCE]))) == 5
    assert await world.pool.fetchval("SELECT count(*) FROM source_screening") == 5
    assert await world.pool.fetchval("SELECT count(*) FROM source_screening_queue") == 0


async def test_a_deposit_of_an_asset_that_is_in_no_settings_waits(
    world: World, backend: Caller, provider: Receiver
) -> None:
    await deposited(world, await world.account(backend), "bcrt1qa")
    assert await looking(world, ["ETH"]).step() == 0
    assert provider.received == []
    assert await shown(world, "source_screenings_pending") == 1


def test_what_nobody_asks_nodes_for_cannot_be_shown() -> None:
    own = Compliance.model_validate({"sources": False, "screening": {"deposits": True}})
    with pytest.raises(ValueError, match=r"compliance\.screening\.deposits"):
        own.check({"BTC": 8})
    own = Compliance.model_validate({"sources": False})
    own.check({"BTC": 8})
    with pytest.raises(ValidationError):
        Compliance.model_validate({"screening": {"deposits_default": "maybe"}})
