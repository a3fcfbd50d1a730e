"""Agents over HTTP: who stands under whom, periods closed into statements, payment, and what an agent's key sees."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from cryptowatch.agents.statements import close_period
from cryptowatch.agents.worker import AgentRules, AgentWorker, agent_rules
from cryptowatch.db.pool import transaction
from tests.api.test_money import transfer
from tests.api.world import Caller, World

DAY_S = 86_400


async def plan(backend: Caller, **rates: Any) -> str:
    answer = await backend.post("/v1/commission-plans", {"name": "plan", "rates": rates})
    assert answer.status == 201, answer.body
    return str(answer.body["id"])


async def agent(world: World, backend: Caller, plan_id: str, **more: Any) -> str:
    body = {"account_id": await world.account(backend), "plan_id": plan_id, "name": "an agent", **more}
    answer = await backend.post("/v1/agents", body)
    assert answer.status == 201, answer.body
    return str(answer.body["id"])


async def player(world: World, backend: Caller, agent_id: str, **more: Any) -> str:
    count = await world.pool.fetchval("SELECT count(*) FROM account")
    answer = await backend.post("/v1/accounts", {"external_id": f"p{count}", "agent_id": agent_id, **more})
    assert answer.status == 201, answer.body
    await world.give(answer.body["id"], 100_000_000)
    return str(answer.body["id"])


async def play(backend: Caller, account: str, kind: str, amount: str, **more: Any) -> None:
    answer = await backend.post("/v1/transfers", transfer(account, kind, amount, **more))
    assert answer.status == 201, answer.body


def worker(world: World, **changes: Any) -> AgentWorker:
    rules: AgentRules = agent_rules(world.services.settings)
    return AgentWorker(world.pool, world.clock, replace(rules, **changes))


async def to_next_month(world: World) -> None:
    """And an hour on, when it is closed."""
    now = world.clock.now()
    begin = (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(
        day=1
    )
    world.clock.move((begin - now).total_seconds() + 3601)


async def closed(world: World, backend: Caller, agent_id: str) -> Any:
    """The newest statement of an agent, once the month is over and closed."""
    await to_next_month(world)
    while await worker(world).step():
        pass
    answer = await backend.get("/v1/agent-statements", params={"agent_id": agent_id})
    return answer.body["data"][0]


async def test_a_month_is_closed_into_statements_that_a_person_pays(world: World, backend: Caller) -> None:
    master_plan, sub_plan = (
        await plan(backend, revenue_share={"*": 5000}),
        await plan(backend, revenue_share={"*": 4000}),
    )
    master = await agent(world, backend, master_plan)
    sub = await agent(world, backend, sub_plan, parent_id=master)
    account = await player(world, backend, sub)
    await play(backend, account, "bet", "0.3", product="slots")
    await play(backend, account, "win", "0.1", product="slots")
    await play(backend, account, "bonus", "0.1", product="slots")
    soon = (await backend.get(f"/v1/agents/{sub}/accrued")).body["assets"]
    assert soon == [
        {
            "asset": "BTC",
            "turnover": "0.30000000",
            "revenue": "0.10000000",
            "earned": "0.04000000",
            "amount": "0.04000000",
        }
    ]
    statement = await closed(world, backend, sub)
    above = (await backend.get("/v1/agent-statements", params={"agent_id": master})).body["data"][0]
    assert (statement["amount"], above["amount"], above["granted"]) == (
        "0.04000000",
        "0.01000000",
        "0.05000000",
    )
    assert (statement["state"], statement["flags"]) == ("held", [])
    path = f"/v1/agent-statements/{statement['id']}"
    assert (await backend.get(path + "/lines")).body["data"] == [
        {
            "account_id": account,
            "product": "slots",
            "bet": "0.30000000",
            "win": "0.10000000",
            "refund": "0.00000000",
            "bonus": "0.10000000",
        }
    ]
    assert (await backend.post(path + "/pay")).code == "wrong_state"
    world.clock.move(7 * DAY_S)
    assert await worker(world).step() == 0
    paid = await backend.post(path + "/pay", {"reason": "looks good"})
    assert (paid.status, paid.body["state"], paid.body["reason"]) == (200, "paid", "looks good")
    assert (await backend.post(path + "/pay")).code == "wrong_state"
    own = (await backend.get(f"/v1/agents/{sub}")).body["account_id"]
    [balance] = (await backend.get(f"/v1/accounts/{own}/balances")).body
    assert (balance["total"], balance["withdrawable"]) == ("0.04000000", "0.04000000")
    [line] = (await backend.get(f"/v1/accounts/{own}/statement")).body["data"]
    assert line["reference"] == statement["id"]


async def test_an_asset_that_is_in_no_settings_any_more_is_listed_closed_and_decided_as_before(
    world: World, backend: Caller
) -> None:
    own = await agent(world, backend, await plan(backend, turnover={"*": 100}))
    account = await player(world, backend, own)
    await play(backend, account, "bet", "0.5")
    before = await closed(world, backend, own)
    await play(backend, account, "bet", "0.3")
    vars(world.services).update({"decimals": {}})
    assert (await backend.get("/v1/agent-statements")).body["data"] == [before]
    path = f"/v1/agent-statements/{before['id']}"
    assert (await backend.get(path)).body == before
    assert (await backend.get(path + "/lines")).body["data"][0]["bet"] == "0.50000000"
    assert (await backend.get(f"/v1/agents/{own}/accrued")).body["assets"][0]["turnover"] == "0.30000000"
    await to_next_month(world)
    without = replace(agent_rules(world.services.settings).statements, decimals={})
    while await worker(world, statements=without).step():
        pass
    newest = (await backend.get("/v1/agent-statements")).body["data"][0]
    assert (newest["asset"], newest["amount"]) == ("BTC", "0.00300000")
    rejected = await backend.post(path + "/reject", {"reason": "taken out"})
    assert (rejected.status, rejected.body["amount"]) == (200, before["amount"])


async def test_a_statement_of_which_nobody_knows_the_decimals_is_listed_in_base_units(
    world: World, backend: Caller
) -> None:
    own = await agent(world, backend, await plan(backend, turnover={"*": 100}))
    await play(backend, await player(world, backend, own), "bet", "0.5")
    await closed(world, backend, own)
    await world.pool.execute("UPDATE agent_statement SET decimals = NULL")
    assert (await backend.get("/v1/agent-statements")).body["data"][0]["amount"] == "0.00500000"
    vars(world.services).update({"decimals": {}})
    assert (await backend.get("/v1/agent-statements")).body["data"][0]["amount"] == "500000"


async def test_a_period_is_closed_once_however_many_try(world: World, backend: Caller) -> None:
    own = await agent(world, backend, await plan(backend, turnover={"*": 100}))
    await play(backend, await player(world, backend, own), "bet", "0.5")
    await to_next_month(world)
    now, rules = world.clock.now(), agent_rules(world.services.settings).statements
    end = now.date().replace(day=1)
    begin = (end - timedelta(days=1)).replace(day=1)

    async def close() -> int | None:
        async with transaction(world.pool) as conn:
            return await close_period(conn, begin, end, rules, now)

    assert sorted(await asyncio.gather(*(close() for _ in range(4))), key=str) == [1, None, None, None]


async def test_what_needs_no_approval_is_paid_once_its_time_is_over(world: World, backend: Caller) -> None:
    own = await agent(world, backend, await plan(backend, turnover={"*": 100}))
    await play(backend, await player(world, backend, own), "bet", "0.5")
    statement = await closed(world, backend, own)
    assert await worker(world, approval=False).step() == 0
    world.clock.move(7 * DAY_S)
    both = [worker(world, approval=False) for _ in range(2)]
    assert sum(await asyncio.gather(*(one.step() for one in both))) == 1
    paid = (await backend.get(f"/v1/agent-statements/{statement['id']}")).body
    assert (paid["state"], paid["decided_by"]) == ("paid", "cryptowatch")


async def test_months_that_nobody_closed_are_closed_one_after_the_other(
    world: World, backend: Caller
) -> None:
    own = await agent(world, backend, await plan(backend, revenue_share={"*": 5000}))
    account = await player(world, backend, own)
    await play(backend, account, "win", "0.2")
    await to_next_month(world)
    await play(backend, account, "bet", "0.6")
    await to_next_month(world)
    await to_next_month(world)
    while await worker(world).step():
        pass
    found = (await backend.get("/v1/agent-statements", params={"agent_id": own})).body["data"]
    assert [(one["state"], one["amount"], one["carry_in"], one["carry_out"]) for one in found] == [
        ("held", "0.20000000", "-0.10000000", "0.00000000"),
        ("settled", "0.00000000", "0.00000000", "-0.10000000"),
    ]


async def test_a_player_who_changes_agents_counts_for_each_while_it_was_theirs(
    world: World, backend: Caller
) -> None:
    rates = await plan(backend, turnover={"*": 1000})
    first, second = await agent(world, backend, rates), await agent(world, backend, rates)
    account = await player(world, backend, first)
    await to_next_month(world)
    await play(backend, account, "bet", "0.1")
    moved = await backend.post(f"/v1/agents/{second}/players", {"account_id": account})
    assert moved.body["since"] == (world.clock.now().date() + timedelta(days=1)).isoformat()
    await play(backend, account, "bet", "0.1")
    world.clock.move(DAY_S)
    await play(backend, account, "bet", "0.3")
    assert (await closed(world, backend, first))["amount"] == "0.02000000"
    newest = (await backend.get("/v1/agent-statements", params={"agent_id": second})).body["data"][0]
    assert newest["amount"] == "0.03000000"
    shown = [(await backend.get(f"/v1/agents/{one}/players")).body["data"] for one in (first, second)]
    assert ([len(one) for one in shown], shown[1][0]["account_id"]) == ([0, 1], account)


async def test_another_plan_holds_from_the_next_month_on(world: World, backend: Caller) -> None:
    own = await agent(world, backend, await plan(backend, turnover={"*": 1000}))
    account = await player(world, backend, own)
    other = await plan(backend, turnover={"*": 2000})
    assert (await backend.patch(f"/v1/agents/{own}", {"plan_id": other})).status == 200
    await play(backend, account, "bet", "0.1")
    assert (await closed(world, backend, own))["amount"] == "0.01000000"
    await play(backend, account, "bet", "0.1")
    assert (await closed(world, backend, own))["amount"] == "0.02000000"


async def test_an_agent_whose_own_account_plays_is_flagged_until_a_person_looked(
    world: World, backend: Caller
) -> None:
    own = await agent(world, backend, await plan(backend, turnover={"*": 1000}))
    account = await player(world, backend, own)
    agents_account = (await backend.get(f"/v1/agents/{own}")).body["account_id"]
    for one in (account, agents_account):
        traits = [{"kind": "device", "value": "the same"}]
        await backend.post(f"/v1/accounts/{one}/traits", {"traits": traits})
    await play(backend, account, "bet", "0.1")
    statement = await closed(world, backend, own)
    assert [flag["anomaly"] for flag in statement["flags"]] == ["self_play"]
    made = await backend.post(f"/v1/agents/{own}/keys", {"name": "its own"})
    seen_by_it = Caller(world.session, world.url, made.body["secret"], made.body["key"]["id"])
    assert (await seen_by_it.get(f"/v1/agent-statements/{statement['id']}")).body["flags"] == []
    assert (await seen_by_it.get("/v1/agent-statements")).body["data"][0]["flags"] == []
    world.clock.move(7 * DAY_S)
    path = f"/v1/agent-statements/{statement['id']}"
    assert (await backend.post(path + "/pay")).code == "wrong_state"
    assert await worker(world, approval=False).step() == 0
    dismissal = {"anomaly": "self_play", "reason": "a family"}
    assert (
        await backend.post(path + "/dismiss-flag", {**dismissal, "anomaly": "matched_bets"})
    ).status == 404
    dismissed = await backend.post(path + "/dismiss-flag", dismissal)
    assert dismissed.body["flags"][0]["reason"] == "a family"
    assert (await backend.post(path + "/pay")).body["state"] == "paid"


async def test_bets_against_each_other_are_flagged_and_can_be_rejected_for_good(
    world: World, backend: Caller
) -> None:
    own = await agent(world, backend, await plan(backend, turnover={"*": 1000}))
    red, black = await player(world, backend, own), await player(world, backend, own)
    for number in range(3):
        for account in (red, black):
            await play(backend, account, "bet", "0.1", round=f"r{number}")
        await play(backend, red, "win", "0.2", round=f"r{number}")
    statement = await closed(world, backend, own)
    assert [flag["anomaly"] for flag in statement["flags"]] == ["matched_bets"]
    path = f"/v1/agent-statements/{statement['id']}"
    assert (await backend.post(path + "/reject", {"reason": "collusion"})).body["state"] == "rejected"
    world.clock.move(30 * DAY_S)
    assert (await backend.post(path + "/pay")).code == "wrong_state"
    assert await worker(world, approval=False).step() == 0


async def test_nobody_is_paid_who_is_suspended_or_frozen(world: World, backend: Caller) -> None:
    own = await agent(world, backend, await plan(backend, turnover={"*": 1000}))
    await play(backend, await player(world, backend, own), "bet", "0.1")
    statement = await closed(world, backend, own)
    world.clock.move(7 * DAY_S)
    path = f"/v1/agent-statements/{statement['id']}"
    await backend.patch(f"/v1/agents/{own}", {"status": "suspended"})
    assert (await backend.post(path + "/pay")).code == "account_not_active"
    await backend.patch(f"/v1/agents/{own}", {"status": "active"})
    account = (await backend.get(f"/v1/agents/{own}")).body["account_id"]
    await backend.patch(f"/v1/accounts/{account}", {"status": "frozen"})
    assert (await backend.post(path + "/pay")).code == "account_frozen"
    assert await worker(world, approval=False).step() == 0
    await backend.patch(f"/v1/accounts/{account}", {"status": "active"})
    assert (await backend.post(path + "/pay")).status == 200


async def test_players_from_where_an_agent_may_not_be_are_refused_and_do_not_count(
    world: World, backend: Caller
) -> None:
    own = await agent(world, backend, await plan(backend, turnover={"*": 1000}), jurisdictions=["DE", "MT"])
    for body in ({"external_id": "a"}, {"external_id": "b", "jurisdiction": "US-NJ"}):
        refused = await backend.post("/v1/accounts", {**body, "agent_id": own})
        assert refused.code == "jurisdiction_not_allowed"
    assert await world.pool.fetchval("SELECT count(*) FROM account WHERE external_id IN ('a', 'b')") == 0
    account = await player(world, backend, own, jurisdiction="DE")
    moving = await player(world, backend, own, jurisdiction="MT")
    for one in (account, moving):
        await play(backend, one, "bet", "0.1")
    await backend.patch(f"/v1/accounts/{moving}", {"jurisdiction": "US-NJ"})
    assert (await closed(world, backend, own))["amount"] == "0.01000000"


async def test_an_agents_key_sees_its_own_downline_and_nothing_else(world: World, backend: Caller) -> None:
    rates = await plan(backend, turnover={"*": 1000})
    master, stranger = await agent(world, backend, rates), await agent(world, backend, rates)
    sub = await agent(world, backend, rates, parent_id=master)
    low = await agent(world, backend, rates, parent_id=sub)
    for one in (master, low, stranger):
        await play(backend, await player(world, backend, one), "bet", "0.1")
    await closed(world, backend, master)
    made = await backend.post(f"/v1/agents/{sub}/keys", {"name": "sub's"})
    own = Caller(world.session, world.url, made.body["secret"], made.body["key"]["id"])

    listed = (await own.get("/v1/agents", params={"under": sub})).body["data"]
    assert [one["id"] for one in listed] == [low]
    assert [one["id"] for one in (await own.get("/v1/agents")).body["data"]] == [low]
    assert (await own.get(f"/v1/agents/{sub}")).body["parent_id"] is None
    assert (await own.get(f"/v1/agents/{low}")).body["parent_id"] == sub
    for visible in (sub, low):
        for path in ("", "/players", "/accrued"):
            assert (await own.get(f"/v1/agents/{visible}{path}")).status == 200
    for hidden in (master, stranger):
        for path in ("", "/players", "/accrued"):
            assert (await own.get(f"/v1/agents/{hidden}{path}")).code == "not_found"
        for path in ("/v1/agents", "/v1/agent-statements"):
            query = {"under" if path == "/v1/agents" else "agent_id": hidden}
            assert (await own.get(path, params=query)).code == "not_found"
    statements = {
        one["agent_id"]: one["id"] for one in (await backend.get("/v1/agent-statements")).body["data"]
    }
    seen = (await own.get("/v1/agent-statements")).body["data"]
    assert {one["agent_id"] for one in seen} == {sub, low}
    assert (await own.get(f"/v1/agent-statements/{statements[low]}/lines")).status == 200
    for hidden in (master, stranger):
        for path in ("", "/lines"):
            assert (await own.get(f"/v1/agent-statements/{statements[hidden]}{path}")).code == "not_found"
    for path in ("/v1/accounts", "/v1/events", "/v1/withdrawals"):
        assert (await own.get(path)).code == "forbidden"
    assert (await own.post(f"/v1/agents/{low}/players", {})).code == "forbidden"


async def test_an_agents_key_sees_the_plans_of_its_own_downline_and_no_others(
    world: World, backend: Caller
) -> None:
    """What the agent above earns, and a competitor, is theirs to know."""
    above, other, mine, below, next_one = [
        await plan(backend, turnover={"*": rate}) for rate in (1000, 900, 500, 100, 400)
    ]
    await agent(world, backend, other)
    sub = await agent(world, backend, mine, parent_id=await agent(world, backend, above))
    await agent(world, backend, below, parent_id=sub)
    await backend.patch(f"/v1/agents/{sub}", {"plan_id": next_one})
    made = await backend.post(f"/v1/agents/{sub}/keys", {"name": "sub's"})
    own = Caller(world.session, world.url, made.body["secret"], made.body["key"]["id"])

    assert [one["id"] for one in (await own.get("/v1/commission-plans")).body["data"]] == [
        next_one,
        below,
        mine,
    ]
    for visible in (mine, below, next_one):
        assert (await own.get(f"/v1/commission-plans/{visible}")).status == 200
    for hidden in (above, other):
        assert (await own.get(f"/v1/commission-plans/{hidden}")).code == "not_found"
        assert (await backend.get(f"/v1/commission-plans/{hidden}")).status == 200


async def test_the_tree_has_no_rings_and_no_plan_that_exceeds_the_one_above(
    world: World, backend: Caller
) -> None:
    low, high = (
        await plan(backend, revenue_share={"*": 1000}),
        await plan(backend, revenue_share={"slots": 2000}),
    )
    master = await agent(world, backend, low)
    account = await world.account(backend)
    body = {"account_id": account, "plan_id": high, "name": "n", "parent_id": master}
    assert (await backend.post("/v1/agents", body)).code == "plan_exceeds_parent"
    sub = await agent(world, backend, low, parent_id=master)
    assert (await backend.patch(f"/v1/agents/{sub}", {"plan_id": high})).code == "plan_exceeds_parent"
    above = (await backend.get(f"/v1/agents/{master}")).body["account_id"]
    for agent_id in (master, sub):
        ring = await backend.post(f"/v1/agents/{agent_id}/players", {"account_id": above})
        assert ring.code == "agent_above_itself"
    again = {"account_id": above, "plan_id": low, "name": "again"}
    assert (await backend.post("/v1/agents", again)).code == "account_is_agent"
    nobody = "0" * 32
    for change, code in (
        ({"account_id": f"acc_{nobody}"}, "unknown_account"),
        ({"plan_id": f"cp_{nobody}"}, "unknown_plan"),
        ({"parent_id": f"ag_{nobody}"}, "unknown_agent"),
    ):
        assert (await backend.post("/v1/agents", {**body, "plan_id": low, **change})).code == code


async def test_agents_stand_only_so_deep(world: World, backend: Caller) -> None:
    rates, above = await plan(backend, turnover={"*": 1}), None
    for _ in range(world.services.settings.agents.depth_max):
        above = await agent(world, backend, rates, **({} if above is None else {"parent_id": above}))
    body = {"account_id": await world.account(backend), "plan_id": rates, "name": "n", "parent_id": above}
    assert (await backend.post("/v1/agents", body)).code == "agents_too_deep"


async def test_a_statement_shows_the_rates_that_the_agent_above_left_of_its_plan(
    world: World, backend: Caller
) -> None:
    high, low = await plan(backend, turnover={"*": 1000}), await plan(backend, turnover={"*": 400})
    master = await agent(world, backend, high)
    sub = await agent(world, backend, high, parent_id=master)
    await backend.patch(f"/v1/agents/{master}", {"plan_id": low})
    await to_next_month(world)
    await play(backend, await player(world, backend, sub), "bet", "0.1")
    statement = await closed(world, backend, sub)
    assert (statement["amount"], statement["rates"]["turnover"]) == ("0.00400000", {"*": 400})


async def test_every_change_of_an_agent_and_statement_is_told_once(world: World, backend: Caller) -> None:
    own = await agent(world, backend, await plan(backend, turnover={"*": 1000}))
    await backend.patch(f"/v1/agents/{own}", {"name": "another"})
    await backend.patch(f"/v1/agents/{own}", {"name": "another"})
    account = await player(world, backend, own)
    await play(backend, account, "bet", "0.1")
    statement = await closed(world, backend, own)
    other = await agent(world, backend, await plan(backend, turnover={"*": 1000}))
    for _ in range(2):
        await backend.post(f"/v1/agents/{other}/players", {"account_id": account})
    world.clock.move(7 * DAY_S)
    await backend.post(f"/v1/agent-statements/{statement['id']}/pay")
    rows = await world.pool.fetch(
        "SELECT type, entity_version FROM event "
        "WHERE entity_kind IN ('agent', 'statement') AND entity_id <> $1 ORDER BY id",
        other,
    )
    assigned = await world.pool.fetch("SELECT entity_version FROM event WHERE type = 'agent.player_assigned'")
    assert [row["entity_version"] for row in assigned] == [1, 2]
    assert [tuple(row) for row in rows] == [
        ("agent.created", 1),
        ("agent.updated", 2),
        ("commission.accrued", 1),
        ("commission.paid", 2),
    ]
