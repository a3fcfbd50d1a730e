"""Statements as people and the API read them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.agents.plans import Plan
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent
from cryptowatch.money import format_amount

SQL = load_queries(__package__, "listing.sql")


class State(StrEnum):
    HELD = "held"  # until its time is over and, where it is asked for, a person agrees
    SETTLED = "settled"  # there is nothing to pay
    PAID = "paid"
    REJECTED = "rejected"


class FlagView(msgspec.Struct, frozen=True):
    anomaly: str
    compared: dict[str, str]
    dismissed_by: str | None
    reason: str | None


class StatementView(msgspec.Struct, frozen=True):
    """`amount` is what the agent gets; `granted` what its whole downline gets together, out of what was `earned`
    there. `flags` are not shown to agents.
    """

    id: str
    agent_id: str
    begin_on: date
    end_on: date
    asset: str
    state: State
    earned: str
    granted: str
    amount: str
    carry_in: str
    carry_out: str
    rates: Plan
    held_until: datetime
    flags: list[FlagView]
    decided_by: str | None
    reason: str | None
    created_at: datetime
    updated_at: datetime


class StatementLineView(msgspec.Struct, frozen=True):
    """What one player did in the period, by product.

    Its postings: the account's statement, `since` begin `until` end.
    """

    account_id: str
    product: str
    bet: str
    win: str
    refund: str
    bonus: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """`under`: of that agent and all under it. `agent`: its own alone."""

    under: UUID | None
    agent: UUID | None
    state: State | None


async def list_statements(
    conn: Connection, wanted: Wanted, *, limit: int, before: UUID | None
) -> Sequence[asyncpg.Record]:
    return list(await conn.fetch(SQL["newest"], wanted.under, wanted.agent, wanted.state, before, limit))


async def read_statement(conn: Connection, statement_id: UUID) -> asyncpg.Record | None:
    rows = await read_statements(conn, [statement_id])
    return rows[0] if rows else None


async def read_statements(conn: Connection, statement_ids: Sequence[UUID]) -> Sequence[asyncpg.Record]:
    """Those of these that there are, in the order of their ids."""
    return list(await conn.fetch(SQL["statements"], statement_ids))


async def list_lines(
    conn: Connection, statement_id: UUID, *, limit: int, before: UUID | None
) -> Sequence[asyncpg.Record]:
    """By account; one page has all products of its accounts."""
    return list(await conn.fetch(SQL["lines"], statement_id, before, limit))


def line_view(row: asyncpg.Record, decimals: int) -> StatementLineView:
    parts = [format_amount(int(row[name]), decimals) for name in ("bet", "win", "refund", "bonus")]
    return StatementLineView(show_id(Kind.ACCOUNT, row["account_id"]), row["product"], *parts)


def decimals_of(row: asyncpg.Record, decimals: Mapping[str, int]) -> int:
    """Of a statement's asset, as it was closed; else those of the settings.

    Where nobody knows them any more amounts are shown in base units: better a long number than none.
    """
    own: int | None = row["decimals"]
    return decimals.get(row["asset"], 0) if own is None else own


async def known_decimals(conn: Connection, asset: str, decimals: Mapping[str, int]) -> int:
    """Of an asset of the settings, or of one that has statements. Else 0, as `decimals_of`."""
    known = decimals.get(asset)
    return (await conn.fetchval(SQL["decimals"], asset) or 0) if known is None else known


def statement_view(row: asyncpg.Record, decimals: Mapping[str, int]) -> StatementView:
    """`decimals` are the settings'."""
    own = decimals_of(row, decimals)
    amounts = {
        name: format_amount(int(row[name]), own)
        for name in ("earned", "granted", "amount", "carry_in", "carry_out")
    }
    return StatementView(
        id=show_id(Kind.STATEMENT, row["id"]),
        agent_id=show_id(Kind.AGENT, row["agent_id"]),
        begin_on=row["begin_on"],
        end_on=row["end_on"],
        asset=row["asset"],
        state=State(row["state"]),
        rates=plan_of(row["plan"]),
        held_until=row["held_until"],
        flags=list(_flags(row["flags"])),
        decided_by=row["decided_by"],
        reason=row["reason"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        **amounts,
    )


def _flags(text: str | None) -> Iterator[FlagView]:
    found: list[dict[str, Any]] = msgspec.json.decode(text) if text else []
    for flag in found:
        yield msgspec.convert(flag, FlagView)


def event_of(row: asyncpg.Record, kind: str, decimals: Mapping[str, int], now: datetime) -> NewEvent:
    view = statement_view(row, decimals)
    data = msgspec.json.encode(view).decode()
    return NewEvent(kind, "statement", view.id, row["version"], row["account_id"], data, now)


def plan_of(document: str) -> Plan:
    """As it is stored."""
    return msgspec.json.decode(document, type=Plan)
