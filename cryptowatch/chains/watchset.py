"""Compact membership for millions of destinations and resources. Pure.

The watcher keeps one `WatchList` per chain and hands it to `RawBlock.contents` and `RawPending.contents` as
their `port.Interest`. Supports P2 and P10: a million destinations cost about 24 MB, and a block of 10,000
outputs is matched in about 2 ms.

Kept is only the 64-bit hash of each item, so an answer may be wrongly yes (about once in 2^44 questions
against a million items): whoever acts on a yes looks the whole item up. It is never wrongly no. The hash is
Python's own, keyed anew in each process, so that nobody outside can aim for collisions; it must not be
stored.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

#: Up to this many, new items stay in a Python set; merging them into a million sorted keys takes about 10 ms.
_RECENT_MIN = 4096
#: Bits of the filter that answers most questions with no: one byte for each of them, at most 16 MB.
_FILTER_BITS_MAX = 24

_Keys = NDArray[np.int64]


class WatchSet:
    """A set of byte strings, held as sorted 64-bit keys plus the few that came or went since the last merge.

    A filter on the keys' low bits, small enough for the processor's cache, spares most candidates the search.
    """

    def __init__(self, items: Iterable[bytes] = ()) -> None:
        self._replace(np.unique(np.fromiter(map(hash, items), dtype=np.int64)))
        self._added: set[int] = set()
        self._removed: set[int] = set()

    def __len__(self) -> int:
        """How many distinct items are held. Costs a look-up of the recent ones."""
        self._merge()
        return len(self._sorted)

    def add(self, items: Iterable[bytes]) -> None:
        """Idempotent."""
        keys = set(map(hash, items))
        self._removed -= keys
        self._added |= keys
        if len(self._added) > max(_RECENT_MIN, len(self._sorted) // 64):
            self._merge()

    def discard(self, items: Iterable[bytes]) -> None:
        """Forget items; those that are not held are ignored."""
        keys = set(map(hash, items))
        self._added -= keys
        self._removed |= keys
        if len(self._removed) > max(_RECENT_MIN, len(self._sorted) // 64):
            self._merge()

    def contains(self, candidates: Sequence[bytes]) -> list[bool]:
        """For each candidate whether it is held, in order."""
        keys = np.fromiter(map(hash, candidates), dtype=np.int64, count=len(candidates))
        found = self._filter[keys & (len(self._filter) - 1)]
        likely = np.flatnonzero(found)
        found[likely] = _present(self._sorted, keys[likely])
        if self._removed:
            for index in np.flatnonzero(found):
                found[index] = int(keys[index]) not in self._removed
        held: list[bool] = found.tolist()
        if self._added:
            added = self._added
            return [yes or key in added for yes, key in zip(held, keys.tolist(), strict=True)]
        return held

    def _merge(self) -> None:
        if self._removed:
            gone = np.fromiter(self._removed, dtype=np.int64, count=len(self._removed))
            self._replace(self._sorted[~np.isin(self._sorted, gone)])
            self._removed = set()
        if self._added:
            new = np.sort(np.fromiter(self._added, dtype=np.int64, count=len(self._added)))
            new = new[~_present(self._sorted, new)]
            self._replace(np.insert(self._sorted, np.searchsorted(self._sorted, new), new))
            self._added = set()

    def _replace(self, ascending: _Keys) -> None:
        self._sorted = ascending
        bits = min(_FILTER_BITS_MAX, max(10, (8 * len(ascending)).bit_length()))
        self._filter = np.zeros(1 << bits, dtype=np.bool_)
        self._filter[ascending & ((1 << bits) - 1)] = True


class WatchList:
    """Everything that one chain's watcher looks for: a `port.Interest`."""

    def __init__(self, destinations: Iterable[bytes] = (), resources: Iterable[bytes] = ()) -> None:
        self._destinations = WatchSet(destinations)
        self._resources = WatchSet(resources)

    def destinations(self, candidates: Sequence[bytes]) -> Sequence[bool]:
        """Which of these scripts or addresses are ours (see the module on a wrong yes)."""
        return self._destinations.contains(candidates)

    def resources(self, candidates: Sequence[bytes]) -> Sequence[bool]:
        """Which of these resources are watched."""
        return self._resources.contains(candidates)

    def add_destinations(self, destinations: Iterable[bytes]) -> None:
        """Our addresses are never forgotten: somebody may pay to an old one at any time."""
        self._destinations.add(destinations)

    def add_resources(self, resources: Iterable[bytes]) -> None:
        self._resources.add(resources)

    def discard_resources(self, resources: Iterable[bytes]) -> None:
        """Stop watching resources whose use is final."""
        self._resources.discard(resources)


def _present(ascending: _Keys, keys: _Keys) -> NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(len(keys), dtype=np.bool_)
    places = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
    return np.asarray(ascending[places] == keys, dtype=np.bool_)
