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
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.api.problems import Problem
from cryptowatch.db import arrays
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate

SQL = load_queries(__package__, "idempotency.sql")

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
KEY_LENGTH_MAX = 255
FORGET_ROWS = 5000


class Stored(msgspec.Struct, frozen=True):
    """An answer, and whether it is that of an earlier request."""

    status: int
    body: bytes
    replayed: bool = True


class Claim(msgspec.Struct, frozen=True):
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


def effect_of(api_key_id: UUID, key: str) -> str:
    """What names a request's effect in the ledger: the key that it came under, and whose key that is."""
    return effects_of(api_key_id)(key)


def effects_of(api_key_id: UUID) -> Callable[[str], str]:
    """`effect_of` for many keys of one caller."""
    whose, digest = api_key_id.hex, hashlib.sha256
    return lambda key: f"{whose}:{digest(key.encode()).hexdigest()}"


async def begin(conn: Connection, claim: Claim) -> Stored | Problem | None:
    """None: go on. In the transaction of the effect, before it."""
    [found] = await begin_all(conn, [claim])
    return found


async def begin_all(conn: Connection, claims: Sequence[Claim]) -> list[Stored | Problem | None]:
    """`begin` for several that share a transaction, in order. No key may stand there twice."""
    if not claims:
        return []
    callers, keys = [claim.api_key_id for claim in claims], [claim.key for claim in claims]
    locked = await conn.fetch(SQL["look"], callers, keys)
    # Read after locking, in a statement of its own: its snapshot has whatever the last holder committed.
    rows = await conn.fetch(SQL["read"], callers, keys)
    return [
        _earlier(claim, lock["locked"], row) for claim, lock, row in zip(claims, locked, rows, strict=True)
    ]


async def look_up_all(
    conn: Connection, api_key_id: UUID, keys: Sequence[str], fingerprint_of: Callable[[int], bytes]
) -> dict[int, Stored | Problem]:
    """What requests under these keys were answered, by the key's place. Nothing begins by it.

    `fingerprint_of` the n-th is asked for only where there is an answer to compare with.
    """
    found = dict[int, Stored | Problem]()
    for row in await conn.fetch(SQL["kept"], api_key_id, arrays.texts(keys)):
        place = row["place"]
        earlier = _earlier(Claim(api_key_id, keys[place], fingerprint_of(place)), True, row)
        assert earlier is not None
        found[place] = earlier
    return found


def _earlier(claim: Claim, locked: bool, row: asyncpg.Record) -> Stored | Problem | None:
    if row["fingerprint"] is None:
        return (
            None if locked else Problem("in_progress", "the first request with this key is still under way")
        )
    if row["fingerprint"] != claim.fingerprint:
        return Problem("idempotency_key_reused", "use a new key for a new request")
    return Stored(row["status"], row["body"])


async def store_all(
    conn: Connection, answers: Sequence[tuple[Claim, int, bytes]], guarded: bool, now: datetime
) -> None:
    """Keep answers. `guarded`: the ledger's own key recognizes a repetition after these rows are forgotten.

    Raises ConcurrentUpdate when another request under one of the keys was first: all are undone.
    """
    if not answers:
        return
    try:
        await conn.execute(
            SQL["store"],
            [claim.api_key_id for claim, _, _ in answers],
            [claim.key for claim, _, _ in answers],
            [claim.fingerprint for claim, _, _ in answers],
            [status for _, status, _ in answers],
            [body for _, _, body in answers],
            now,
            guarded,
        )
    except asyncpg.UniqueViolationError as problem:
        raise ConcurrentUpdate("another request with this key was first") from problem


async def forget_old(conn: Connection, before: datetime) -> int:
    """Remove a portion of the answers that are not needed any more; how many."""
    deleted = await conn.execute(SQL["forget"], before, FORGET_ROWS)
    return int(deleted.split()[-1])
