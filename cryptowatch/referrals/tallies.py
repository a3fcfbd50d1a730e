"""What referrers have under a programme, by asset and scope: held while caps are asked, then changed by what was done.

Called by `qualify`, `decisions` and `rewards` inside their transactions. Everybody holds tallies in the same order.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Counted:
    """One reward as the tallies see it."""

    referrer_id: UUID
    programme_id: UUID
    asset: str
    level: int
    day: date

    @property
    def keys(self) -> list[TallyKey]:
        """In the order of `rules.scopes`."""
        where = scopes(self.level, self.day)
        return [TallyKey(self.referrer_id, self.programme_id, self.asset, scope) for scope in where]


#: effect -> what becomes of `open` and `paid`, as signs on the amount.
_SIGNS: Mapping[Effect, tuple[int, int]] = {
    Effect.RESERVE: (1, 0),
    Effect.FREE: (-1, 0),
    Effect.PAY: (-1, 1),
    Effect.TAKE_BACK: (0, -1),
}


async def count_effects(conn: Connection, done: Iterable[tuple[Counted, int, Effect]]) -> None:
    """Of rewards with their amounts, which were counted when they were decided."""
    columns = effect_columns(done)
    if columns[0]:
        changed = await conn.fetch(SQL["change_tallies"], *columns)
        assert len(changed) == len(columns[0]), "a reward that was decided has its tallies"


def effect_columns(done: Iterable[tuple[Counted, int, Effect]]) -> Sequence[list[Any]]:
    """A tally's key in four columns, and what becomes of its `open` and `paid` by these rewards with their amounts."""
    sums: defaultdict[TallyKey, list[int]] = defaultdict(lambda: [0, 0])
    for counted, amount, effect in done:
        for key in counted.keys:
            for place, sign in enumerate(_SIGNS[effect]):
                sums[key][place] += sign * amount
    columns: list[list[Any]] = [[], [], [], [], [], []]
    for key, changes in sums.items():
        for column, value in zip(columns, (*key, *changes), strict=True):
            column.append(value)
    return columns
