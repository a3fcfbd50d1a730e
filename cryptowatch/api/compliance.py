"""`/v1/cases`, `/v1/audit`: what rules found about accounts, what people decide about it, and who did what."""

from collections.abc import Awaitable
from typing import Annotated, Protocol
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta

from cryptowatch.api.calls import TEXT, Call, Id, NoQuery, Page, PageQuery, Reply, body_id, not_found
from cryptowatch.api.paging import page, page_size, position_cursor, uuid_cursor
from cryptowatch.api.problems import Problem
from cryptowatch.compliance import cases
from cryptowatch.compliance.audit import AuditView, audit_view, list_audit
from cryptowatch.compliance.cases import CaseView, Decided, Filter, FindingView, NoteView, Refusal, State
from cryptowatch.compliance.rules import Rule
from cryptowatch.db.pool import Connection
from cryptowatch.ids import Kind

AuditPage = Page[AuditView]
CasePage = Page[CaseView]
FindingPage = Page[FindingView]
NotePage = Page[NoteView]


class AuditQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`subject`: what was about that id alone."""

    subject: Id | None = None


class CasesQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`state`: `open` ones wait for a person."""

    account_id: Id | None = None
    state: State | None = None
    rule: Rule | None = None


class NewNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """It can be neither changed nor removed, and no event carries it."""

    text: Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=4000)]


class Assignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who looks at it, as the platform calls people; null: nobody."""

    assignee: Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=100)] | None


class CaseDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cleared: nothing was wrong, and what waited goes on. Confirmed: a hold stays until it is cleared.

    `findings`: how many of the case were seen; where there are more by now, nothing is decided.
    """

    decision: cases.Decision
    reason: Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=500)]
    findings: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None


async def list_audit_log(call: Call[AuditQuery, None], conn: Connection) -> Reply | Problem:
    query = call.query
    limit = page_size(query, call.services.settings.api.page_size_max)
    rows = await list_audit(conn, limit=limit + 1, before=position_cursor(query), subject=query.subject)
    return Reply(page(rows, limit, lambda row: row["position"], audit_view))


async def list_all_cases(call: Call[CasesQuery, None], conn: Connection) -> Reply | Problem:
    query = call.query
    limit = page_size(query, call.services.settings.api.page_size_max)
    account_id = None
    if query.account_id is not None:
        account_id = body_id(Kind.ACCOUNT, query.account_id, "invalid_request")
    wanted = Filter(account_id, query.state, query.rule)
    rows = await cases.list_cases(conn, wanted, limit=limit + 1, before=uuid_cursor(query))
    return Reply(page(rows, limit, lambda row: row["id"], cases.case_view))


async def get_case(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    found = await cases.read_case(conn, call.path_id(Kind.CASE))
    if found is None:
        raise not_found()
    return Reply(found)


async def list_case_findings(call: Call[PageQuery, None], conn: Connection) -> Reply | Problem:
    limit, rows = await _of_case(call, conn, cases.list_findings)
    return Reply(page(rows, limit, lambda row: row["id"], cases.finding_view))


async def list_case_notes(call: Call[PageQuery, None], conn: Connection) -> Reply | Problem:
    limit, rows = await _of_case(call, conn, cases.list_notes)
    return Reply(page(rows, limit, lambda row: row["id"], cases.note_view))


async def create_case_note(call: Call[NoQuery, NewNote], conn: Connection) -> Reply | Problem:
    case_id, author = call.path_id(Kind.CASE), call.caller.shown_id
    note = await cases.add_note(
        conn, case_id, call.services.new_id(call.now), author, call.body.text, call.now
    )
    if note is None:
        raise not_found()
    return Reply(note)


async def assign_case(call: Call[NoQuery, Assignment], conn: Connection) -> Reply | Problem:
    found = await cases.assign(conn, call.path_id(Kind.CASE), call.body.assignee, call.now)
    if found is None:
        raise not_found()
    return Reply(found)


async def decide_case(call: Call[NoQuery, CaseDecision], conn: Connection) -> Reply | Problem:
    body = call.body
    decided = Decided(body.decision, call.caller.shown_id, body.reason, body.findings)
    answer = await cases.decide(conn, call.path_id(Kind.CASE), decided, call.now)
    if answer is None:
        raise not_found()
    return Problem(answer.code, answer.detail) if isinstance(answer, Refusal) else Reply(answer)


class _Listing(Protocol):
    def __call__(
        self, conn: Connection, case_id: UUID, *, limit: int, before: UUID | None
    ) -> Awaitable[list[asyncpg.Record]]: ...


async def _of_case(
    call: Call[PageQuery, None], conn: Connection, listing: _Listing
) -> tuple[int, list[asyncpg.Record]]:
    """The size of a page, and what belongs to the case, one more of it. Raises Refused where there is no such case."""
    case_id = call.path_id(Kind.CASE)
    if await cases.read_case(conn, case_id) is None:
        raise not_found()
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    return limit, await listing(conn, case_id, limit=limit + 1, before=uuid_cursor(call.query))
