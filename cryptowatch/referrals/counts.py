"""How many accounts stand below each, by level: changed once for all that a transaction learned.

Called by `qualify`, `decisions` and `worker`: a referrer of a million is one row's update for a portion of the feed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries

SQL = load_queries(__package__, "qualify.sql")


async def count_referred(conn: Connection, account_ids: Sequence[UUID]) -> None:
    """These accounts were just referred."""
    rows = await conn.fetch(SQL["ancestors"], account_ids)
    await _change(conn, _columns(_by_level(row["ancestors"] for row in rows), Counter()))


async def count_undone(conn: Connection, undone: Iterable[Sequence[UUID]]) -> None:
    """The ancestors of accounts that do not count as qualified any more."""
    await _change(conn, count_columns((), undone))


def count_columns(
    qualified: Iterable[Sequence[UUID]], undone: Iterable[Sequence[UUID]]
) -> Sequence[list[Any]]:
    """What the ancestors of accounts that qualified, and of those that do not any more, add to `referral_count`."""
    changes = _by_level(qualified)
    changes.subtract(_by_level(undone))
    return _columns(Counter(), changes)


def _by_level(ancestors: Iterable[Sequence[UUID]]) -> Counter[tuple[UUID, int]]:
    return Counter((ancestor, level) for line in ancestors for level, ancestor in enumerate(line, start=1))


def _columns(
    referred: Counter[tuple[UUID, int]], qualified: Counter[tuple[UUID, int]]
) -> Sequence[list[Any]]:
    changed = sorted(key for key in referred.keys() | qualified.keys() if referred[key] or qualified[key])
    return (
        [referrer_id for referrer_id, _ in changed],
        [level for _, level in changed],
        [referred[key] for key in changed],
        [qualified[key] for key in changed],
    )


async def _change(conn: Connection, columns: Sequence[list[Any]]) -> None:
    if columns[0]:
        await conn.execute(SQL["change_counts"], *columns)
