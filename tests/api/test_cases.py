"""Cases on a real database: opened once by what accounts do, read and decided by people, and what waits for them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from cryptowatch.api.keys import Scope
from cryptowatch.chains.denied import Denied
from cryptowatch.compliance.cases import Decided, Found, Refusal
from cryptowatch.compliance.cases import decide as decide_case
from cryptowatch.compliance.findings import finding_rules
from cryptowatch.compliance.rules import Rule
from cryptowatch.compliance.watch import ComplianceWatch, watch_rules
from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ids import derived_id
from cryptowatch.ledger.events import NewEvent, append_events, sequence_events
from cryptowatch.ledger.verify import verify
from cryptowatch.payouts.holds import let_go
from cryptowatch.payouts.moves import set_aside
from cryptowatch.settings.compliance import (
    Action,
    Actions,
    AssetRules,
    Compliance,
    RapidWithdrawal,
    Structuring,
    Velocity,
)
from tests.api.test_money import transfer, withdrawal
from tests.api.world import GOOD_SCRIPT, Caller, World, running_api, settings, uuid_of
from tests.support.moving_clock import MovingClock

BTC = 100_000_000
_ANYBODY_WAITS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
HOUR_S = 3600
RULES = Compliance(
    assets={
        "BTC": AssetRules(
            structuring=Structuring(threshold="1", margin_percent=10, count=3, hours=24),
            rapid_withdrawal=RapidWithdrawal(amount_from="0.5", played_percent=50, hours=72),
            velocity=(Velocity(direction="deposits", hours=1, count=4, level_max=1),),
        )
    }
)


@pytest_asyncio.fixture
async def world(pool: Pool, database: str) -> AsyncIterator[World]:
    chosen = settings(database).model_copy(update={"compliance": RULES})
    async with running_api(pool, chosen, MovingClock()) as running:
        yield running


@pytest_asyncio.fixture
async def officer(world: World) -> Caller:
    return await world.caller([Scope.COMPLIANCE])


def watch(world: World, **changes: Any) -> ComplianceWatch:
    own = world.services.settings.compliance.model_copy(update=changes)
    chosen = world.services.settings.model_copy(update={"compliance": own})

    def new_id(now: datetime) -> UUID:
        return derived_id(now, os.urandom(16))

    return ComplianceWatch(
        world.pool,
        world.clock,
        watch_rules(chosen),
        finding_rules(chosen, world.services.metrics.compliance, new_id),
    )


async def look(world: World, **changes: Any) -> None:
    """At everything that was told."""
    async with connection(world.pool) as conn:
        while await sequence_events(conn):
            pass
    looking = watch(world, **changes)
    while await looking.step():
        pass


async def deposited(world: World, account: str, *amounts: int) -> None:
    """Credited deposits, as the watcher writes and tells them."""
    for amount in amounts:
        block = {"block_height": 1, "block_hash": bytes(32), "due_height": 3}
        deposit = await world.deposit(account, amount, state="credited", **block)
        await world.give(account, amount)
        told = NewEvent(
            "deposit.credited", "deposit", deposit, 1, uuid_of(account), '{"asset":"BTC"}', world.clock.now()
        )
        async with transaction(world.pool) as conn:
            await append_events(conn, [told])


async def cases(officer: Caller, **query: str) -> list[dict[str, Any]]:
    answer = await officer.get("/v1/cases", params=query)
    assert answer.status == 200, answer
    return list(reversed(answer.body["data"]))


async def decide(officer: Caller, case: str, decision: str) -> Any:
    return await officer.post(f"/v1/cases/{case}/decide", {"decision": decision, "reason": "looked"})


async def payout_step(world: World, denied: Denied = Denied()) -> int:  # noqa: B008 - a value
    """What each step of the payout worker does about held accounts."""
    decimals, now = world.services.decimals, world.clock.now()
    async with transaction(world.pool) as conn:
        aside = await set_aside(conn, "bitcoin", decimals, now)
        return aside + await let_go(conn, "bitcoin", denied, decimals, now)


async def state_of(backend: Caller, withdrawal_id: str) -> tuple[str, str | None]:
    found = (await backend.get(f"/v1/withdrawals/{withdrawal_id}")).body
    return found["state"], found["reason"]


async def story(world: World, entity_id: str) -> Sequence[str]:
    rows = await world.pool.fetch(
        "SELECT type, entity_version FROM event WHERE entity_id = $1 ORDER BY entity_version", entity_id
    )
    assert [row["entity_version"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["type"].partition(".")[2] for row in rows]


async def test_structuring_opens_one_case_and_what_was_cleared_is_not_held_against_the_account_again(
    world: World, backend: Caller, officer: Caller
) -> None:
    account, other = await world.account(backend), await world.account(backend)
    await deposited(world, account, 95_000_000, 95_000_000)
    await deposited(world, other, 95_000_000, 100_000_000, 95_000_000)
    await look(world)
    assert await cases(officer) == []
    world.clock.move(1)
    await deposited(world, account, 95_000_000)
    await asyncio.gather(look(world), look(world))
    [case] = await cases(officer, account_id=account)
    assert (case["rule"], case["action"], case["state"]) == ("structuring", "note", "open")
    assert case["compared"]["deposits"] == "3"
    assert await cases(officer, account_id=other) == []
    assert (await decide(officer, case["id"], "cleared")).body["decided_by"] == officer.key_id
    world.clock.move(2 * HOUR_S)
    await deposited(world, account, 95_000_000, 95_000_000)
    await look(world)
    assert len(await cases(officer)) == 1
    await deposited(world, account, 95_000_000)
    await look(world)
    assert [one["state"] for one in await cases(officer)] == ["cleared", "open"]
    assert await story(world, case["id"]) == ["opened", "cleared"]
    # Two looked, and one of them opened it.
    opened = world.services.metrics.registry.get_sample_value(
        "cryptowatch_cases_opened_total", {"rule": "structuring"}
    )
    assert opened == 2


def found(account: str, subject: str, rule: Rule = Rule.DENIED_SOURCE, asset: str = "BTC") -> Found:
    looked = datetime(2026, 1, 1, tzinfo=UTC)
    return Found(uuid_of(account), rule, asset, subject, {"address": f"of {subject}"}, looked)


async def find(world: World, *ones: Found, action: Action = "hold") -> list[bool]:
    """What a rule's loop does with findings, in one transaction. Whether each opened a case."""
    findings = watch(world, actions=Actions(denied_source=action, velocity=action)).findings
    async with transaction(world.pool) as conn:
        return [await findings.follow_up(conn, one, world.clock.now()) for one in ones]


