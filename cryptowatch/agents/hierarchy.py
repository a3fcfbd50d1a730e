"""Agents, their plans and their players as rows. Called by the API inside its transactions.

Whatever changes takes effect with a day or a period: whose player somebody is from the next day on (at sign-up at
once), a plan from the next period on. What a day counted for is never rewritten. Each change of an agent tells (P8).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.agents.plans import Period, Plan, begin_of, exceeding, next_begin
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent, append_events

SQL = load_queries(__package__, "hierarchy.sql")


class Status(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"  # earns as before, and is paid nothing until it is active


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` is one of the API's."""

    code: str
    detail: str


class PlanView(msgspec.Struct, frozen=True):
    id: str
    name: str
    rates: Plan
    created_at: datetime


class AgentView(msgspec.Struct, frozen=True):
    """`players`: its own, today; `agents`: those directly under it."""

    id: str
    account_id: str
    parent_id: str | None
    name: str
    level: int
    plan_id: str
    jurisdictions: list[str]
    status: Status
    players: int
    agents: int
    created_at: datetime
    updated_at: datetime


class AgentPlayerView(msgspec.Struct, frozen=True):
    account_id: str
    external_id: str
    since: date


@dataclass(frozen=True, slots=True)
class NewAgent:
    id: UUID
    account_id: UUID
    parent_id: UUID | None
    plan_id: UUID
    name: str
    jurisdictions: Sequence[str]


@dataclass(frozen=True, slots=True)
class AgentPatch:
    """What is not None is changed. A plan holds from the next period on."""

    name: str | None = None
    status: Status | None = None
    jurisdictions: Sequence[str] | None = None
    plan_id: UUID | None = None


async def create_plan(conn: Connection, plan_id: UUID, name: str, plan: Plan, now: datetime) -> PlanView:
    row = await conn.fetchrow(SQL["insert_plan"], plan_id, name, msgspec.json.encode(plan).decode(), now)
    assert row is not None
    return plan_view(row)


async def read_plan(conn: Connection, plan_id: UUID) -> PlanView | None:
    row = await conn.fetchrow(SQL["plan"], plan_id)
    return None if row is None else plan_view(row)


async def list_plans(
    conn: Connection, *, limit: int, before: UUID | None, under: UUID | None
) -> Sequence[asyncpg.Record]:
    """The newest of all, or of those that an agent and those under it have."""
    return list(await conn.fetch(SQL["plans"], before, limit, under))


async def is_plan_below(conn: Connection, plan_id: UUID, top: UUID) -> bool:
    """Whether that agent, or one under it, has the plan."""
    return bool(await conn.fetchval(SQL["is_plan_below"], plan_id, top))


def plan_view(row: asyncpg.Record) -> PlanView:
    plan = msgspec.json.decode(row["document"], type=Plan)
    return PlanView(show_id(Kind.PLAN, row["id"]), row["name"], plan, row["created_at"])


async def create_agent(
    conn: Connection, new: NewAgent, period: Period, depth_max: int, now: datetime
) -> AgentView | Refusal:
    """Its plan holds from the period that is on. The agent above is held, so that its own plan stays meanwhile."""
    path = list[UUID]()
    if new.parent_id is not None:
        above = await conn.fetchrow(SQL["hold_agent"], new.parent_id)
        if above is None:
            return Refusal("unknown_agent", "there is no such agent above")
        path = [*above["path"], new.parent_id]
        if len(path) >= depth_max:
            return Refusal("agents_too_deep", f"agents stand at most {depth_max} deep")
    refusal = await _unfit(conn, new.plan_id, new.parent_id, now.date())
    if refusal is not None:
        return refusal
    created = await conn.fetchval(
        SQL["insert_agent"],
        new.id,
        new.account_id,
        new.parent_id,
        path,
        new.name,
        sorted(set(new.jurisdictions)),
        now,
    )
    if created is None:
        return Refusal("account_is_agent", "the account belongs to another agent")
    await conn.execute(SQL["set_plan"], new.id, begin_of(period, now.date()), new.plan_id)
    return await _told(conn, new.id, "agent.created", 1, now)


async def patch_agent(
    conn: Connection, agent_id: UUID, patch: AgentPatch, period: Period, now: datetime
) -> AgentView | Refusal | None:
    """None = no such agent. No change, no event."""
    row = await conn.fetchrow(SQL["hold_agent"], agent_id)
    if row is None:
        return None
    changed = False
    if patch.plan_id is not None:
        since = next_begin(period, now.date())
        refusal = await _unfit(conn, patch.plan_id, row["parent_id"], since)
        if refusal is not None:
            return refusal
        changed = await conn.fetchval(SQL["plan_on"], agent_id, since) != patch.plan_id
        await conn.execute(SQL["set_plan"], agent_id, since, patch.plan_id)
    jurisdictions = None if patch.jurisdictions is None else sorted(set(patch.jurisdictions))
    version = await conn.fetchval(
        SQL["patch_agent"], agent_id, patch.name, patch.status, jurisdictions, now, changed
    )
    if version is None:
        return await read_agent(conn, agent_id, now.date())
    return await _told(conn, agent_id, "agent.updated", version, now)


