"""`/v1/chains`: how far each chain is applied, what its nodes say, and whether payouts are halted.

A process that watches a chain shows its nodes as they are now; any other shows what the tables tell of them.
"""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from cryptowatch.api.calls import Call, NoQuery, Reply
from cryptowatch.api.problems import Problem
from cryptowatch.api.services import Services
from cryptowatch.chains.port import NodeStatus
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.machine import HeadMoved
from cryptowatch.deposits.rules import ChainRules

SQL = load_queries(__package__, "chains.sql")


class NodeView(msgspec.Struct, frozen=True):
    """`height`, `lag_blocks` and `latency_s` are null where this process does not watch the chain."""

    name: str
    state: str
    height: int | None
    lag_blocks: int | None
    latency_s: float | None
    problem: str | None


class HaltView(msgspec.Struct, frozen=True):
    reason: str
    since: datetime


class ChainView(msgspec.Struct, frozen=True):
    """`height`: the last block applied; `finalized_height`: deposits in blocks up to it are final."""

    chain: str
    network: str
    assets: list[str]
    height: int | None
    hash: str | None
    agreed_height: int | None
    finalized_height: int | None
    halted: HaltView | None
    nodes: list[NodeView]
    updated_at: datetime | None


async def list_chains(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    rows = {row["chain"]: row for row in await conn.fetch(SQL["chains"])}
    told = await conn.fetch(SQL["nodes"])
    return Reply(
        [_chain(call.services, name, rows.get(name), told) for name in call.services.settings.chains]
    )


def _chain(
    services: Services, name: str, row: asyncpg.Record | None, told: Sequence[asyncpg.Record]
) -> ChainView:
    settings = services.settings.chains[name]
    statuses = services.node_statuses.get(name)
    if statuses is None:
        states = {node["name"]: node["state"] for node in told if node["chain"] == name}
        nodes = [_told(node.name, states.get(node.name)) for node in settings.nodes]
        agreed = None
    else:
        live = statuses()
        nodes, agreed = [_live(status) for status in live], _agreed_height(live)
    height = None if row is None else row["height"]
    return ChainView(
        chain=name,
        network=settings.network_name,
        assets=sorted(settings.asset_settings),
        height=height,
        hash=None if row is None else row["hash"].hex(),
        agreed_height=agreed,
        finalized_height=None if row is None else _final_height(services.rules[name], row),
        halted=None if row is None or row["halted"] is None else HaltView(row["halted"], row["halted_at"]),
        nodes=nodes,
        updated_at=None if row is None else row["updated_at"],
    )


def _final_height(rules: ChainRules, row: asyncpg.Record) -> int:
    return max(0, rules.final_height(HeadMoved(row["height"], row["final_height"])))


def _agreed_height(live: Sequence[NodeStatus]) -> int | None:
    heads = [
        status.height + status.lag_blocks
        for status in live
        if status.height is not None and status.lag_blocks is not None
    ]
    return max(heads, default=None)


def _live(status: NodeStatus) -> NodeView:
    return NodeView(
        status.name, status.state, status.height, status.lag_blocks, status.latency_s, status.problem
    )


def _told(name: str, state: str | None) -> NodeView:
    shown = {None: "unknown", "recovered": "healthy"}.get(state, state)
    return NodeView(name, shown or "unknown", None, None, None, None)