async def findings_of(officer: Caller, case: str) -> list[tuple[str, dict[str, str]]]:
    answer = await officer.get(f"/v1/cases/{case}/findings", params={"limit": "10"})
    assert answer.status == 200, answer
    return [(one["subject"], one["compared"]) for one in reversed(answer.body["data"])]


async def test_what_else_a_rule_finds_is_added_to_the_open_case_once_and_opens_the_next_one_later(
    world: World, backend: Caller, officer: Caller
) -> None:
    account, other = await world.account(backend), await world.account(backend)
    assert await find(world, found(account, "dep_1")) == [True]
    ids = [found(account, "dep_2"), found(account, "dep_1"), found(account, "dep_2")]
    assert await find(world, *ids) == [False] * 3
    apart = [
        found(other, "dep_3"),
        found(account, "dep_3", Rule.VELOCITY),
        found(account, "dep_4", asset="ETH"),
    ]
    assert await find(world, *apart) == [True] * 3
    case = (await cases(officer, account_id=account, rule="denied_source"))[0]
    assert (case["findings"], case["subject"]) == (2, "dep_1")
    assert await findings_of(officer, case["id"]) == [
        ("dep_1", {"address": "of dep_1"}),
        ("dep_2", {"address": "of dep_2"}),
    ]
    assert await story(world, case["id"]) == ["opened", "extended"]
    assert (await decide(officer, case["id"], "cleared")).status == 200
    assert await find(world, found(account, "dep_2"), found(account, "dep_1")) == [False] * 2
    assert await find(world, found(account, "dep_5")) == [True]
    assert await story(world, case["id"]) == ["opened", "extended", "cleared"]


