"""Cases: what a rule found about an account, for a person to look at and decide.

Opened by `findings`, read and decided through the API, each in the caller's transaction with one event (P8). There is
one open case for each account, rule and asset: what the rule finds meanwhile is added to it, so that whoever decides
sees all of it. An open case of the action `hold`, and one that was confirmed, makes the account's withdrawals wait:
payouts read that as the view `account_hold`, and go on by themselves once a case is cleared. Notes are for those with
the scope alone: events do not carry them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent, append_events

SQL = load_queries(__package__, "cases.sql")

#: Each beyond the first means that another case was opened and decided in between.
_TRIES = 3


class State(StrEnum):
    OPEN = "open"
    CLEARED = "cleared"  # for good: nothing was wrong
    CONFIRMED = "confirmed"  # something is wrong; a hold stays


Decision = Literal["cleared", "confirmed"]


class CaseView(msgspec.Struct, frozen=True):
    """`subject` is the deposit or withdrawal that the rule was asked about first; `compared` is what it compared then.

    `findings`: how many there are by now, that one among them.
    """

    id: str
    account_id: str
    rule: str
    asset: str
    subject: str
    action: str
    state: State
    compared: dict[str, str]
    findings: int
    assignee: str | None
    decided_by: str | None
    reason: str | None
    decided_at: datetime | None
    created_at: datetime
    updated_at: datetime


class FindingView(msgspec.Struct, frozen=True):
    """What the rule compared when it was asked about this deposit or withdrawal."""

    subject: str
    compared: dict[str, str]
    created_at: datetime


class NoteView(msgspec.Struct, frozen=True):
    id: str
    author: str
    text: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule found."""

    account_id: UUID
    rule: str
    asset: str
    subject: str
    compared: Mapping[str, str]
    #: Up to when it looked.
    seen_until: datetime


