"""Whether a send that can wait should wait for cheaper fees. Pure; called by `payouts.worker` and `sending.quotes`.

What is cheap is what the level of fees was in the last day or so. A send asks first for one of the cheapest hours, and
for less and less the longer it waits, until at its deadline it takes whatever is asked. Age counts from the request, as
the database has it, so that a restart changes nothing; urgent ones have no deadline and never wait.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    #: priority -> seconds from the request; who is not here never waits.
    wait_max_s: Mapping[str, float]
    cheap_percent: int
    tolerance_percent: int
    #: With fewer levels nobody knows what is cheap, and nothing waits.
    levels_min: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a send waits: the level of fees now, the one at which it would leave, and how long it waits at most."""

    level: int
    acceptable: int
    seconds_left: float


def wait_for_cheaper(
    level: int, recent: Sequence[int], priority: str, age_s: float, patience: Patience
) -> Wait | None:
    """`level` and `recent` in the family's unit of rates; None: send it now."""
    wait_max_s = patience.wait_max_s.get(priority, 0)
    if age_s >= wait_max_s or len(recent) < patience.levels_min:
        return None
    waited = max(0, 100 * int(age_s) // int(wait_max_s))
    percent = patience.cheap_percent + (100 - patience.cheap_percent) * waited // 100
    acceptable = percentile(recent, percent) * (100 + patience.tolerance_percent) // 100
    return Wait(level, acceptable, wait_max_s - age_s) if level > acceptable else None


def percentile(levels: Sequence[int], percent: int) -> int:
    """The lowest of the levels that so much of them do not exceed."""
    ordered = sorted(levels)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