async def test_who_says_how_many_findings_he_saw_decides_about_no_more_than_those(
    world: World, backend: Caller, officer: Caller
) -> None:
    account = await world.account(backend)
    await find(world, found(account, "dep_1"))
    [seen] = await cases(officer)
    await find(world, found(account, "dep_2"))
    path, body = f"/v1/cases/{seen['id']}/decide", {"decision": "cleared", "reason": "looked"}
    assert (await officer.post(path, body | {"findings": seen["findings"]})).code == "more_findings"
    [case] = await cases(officer)
    assert (case["state"], case["findings"]) == ("open", 2)
    assert (await officer.post(path, body | {"findings": 2})).body["state"] == "cleared"


async def test_a_finding_holds_where_the_open_case_only_told_and_freezes_where_findings_do(
    world: World, backend: Caller, officer: Caller
) -> None:
    account = await world.account(backend)
    await find(world, found(account, "dep_1"), action="note")
    assert await world.pool.fetchval("SELECT count(*) FROM account_hold") == 0
    await find(world, found(account, "dep_2"), action="hold")
    assert await world.pool.fetchval("SELECT count(*) FROM account_hold") == 1
    await find(world, found(account, "dep_3"), action="note")
    assert await world.pool.fetchval("SELECT count(*) FROM account_hold") == 1
    await find(world, found(account, "dep_4"), action="freeze")
    assert (await backend.get(f"/v1/accounts/{account}")).body["status"] == "frozen"
    [case] = await cases(officer)
    assert (case["action"], case["findings"]) == ("hold", 4)


@pytest.mark.parametrize("first", ["look", "decision", "finding"])
async def test_a_finding_while_a_person_decides_is_in_that_case_or_in_the_next_one(
    world: World, backend: Caller, officer: Caller, first: str
) -> None:
    account = await world.account(backend)
    await find(world, found(account, "dep_1"))
    [case] = await cases(officer)
    case_id, now = uuid_of(case["id"]), world.clock.now()
    holding, go_on = asyncio.Event(), asyncio.Event()

    async def wait(own: str) -> None:
        if own == first:
            holding.set()
            await go_on.wait()

    async def decides() -> object:
        async with transaction(world.pool) as conn:
            await conn.execute("SELECT FROM compliance_case WHERE id = $1 FOR NO KEY UPDATE", case_id)
            await wait("look")
            done = await decide_case(conn, case_id, Decided("cleared", "key_1", "looked", 1), now)
            await wait("decision")
        return done

    async def finds() -> bool:
        async with transaction(world.pool) as conn:
            opened = await watch(world).findings.follow_up(conn, found(account, "dep_2"), now)
            await wait("finding")
        return opened

    async def begun(step: Callable[[], Coroutine[object, object, object]], is_first: bool) -> object:
        if not is_first:
            await holding.wait()
        return await step()

    deciding = asyncio.create_task(begun(decides, first != "finding"))
    finding = asyncio.create_task(begun(finds, first == "finding"))
    await holding.wait()
    async with connection(world.pool) as conn:
        while not await conn.fetchval(_ANYBODY_WAITS):
            await conn.execute("SELECT pg_sleep(0.01)")
    go_on.set()
    decided, opened = await deciding, await finding
    kept = [(one["state"], one["findings"]) for one in await cases(officer)]
    if first == "finding":
        assert (kept, opened) == ([("open", 2)], False)
        assert decided == Refusal("more_findings", "the case has 2 findings")
    else:
        assert (kept, opened) == ([("cleared", 1), ("open", 1)], True)


