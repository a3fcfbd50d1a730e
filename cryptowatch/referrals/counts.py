"""How many accounts stand below each, by level: changed once for all that a transaction learned.

Called by `qualify` and `worker`, so that a referrer of a million is one row's update for a whole portion of the feed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries

SQL = load_queries(__package__, "qualify.sql")


async def count_referred(conn: Connection, account_ids: Sequence[UUID]) -> None:
    """These accounts were just referred."""
    rows = await conn.fetch(SQL["ancestors"], account_ids)
    await _change(conn, _by_level(row["ancestors"] for row in rows), Counter())


async def count_qualified(
    conn: Connection, qualified: Iterable[Sequence[UUID]], undone: Iterable[Sequence[UUID]]
) -> None:
    """The ancestors of accounts that qualified, and of those that do not any more."""
    changes = _by_level(qualified)
    changes.subtract(_by_level(undone))
    await _change(conn, Counter(), changes)


def _by_level(ancestors: Iterable[Sequence[UUID]]) -> Counter[tuple[UUID, int]]:
    return Counter((ancestor, level) for line in ancestors for level, ancestor in enumerate(line, start=1))


async def _change(
    conn: Connection, referred: Counter[tuple[UUID, int]], qualified: Counter[tuple[UUID, int]]
) -> None:
    changed = sorted(key for key in referred.keys() | qualified.keys() if referred[key] or qualified[key])
    if not changed:
        return
    columns = [list(column) for column in zip(*changed, strict=True)]
    await conn.execute(
        SQL["change_counts"],
        *columns,
        [referred[key] for key in changed],
        [qualified[key] for key in changed],
    )
