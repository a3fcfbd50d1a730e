"""The audit log: every action of a person or a key, append-only and chained, so that no change of it goes unseen.

Written by the API's pipeline and by the operators' commands, in the transaction of the action itself: no action without
its entry, no entry without its action. Entries are appended unchained, so that writers never wait for each other, and
`seal`, a loop of every process, gives committed ones their places afterwards, in order (as `ledger.events` does).
Whoever keeps a head (`cryptowatch audit head`) elsewhere can prove later that nothing before it was changed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import msgspec

from cryptowatch.compliance.chain import ORIGIN, Entry, Place, next_hash
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries

SQL = load_queries(__package__, "audit.sql")

#: Bounds the length of a sealer's transaction.
SEAL_BATCH = 1000
_READ_AT_ONCE = 1000


class AuditView(msgspec.Struct, frozen=True):
    """One sealed entry. `hash` covers it and everything before it; `body_digest` is SHA-256 of the request's body."""

    position: int
    actor: str
    action: str
    subjects: list[str]
    request_id: str | None
    body_digest: str | None
    outcome: str
    created_at: datetime
    hash: str


@dataclass(frozen=True, slots=True)
class Head:
    """The last link. Position 0: nothing is sealed yet."""

    position: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place at which the chain does not hold, and why. Position 0: an entry that is not in the chain."""

    position: int
    problem: str


@dataclass(frozen=True, slots=True)
class Report:
    """`head` is the last link that holds; `waiting` entries have no place yet."""

    head: Head
    waiting: int
    broken: Broken | None


async def append_entry(conn: Connection, entry: Entry) -> None:
    """In the transaction of the action."""
    await conn.execute(
        SQL["append"],
        entry.actor,
        entry.action,
        list(entry.subjects),
        entry.request_id,
        entry.body_digest,
        entry.outcome,
        entry.created_at,
    )


async def seal(conn: Connection, limit: int = SEAL_BATCH) -> int:
    """Give the oldest committed entries their places; how many. In a transaction of its own.

    0: nothing waits, or another process is at it.
    """
    if not await conn.fetchval(SQL["alone"]):
        return 0
    # Read after the lock, in a statement of its own: its snapshot has what the last sealer committed.
    head = await read_head(conn)
    position, link = head.position, head.hash
    positions, entries, hashes = list[int](), list[int](), list[bytes]()
    for row in await conn.fetch(SQL["take"], limit):
        position += 1
        link = next_hash(link, Place(position, row["id"]), _entry(row))
        positions.append(position)
        entries.append(row["id"])
        hashes.append(link)
    if positions:
        await conn.execute(SQL["seal"], positions, entries, hashes)
    return len(positions)


async def read_head(conn: Connection) -> Head:
    row = await conn.fetchrow(SQL["head"])
    return Head(0, ORIGIN) if row is None else Head(row["position"], row["hash"])


async def list_audit(
    conn: Connection, *, limit: int, before: int | None, subject: str | None
) -> list[asyncpg.Record]:
    """Sealed entries, newest first."""
    if subject is None:
        return await conn.fetch(SQL["newest"], before, limit)
    return await conn.fetch(SQL["newest_of_subject"], before, limit, subject)


def audit_view(row: asyncpg.Record) -> AuditView:
    digest = row["body_digest"]
    return AuditView(
        position=row["position"],
        actor=row["actor"],
        action=row["action"],
        subjects=row["subjects"],
        request_id=row["request_id"],
        body_digest=None if digest is None else digest.hex(),
        outcome=row["outcome"],
        created_at=row["created_at"],
        hash=row["hash"].hex(),
    )


async def verify(
    conn: Connection, anchors: Mapping[int, bytes], progress: Callable[[int], None] = lambda done: None
) -> Report:
    """Compute the chain anew, from the beginning. `anchors`: position -> hash as it was written down elsewhere.

    In one repeatable-read transaction; reads a portion at a time, however long the chain is.
    """
    head = Head(0, ORIGIN)
    waiting = await conn.fetchval(SQL["unsealed"])
    async for row in conn.cursor(SQL["chain"], prefetch=_READ_AT_ONCE):
        problem = _problem(head, row, anchors)
        if problem is not None:
            return Report(head, waiting, Broken(head.position + 1, problem))
        head = Head(row["position"], row["hash"])
        progress(head.position)
    return Report(head, waiting, await _beside(conn, head, anchors))


def _problem(before: Head, row: asyncpg.Record, anchors: Mapping[int, bytes]) -> str | None:
    """Why a row is not the next link."""
    position = before.position + 1
    if row["position"] != position:
        return "the link is missing"
    if row["actor"] is None:
        return f"entry {row['entry_id']} is missing"
    if next_hash(before.hash, Place(position, row["entry_id"]), _entry(row)) != row["hash"]:
        return f"entry {row['entry_id']} is not what was sealed"
    if anchors.get(position, row["hash"]) != row["hash"]:
        return "the anchor says another hash: the chain was made anew"
    return None


async def _beside(conn: Connection, head: Head, anchors: Mapping[int, bytes]) -> Broken | None:
    """What a chain that holds in itself does not show."""
    beyond = [position for position in anchors if position > head.position]
    if beyond:
        return Broken(head.position + 1, f"the chain ends here, and an anchor is at {min(beyond)}")
    stray = await conn.fetchval(SQL["stray"])
    return (
        None if stray is None else Broken(0, f"entry {stray} has no place in the chain, and waits for none")
    )


def _entry(row: asyncpg.Record) -> Entry:
    return Entry(
        row["actor"],
        row["action"],
        row["subjects"],
        row["request_id"],
        row["body_digest"],
        row["outcome"],
        row["created_at"],
    )
