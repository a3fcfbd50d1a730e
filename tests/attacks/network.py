"""A made-up network of nodes: each with a mempool of its own, one chain of blocks, and faults at will.

Used by `simulation`. Nodes keep the rules that decide who is paid: an output exists once, and is spent once; a
replacement pays for all that it evicts (BIP125). A miner may have kept what mempools have replaced. To a daemon it is
the pool of all nodes (`chains.nodes.NodePool`), to its watcher the blocks.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.bitcoin.payments import BitcoinPlan
from cryptowatch.chains.plans import Plan
from cryptowatch.chains.port import (
    BlockContents,
    BlockRef,
    BroadcastAnswer,
    BroadcastOutcome,
    FeeMarket,
    Interest,
    RawBlock,
    Spend,
    Transfer,
)
from cryptowatch.chains.standing import NodeChange
from cryptowatch.errors import NodeUnavailable
from cryptowatch.money import BaseUnits
from tests.attacks.world import ASSET, made_up

NODES, QUORUM = 3, 2
#: Of a transaction of somebody else's, in virtual bytes.
OTHERS_SIZE = 150
_SIGNED = b"signed"


class Output(NamedTuple):
    script: bytes
    amount: int


@dataclass(frozen=True)
class Transaction:
    """As nodes know it. What it spends is an output of another one, or of nobody that matters here."""

    hash: bytes
    spends: tuple[bytes, ...]
    outputs: tuple[Output, ...]
    fee: int
    size: int

    def outpoint(self, place: int) -> bytes:
        return self.hash + place.to_bytes(4, "big")


def transaction_of(plan: Plan) -> Transaction:
    """What the plan is, once it is signed."""
    assert isinstance(plan, BitcoinPlan)
    outputs = tuple(Output(output.script, output.amount) for output in plan.transaction.outputs)
    return Transaction(plan.tx_hash, plan.resources, outputs, plan.fee, plan.size)


def signed(plan: Plan) -> bytes:
    assert plan.tx_hash is not None
    return _SIGNED + plan.tx_hash


def deposit_of(number: int, script: bytes, amount: int) -> Transaction:
    """A stranger's, to an account's address."""
    tx_hash = made_up("deposit", number)
    spends = (made_up("input", tx_hash) + bytes(4),)
    return Transaction(tx_hash, spends, (Output(script, amount),), 1_000, OTHERS_SIZE)


@dataclass(frozen=True)
class Block:
    """A `port.RawBlock`."""

    ref: BlockRef
    transactions: tuple[Transaction, ...]
    unproven: bytes = b""

    def contents(self, interest: Interest) -> BlockContents:
        transfers: list[Transfer] = []
        spends: list[Spend] = []
        for one in self.transactions:
            ours = interest.destinations([output.script for output in one.outputs])
            transfers += [
                Transfer(one.hash, place, output.script, ASSET, BaseUnits(output.amount))
                for place, output in enumerate(one.outputs)
                if ours[place]
            ]
        # As a node's adapter: what the block pays us may be used in it, too.
        paid = {transfer.tx_hash + transfer.position.to_bytes(4, "big") for transfer in transfers}
        for one in self.transactions:
            watched = zip(one.spends, interest.resources(one.spends), strict=True)
            spends += [Spend(spent, one.hash) for spent, is_ours in watched if is_ours or spent in paid]
        paying = {transfer.tx_hash for transfer in transfers}
        resources = {one.hash: one.spends for one in self.transactions if one.hash in paying}
        return BlockContents(self.ref, tuple(transfers), tuple(spends), resources, len(self.transactions), 1)


@dataclass
class Branch:
    """A chain of blocks, and what it holds and has spent."""

    blocks: list[Block]
    holds: dict[bytes, Transaction] = field(default_factory=dict)
    spent: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def height(self) -> int:
        return self.blocks[-1].ref.height

    def at(self, height: int) -> Block | None:
        place = height - self.blocks[0].ref.height
        return self.blocks[place] if 0 <= place < len(self.blocks) else None

    def append(self, block: Block) -> None:
        self.blocks.append(block)
        for one in block.transactions:
            self.holds[one.hash] = one
            self.spent.update(dict.fromkeys(one.spends, one.hash))

    def until(self, height: int) -> "Branch":
        """As it was at that height."""
        first, *rest = [block for block in self.blocks if block.ref.height <= height]
        earlier = Branch([first])
        for block in rest:
            earlier.append(block)
        return earlier

    def unspent(self) -> Iterator[Output]:
        for one in self.holds.values():
            for place, output in enumerate(one.outputs):
                if one.outpoint(place) not in self.spent:
                    yield output

    def is_deep(self, one: Transaction, depth: int) -> bool:
        """Whether so many blocks hold it or stand on the one that does."""
        return any(one in block.transactions for block in self.blocks[: 1 - depth])

    def amounts_paid_to(self, script: bytes) -> list[int]:
        """Spent or not."""
        return [
            output.amount for one in self.holds.values() for output in one.outputs if output.script == script
        ]


async def _nothing(raw: bytes) -> None:
    pass


@dataclass
class Network:
    """`before_forwarding`: told of every transaction of ours before any node has it."""

    first: BlockRef
    before_forwarding: Callable[[bytes], Awaitable[None]] = _nothing
    branch: Branch = field(init=False)
    #: Every transaction that was ever signed, ours and others'.
    known: dict[bytes, Transaction] = field(default_factory=dict)
    #: What any node or miner ever got, the oldest first.
    forwarded: dict[bytes, Transaction] = field(default_factory=dict)
    mempools: list[dict[bytes, Transaction]] = field(default_factory=lambda: [{} for _ in range(NODES)])
    market: FeeMarket = field(default_factory=lambda: FeeMarket({2: 5_000, 6: 5_000, 24: 5_000}, 1_000))
    #: What of nodes says nothing though it forwarded: so many of the next broadcasts.
    silent: int = 0
    #: The same, and the daemon hears an error instead of answers.
    broken: int = 0
    _made: int = 0

    def __post_init__(self) -> None:
        self.branch = Branch([Block(self.first, ())])

    # Mempools

    def sends(self, one: Transaction) -> None:
        """Somebody gives it to every node."""
        self.known[one.hash] = self.forwarded[one.hash] = one
        for mempool in self.mempools:
            self._offered(mempool, one)

    def _offered(self, mempool: dict[bytes, Transaction], one: Transaction) -> BroadcastOutcome:
        if one.hash in self.branch.holds:
            return BroadcastOutcome.CONFIRMED
        if one.hash in mempool:
            return BroadcastOutcome.ACCEPTED
        if not self._could_follow(one, self.branch, mempool):
            return BroadcastOutcome.UNKNOWN
        conflicts = [other for other in mempool.values() if not set(other.spends).isdisjoint(one.spends)]
        evicted = _with_descendants(conflicts, mempool)
        if conflicts and one.fee < sum(other.fee for other in evicted) + one.size:
            return BroadcastOutcome.REJECTED
        if any(spent[:32] == other.hash for other in evicted for spent in one.spends):
            return BroadcastOutcome.REJECTED
        for other in evicted:
            del mempool[other.hash]
        mempool[one.hash] = one
        return BroadcastOutcome.ACCEPTED

    def _could_follow(self, one: Transaction, branch: Branch, waiting: Iterable[bytes] = ()) -> bool:
        """Whether what it spends is there, in blocks or among what waits, and no block has spent it."""
        there = {*branch.holds, *waiting}
        return not any(
            spent in branch.spent or (spent[:32] in self.known and spent[:32] not in there)
            for spent in one.spends
        )

    def waiting(self) -> list[Transaction]:
        """In any mempool, as they came to the first node that has them."""
        return list({one.hash: one for mempool in self.mempools for one in mempool.values()}.values())

    def loses_mempool(self, node: int) -> None:
        self.mempools[node].clear()

    # Blocks

    def mine(self, candidates: Iterable[Transaction], time: datetime) -> Block:
        """A block on top, with those that fit one after the other."""
        taken: list[Transaction] = []
        branch = self.branch.until(self.branch.height)
        for one in candidates:
            if one.hash not in branch.holds and self._could_follow(one, branch):
                taken.append(one)
                branch.holds[one.hash] = one
                branch.spent.update(dict.fromkeys(one.spends, one.hash))
        self._made += 1
        height, top = self.branch.height + 1, self.branch.blocks[-1].ref
        block = Block(BlockRef(height, made_up("block", height, self._made), top.hash, time), tuple(taken))
        self.branch.append(block)
        self._tidy_mempools()
        return block

    def leave(self, depth: int) -> None:
        """The top blocks; what they held waits again, if mempools have nothing better by now."""
        left = self.branch.blocks[-depth:]
        self.branch = self.branch.until(self.branch.height - depth)
        for mempool in self.mempools:
            for block in left:
                for one in block.transactions:
                    self._offered(mempool, one)
        self._tidy_mempools()

    def _tidy_mempools(self) -> None:
        """Less what blocks hold, or have made impossible."""
        for mempool in self.mempools:
            rest = list(mempool.values())
            mempool.clear()
            for one in rest:
                if one.hash not in self.branch.holds and self._could_follow(one, self.branch, mempool):
                    mempool[one.hash] = one

    # As `NodePool`

    quorum = QUORUM

    def changes(self) -> list[NodeChange]:
        return []

    async def agreed_head(self) -> BlockPoint:
        ref = self.branch.blocks[-1].ref
        return BlockPoint(ref.height, ref.hash)

    async def agreed_hash(self, height: int) -> bytes | None:
        found = self.branch.at(height)
        return None if found is None else found.ref.hash

    async def block(self, block_hash: bytes, height: int) -> RawBlock:
        found = self.branch.at(height)
        if found is None or found.ref.hash != block_hash:
            raise NodeUnavailable("all", "no node has the block any more")
        return found

    async def fee_market(self) -> FeeMarket:
        return self.market

    async def backlog(self) -> None:
        """Estimates are all that these nodes tell of fees."""

    async def evicted_fees(self, tx_hash: bytes) -> int:
        told = sorted(
            sum(one.fee for one in _with_descendants([mempool[tx_hash]], mempool))
            if tx_hash in mempool
            else 0
            for mempool in self.mempools
        )
        return told[(len(told) - 1) // 2]

    async def broadcast(self, raw: bytes, parents: Sequence[bytes] = ()) -> list[BroadcastAnswer]:
        await self.before_forwarding(raw)
        one = self.known[raw.removeprefix(_SIGNED)]
        self.forwarded[one.hash] = one
        answers = []
        for node, mempool in enumerate(self.mempools):
            for parent in parents:
                self._offered(mempool, self.known[parent.removeprefix(_SIGNED)])
            answers.append(BroadcastAnswer(f"n{node}", self._offered(mempool, one), ""))
        if self.broken:
            self.broken -= 1
            raise NodeUnavailable("all", "an error after all of them forwarded it")
        if self.silent:
            self.silent -= 1
            return [BroadcastAnswer(answer.node, BroadcastOutcome.UNKNOWN, "late") for answer in answers]
        return answers


def _with_descendants(
    conflicts: Iterable[Transaction], mempool: dict[bytes, Transaction]
) -> list[Transaction]:
    """These, and all in the mempool that stand on them."""
    found = {one.hash: one for one in conflicts}
    count = 0
    while count != len(found):
        count = len(found)
        for one in mempool.values():
            if any(spent[:32] in found for spent in one.spends):
                found[one.hash] = one
    return list(found.values())
