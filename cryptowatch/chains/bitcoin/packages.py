"""Unconfirmed transactions as a block's builder takes them: with the parents that they pay for. Pure.

Called by `node` for a node's whole pool. A transaction can only be mined with its unconfirmed ancestors, so what counts
is the rate of the set in which it is chosen: a child that pays much lifts its parents, a poor parent holds back its
child.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

_WEIGHT_KVB = 4000
#: No node keeps more related transactions from version 31 on (cluster limits). Of a larger set, which older ones may
#: keep, each is taken alone: choosing takes time with the cube of its size.
_CLUSTER_MAX = 64


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry of the pool: what it pays in satoshi, and which of its inputs' transactions wait as well."""

    fee: int
    weight: int
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Package:
    """What is chosen together: satoshi, weight, and who is in it."""

    fee: int
    weight: int
    members: tuple[str, ...]

    @property
    def rate(self) -> int:
        """Satoshi per 1000 virtual bytes, rounded down."""
        return self.fee * _WEIGHT_KVB // self.weight


def packages(pool: Mapping[str, Waiting]) -> Iterator[Package]:
    """Every transaction in exactly one package. Those of related transactions come in an order in which none is poorer
    than a later one, and no child is before its parents.
    """
    related = _related(pool)
    for name, entry in pool.items():
        if name not in related:
            yield Package(entry.fee, entry.weight, (name,))
    seen: set[str] = set()
    for name in related:
        if name not in seen:
            cluster = _reachable(name, related)
            seen |= cluster
            entries = {member: pool[member] for member in cluster}
            if len(cluster) > _CLUSTER_MAX:
                yield from (Package(entry.fee, entry.weight, (one,)) for one, entry in entries.items())
            else:
                yield from _merged(_chosen(entries))


def _related(pool: Mapping[str, Waiting]) -> dict[str, set[str]]:
    """Parents and children alike, of those that have any in the pool."""
    found: dict[str, set[str]] = {}
    for name, entry in pool.items():
        for parent in entry.parents:
            if parent in pool:
                found.setdefault(name, set()).add(parent)
                found.setdefault(parent, set()).add(name)
    return found


def _reachable(start: str, links: Mapping[str, set[str]]) -> set[str]:
    found, to_visit = {start}, [start]
    while to_visit:
        new = links[to_visit.pop()] - found
        found |= new
        to_visit += new
    return found


def _chosen(cluster: dict[str, Waiting]) -> Iterator[Package]:
    """As nodes build blocks: again and again the transaction that pays best together with all its ancestors."""
    left = dict(cluster)
    parents = {name: {p for p in entry.parents if p in cluster} for name, entry in cluster.items()}
    ancestors = {name: _reachable(name, parents) for name in cluster}
    while left:
        best: Package | None = None
        for name in sorted(left):
            members = tuple(
                sorted((m for m in ancestors[name] if m in left), key=lambda m: len(ancestors[m]))
            )
            fee, weight = sum(left[m].fee for m in members), sum(left[m].weight for m in members)
            if best is None or fee * best.weight > best.fee * weight:
                best = Package(fee, weight, members)
        assert best is not None
        yield best
        for member in best.members:
            del left[member]


def _merged(chosen: Iterator[Package]) -> list[Package]:
    """A package that pays better than the one that must come before it is chosen with it."""
    merged: list[Package] = []
    for package in chosen:
        current = package
        while merged and Fraction(current.fee, current.weight) > Fraction(merged[-1].fee, merged[-1].weight):
            before = merged.pop()
            current = Package(
                before.fee + current.fee, before.weight + current.weight, before.members + current.members
            )
        merged.append(current)
    return merged
