"""`/v1/agents`, `/v1/commission-plans`, `/v1/agent-statements`: agents and what they earn.

An agent's own key sees that agent and what stands under it; of others it learns not even that they exist.
"""

from datetime import date
from typing import Annotated
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta

from cryptowatch.agents import deciding, hierarchy, listing, statements
from cryptowatch.agents.anomalies import Anomaly
from cryptowatch.agents.deciding import Decider
from cryptowatch.agents.hierarchy import AgentPatch, AgentPlayerView, AgentView, NewAgent, PlanView, Status
from cryptowatch.agents.listing import State, StatementLineView, StatementView, Wanted
from cryptowatch.agents.plans import Period, Plan, begin_of
from cryptowatch.api.accounts import Jurisdiction
from cryptowatch.api.calls import (
    TEXT,
    Call,
    Id,
    NoQuery,
    Page,
    PageQuery,
    Reply,
    body_id,
    not_found,
)
from cryptowatch.api.keys import SECRET_BYTES, KeyView, Scope, create_key
from cryptowatch.api.paging import page, page_size, uuid_cursor
from cryptowatch.api.problems import Problem, refuse
from cryptowatch.db.pool import Connection
from cryptowatch.ids import Kind
from cryptowatch.money import format_amount

Name = Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=100)]
Reason = Annotated[str, Meta(pattern=TEXT, max_length=500)]
Jurisdictions = Annotated[list[Jurisdiction], Meta(max_length=300)]

PlanPage = Page[PlanView]
AgentPage = Page[AgentView]
AgentPlayerPage = Page[AgentPlayerView]
StatementPage = Page[StatementView]
StatementLinePage = Page[StatementLineView]


class NewPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    rates: Plan


class AgentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`account_id`: to which it is paid.

    `parent_id`: the agent above. `jurisdictions`: of its players; empty: anywhere.
    """

    account_id: Id
    plan_id: Id
    name: Name
    parent_id: Id | None = None
    jurisdictions: Jurisdictions = []


class AgentChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out, or null, stays. A plan holds from the next period on."""

    name: Name | None = None
    status: Status | None = None
    jurisdictions: Jurisdictions | None = None
    plan_id: Id | None = None


class AgentsQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`under`: those anywhere under that agent."""

    under: Id | None = None


class AssignRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From tomorrow on, its play counts for the agent."""

    account_id: Id


class StatementsQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`agent_id`: of that one alone. `state`: `held` ones wait."""

    agent_id: Id | None = None
    state: State | None = None


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why, for the record."""

    reason: Reason | None = None


class Dismissal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A flag that does not stand in the way any more, and why."""

    anomaly: Anomaly
    reason: Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=500)]


class KeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name


class NewKeyView(msgspec.Struct, frozen=True):
    """`secret` is shown this once; `cryptowatch keys revoke` ends it."""

    secret: str
    key: KeyView


class Accrued(msgspec.Struct, frozen=True):
    """`earned` by the whole downline, of which `amount` would be the agent's own."""

    asset: str
    turnover: str
    revenue: str
    earned: str
    amount: str


class AccruedView(msgspec.Struct, frozen=True):
    """Of the period that is on, so far: without what earlier ones carried over, and before anything is decided."""

    begin_on: date
    assets: list[Accrued]


async def create_plan(call: Call[NoQuery, NewPlan], conn: Connection) -> Reply | Problem:
    body = call.body
    return Reply(
        await hierarchy.create_plan(conn, call.services.new_id(call.now), body.name, body.rates, call.now)
    )


async def list_plans(call: Call[PageQuery, None], conn: Connection) -> Reply | Problem:
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    rows = await hierarchy.list_plans(
        conn, limit=limit + 1, before=uuid_cursor(call.query), under=call.caller.agent_id
    )
    return Reply(page(rows, limit, lambda row: row["id"], hierarchy.plan_view))


