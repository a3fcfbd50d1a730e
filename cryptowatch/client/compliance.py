"""Cases, the audit log and travel-rule data: for keys of people. Opened as `Client.compliance`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from cryptowatch.api.calls import Page, PageQuery
from cryptowatch.api.compliance import Assignment, AuditQuery, CaseDecision, CasesQuery, NewNote
from cryptowatch.client.paging import pages
from cryptowatch.client.transport import Transport
from cryptowatch.compliance.audit import AuditView
from cryptowatch.compliance.cases import CaseView, FindingView, NoteView
from cryptowatch.payouts.travel import TravelRule


@dataclass(frozen=True, slots=True)
class Compliance:
    """Every method raises ApiProblem and OutcomeUnknown (`transport`)."""

    transport: Transport

    def list_audit_log(self, query: AuditQuery = AuditQuery()) -> AsyncIterator[AuditView]:  # noqa: B008
        """Newest first, page by page."""
        return pages(self.transport, "/v1/audit", query, Page[AuditView])

    async def get_travel_rule(self, withdrawal_id: str) -> TravelRule:
        return await self.transport.send("GET", f"/v1/withdrawals/{withdrawal_id}/travel-rule", TravelRule)

    def list_all_cases(self, query: CasesQuery = CasesQuery()) -> AsyncIterator[CaseView]:  # noqa: B008
        """Newest first, page by page."""
        return pages(self.transport, "/v1/cases", query, Page[CaseView])

    async def get_case(self, case_id: str) -> CaseView:
        return await self.transport.send("GET", f"/v1/cases/{case_id}", CaseView)

    def list_case_findings(
        self,
        case_id: str,
        query: PageQuery = PageQuery(),  # noqa: B008
    ) -> AsyncIterator[FindingView]:
        """Newest first, page by page."""
        return pages(self.transport, f"/v1/cases/{case_id}/findings", query, Page[FindingView])

    def list_case_notes(self, case_id: str, query: PageQuery = PageQuery()) -> AsyncIterator[NoteView]:  # noqa: B008
        """Newest first, page by page."""
        return pages(self.transport, f"/v1/cases/{case_id}/notes", query, Page[NoteView])

    async def create_case_note(self, case_id: str, asked: NewNote, *, idempotency_key: str) -> NoteView:
        return await self.transport.send(
            "POST", f"/v1/cases/{case_id}/notes", NoteView, body=asked, idempotency_key=idempotency_key
        )

    async def assign_case(self, case_id: str, asked: Assignment) -> CaseView:
        return await self.transport.send("POST", f"/v1/cases/{case_id}/assign", CaseView, body=asked)

    async def decide_case(self, case_id: str, asked: CaseDecision, *, idempotency_key: str) -> CaseView:
        return await self.transport.send(
            "POST", f"/v1/cases/{case_id}/decide", CaseView, body=asked, idempotency_key=idempotency_key
        )