async def test_two_that_find_the_same_at_once_add_it_once(
    world: World, backend: Caller, officer: Caller
) -> None:
    account = await world.account(backend)
    await find(world, found(account, "dep_1"))

    async def patiently(*subjects: str) -> None:
        for subject in subjects:
            while True:
                try:
                    await find(world, found(account, subject))
                    break
                except ConcurrentUpdate:
                    continue

    subjects = [f"dep_{number}" for number in range(2, 8)]
    await asyncio.gather(*(patiently(*subjects) for _ in range(4)))
    [case] = await cases(officer)
    assert case["findings"] == 7
    assert [subject for subject, _ in await findings_of(officer, case["id"])] == ["dep_1", *subjects]


async def test_the_window_slides_and_velocity_asks_for_the_level(
    world: World, backend: Caller, officer: Caller
) -> None:
    slow, known, quick = [await world.account(backend) for _ in range(3)]
    await backend.patch(f"/v1/accounts/{known}", {"kyc_level": 2})
    await deposited(world, slow, 95_000_000, 95_000_000, 10, 10)
    await deposited(world, known, *[10] * 5)
    world.clock.move(24 * HOUR_S)
    await deposited(world, slow, 95_000_000)
    await deposited(world, quick, *[10] * 5)
    await look(world)
    [case] = await cases(officer)
    assert (case["account_id"], case["rule"], case["compared"]["count"]) == (quick, "velocity", "5")


async def test_money_that_leaves_unplayed_waits_until_a_person_clears_it(
    world: World, backend: Caller, officer: Caller
) -> None:
    account, player = await world.account(backend), await world.account(backend)
    await deposited(world, account, BTC)
    await deposited(world, player, BTC)
    await backend.post("/v1/transfers", transfer(player, "bet", "0.5"))
    await backend.post("/v1/transfers", transfer(player, "win", "0.5"))
    world.clock.move(1)
    first, played = [
        (await backend.post("/v1/withdrawals", withdrawal(one, amount="0.5"))).body["id"]
        for one in (account, player)
    ]
    await look(world)
    [case] = await cases(officer, state="open")
    assert (case["account_id"], case["subject"], case["action"]) == (account, first, "hold")
    assert await payout_step(world) == 1
    assert [await state_of(backend, one) for one in (first, played)] == [
        ("in_review", "compliance"),
        ("queued", None),
    ]
    second = (await backend.post("/v1/withdrawals", withdrawal(account, amount="0.1"))).body
    assert (second["state"], second["reason"], second["approvals_needed"]) == ("in_review", "compliance", 1)
    approver = await world.caller([Scope.APPROVALS])
    refused = await approver.post(f"/v1/withdrawals/{second['id']}/approve")
    assert refused.code == "account_under_review"
    assert (await decide(officer, case["id"], "confirmed")).status == 200
    assert await payout_step(world) == 0
    assert (await decide(officer, case["id"], "cleared")).status == 200
    assert (await decide(officer, case["id"], "confirmed")).code == "wrong_state"
    assert await payout_step(world) == 2
    assert await payout_step(world) == 0
    assert [await state_of(backend, one) for one in (first, second["id"])] == [("queued", None)] * 2
    assert await story(world, first) == ["requested", "queued", "in_review", "queued"]
    assert await story(world, case["id"]) == ["opened", "confirmed", "cleared"]


