"""The screening provider: a real HTTP server that answers well, late, falsely or never, and what withdrawals do."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from prometheus_client import CollectorRegistry

from cryptowatch.api.keys import Scope
from cryptowatch.clock import SystemClock
from cryptowatch.compliance.findings import finding_rules
from cryptowatch.compliance.provider import Answer, Provider, Question, open_provider
from cryptowatch.compliance.screening import ScreeningWatch
from cryptowatch.db.pool import Pool, connection
from cryptowatch.errors import SettingsError
from cryptowatch.instruments import DatabaseInstruments
from cryptowatch.ledger.events import sequence_events
from cryptowatch.outbound.signature import show_secret
from cryptowatch.plant import new_id
from cryptowatch.settings.compliance import Compliance, Screening
from cryptowatch.telemetry.metrics import ComplianceMetrics, create_metrics
from tests.api.test_cases import cases, decide, payout_step, state_of, story
from tests.api.test_money import withdrawal
from tests.api.world import Caller, World, running_api, settings
from tests.support.moving_clock import MovingClock
from tests.webhooks.receiver import Receiver, receiving

SECRET = show_secret(bytes(range(32)))
QUESTION = Question("wd_1", "acc_1", "bitcoin", "BTC", "1.00000000", "bcrt1q")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def screening(url: str, secret_file: Path, **changes: Any) -> Screening:
    own = {"timeout_s": 5, "response_bytes_max": 1000, "allow_private_addresses": True, **changes}
    return Screening(url=url, secret_file=secret_file, **own)


def metrics() -> ComplianceMetrics:
    return create_metrics(CollectorRegistry()).compliance


async def asked(chosen: Screening) -> Answer | None:
    opened = open_provider(chosen, SystemClock(), metrics())
    assert isinstance(opened, Provider)
    async with opened.session() as session:
        return await opened.ask(session, QUESTION)


def says(text: str, status: int = 200, **headers: str) -> web.Response:
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)


@pytest.mark.parametrize("verdict", ["pass", "review", "refuse"])
async def test_a_verdict_is_read_and_the_question_is_signed(
    provider: Receiver, secret_file: Path, verdict: Any
) -> None:
    provider.answer = lambda _: says(f'{{"verdict": "{verdict}", "reference": "r-1", "more": 1}}')
    assert await asked(screening(provider.url, secret_file)) == Answer(verdict, "r-1")
    [question] = provider.received
    assert question.verified_by(SECRET)
    assert question.event["type"] == "withdrawal"
    assert question.event["address"] == "bcrt1q"


@pytest.mark.parametrize(
    "answer",
    [
        says("", 204),
        says('{"verdict": "pass"}', 500),
        says('{"verdict": "pass"}', 201),
        says("not json"),
        says("[]"),
        says("{}"),
        says('{"verdict": "maybe"}'),
        says('{"verdict": "pass", "reference": "' + "x" * 201 + '"}'),
        says('{"verdict": "pass", "padding": "' + "x" * 1000 + '"}'),
        says("[" * 900),
        says('{"verdict": "pass"}', 302, Location="/elsewhere"),
        says('{"verdict": "pass"}', 307, Location="/elsewhere"),
    ],
)
async def test_an_answer_that_is_none_is_no_answer_and_leads_nowhere(
    provider: Receiver, secret_file: Path, answer: web.Response
) -> None:
    provider.answer = lambda _: answer
    assert await asked(screening(provider.url, secret_file)) is None
    assert len(provider.received) == 1


async def test_a_provider_that_is_slow_down_or_inside_the_network_gives_no_answer(
    provider: Receiver, secret_file: Path
) -> None:
    provider.answer = lambda _: says('{"verdict": "pass"}')
    provider.delay_s = 0.5
    assert await asked(screening(provider.url, secret_file, timeout_s=0.05)) is None
    assert await asked(screening("http://127.0.0.1:1/", secret_file)) is None
    inside = provider.url.replace("http://127.0.0.1", "https://localhost")
    assert await asked(screening(inside, secret_file, allow_private_addresses=False)) is None
    assert len(provider.received) == 1


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"url": "http://provider.example/"}, "url"),
        ({"url": "https://169.254.169.254/"}, "url"),
        ({"url": "https://user:secret@provider.example/"}, "url"),
        ({"secret_file": None}, "secret_file"),
        ({"secret_file": Path("/nowhere/secret")}, "secret_file"),
    ],
)
def test_what_cannot_be_used_ends_the_start_with_the_settings_name(
    secret_file: Path, changes: dict[str, Any], key: str
) -> None:
    chosen = Screening(**{"url": "https://provider.example/", "secret_file": secret_file, **changes})
    with pytest.raises(SettingsError, match=f"compliance.screening.{key}") as failed:
        open_provider(chosen, SystemClock(), metrics())
    assert "user:secret" not in str(failed.value)


@pytest.mark.parametrize("text", ["", "nonsense", "whsec_", "whsec_AAAA", "whsec_!!!!"])
def test_a_secret_that_is_none_is_refused_without_being_told(secret_file: Path, text: str) -> None:
    secret_file.write_text(text)
    with pytest.raises(SettingsError, match="secret_file"):
        open_provider(screening("http://127.0.0.1:1/", secret_file), SystemClock(), metrics())


@pytest_asyncio.fixture
async def world(pool: Pool, database: str, provider: Receiver, secret_file: Path) -> AsyncIterator[World]:
    own = Compliance(screening=screening(provider.url, secret_file))
    chosen = settings(database).model_copy(update={"compliance": own})
    async with running_api(pool, chosen, MovingClock()) as running:
        yield running


async def look(world: World, **changes: Any) -> None:
    """At everything that was told."""
    async with connection(world.pool) as conn:
        while await sequence_events(conn):
            pass
    chosen, clock = world.services.settings, world.clock
    own = chosen.compliance.screening.model_copy(update=changes)
    findings = finding_rules(chosen, world.services.metrics.compliance, new_id)
    provider = open_provider(own, clock, world.services.metrics.compliance)
    looking = ScreeningWatch(world.pool, clock, provider, own.default, chosen.decimals, findings)
    while await looking.step():
        pass


async def shown(world: World, name: str, **labels: str) -> float | None:
    """A metric, after the gauges were read anew."""
    await DatabaseInstruments(world.pool, world.services.metrics, world.clock).step()
    return world.services.metrics.registry.get_sample_value(f"cryptowatch_{name}", labels)


async def withdrawn(world: World, backend: Caller, count: int = 1) -> list[str]:
    ids = []
    for _ in range(count):
        account = await world.account(backend)
        await world.give(account, 100_000_000)
        answer = await backend.post("/v1/withdrawals", withdrawal(account, amount="0.5"))
        assert (answer.body["state"], answer.body["reason"]) == ("in_review", "screening")
        ids.append(str(answer.body["id"]))
    return ids


async def test_a_withdrawal_waits_for_the_verdict_and_follows_it(
    world: World, backend: Caller, provider: Receiver
) -> None:
    passed, refused, doubted = await withdrawn(world, backend, 3)
    verdicts = {passed: "pass", refused: "refuse", doubted: "review"}
    provider.answer = lambda got: says(f'{{"verdict": "{verdicts[got.event["id"]]}"}}')
    approver, officer = await world.caller([Scope.APPROVALS]), await world.caller([Scope.COMPLIANCE])
    assert await payout_step(world) == 0
    early = await approver.post(f"/v1/withdrawals/{passed}/approve")
    assert (early.status, early.code) == (409, "screening_pending")
    await look(world)
    assert (await approver.post(f"/v1/withdrawals/{refused}/approve")).code == "screening_pending"
    assert await payout_step(world) == 2
    assert [await state_of(backend, one) for one in verdicts] == [
        ("queued", None),
        ("rejected", "screening_refused"),
        ("in_review", "screening"),
    ]
    assert [(one["subject"], one["compared"]["verdict"]) for one in await cases(officer)] == [
        (refused, "refuse"),
        (doubted, "review"),
    ]
    assert (await approver.post(f"/v1/withdrawals/{doubted}/approve")).body["state"] == "queued"
    assert await story(world, refused) == ["requested", "in_review", "rejected"]
    await look(world)
    assert len(provider.received) == 3


@pytest.mark.parametrize(
    ("default", "state"), [("pass", "queued"), ("review", "in_review"), ("refuse", "rejected")]
)
async def test_where_no_answer_comes_the_setting_holds(
    world: World, backend: Caller, provider: Receiver, default: str, state: str
) -> None:
    provider.answer = lambda _: says("down", 503)
    [asked_for] = await withdrawn(world, backend)
    await look(world, default=default)
    await payout_step(world)
    assert (await state_of(backend, asked_for))[0] == state
    row = await world.pool.fetchrow("SELECT verdict, answered FROM screening")
    assert row is not None and tuple(row) == (default, False)


async def test_what_is_asked_and_what_waits_is_measured(
    world: World, backend: Caller, provider: Receiver
) -> None:
    asked_for = await withdrawn(world, backend, 3)
    answers = iter((says('{"verdict": "pass"}'), says('{"verdict": "refuse"}'), says("down", 503)))
    provider.answer = lambda _: next(answers)
    assert await shown(world, "screenings_pending") == len(asked_for)
    await look(world)
    assert await shown(world, "screenings_pending") == 0
    for state in ("pass", "refuse", "unanswered"):
        assert await shown(world, "screening_requests_total", state=state) == 1
    assert await shown(world, "screening_request_seconds_count") == 3
    assert await shown(world, "cases_opened_total", rule="screening") == 2
    assert await shown(world, "cases_open", rule="screening") == 2
    officer = await world.caller([Scope.COMPLIANCE])
    [decided, _] = await cases(officer)
    await decide(officer, decided["id"], "cleared")
    await look(world)
    assert await shown(world, "cases_open", rule="screening") == 1
    assert await shown(world, "cases_open", rule="structuring") == 0
    assert await shown(world, "cases_opened_total", rule="screening") == 2


async def test_a_withdrawal_that_nobody_screens_any_more_does_not_wait_for_ever(
    world: World, backend: Caller, provider: Receiver
) -> None:
    [asked_for] = await withdrawn(world, backend)
    await look(world, url=None)
    assert provider.received == []
    approver = await world.caller([Scope.APPROVALS])
    assert (await approver.post(f"/v1/withdrawals/{asked_for}/approve")).body["state"] == "queued"
