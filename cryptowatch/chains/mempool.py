"""One view of the nodes' mempools: what counts as pending, and what is gone everywhere. Pure.

Kept by `chains.nodes`. A transaction's id commits to its content, but nothing commits to its presence: so
presence needs `quorum` nodes, and absence all that answer, at least `quorum` of them (P5). Bounded (P10): of
transactions that too few nodes have, the oldest are dropped first, to be fetched again if they stay.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptowatch.chains.port import RawPending

#: Transactions held that fewer than `quorum` nodes have; about 50 MB of average ones.
WAITING_MAX = 50_000


@dataclass(frozen=True, slots=True)
class PendingChange:
    """What changed in the mempools since the last round."""

    #: Newly in at least `quorum` mempools, each given once while it stays.
    new: Sequence[RawPending]
    #: Of the tracked ids, those in no mempool. A mined transaction is gone, too: see `NodePool.pending`.
    gone: frozenset[bytes]


class MempoolView:
    """What was given out, and what waits for more nodes to have it."""

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._given: frozenset[bytes] = frozenset()
        self._waiting: dict[bytes, RawPending] = {}

    @property
    def known(self) -> frozenset[bytes]:
        """Ids whose transactions need not be fetched."""
        return self._given.union(self._waiting)

    def update(
        self,
        present: Mapping[str, frozenset[bytes]],
        fetched: Sequence[RawPending],
        tracked: frozenset[bytes],
        all_answered: bool,
    ) -> PendingChange:
        """Take one round: the ids at each node that answered, and the transactions fetched from any."""
        for transaction in fetched:
            if transaction.tx_hash not in self._given:
                self._waiting.setdefault(transaction.tx_hash, transaction)
        everywhere = frozenset[bytes]().union(*present.values())
        if len(present) >= self._quorum:
            self._given &= everywhere
            self._waiting = {key: value for key, value in self._waiting.items() if key in everywhere}
        counts = Counter(key for ids in present.values() for key in self._waiting.keys() & ids)
        new = [self._waiting.pop(key) for key, count in counts.items() if count >= self._quorum]
        self._given |= {transaction.tx_hash for transaction in new}
        for key in list(self._waiting)[: max(0, len(self._waiting) - WAITING_MAX)]:
            del self._waiting[key]
        sure_of_absence = all_answered and len(present) >= self._quorum
        return PendingChange(new, tracked - everywhere if sure_of_absence else frozenset())