async def test_what_else_speaks_against_a_held_withdrawal_still_does_when_the_case_is_cleared(
    world: World, backend: Caller, officer: Caller
) -> None:
    account, recipient = await world.account(backend), await world.account(backend)
    await world.pool.execute(
        "INSERT INTO address (chain, destination, address, scheme, branch, key_index, account_id, assigned_at)"
        " VALUES ('bitcoin', $1, 'bcrt1qgood', 84, 0, 0, $2, $3)",
        GOOD_SCRIPT,
        uuid_of(recipient),
        world.clock.now(),
    )
    await deposited(world, account, BTC)
    world.clock.move(1)
    asked = (await backend.post("/v1/withdrawals", withdrawal(account, amount="0.5"))).body
    assert asked["state"] == "finalized"
    await look(world)
    [case] = await cases(officer)
    inside = (await backend.post("/v1/withdrawals", withdrawal(account, amount="0.1"))).body["id"]
    assert await state_of(backend, inside) == ("in_review", "compliance")
    await backend.patch(f"/v1/accounts/{account}", {"status": "frozen"})
    await decide(officer, case["id"], "cleared")
    assert await payout_step(world) == 0
    await backend.patch(f"/v1/accounts/{account}", {"status": "active"})
    listed = Denied(destinations=frozenset({("bitcoin", GOOD_SCRIPT)}))
    assert await payout_step(world, listed) == 0
    assert await payout_step(world) == 1
    assert await state_of(backend, inside) == ("finalized", None)
    async with connection(world.pool) as conn:
        assert (await verify(conn)).findings == []


async def test_a_case_can_freeze_and_its_clearing_leaves_that_to_a_person(
    world: World, backend: Caller, officer: Caller
) -> None:
    account = await world.account(backend)
    await deposited(world, account, *[95_000_000] * 3)
    await look(world, actions=Actions(structuring="freeze"))
    path = f"/v1/accounts/{account}"
    assert (await backend.get(path)).body["status"] == "frozen"
    [case] = await cases(officer)
    await decide(officer, case["id"], "cleared")
    assert (await backend.get(path)).body["status"] == "frozen"
    assert await story(world, account) == ["created", "updated"]


async def test_notes_and_assignees_are_told_without_their_text_and_stand_in_the_audit_log(
    world: World, backend: Caller, officer: Caller
) -> None:
    account = await world.account(backend)
    await deposited(world, account, *[95_000_000] * 3)
    await look(world)
    [case] = await cases(officer)
    path = f"/v1/cases/{case['id']}"
    for _ in range(2):
        note = await officer.post(f"{path}/notes", {"text": "called the player"}, idempotency_key="once")
    assert (note.status, note.body["author"]) == (201, officer.key_id)
    for _ in range(2):
        assert (await officer.post(f"{path}/assign", {"assignee": "dana"})).body["assignee"] == "dana"
    assert [one["text"] for one in (await officer.get(f"{path}/notes")).body["data"]] == ["called the player"]
    assert await story(world, case["id"]) == ["opened", "noted", "assigned"]
    events = await world.pool.fetchval("SELECT string_agg(data::text, '') FROM event")
    entries = await world.pool.fetch(
        "SELECT action, subjects FROM audit_entry WHERE actor = $1", officer.key_id
    )
    assert "called" not in events
    assert [row["action"] for row in entries] == [
        "POST /v1/cases/{case_id}/notes",
        *["POST /v1/cases/{case_id}/assign"] * 2,
    ]
    assert all(case["id"] in row["subjects"] for row in entries)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/findings"), ("GET", "/notes"), ("POST", "/notes"), ("POST", "/decide")],
)
async def test_a_case_that_is_not_there_is_not_found_and_others_may_not_ask(
    world: World, officer: Caller, method: str, path: str
) -> None:
    path = "/v1/cases/case_" + "0" * 32 + path
    body = {"text": "x"} if path.endswith("notes") else {"decision": "cleared", "reason": "x"}
    asked: dict[str, Any] = {} if method == "GET" else {"json": body}
    assert (await officer.call(method, path, **asked)).code == "not_found"
    stranger = await world.caller([scope for scope in Scope if scope is not Scope.COMPLIANCE])
    assert (await stranger.call(method, path, **asked)).code == "forbidden"
