"""What referrers have under a programme, by asset and scope: held while caps are asked, then changed by what was done.

Called by `qualify`, `decisions` and `rewards` inside their transactions. Everybody holds tallies in the same order.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.referrals.machine import Effect
from cryptowatch.referrals.rules import scopes

SQL = load_queries(__package__, "rewards.sql")


class TallyKey(NamedTuple):
    referrer_id: UUID
    programme_id: UUID
    asset: str
    scope: str


def counted_in(
    referrer_id: UUID, programme_id: UUID, asset: str, level: int, day: date
) -> Sequence[TallyKey]:
    """Where one reward counts, in the order of `rules.scopes`."""
    return [TallyKey(referrer_id, programme_id, asset, scope) for scope in scopes(level, day)]


#: effect -> what becomes of `open` and `paid`, as signs on the amount.
_SIGNS: Mapping[Effect, tuple[int, int]] = {
    Effect.RESERVE: (1, 0),
    Effect.FREE: (-1, 0),
    Effect.PAY: (-1, 1),
    Effect.TAKE_BACK: (0, -1),
}


async def count_effects(conn: Connection, done: Iterable[tuple[Sequence[TallyKey], int, Effect]]) -> None:
    """Of rewards with where they count and their amounts, which were counted when they were decided."""
    columns = effect_columns(done)
    if columns[0]:
        changed = await conn.fetch(SQL["change_tallies"], *columns)
        assert len(changed) == len(columns[0]), "a reward that was decided has its tallies"


def effect_columns(done: Iterable[tuple[Sequence[TallyKey], int, Effect]]) -> Sequence[list[Any]]:
    """A tally's key in four columns, and what becomes of its `open` and `paid` by these rewards with their amounts."""
    sums: dict[TallyKey, tuple[int, int]] = {}
    for keys, amount, effect in done:
        open_sign, paid_sign = _SIGNS[effect]
        for key in keys:
            open_, paid = sums.get(key, (0, 0))
            sums[key] = (open_ + open_sign * amount, paid + paid_sign * amount)
    rows = [(*key, *sum_) for key, sum_ in sums.items()]
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], [], [], [], []]
