"""A customer's history as people and the API read it: newest first, in pages.

Every posting is a line, also those that move no value (a hold, its release, a deposit that became final):
each changes what the customer can do, and only all of them together explain the balance after each line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.accounts import OwnerKind
from cryptowatch.ledger.rules import Balance, Kind

SQL = load_queries(__package__, "statement.sql")


@dataclass(frozen=True, slots=True)
class Line:
    """One posting. `change` is what it added to each part, in signed base units; `after` is what it left."""

    id: int
    created_at: datetime
    role: str
    asset: str
    kind: Kind
    key: str
    reference: str | None
    change: Balance
    after: Balance


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of which asset, from when on, and before when; None: whatever."""

    asset: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """`next_before` is the cursor of the next page, None on the last one."""

    lines: Sequence[Line]
    next_before: int | None


async def statement(
    connection: Connection,
    owner_kind: OwnerKind,
    owner_id: UUID,
    *,
    limit: int,
    before: int | None = None,
    wanted: Wanted = Wanted(),
) -> Page:
    """The newest `limit` lines before a cursor, over all of one customer's accounts or of what is wanted.

    Stable while money moves: within an account, new postings only ever come before the first page.
    """
    rows = await connection.fetch(
        SQL["statement"],
        owner_id,
        owner_kind,
        wanted.asset,
        before,
        limit + 1,
        wanted.since,
        wanted.until,
    )
    lines = [
        Line(
            id=row["id"],
            created_at=row["created_at"],
            role=row["role"],
            asset=row["asset"],
            kind=Kind(row["kind"]),
            key=row["key"],
            reference=row["reference"],
            change=Balance().after(Kind(row["kind"]), row["amount"]),
            after=Balance(row["total_after"], row["unfinalized_after"], row["held_after"]),
        )
        for row in rows[:limit]
    ]
    return Page(lines, lines[-1].id if len(rows) > limit else None)
