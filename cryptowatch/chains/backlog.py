"""What waits for a block, by the rate that it pays, and what several nodes' views of it are as one. Pure.

Families make a `Backlog` of a node's pool, `chains.nodes` asks for it, `chains.forecast` reads the future out of it.
Keeps P5: no single node can move what `median` gives. Keeps P10: a backlog is as large as there are buckets, however
many transactions wait.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

_LOWEST, _HIGHEST = 100, 10_000_000


def _edges() -> tuple[int, ...]:
    """0, then from 0.1 to 10,000 satoshi per virtual byte, each a hundredth above the one before."""
    rates = [0, _LOWEST]
    while rates[-1] < _HIGHEST:
        rates.append(rates[-1] + rates[-1] // 100)
    return tuple(rates)


#: Where buckets of rates begin (the family's unit); the last one has no end.
EDGES = _edges()


@dataclass(frozen=True, slots=True)
class Backlog:
    """A pool of unconfirmed transactions, as a block's builder sees it."""

    #: For each of EDGES the weight of all that pays so much or more; never rises.
    above: tuple[int, ...]
    #: The weight that a block has room for.
    block_weight: int


def backlog(packages: Iterable[tuple[int, int]], block_weight: int) -> Backlog:
    """`packages`: (rate, weight) of what is chosen for a block together or not at all."""
    weights = [0] * len(EDGES)
    for rate, weight in packages:
        weights[bisect_right(EDGES, rate) - 1] += weight
    return Backlog(tuple(accumulate(reversed(weights)))[::-1], block_weight)


def median(told: Sequence[Backlog]) -> Backlog:
    """At each rate the lower median of what nodes say waits above it.

    As long as liars are fewer than half, it lies within what honest nodes say, bucket for bucket. A node that has
    just started knows of little: of two the one that knows of less is taken, as a bid too low can be raised later.
    """
    middle = (len(told) - 1) // 2
    above = tuple(sorted(weights)[middle] for weights in zip(*(one.above for one in told), strict=True))
    return Backlog(above, sorted(one.block_weight for one in told)[middle])


def clearing_rate(waiting: Sequence[int], room: int) -> int:
    """The lowest rate at which all that pays as much or more fits into so much room.

    `waiting` is by EDGES and never rises. Where not even the last bucket fits, the answer is its edge.
    """
    first = bisect_left(range(len(EDGES)), True, key=lambda place: waiting[place] <= room)
    return EDGES[min(first, len(EDGES) - 1)]


def projection(pool: Backlog, blocks: int) -> tuple[int, ...]:
    """For each of the next blocks the lowest rate that gets in, if nothing more came."""
    return tuple(clearing_rate(pool.above, number * pool.block_weight) for number in range(1, blocks + 1))
