"""What the rest of the system knows of a chain: the values and the Protocol that every family implements.

`deposits.watcher` reads through it, `sending` builds, broadcasts and tracks through it, the API checks
addresses with it. The families know no database, hold no private key and never import each other.

Hashes are bytes in the order in which explorers show them. Amounts are integer base units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from cryptowatch.money import BaseUnits


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block's place in the chain."""

    height: int
    hash: bytes
    prev_hash: bytes
    time: datetime


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money arriving at one of our destinations. Identity: (chain, tx_hash, position), in whatever block (P2)."""

    tx_hash: bytes
    #: Place inside the transaction: the output index; for EVM the log's ordinal or the trace path.
    position: int
    #: What the family watches for: an output script, an account address.
    destination: bytes
    asset: str
    amount: BaseUnits
    #: So many further blocks must follow before it can be used: 99 for a coinbase output of Bitcoin.
    immature_blocks: int = 0


@dataclass(frozen=True, slots=True)
class Spend:
    """A transaction's use of something that only one transaction can ever use.

    `resource` is an outpoint (32 bytes hash as shown + 4 bytes index, big endian) or an account's nonce. Two
    transactions that use the same resource conflict: at most one of them is ever in the chain.
    """

    resource: bytes
    tx_hash: bytes


@dataclass(frozen=True, slots=True)
class PendingTransaction:
    """An unconfirmed transaction that pays us: nothing is credited for it, but its resources are watched."""

    tx_hash: bytes
    transfers: tuple[Transfer, ...]
    resources: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BlockContents:
    """All that one block means to us. Everything in it is committed to by `ref.hash`, and was checked to be."""

    ref: BlockRef
    transfers: tuple[Transfer, ...]
    #: Uses of the resources that were asked about, by whichever transaction.
    spends: tuple[Spend, ...]
    #: For each transaction with a transfer: every resource that it uses (its conflicts can replace it in a reorg).
    resources: Mapping[bytes, tuple[bytes, ...]]
    transactions: int
    size_bytes: int


class Interest(Protocol):
    """What the watcher is looking for. Asked in bulk, as a block has thousands of each; must be cheap."""

    def destinations(self, candidates: Sequence[bytes]) -> Sequence[bool]:
        """Which of these scripts or addresses are ours."""
        ...

    def resources(self, candidates: Sequence[bytes]) -> Sequence[bool]:
        """Which of these resources are watched: inputs of unconfirmed deposits, our own coins."""
        ...


class BroadcastOutcome(StrEnum):
    ACCEPTED = "accepted"  # in that node's mempool, now or already
    CONFIRMED = "confirmed"  # already in that node's chain
    REJECTED = "rejected"  # refused for itself or its fee: may be accepted later or elsewhere
    UNKNOWN = "unknown"  # inputs missing or spent, or no clear answer: only tracking can tell


@dataclass(frozen=True, slots=True)
class BroadcastAnswer:
    """What one node said to the bytes. Never a reason to build anew: only to send the same bytes again (P3)."""

    node: str
    outcome: BroadcastOutcome
    detail: str


class NodeState(StrEnum):
    HEALTHY = "healthy"
    LAGGING = "lagging"
    UNREACHABLE = "unreachable"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node as the pool sees it; shown by the API and as metrics."""

    name: str
    state: NodeState
    height: int | None
    lag_blocks: int | None
    latency_s: float | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FeeMarket:
    """What inclusion costs now, as the family's nodes see it. Rates in the family's unit (Bitcoin: sat/vB * 1000)."""

    #: target in blocks -> rate; empty when no node knows.
    estimates: Mapping[int, int] = field(default_factory=dict)
    #: The highest of the nodes' own floors: below it a transaction is not relayed.
    floor: int = 0


@dataclass(frozen=True, slots=True)
class InvalidAddress:
    """Why a text is not an address to which this chain can pay."""

    reason: str


class RawBlock(Protocol):
    """A fetched block that proved to belong to the hash it was asked by (merkle root, receipts root)."""

    @property
    def ref(self) -> BlockRef: ...

    def contents(self, interest: Interest) -> BlockContents:
        """What in it is ours. Called after the watch list is brought up to date, so fetching can run ahead."""
        ...


class Node(Protocol):
    """One node of a chain. Every method raises NodeUnavailable within the node's timeout, or NodeLied."""

    @property
    def name(self) -> str: ...

    async def head(self) -> tuple[int, bytes]:
        """The node's own best (height, hash)."""
        ...

    async def hash_at(self, height: int) -> bytes | None:
        """The hash on the node's best chain at the height; None above its head."""
        ...

    async def block(self, block_hash: bytes, height: int) -> RawBlock: ...

    async def pending(self, known: frozenset[bytes]) -> tuple[frozenset[bytes], Sequence["RawPending"]]:
        """(all ids now pending at the node, the transactions whose ids are not in `known`)."""
        ...

    async def spenders(self, resources: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """resource -> hash of the pending transaction that uses it, for those that one uses."""
        ...

    async def broadcast(self, raw: bytes) -> BroadcastAnswer: ...

    async def fee_market(self) -> FeeMarket: ...

    async def close(self) -> None: ...


class RawPending(Protocol):
    """An unconfirmed transaction as fetched, checked to hash to its id."""

    @property
    def tx_hash(self) -> bytes: ...

    def contents(self, interest: Interest) -> PendingTransaction | None:
        """What in it is ours, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Coin:
    """An unspent output of ours, with the key that owns it: (scheme, branch, index) below the wallet's account."""

    resource: bytes
    amount: BaseUnits
    destination: bytes
    key_path: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Recipient:
    destination: bytes
    amount: BaseUnits


@dataclass(frozen=True, slots=True)
class Insufficient:
    """The coins on offer do not cover the payments and their fee."""

    missing: int


class Plan(Protocol):
    """An unsigned transaction, complete: signing it gives these bytes' meaning and this id, and nothing else."""

    @property
    def tx_hash(self) -> bytes: ...

    @property
    def resources(self) -> tuple[bytes, ...]:
        """What it uses: every attempt of a lineage uses at least all that the first one does (P3)."""
        ...

    @property
    def positions(self) -> tuple[int, ...]:
        """Where in the transaction each recipient is, in the order in which they were given."""
        ...

    @property
    def fee(self) -> int: ...

    @property
    def vsize(self) -> int: ...

    def to_json(self) -> bytes: ...


class Planner(Protocol):
    """Builds transactions of one family. Pure; CPU-bound, so it is called in a thread."""

    def plan(
        self,
        coins: Sequence[Coin],
        recipients: Sequence[Recipient],
        change: Coin,
        fee_rate: int,
        seed: int,
    ) -> Plan | Insufficient:
        """Pay everyone from a choice of the coins. `change` is a template: destination and key path count."""
        ...

    def bump(self, plan: Plan, coins: Sequence[Coin], fee_rate: int) -> Plan | Insufficient:
        """The same payments with every input kept, at a higher rate, from the change or else from further coins."""
        ...

    def read(self, document: bytes) -> Plan:
        """What `Plan.to_json` wrote."""
        ...
