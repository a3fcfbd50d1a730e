"""`/v1/audit`: who did what."""

from cryptowatch.api.calls import Call, Id, Page, PageQuery, Reply
from cryptowatch.api.paging import page, page_size, position_cursor
from cryptowatch.api.problems import Problem
from cryptowatch.compliance.audit import AuditView, audit_view, list_audit
from cryptowatch.db.pool import Connection

AuditPage = Page[AuditView]


class AuditQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`subject`: what was about that id alone."""

    subject: Id | None = None


async def list_audit_log(call: Call[AuditQuery, None], conn: Connection) -> Reply | Problem:
    query = call.query
    limit = page_size(query, call.services.settings.api.page_size_max)
    rows = await list_audit(conn, limit=limit + 1, before=position_cursor(query), subject=query.subject)
    return Reply(page(rows, limit, lambda row: row["position"], audit_view))
