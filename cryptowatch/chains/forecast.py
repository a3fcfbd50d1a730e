"""Our own estimate of what gets into one of the next blocks: the backlog, what joins it, and how late blocks may be.

Pure: time and backlogs come in as values; `sending.market` feeds it and asks it. After the method that Block published
as Augur (2025, for its wallets): log-spaced buckets of weight by fee rate, inflow per bucket over a short and a long
window, blocks that come as a Poisson process, and mining that takes the best first; written from that description, not
from its code. Two things differ. Our targets are blocks and not minutes: Augur fixes the time and asks how many blocks
come in it at worst; here the number of blocks is fixed, and it is their times that are unsure. So a rate's chance is
that of a queue: everything that waits or joins above it must once fit into the blocks so far. And where Augur asks for
the same confidence at any time, a bid here weighs what it is likely to pay too much against what missing would cost:
where surety is dear it takes less of it.

Knows nothing at first, says so (`is_ready`), and keeps P10: so many spans of inflow, each as large as the buckets.
"""

import math
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from cryptowatch.chains.backlog import EDGES, Backlog

#: Windows over which inflow is counted. The longer the target, the more the long one counts.
SHORT, LONG = timedelta(minutes=30), timedelta(hours=24)
#: The furthest target; what is asked beyond is answered for it.
TARGET_MAX = 144
#: What joins next may be less or more than what joined lately: five factors, each as likely as the others (those of a
#: log-normal one with sigma 0.8).
_CHANGES = (0.36, 0.66, 1.0, 1.52, 2.79)
#: So many rates are looked at between one that is sure to miss and one that is sure to get in, and how sure that is.
_RATES_MAX, _SURE = 48, 0.999
#: More than the blocks of a day; when there are more, the oldest go.
_SPANS_MAX = 400


@dataclass(frozen=True, slots=True)
class _Span:
    """What joined between two looks at the pool with no block in between."""

    began_at: datetime
    ended_at: datetime
    joined: tuple[int, ...]

    @property
    def seconds(self) -> float:
        return (self.ended_at - self.began_at).total_seconds()


@dataclass(frozen=True, slots=True)
class _Look:
    at: datetime
    height: int
    pool: Backlog


