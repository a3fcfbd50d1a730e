"""The part of the table of calls that is about compliance. See `routes`."""

from cryptowatch.api import compliance
from cryptowatch.api.calls import Route
from cryptowatch.api.keys import Scope

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
)
