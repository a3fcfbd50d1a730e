"""At most one effect per Idempotency-Key (P2): the answer is committed together with the effect.

Called by `pipeline` around every handler that moves money. Keys belong to the API key that sent them. While a
request is under way it holds an advisory lock of Postgres, so another one with the same key, in whatever
process, learns so at once; the lock ends with the transaction, whatever killed its process. The table's
primary key is what makes two effects impossible; the lock only makes the answer better.

As at Stripe, what a request was finally answered is kept, success or refusal (`insufficient_funds`), and the
same answer is given again. What stopped it before it began (a wrong key, a malformed body, an unknown
account), and what may pass by itself (overload, a database that is away), is not kept: the same key can be
sent again.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.api.problems import Problem
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate

SQL = load_queries(__package__, "idempotency.sql")

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
KEY_LENGTH_MAX = 255
FORGET_ROWS = 5000


@dataclass(frozen=True, slots=True)
class Stored:
    """The first answer."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """This request is the first under its key, and alone with it until its transaction ends."""

    api_key_id: UUID
    key: str
    fingerprint: bytes


def read_key(header: str | None) -> str | Problem:
    if header is None or header == "":
        return Problem("idempotency_key_missing", f"send a unique {HEADER} header with each new request")
    if len(header) > KEY_LENGTH_MAX or not header.isascii() or not header.isprintable():
        return Problem(
            "invalid_idempotency_key", f"{HEADER} must be 1 to {KEY_LENGTH_MAX} printable characters"
        )
    return header


def fingerprint(method: str, path: str, body: object) -> bytes:
    """Of what was asked, not of how it was written: spaces and the order of members do not matter."""
    canonical = msgspec.json.encode(body, order="deterministic")
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), canonical))).digest()


async def begin(conn: Connection, claim: Claim) -> Stored | Problem | None:
    """None: go on. In the transaction of the effect, before it."""
    locked = await conn.fetchval(SQL["look"], claim.api_key_id, claim.key)
    # Read after locking, in a statement of its own: its snapshot has whatever the last holder committed.
    row = await conn.fetchrow(SQL["read"], claim.api_key_id, claim.key)
    if row is None:
        return (
            None if locked else Problem("in_progress", "the first request with this key is still under way")
        )
    if row["fingerprint"] != claim.fingerprint:
        return Problem("idempotency_key_reused", "use a new key for a new request")
    return Stored(row["status"], row["body"])


async def store(
    conn: Connection, claim: Claim, status: int, body: bytes, guarded: bool, now: datetime
) -> None:
    """Keep the answer. `guarded`: the ledger's own key recognizes a repetition after this row is forgotten.

    Raises ConcurrentUpdate when another request under the same key was first: this one is undone.
    """
    try:
        await conn.execute(
            SQL["store"], claim.api_key_id, claim.key, claim.fingerprint, status, body, now, guarded
        )
    except asyncpg.UniqueViolationError as problem:
        raise ConcurrentUpdate("another request with this key was first") from problem


async def forget_old(conn: Connection, before: datetime) -> int:
    """Remove a portion of the answers that are not needed any more; how many."""
    deleted = await conn.execute(SQL["forget"], before, FORGET_ROWS)
    return int(deleted.split()[-1])