class Forecaster:
    """One chain's estimator. `block_interval_s`: between two blocks, on average."""

    def __init__(self, block_interval_s: float) -> None:
        self._block_interval_s = block_interval_s
        self._spans: deque[_Span] = deque(maxlen=_SPANS_MAX)
        self._first: _Look | None = None
        self._last: _Look | None = None
        #: What the last look told, by window; worked out when it is asked for.
        self._inflows: dict[timedelta, list[int]] = {}
        self._chances: dict[tuple[int, int], float] = {}
        self._markets: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}

    def note(self, at: datetime, height: int, pool: Backlog) -> None:
        """A look at the pool. Inflow is the growth between the first and the last one at the same height."""
        look = _Look(at, height, pool)
        if self._first is None or self._last is None or height != self._last.height:
            if (span := self._open()) is not None:
                self._spans.append(span)
            self._first = look
        self._last = look
        self._inflows.clear()
        self._chances.clear()
        self._markets.clear()
        while self._spans and self._spans[0].ended_at <= at - LONG:
            self._spans.popleft()

    @property
    def history_s(self) -> float:
        """How long inflow was watched, within the long window."""
        return sum(span.seconds for span in self._known())

    @property
    def is_ready(self) -> bool:
        return self.history_s >= SHORT.total_seconds()

    def rate(self, target: int, miss_cost_percent: int, floor: int = 1) -> int | None:
        """The `least_costly` rate of a payment that should be in one of `target` blocks. None: too little is known.

        `miss_cost_percent`: what it is worth not to miss them, as much as paying so many percent too much. `floor`:
        below it nobody pays.
        """
        if self._last is None or not self.is_ready:
            return None
        places, chances = self._market(min(target, TARGET_MAX))
        rates = np.maximum(_EDGES[places], max(floor, 1))
        return EDGES[int(places[least_costly(rates, chances, miss_cost_percent)])]

    def _market(self, target: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(places in EDGES, the chance of being mined within the target at each of these rates), ascending."""
        if target not in self._markets:

            def first(chance: float) -> int:
                reached = bisect_left(
                    range(len(EDGES)), True, key=lambda place: self._chance(target, place) >= chance
                )
                return min(reached, len(EDGES) - 1)

            lowest, highest = first(1 - _SURE), first(_SURE)
            places = np.linspace(lowest, highest, min(highest - lowest + 1, _RATES_MAX)).astype(int)
            # The highest counts as sure: nobody can do more.
            chances = np.maximum.accumulate(
                [*(self._chance(target, int(place)) for place in places[:-1]), 1.0]
            )
            self._markets[target] = places, chances
        return self._markets[target]

    def _chance(self, target: int, place: int) -> float:
        """Of being mined within the target, for who pays EDGES[place]."""
        assert self._last is not None
        if (target, place) not in self._chances:
            pool, short, long = self._last.pool, self._inflow(SHORT)[place], self._inflow(LONG)[place]
            # Published: the long window counts 1 - (1 - t/144)^2.
            joining = short + (long - short) * (1 - (1 - target / TARGET_MAX) ** 2)
            waiting = pool.above[place] / pool.block_weight
            chances = [
                chance_within(target, waiting, factor * joining / pool.block_weight) for factor in _CHANGES
            ]
            self._chances[target, place] = sum(chances) / len(_CHANGES)
        return self._chances[target, place]

    def _inflow(self, window: timedelta) -> list[int]:
        """Weight by EDGES that joins in the time between two blocks; the latest span when the window has none."""
        assert self._last is not None
        if window not in self._inflows:
            since = self._last.at - window
            spans = self._known()
            recent = [span for span in spans if span.ended_at > since] or spans[-1:]
            seconds = sum(span.seconds for span in recent)
            joined = zip(*(span.joined for span in recent), strict=True)
            self._inflows[window] = [int(sum(each) * self._block_interval_s / seconds) for each in joined]
        return self._inflows[window]

    def _known(self) -> list[_Span]:
        span = self._open()
        return [*self._spans, span] if span is not None else list(self._spans)

    def _open(self) -> _Span | None:
        """Since the last block. What left meanwhile (replaced, evicted) is set off against what joined."""
        first, last = self._first, self._last
        if first is None or last is None or last.at <= first.at:
            return None
        grown = (now - before for now, before in zip(last.pool.above, first.pool.above, strict=True))
        return _Span(first.at, last.at, tuple(max(0, more) for more in grown))


def least_costly(rates: NDArray[np.int64], chances: NDArray[np.float64], miss_cost_percent: int) -> int:
    """Which of the rates costs least: what is paid too much where it gets in, `miss_cost_percent` where it does not.

    Both ascend; `chances` are those of getting in, so that their steps are the chances of each rate to be the lowest
    that does. Too much is what is paid beyond that lowest rate, in parts of it. The more a miss costs, the higher the
    answer: this is the newsvendor's problem, with one price for each piece of surety.
    """
    gained = np.diff(chances, prepend=0)
    overpaid = rates * np.cumsum(gained / rates) - np.cumsum(gained)
    return int(np.argmin(overpaid + miss_cost_percent / 100 * (1 - chances)))


def chance_within(blocks: int, waiting: float, joining: float) -> float:
    """The chance that what waits, and what joins until then, once fits into the blocks found so far, within so many.

    `waiting` in blocks' worth, `joining` in blocks' worth per average interval, steadily. The k-th block is in time
    when it comes before (k - waiting) / joining intervals are over: the chance that none of them is, is that of a
    Poisson count to stay below k at each of these times, worked out from one to the next.
    """
    first = max(1, math.ceil(waiting))
    if first > blocks or joining <= 0:
        return 1.0 if first <= blocks else 0.0
    step = _poisson(1 / joining, min(blocks, math.ceil(1 / joining + 10 * math.sqrt(1 / joining) + 10)))
    late = _poisson((first - waiting) / joining, blocks)
    late[first:] = 0
    for number in range(first + 1, blocks + 1):
        late = np.convolve(late, step)[: blocks + 1]
        late[number:] = 0
    return float(1 - late.sum())


def _poisson(mean: float, most: int) -> NDArray[np.float64]:
    """The chances of the counts from 0 to `most`."""
    if mean <= 0:
        return np.array([1.0] + [0.0] * most)
    logarithms = np.arange(most + 1) * math.log(mean) - mean - _LOG_FACTORIAL[: most + 1]
    return np.array(np.exp(logarithms))


_LOG_FACTORIAL = np.array([math.lgamma(count + 1) for count in range(TARGET_MAX + 1)])
_EDGES = np.array(EDGES)