async def get_plan(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    plan_id, top = call.path_id(Kind.PLAN), call.caller.agent_id
    plan = await hierarchy.read_plan(conn, plan_id)
    if plan is None or (top is not None and not await hierarchy.is_plan_below(conn, plan_id, top)):
        raise not_found()
    return Reply(plan)


async def create_agent(call: Call[NoQuery, AgentRequest], conn: Connection) -> Reply | Problem:
    body, settings = call.body, call.services.settings.agents
    new = NewAgent(
        id=call.services.new_id(call.now),
        account_id=body_id(Kind.ACCOUNT, body.account_id, "unknown_account"),
        parent_id=None if body.parent_id is None else body_id(Kind.AGENT, body.parent_id, "unknown_agent"),
        plan_id=body_id(Kind.PLAN, body.plan_id, "unknown_plan"),
        name=body.name,
        jurisdictions=body.jurisdictions,
    )
    try:
        made = await hierarchy.create_agent(conn, new, Period(settings.period), settings.depth_max, call.now)
    except asyncpg.ForeignKeyViolationError as problem:
        raise refuse("unknown_account", "no such account") from problem
    return _replied(made)


async def list_agents(call: Call[AgentsQuery, None], conn: Connection) -> Reply | Problem:
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    under = call.caller.agent_id
    if call.query.under is not None:
        under = await _seen(call, conn, body_id(Kind.AGENT, call.query.under, "invalid_request"))
    rows = await hierarchy.list_agents(
        conn, limit=limit + 1, before=uuid_cursor(call.query), under=under, today=call.now.date()
    )
    return Reply(page(rows, limit, lambda row: row["id"], hierarchy.agent_view))


async def get_agent(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    agent = await hierarchy.read_agent(conn, await _called(call, conn), call.now.date())
    assert agent is not None
    if call.caller.agent_id is not None and call.path_id(Kind.AGENT) == call.caller.agent_id:
        agent = msgspec.structs.replace(agent, parent_id=None)  # who stands above is not its own to know
    return Reply(agent)


async def update_agent(call: Call[NoQuery, AgentChange], conn: Connection) -> Reply | Problem:
    body = call.body
    patch = AgentPatch(
        body.name,
        body.status,
        body.jurisdictions,
        None if body.plan_id is None else body_id(Kind.PLAN, body.plan_id, "unknown_plan"),
    )
    period = Period(call.services.settings.agents.period)
    return _replied(await hierarchy.patch_agent(conn, call.path_id(Kind.AGENT), patch, period, call.now))


async def create_agent_key(call: Call[NoQuery, KeyRequest], conn: Connection) -> Reply | Problem:
    agent_id = await _called(call, conn)
    secret, view = await create_key(
        conn,
        call.services.new_id(call.now),
        call.services.random_bytes(SECRET_BYTES),
        name=call.body.name,
        scopes=[Scope.DOWNLINE],
        expires_at=None,
        now=call.now,
        agent_id=agent_id,
    )
    return Reply(NewKeyView(secret, view))


async def list_agent_players(call: Call[PageQuery, None], conn: Connection) -> Reply | Problem:
    agent_id = await _called(call, conn)
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    rows = await hierarchy.list_agent_players(
        conn, agent_id, limit=limit + 1, before=uuid_cursor(call.query), today=call.now.date()
    )
    return Reply(page(rows, limit, lambda row: row["account_id"], hierarchy.player_view))


async def assign_player(call: Call[NoQuery, AssignRequest], conn: Connection) -> Reply | Problem:
    agent_id = await _called(call, conn)
    account_id = body_id(Kind.ACCOUNT, call.body.account_id, "unknown_account")
    return _replied(await hierarchy.assign_player(conn, account_id, agent_id, at_once=False, now=call.now))


async def get_accrued(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    agent_id, today = await _called(call, conn), call.now.date()
    begin = begin_of(Period(call.services.settings.agents.period), today)
    shown = list[Accrued]()
    for asset, one in (await statements.accrued(conn, agent_id, begin, today)).items():
        played = one.below.values()
        sums = (sum(part.turnover for part in played), sum(part.revenue for part in played))
        decimals = await listing.known_decimals(conn, asset, call.services.decimals)
        amounts = [format_amount(part, decimals) for part in (*sums, one.earned, one.amount)]
        shown.append(Accrued(asset, *amounts))
    return Reply(AccruedView(begin, shown))


async def list_agent_statements(call: Call[StatementsQuery, None], conn: Connection) -> Reply | Problem:
    limit, decimals = page_size(call.query, call.services.settings.api.page_size_max), call.services.decimals
    agent_id = None
    if call.query.agent_id is not None:
        agent_id = await _seen(call, conn, body_id(Kind.AGENT, call.query.agent_id, "invalid_request"))
    wanted = Wanted(call.caller.agent_id, agent_id, call.query.state)
    rows = await listing.list_statements(conn, wanted, limit=limit + 1, before=uuid_cursor(call.query))
    return Reply(
        page(
            rows,
            limit,
            lambda row: row["id"],
            lambda row: _shown(call, listing.statement_view(row, decimals)),
        )
    )


async def get_agent_statement(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    row = await _statement(call, conn)
    return Reply(_shown(call, listing.statement_view(row, call.services.decimals)))


async def list_statement_lines(call: Call[PageQuery, None], conn: Connection) -> Reply | Problem:
    """`limit` accounts, with all their products."""
    row = await _statement(call, conn)
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    rows = await listing.list_lines(conn, row["id"], limit=limit + 1, before=uuid_cursor(call.query))
    accounts = list(dict.fromkeys(line["account_id"] for line in rows))
    shown = set(accounts[:limit])
    found = page(accounts, limit, lambda account: account, lambda account: account)
    decimals = listing.decimals_of(row, call.services.decimals)
    lines = [listing.line_view(line, decimals) for line in rows if line["account_id"] in shown]
    return Reply(Page(lines, found.next_cursor))


async def pay_agent_statement(call: Call[NoQuery, Decision], conn: Connection) -> Reply | Problem:
    return _replied(await deciding.pay_statement(conn, call.path_id(Kind.STATEMENT), _decider(call)))


async def reject_agent_statement(call: Call[NoQuery, Decision], conn: Connection) -> Reply | Problem:
    return _replied(await deciding.reject_statement(conn, call.path_id(Kind.STATEMENT), _decider(call)))


async def dismiss_statement_flag(call: Call[NoQuery, Dismissal], conn: Connection) -> Reply | Problem:
    statement_id = call.path_id(Kind.STATEMENT)
    return _replied(await deciding.dismiss_flag(conn, statement_id, call.body.anomaly, _decider(call)))


def _decider(call: Call[NoQuery, Decision | Dismissal]) -> Decider:
    return Decider(call.caller.shown_id, call.body.reason, call.services.decimals, call.now)


def _replied(answer: object) -> Reply | Problem:
    """Raises Refused (404) for None, and for what must leave nothing behind."""
    if answer is None:
        raise not_found()
    if isinstance(answer, hierarchy.Refusal):
        raise refuse(answer.code, answer.detail)
    return Reply(answer)


def _shown(call: Call[object, object], view: StatementView) -> StatementView:
    """To an agent without what was found: it would learn how much is not found."""
    return view if call.caller.agent_id is None else msgspec.structs.replace(view, flags=[])


async def _statement(call: Call[object, object], conn: Connection) -> asyncpg.Record:
    row = await listing.read_statement(conn, call.path_id(Kind.STATEMENT))
    if row is None:
        raise not_found()
    await _seen(call, conn, row["agent_id"])
    return row


async def _called(call: Call[object, object], conn: Connection) -> UUID:
    """The agent in the path. Raises Refused (404) where there is none that the caller may see."""
    agent_id = call.path_id(Kind.AGENT)
    return await _seen(call, conn, agent_id)


async def _seen(call: Call[object, object], conn: Connection, agent_id: UUID) -> UUID:
    top = call.caller.agent_id
    if not await hierarchy.is_below(conn, agent_id, agent_id if top is None else top):
        raise not_found()
    return agent_id
