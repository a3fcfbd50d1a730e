"""What the audit log says of a call that was answered. Used by `pipeline`.

Of a body and an answer only ids, a digest and one word are taken: no amount, no name and no secret gets in.
"""

import hashlib
from typing import Any

import msgspec

from cryptowatch.api.calls import Call, Route
from cryptowatch.compliance.chain import Entry


def trail_of(call: Call[Any, Any], route: Route, request_id: str, answer: object, status: int) -> Entry:
    """`answer` is the view that the handler gave."""
    about = (
        *call.path.values(),
        *(getattr(one, "account_id", None) for one in (call.body, answer)),
        getattr(answer, "id", None),
    )
    became = getattr(answer, "state", None) or getattr(answer, "status", None)
    return Entry(
        actor=call.caller.shown_id,
        action=f"{route.method} {route.path}",
        subjects=list(dict.fromkeys(one for one in about if isinstance(one, str))),
        request_id=request_id,
        body_digest=None if route.body is None else _digest(call.body),
        outcome=f"{status} {became}" if isinstance(became, str) else str(status),
        created_at=call.now,
    )


def _digest(body: object) -> bytes:
    """Of what was asked, not of how it was written."""
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).digest()
