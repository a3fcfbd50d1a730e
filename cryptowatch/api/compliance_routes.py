"""The part of the table of calls that is about compliance. See `routes`."""

from cryptowatch.api import compliance, withdrawals
from cryptowatch.api.calls import PageQuery, Route
from cryptowatch.api.keys import Scope
from cryptowatch.compliance.cases import CaseView, NoteView
from cryptowatch.payouts.travel import TravelRule

_CASE = "/v1/cases/{case_id}"

COMPLIANCE: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/audit",
        Scope.ADMIN,
        "List what people and keys did, newest first, with the hashes that chain it",
        compliance.list_audit_log,
        compliance.AuditPage,
        query=compliance.AuditQuery,
        codes=("invalid_cursor",),
    ),
    Route(
        "GET",
        "/v1/withdrawals/{withdrawal_id}/travel-rule",
        Scope.COMPLIANCE,
        "Get who sends a withdrawal and who receives it",
        withdrawals.get_travel_rule,
        TravelRule,
    ),
    Route(
        "GET",
        "/v1/cases",
        Scope.COMPLIANCE,
        "List cases, newest first",
        compliance.list_all_cases,
        compliance.CasePage,
        query=compliance.CasesQuery,
        codes=("invalid_cursor",),
    ),
    Route("GET", _CASE, Scope.COMPLIANCE, "Get a case", compliance.get_case, CaseView),
    Route(
        "GET",
        _CASE + "/findings",
        Scope.COMPLIANCE,
        "List what a case's rule found while it was open, newest first",
        compliance.list_case_findings,
        compliance.FindingPage,
        query=PageQuery,
        codes=("invalid_cursor",),
    ),
    Route(
        "GET",
        _CASE + "/notes",
        Scope.COMPLIANCE,
        "List what people wrote about a case, newest first",
        compliance.list_case_notes,
        compliance.NotePage,
        query=PageQuery,
        codes=("invalid_cursor",),
    ),
    Route(
        "POST",
        _CASE + "/notes",
        Scope.COMPLIANCE,
        "Write a note about a case",
        compliance.create_case_note,
        NoteView,
        body=compliance.NewNote,
        status=201,
        idempotent=True,
    ),
    Route(
        "POST",
        _CASE + "/assign",
        Scope.COMPLIANCE,
        "Say who looks at a case",
        compliance.assign_case,
        CaseView,
        body=compliance.Assignment,
    ),
    Route(
        "POST",
        _CASE + "/decide",
        Scope.COMPLIANCE,
        "Clear or confirm a case",
        compliance.decide_case,
        CaseView,
        body=compliance.CaseDecision,
        codes=("wrong_state", "more_findings"),
        idempotent=True,
    ),
)