@dataclass(frozen=True, slots=True)
class Filter:
    account_id: UUID | None
    state: str | None
    rule: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` is stable and part of the API; `detail` is for people."""

    code: str
    detail: str


class Outcome(StrEnum):
    OPENED = "opened"  # a case
    EXTENDED = "extended"  # the one that was open
    KNOWN = "known"  # it is in a case already


async def add_finding(
    conn: Connection, finding_id: UUID, found: Found, action: str, now: datetime
) -> Outcome:
    """With the open case of its account, rule and asset; else with a case of its own, which has its id (P2).

    Who decides about the open one at this moment is waited for. Raises ConcurrentUpdate where another process found the
    same at this moment.
    """
    if await conn.fetchval(SQL["known"], found.subject, found.rule):
        return Outcome.KNOWN
    compared = msgspec.json.encode(found.compared).decode()
    one_of = (found.account_id, found.rule, found.asset)
    finding = (found.rule, found.subject, compared, now)
    try:
        for _ in range(_TRIES):
            row = await conn.fetchrow(
                SQL["open"], finding_id, *one_of, found.subject, action, compared, found.seen_until, now
            )
            if row is not None:
                await conn.execute(SQL["find"], finding_id, finding_id, *finding)
                await _tell(conn, row, Outcome.OPENED, now)
                return Outcome.OPENED
            case_id = await conn.fetchval(SQL["hold_open"], *one_of)
            if case_id is not None:
                await conn.execute(SQL["find"], finding_id, case_id, *finding)
                row = await conn.fetchrow(SQL["extend"], case_id, found.seen_until, action, now)
                assert row is not None
                await _tell(conn, row, Outcome.EXTENDED, now)
                return Outcome.EXTENDED
            # A person decided about it at this moment: what is found now opens the next one.
    except asyncpg.UniqueViolationError as problem:
        raise ConcurrentUpdate("another process found the same at this moment") from problem
    raise ConcurrentUpdate("people decide about cases as they are opened")


async def read_case(conn: Connection, case_id: UUID) -> CaseView | None:
    row = await conn.fetchrow(SQL["by_id"], case_id)
    return None if row is None else case_view(row)


async def list_cases(
    conn: Connection, wanted: Filter, *, limit: int, before: UUID | None
) -> list[asyncpg.Record]:
    """Newest first."""
    asked = (before, limit, wanted.state, wanted.rule)
    if wanted.account_id is None:
        return await conn.fetch(SQL["newest"], *asked)
    return await conn.fetch(SQL["newest_of_account"], *asked, wanted.account_id)


async def list_findings(
    conn: Connection, case_id: UUID, *, limit: int, before: UUID | None
) -> list[asyncpg.Record]:
    """Newest first."""
    return await conn.fetch(SQL["findings"], case_id, before, limit)


async def list_notes(
    conn: Connection, case_id: UUID, *, limit: int, before: UUID | None
) -> list[asyncpg.Record]:
    """Newest first."""
    return await conn.fetch(SQL["notes"], case_id, before, limit)


async def add_note(
    conn: Connection, case_id: UUID, note_id: UUID, author: str, text: str, now: datetime
) -> NoteView | None:
    """None = no such case. What is written stays."""
    row = await conn.fetchrow(SQL["touch"], case_id, now)
    if row is None:
        return None
    note = await conn.fetchrow(SQL["note"], note_id, case_id, author, text, now)
    assert note is not None
    await _tell(conn, row, "noted", now)
    return note_view(note)


async def assign(conn: Connection, case_id: UUID, assignee: str | None, now: datetime) -> CaseView | None:
    """None = no such case."""
    row = await conn.fetchrow(SQL["hold"], case_id)
    if row is not None and row["assignee"] != assignee:
        row = await conn.fetchrow(SQL["assign"], case_id, assignee, now)
        assert row is not None
        await _tell(conn, row, "assigned", now)
    return None if row is None else case_view(row)


@dataclass(frozen=True, slots=True)
class Decided:
    """What a person decided, having seen so many `findings`; None does not say."""

    decision: Decision
    by: str
    reason: str
    findings: int | None = None


async def decide(
    conn: Connection, case_id: UUID, decided: Decided, now: datetime
) -> CaseView | Refusal | None:
    """None = no such case. A confirmed case may still be cleared; one that is cleared stays so."""
    row = await conn.fetchrow(SQL["hold"], case_id)
    if row is None:
        return None
    if row["state"] == State.CLEARED or row["state"] == decided.decision:
        return Refusal("wrong_state", f"the case is {row['state']}")
    if decided.findings is not None and decided.findings != row["findings"]:
        return Refusal("more_findings", f"the case has {row['findings']} findings")
    row = await conn.fetchrow(SQL["decide"], case_id, decided.decision, decided.by, decided.reason, now)
    assert row is not None
    await _tell(conn, row, decided.decision, now)
    return case_view(row)


def case_view(row: asyncpg.Record) -> CaseView:
    return CaseView(
        id=show_id(Kind.CASE, row["id"]),
        account_id=show_id(Kind.ACCOUNT, row["account_id"]),
        rule=row["rule"],
        asset=row["asset"],
        subject=row["subject"],
        action=row["action"],
        state=State(row["state"]),
        compared=_compared(row),
        findings=row["findings"],
        assignee=row["assignee"],
        decided_by=row["decided_by"],
        reason=row["reason"],
        decided_at=row["decided_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def finding_view(row: asyncpg.Record) -> FindingView:
    return FindingView(row["subject"], _compared(row), row["created_at"])


def note_view(row: asyncpg.Record) -> NoteView:
    return NoteView(show_id(Kind.NOTE, row["id"]), row["author"], row["text"], row["created_at"])


def _compared(row: asyncpg.Record) -> dict[str, str]:
    return msgspec.json.decode(row["compared"], type=dict[str, str])


async def _tell(conn: Connection, row: asyncpg.Record, kind: str, now: datetime) -> None:
    view = case_view(row)
    event = NewEvent(
        type=f"case.{kind}",
        entity_kind="case",
        entity_id=view.id,
        entity_version=row["version"],
        account_id=row["account_id"],
        data=msgspec.json.encode(view).decode(),
        created_at=now,
    )
    await append_events(conn, [event])
