"""Our own estimate of what gets into one of the next blocks: the backlog, what joins it, and how late blocks may be.

Pure: time and backlogs come in as values; `sending.market` feeds it and asks it. After the method that Block published
as Augur (2025, for its wallets): log-spaced buckets of weight by fee rate, inflow per bucket over a short and a long
window, the number of blocks as a Poisson count at a confidence, and simulated mining; written from that description.

Two things differ, both because our targets are blocks and not minutes. The count of blocks is the target, and what is
unsure is how long they take: so much inflow must fit as arrives until the Poisson count reaches the target with the
confidence asked for. And mining is not simulated block by block: who pays more goes first, so that a rate is cleared
within n blocks exactly if all that waits above it, and all that joins it meanwhile, fits into n blocks.

Knows nothing at first, says so (`is_ready`), and keeps P10: so many spans of inflow, each as large as the buckets.
"""

import math
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from cryptowatch.chains.backlog import Backlog, clearing_rate

#: Windows over which inflow is counted. The longer the target, the more the long one counts.
SHORT, LONG = timedelta(minutes=30), timedelta(hours=24)
#: The furthest target; what is asked beyond is answered for it.
TARGET_MAX = 144
#: More than the blocks of a day; when there are more, the oldest go.
_SPANS_MAX = 400
_THOUSANDTHS = 1000


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

    def note(self, at: datetime, height: int, pool: Backlog) -> None:
        """A look at the pool. Inflow is the growth between the first and the last one at the same height."""
        look = _Look(at, height, pool)
        if self._first is None or self._last is None or height != self._last.height:
            if (span := self._open()) is not None:
                self._spans.append(span)
            self._first = look
        self._last = look
        self._inflows.clear()
        while self._spans and self._spans[0].ended_at <= at - LONG:
            self._spans.popleft()

    @property
    def history_s(self) -> float:
        """How long inflow was watched, within the long window."""
        return sum(span.seconds for span in self._known())

    @property
    def is_ready(self) -> bool:
        return self.history_s >= SHORT.total_seconds()

    def rate(self, target: int, confidence_percent: int) -> int | None:
        """The lowest rate that a block within `target` ones takes, with this confidence. None: too little is known."""
        if self._last is None or not self.is_ready:
            return None
        target, pool = min(target, TARGET_MAX), self._last.pool
        late = late_thousandths(target, confidence_percent)
        short, long = self._inflow(SHORT), self._inflow(LONG)
        # 1 - (1 - t/144)^2 of the long window, exactly.
        whole = TARGET_MAX**2
        long_share = whole - (TARGET_MAX - target) ** 2
        waiting = [
            now + (long[n] * long_share + short[n] * (whole - long_share)) * late // (whole * _THOUSANDTHS)
            for n, now in enumerate(pool.above)
        ]
        return clearing_rate(waiting, target * pool.block_weight)

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


@lru_cache(maxsize=1024)
def late_thousandths(blocks: int, confidence_percent: int) -> int:
    """Within how many thousandths of an average interval so many blocks are found, with this confidence.

    The least t with P(Poisson(t) >= blocks) >= confidence, by halving.
    """
    low, high = 0, _THOUSANDTHS * (blocks + 10) * 5
    while low < high:
        middle = (low + high) // 2
        if _at_least(blocks, middle / _THOUSANDTHS) * 100 >= confidence_percent:
            high = middle
        else:
            low = middle + 1
    return low


def _at_least(count: int, mean: float) -> float:
    """P(Poisson(mean) >= count)."""
    if mean <= 0:
        return 0.0
    return 1 - math.fsum(math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(count))
