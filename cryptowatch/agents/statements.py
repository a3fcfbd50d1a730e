"""Periods closed into statements, one for each agent and asset.

Called by `worker`, which closes, and by the API, where people decide. A period is closed in one transaction with all
its statements, once (P2): the row of `agent_period` decides between two processes. A statement's payment is one
posting with the statement in its key, in the transaction that says so.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import msgspec

from cryptowatch.agents.anomalies import AnomalyRules, Facts, Finding, anomalies
from cryptowatch.agents.commission import Agent, Played, Settlement, settle
from cryptowatch.agents.listing import State, event_of, plan_of, read_statements
from cryptowatch.agents.plans import capped
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import derived_ids
from cryptowatch.ledger.events import append_events

SQL = load_queries(__package__, "statements.sql")

#: Of earlier periods, so many are compared with.
_EARLIER = 3


@dataclass(frozen=True, slots=True)
class StatementRules:
    decimals: Mapping[str, int]
    hold: timedelta
    anomalies: AnomalyRules


async def close_period(
    conn: Connection, begin: date, end: date, rules: StatementRules, now: datetime
) -> int | None:
    """Close the days from `begin` to before `end`; how many statements.

    None: it was closed before. In a transaction.
    """
    if await conn.fetchval(SQL["close"], begin, end, now) is None:
        return None
    agents = await conn.fetch(SQL["agents"], begin, end)
    if not agents:
        return 0
    forest = [Agent(row["id"], row["parent_id"], plan_of(row["document"])) for row in agents]
    await conn.execute(SQL["gather"], begin, end)
    played: defaultdict[str, defaultdict[UUID, dict[str, Played]]] = defaultdict(lambda: defaultdict(dict))
    for row in await conn.fetch(SQL["played"]):
        parts = Played(int(row["bet"]), int(row["win"]), int(row["refund"]), int(row["bonus"]))
        played[row["asset"]][row["agent_id"]][row["product"]] = parts
    carried: defaultdict[str, dict[UUID, int]] = defaultdict(dict)
    for row in await conn.fetch(SQL["carried"], begin):
        carried[row["asset"]][row["agent_id"]] = int(row["carry_out"])
    count = 0
    for asset in sorted({*played, *carried}):
        settled = settle(forest, played[asset], carried[asset])
        wanted = {id_: one for id_, one in settled.items() if one.below or one.carry_in}
        await _write(conn, _Closed(begin, end, asset, wanted), rules, now)
        count += len(wanted)
    return count


@dataclass(frozen=True, slots=True)
class _Closed:
    begin: date
    end: date
    asset: str
    settled: Mapping[UUID, Settlement]


async def _write(conn: Connection, closed: _Closed, rules: StatementRules, now: datetime) -> None:
    ordered = sorted(closed.settled)
    if not ordered:
        return
    ids = dict(
        zip(
            ordered,
            derived_ids(now, b"statement", closed.asset.encode(), str(closed.begin).encode()),
            strict=False,  # there are ids without end
        )
    )
    settled = [closed.settled[id_] for id_ in ordered]
    await conn.execute(
        SQL["insert"],
        [ids[id_] for id_ in ordered],
        ordered,
        closed.begin,
        closed.end,
        closed.asset,
        [State.HELD if one.amount else State.SETTLED for one in settled],
        [one.carry_in for one in settled],
        [one.carry_out for one in settled],
        [one.earned for one in settled],
        [one.granted for one in settled],
        [one.amount for one in settled],
        [msgspec.json.encode(one.plan).decode() for one in settled],
        now + rules.hold,
        now,
        rules.decimals.get(closed.asset),
    )
    await conn.execute(SQL["insert_lines"], closed.asset, [ids[id_] for id_ in ordered], ordered)
    facts = await _facts(conn, closed)
    flags = [
        (ids[agent], finding)
        for agent, of_agent in facts.items()
        if closed.settled[agent].amount
        for finding in anomalies(of_agent, rules.anomalies)
    ]
    await _flag(conn, flags)
    rows = await read_statements(conn, [ids[id_] for id_ in ordered])
    await append_events(conn, [event_of(row, "commission.accrued", rules.decimals, now) for row in rows])


async def _flag(conn: Connection, flags: Sequence[tuple[UUID, Finding]]) -> None:
    if flags:
        await conn.execute(
            SQL["flag"],
            [id_ for id_, _ in flags],
            [finding.anomaly for _, finding in flags],
            [msgspec.json.encode(finding.compared).decode() for _, finding in flags],
        )


async def _facts(conn: Connection, closed: _Closed) -> dict[UUID, Facts]:
    """Of those agents whose own players played."""
    own = {row["agent_id"]: int(row["own"]) for row in await conn.fetch(SQL["own_play"], closed.asset)}
    matched = {
        row["agent_id"]: int(row["matched"])
        for row in await conn.fetch(
            SQL["matched"], closed.asset, _midnight(closed.begin), _midnight(closed.end)
        )
    }
    earlier: defaultdict[UUID, list[int]] = defaultdict(list)
    for row in await conn.fetch(SQL["earlier"], closed.asset, closed.begin, _EARLIER):
        earlier[row["agent_id"]].append(int(row["turnover"]))
    return {
        row["agent_id"]: Facts(
            int(row["turnover"]),
            earlier[row["agent_id"]],
            own.get(row["agent_id"], 0),
            matched.get(row["agent_id"], 0),
        )
        for row in await conn.fetch(SQL["turnover"], closed.asset)
    }


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


async def last_closed(conn: Connection) -> date | None:
    """The end of the last period that was closed."""
    found: date | None = await conn.fetchval(SQL["last_closed"])
    return found


async def first_day(conn: Connection) -> date | None:
    """The day since which there are agents."""
    found: date | None = await conn.fetchval(SQL["first_day"])
    return found


async def accrued(conn: Connection, agent_id: UUID, begin: date, today: date) -> dict[str, Settlement]:
    """By asset: what an agent would get for the days from `begin` to today, as far as its own downline decides it.

    Nothing carried over is in it, and an agent above that earns less may lower it.
    """
    end = today + timedelta(days=1)
    rows = await conn.fetch(SQL["downline"], agent_id, begin, end)
    forest = [Agent(row["id"], row["parent_id"], plan_of(row["document"])) for row in rows]
    for row in await conn.fetch(SQL["plans_above"], agent_id, begin, end):
        forest = [replace(one, plan=capped(one.plan, plan_of(row["document"]))) for one in forest]
    played: defaultdict[str, defaultdict[UUID, dict[str, Played]]] = defaultdict(lambda: defaultdict(dict))
    for row in await conn.fetch(SQL["played_below"], begin, end, [one.id for one in forest]):
        parts = Played(int(row["bet"]), int(row["win"]), int(row["refund"]), int(row["bonus"]))
        played[row["asset"]][row["agent_id"]][row["product"]] = parts
    return {asset: settle(forest, played[asset], {})[agent_id] for asset in sorted(played)}
