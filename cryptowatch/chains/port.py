"""What the rest of the system knows of a chain: the values and the Protocol that every family implements.

`deposits.watcher` reads through it, `sending` broadcasts and tracks through it, the API checks addresses with it.
How transactions are built is in `chains.plans`. The families know no database, hold no private key and never import
each other.

Hashes are bytes in the order in which explorers show them. Amounts are integer base units.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Protocol

import msgspec

from cryptowatch.chains.backlog import Backlog
from cryptowatch.money import BaseUnits
from cryptowatch.settings.chains import Priority


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block's place in the chain."""

    height: int
    hash: bytes
    prev_hash: bytes
    time: datetime


#: (tx_hash, position, content)
Identity = tuple[bytes, int, bytes]


class Transfer(msgspec.Struct, frozen=True):
    """Money arriving at one of our destinations.

    Identity: (chain, tx_hash, position, content), in whatever block (P2).
    """

    tx_hash: bytes
    #: Place inside the transaction: the output index; on account chains the log's ordinal among the transaction's
    #: logs, or for the chain's own coin OWN_COIN_POSITION + the call frame's number, in the order of entry.
    position: int
    #: What the family watches for: an output script, an account address.
    destination: bytes
    asset: str
    amount: BaseUnits
    #: So many further blocks must follow before it can be used: 99 for a coinbase output of Bitcoin.
    immature_blocks: int = 0
    #: Empty where the transaction's hash commits to what it pays. A contract may pay more in one block than the same
    #: call would in another: there it is `content_of` what arrives where.
    content: bytes = b""

    @property
    def identity(self) -> Identity:
        """On one chain."""
        return self.tx_hash, self.position, self.content


#: No transaction has as many logs: below it are logs, from it on call frames.
OWN_COIN_POSITION = 1 << 20


def content_of(destination: bytes, asset: str, amount: int) -> bytes:
    """A digest that nobody can find twice."""
    return blake2b(destination + asset.encode() + b":" + str(amount).encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Movement:
    """What a transaction changed of an account of ours in one asset, its fee included (account chains only)."""

    tx_hash: bytes
    account: bytes
    asset: str
    #: Base units, never 0; negative when more left than came.
    delta: int


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of a transaction that one of our accounts sent (account chains: being in a block is not success)."""

    tx_hash: bytes
    #: What the network took, in base units of the chain's own coin.
    fee: BaseUnits
    #: One for each payment that the transaction was to make, in its order: its position, or None where it failed.
    outcomes: tuple[int | None, ...]


class Spend(msgspec.Struct, frozen=True):
    """A transaction's use of something that only one transaction can ever use.

    `resource` is an outpoint (32 bytes hash as shown + 4 bytes index, big endian) or an account's nonce (20 bytes
    address + 8 bytes nonce, big endian). Two transactions that use the same resource conflict: at most one of them
    is ever in the chain.
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
    #: Uses of the resources that were asked about, and of every nonce of our own accounts, by whichever transaction.
    spends: tuple[Spend, ...]
    #: For each transaction with a transfer: every resource that it uses (its conflicts can replace it in a reorg).
    resources: Mapping[bytes, tuple[bytes, ...]]
    transactions: int
    size_bytes: int
    #: None where money is coins: there each transfer is one. On account chains all that changed our balances.
    movements: tuple[Movement, ...] | None = None
    executions: tuple[Execution, ...] = ()


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
    """What inclusion costs now. Rates in the family's unit.

    Bitcoin: satoshi per 1000 virtual bytes. Ethereum: wei per gas.
    """

    #: The nodes' own: target in blocks -> rate (Ethereum: the tip alone); empty when no node knows.
    estimates: Mapping[int, int] = field(default_factory=dict)
    #: Below it nothing is relayed (Bitcoin) or included (Ethereum: the next block's base fee).
    floor: int = 0
    #: For each of the next blocks the lowest rate that would get in, if nothing joined what waits at the nodes now.
    projection: tuple[int, ...] = ()
    #: Our own estimates (`chains.forecast`): priority -> rate; empty while too little is known, and on Ethereum.
    forecast: Mapping[Priority, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InvalidAddress:
    """Why a text is not an address to which this chain can pay."""

    reason: str
    #: It is an address, but of another network of the same kind.
    other_network: bool = False


#: By chain: the chain's own bytes of an address, or why it is none.
ReadAddresses = Mapping[str, Callable[[str], bytes | InvalidAddress]]


class RawBlock(Protocol):
    """A fetched block that proved to belong to the hash it was asked by (merkle root, receipts root)."""

    @property
    def ref(self) -> BlockRef: ...

    @property
    def unproven(self) -> bytes:
        """A digest of what the hash does not commit to (traces): a quorum must say the same. Empty: all is proven."""
        ...

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

    async def finalized(self) -> tuple[int, bytes] | None:
        """(height, hash) of what the node calls final; None where the chain's finality is a depth alone."""
        ...

    async def pending(
        self,
        known: frozenset[bytes],
        tracked: frozenset[bytes],
    ) -> tuple[frozenset[bytes], Sequence["RawPending"]]:
        """(ids now pending at the node, the transactions whose ids are not in `known`).

        The ids cover at least `tracked`: families whose mempools cannot be listed answer for those alone.
        """
        ...

    async def spenders(self, resources: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """resource -> hash of the pending transaction that uses it, for those that one uses."""
        ...

    async def funders(self, tx_hash: bytes, position: int, block_hash: bytes) -> Sequence[str] | None:
        """From which addresses the transfer at a position was paid; None when the block has no such transaction.

        One node's word, which proves nothing.
        """
        ...

    async def broadcast(self, raw: bytes, parents: Sequence[bytes] = ()) -> BroadcastAnswer:
        """`parents`: whose change it spends, sent together with it where the node does not take it alone."""
        ...

    async def fee_market(self) -> FeeMarket: ...

    async def backlog(self) -> Backlog | None:
        """What waits for a block; None where the family's pools cannot be listed."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account after a block, as a node says: transactions sent, and base units per asset."""

    nonce: int
    balances: Mapping[str, int]
    #: Not empty in the sense of EIP-161 (nonce, own coin, code), whatever tokens it holds: what gas prices go by.
    exists: bool


class CoinBlock(RawBlock, Protocol):
    """A block of a chain of coins."""

    def raw_transaction(self, tx_hash: bytes) -> bytes | None:
        """The bytes of the transaction with this hash, if it is in the block."""
        ...


class CoinNode(Node, Protocol):
    """A node of a chain of coins."""

    async def evicted_fees(self, tx_hash: bytes) -> int:
        """What the pending transaction pays, with all that spend of it, in base units; 0 where it is not pending."""
        ...


class AccountNode(Node, Protocol):
    """A node of a chain of accounts."""

    async def accounts(self, addresses: Sequence[bytes], block_hash: bytes) -> Sequence[AccountState]:
        """Each account's state after the block, in order."""
        ...

    async def code(self, address: bytes, block_hash: bytes) -> bytes:
        """What code is at the address after the block; empty where there is none."""
        ...


class RawPending(Protocol):
    """An unconfirmed transaction as fetched, checked to hash to its id."""

    @property
    def tx_hash(self) -> bytes: ...

    def contents(self, interest: Interest) -> PendingTransaction | None:
        """What in it is ours, or None."""
        ...