async def _unfit(conn: Connection, plan_id: UUID, parent_id: UUID | None, on: date) -> Refusal | None:
    """Why it cannot have the plan: there is none, or it would earn more than the agent above it."""
    plan = await read_plan(conn, plan_id)
    if plan is None:
        return Refusal("unknown_plan", "there is no such commission plan")
    if parent_id is None:
        return None
    above = await read_plan(conn, await conn.fetchval(SQL["plan_on"], parent_id, on))
    assert above is not None, "every agent has a plan"
    beyond = exceeding(plan.rates, above.rates)
    if beyond:
        return Refusal("plan_exceeds_parent", f"more than the agent above earns: {', '.join(beyond)}")
    return None


async def read_agent(conn: Connection, agent_id: UUID, today: date) -> AgentView | None:
    row = await conn.fetchrow(SQL["agent"], agent_id, today)
    return None if row is None else agent_view(row)


async def list_agents(
    conn: Connection, *, limit: int, before: UUID | None, under: UUID | None, today: date
) -> Sequence[asyncpg.Record]:
    """The newest of all, or of those anywhere under one."""
    return list(await conn.fetch(SQL["agents"], under, before, limit, today))


async def is_below(conn: Connection, agent_id: UUID, top: UUID) -> bool:
    """Whether it is that agent, or stands anywhere under it."""
    return bool(await conn.fetchval(SQL["is_below"], agent_id, top))


def agent_view(row: asyncpg.Record) -> AgentView:
    return AgentView(
        id=show_id(Kind.AGENT, row["id"]),
        account_id=show_id(Kind.ACCOUNT, row["account_id"]),
        parent_id=None if row["parent_id"] is None else show_id(Kind.AGENT, row["parent_id"]),
        name=row["name"],
        level=len(row["path"]),
        plan_id=show_id(Kind.PLAN, row["plan_id"]),
        jurisdictions=list(row["jurisdictions"]),
        status=Status(row["status"]),
        players=row["players"],
        agents=row["agents"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def assign_player(
    conn: Connection, account_id: UUID, agent_id: UUID, *, at_once: bool, now: datetime
) -> AgentPlayerView | Refusal:
    """`at_once`: an account that is just made. Else from tomorrow on, as today counts for whoever had it.

    The same again changes nothing. An agent is no player of its own, nor of one under it.
    """
    facts = await conn.fetchrow(SQL["hold_for_assignment"], account_id, agent_id)
    if facts is None:
        return Refusal("unknown_agent", "there is no such agent")
    if facts["account_agent"] is not None and (
        facts["account_agent"] == agent_id or facts["account_agent"] in facts["path"]
    ):
        return Refusal("agent_above_itself", "an agent cannot be a player of its own downline")
    allowed = facts["jurisdictions"]
    if allowed and facts["jurisdiction"] not in allowed:
        return Refusal("jurisdiction_not_allowed", f"the agent's players live in {', '.join(allowed)}")
    current = await conn.fetchrow(SQL["latest_assignment"], account_id)
    if current is None or current["agent_id"] != agent_id:
        since = now.date() if at_once else now.date() + timedelta(days=1)
        version = await conn.fetchval(SQL["assign"], account_id, since, agent_id, now)
        current = await conn.fetchrow(SQL["latest_assignment"], account_id)
        assert current is not None
        await append_events(conn, [_assigned(account_id, agent_id, since, version, now)])
    return player_view(current)


def _assigned(account_id: UUID, agent_id: UUID, since: date, version: int, now: datetime) -> NewEvent:
    """Told to the account; whose player it is decides about money."""
    shown = show_id(Kind.ACCOUNT, account_id)
    data = {"account_id": shown, "agent_id": show_id(Kind.AGENT, agent_id), "since": since}
    text = msgspec.json.encode(data).decode()
    return NewEvent("agent.player_assigned", "agent_player", shown, version, account_id, text, now)


async def list_agent_players(
    conn: Connection, agent_id: UUID, *, limit: int, before: UUID | None, today: date
) -> Sequence[asyncpg.Record]:
    """Its own, those that joined the platform last first."""
    return list(await conn.fetch(SQL["players"], agent_id, before, limit, today))


def player_view(row: asyncpg.Record) -> AgentPlayerView:
    return AgentPlayerView(show_id(Kind.ACCOUNT, row["account_id"]), row["external_id"], row["since"])


async def _told(conn: Connection, agent_id: UUID, kind: str, version: int, now: datetime) -> AgentView:
    view = await read_agent(conn, agent_id, now.date())
    assert view is not None
    event = NewEvent(kind, "agent", view.id, version, None, msgspec.json.encode(view).decode(), now)
    await append_events(conn, [event])
    return view
