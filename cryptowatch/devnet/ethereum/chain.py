"""Keeps independent anvils on one chain, as consensus would: what the devnet does to an Ethereum chain.

Called by `devnet.network` for the control server. Each node makes its blocks by itself, from the same ingredients,
and must come to the same hash. Every change shuts the gate of the chain's proxies, so that it happens at once for
all who look through them.
"""

import asyncio
import random
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptowatch.devnet.ethereum.gate import Gate
from cryptowatch.devnet.ethereum.history import History, Sealed, base_fee_after, shared_length
from cryptowatch.devnet.ethereum.node import EvmNode
from cryptowatch.devnet.ethereum.rpc import EthereumRefused
from cryptowatch.devnet.ethereum.transactions import (
    Transaction,
    divided,
    in_order,
    parse_transaction,
    with_0x,
    without_0x,
)
from cryptowatch.devnet.processes import Supervisor
from cryptowatch.errors import OperatorError

_PROPOSER = "0x" + "70" * 20
# Only what is sent to a node directly, past the gate, can come between.
_TRIES = 3


class ReorgImpossible(OperatorError):
    """The chain cannot be changed so; it is as it was."""


class NodesDisagree(OperatorError):
    """The same ingredients gave different blocks: the coordinator does not understand its nodes any more."""


@dataclass(frozen=True)
class Reorg:
    """What changed. `dropped`: the transactions of the old branch that are in no block and no pool now."""

    fork_height: int
    old_blocks: tuple[str, ...]
    new_blocks: tuple[str, ...]
    dropped: tuple[str, ...]


class EvmChain:
    """The running nodes of one chain. `open` first; hashes go in with or without 0x, and come out without."""

    def __init__(
        self,
        name: str,
        chain_id: int,
        nodes: Sequence[EvmNode],
        supervisor: Supervisor,
        folder: Path,
        randomness: random.Random,
    ) -> None:
        self.name = name
        self.chain_id = chain_id
        self.nodes = tuple(nodes)
        self.gate = Gate()
        self._supervisor = supervisor
        self._history = History(folder / "blocks.jsonl")
        self._randomness = randomness
        #: The branch that most nodes are on, also when no node runs.
        self._majority: list[Sealed] = []

    async def open(self) -> None:
        """Bring freshly started nodes to where the folder's chain was left."""
        self._majority = self._history.load()
        async with self.gate.closed():
            await asyncio.gather(*(self._follow(node) for node in self.alive()))

    @property
    def height(self) -> int:
        return len(self._majority)

    @property
    def next_base_fee_wei(self) -> int:
        return base_fee_after(self._majority)

    def alive(self) -> list[EvmNode]:
        found = [node for node in self.nodes if self._supervisor.is_running(node.name)]
        if not found:
            raise OperatorError(f"no node of {self.name} is running: start one first")
        return found

    async def mine(
        self,
        blocks: int,
        *,
        withhold: Mapping[int, Sequence[str]] | None = None,
        base_fee_wei: int | None = None,
    ) -> list[str]:
        """Mine what the running nodes know of; the hashes of the branch that most nodes are on.

        `withhold`: by node, transactions that it shall not hear of: it mines blocks of its own without them, and
        stays alone until `heal`. `base_fee_wei`: of the first block, instead of what EIP-1559 says.
        """
        withheld = {node: {with_0x(name) for name in names} for node, names in (withhold or {}).items()}
        mined: list[str] = []
        for _ in range(blocks):
            async with self.gate.closed():
                pending = await self._pending()
                unknown = {name for names in withheld.values() for name in names} - pending.keys()
                if unknown and not mined:
                    raise OperatorError(
                        f"only pending transactions can be withheld: {', '.join(sorted(unknown))}"
                    )
                await asyncio.gather(
                    *(
                        self._mine_one(
                            group, pending.values(), withheld.get(group[0].index, set()), base_fee_wei
                        )
                        for group in _groups(self.alive(), withheld)
                    )
                )
                self._remember()
            base_fee_wei = None
            mined.append(without_0x(self._majority[-1].hash))
        return mined

    async def reorg(self, depth: int, drop: Sequence[str], include: Sequence[str]) -> Reorg:
        """Replace the last `depth` blocks by `depth + 1`; all other transactions keep their place.

        `drop`: transactions left out, with later ones of the same senders. `include`: raw transactions for the
        first new block. Answers when every running node is on the new branch.
        """
        included = [parse_transaction(raw) for raw in include]
        async with self.gate.closed():
            nodes = self.alive()
            if len(_groups(nodes, {})) > 1:
                raise ReorgImpossible(f"the nodes of {self.name} are on different branches: heal it first")
            if not 1 <= depth < self.height:
                raise ReorgImpossible(f"depth must be between 1 and {self.height - 1}, not {depth}")
            old = self._majority[-depth:]
            contents = [block.transactions for block in old]
            unwanted = {with_0x(name) for name in drop}
            missing = unwanted - {transaction.hash for content in contents for transaction in content}
            if missing:
                raise ReorgImpossible(
                    "to drop, a transaction must be in the blocks that are replaced: "
                    + ", ".join(sorted(missing))
                )
            kept, dropped = divided(contents, unwanted, included)
            await self._replace(nodes, old, [[*included, *kept[0]], *kept[1:], []], dropped)
            self._remember()
            new = self._majority[-depth - 1 :]
        return Reorg(
            fork_height=old[0].number - 1,
            old_blocks=tuple(without_0x(block.hash) for block in old),
            new_blocks=tuple(without_0x(block.hash) for block in new),
            dropped=tuple(without_0x(transaction.hash) for transaction in dropped),
        )

    async def heal(self) -> None:
        """Bring every running node to the branch that most are on: for the others, a reorg."""
        async with self.gate.closed():
            pending = (await self._pending()).values()
            await asyncio.gather(*(self._follow(node, pending) for node in self.alive()))

    async def broadcast(self, raw: str) -> str:
        """Hand a raw transaction to every running node; answers its hash. A node that refuses it raises."""
        transaction = parse_transaction(raw)
        async with self.gate.passing():
            for node in self.alive():
                try:
                    await node.submit(transaction.raw)
                except EthereumRefused as refusal:
                    if "already" not in refusal.message:
                        raise
        return without_0x(transaction.hash)

    async def start(self, process: str) -> None:
        """Start a node that was killed; it is where the others are when this returns."""
        async with self.gate.closed():
            if not self._supervisor.is_running(process):
                await self._supervisor.start(process)
                [node] = [node for node in self.nodes if node.name == process]
                node.branch.clear()
                await self._follow(node)

    async def _pending(self) -> dict[str, Transaction]:
        """What waits in any pool, by hash."""
        pools = await asyncio.gather(*(node.pending() for node in self.alive()))
        return {transaction.hash: transaction for pool in pools for transaction in pool}

    async def _mine_one(
        self,
        nodes: Sequence[EvmNode],
        pending: Iterable[Transaction],
        withheld: Collection[str],
        base_fee_wei: int | None,
    ) -> None:
        branch = nodes[0].branch
        if base_fee_wei is None:
            base_fee_wei = base_fee_after(branch)
        parent_time = branch[-1].timestamp if branch else 0
        timestamp = max(parent_time + 1, int(time.time()))
        known = {transaction.hash: transaction for transaction in pending if transaction.hash not in withheld}
        for _ in range(_TRIES):
            affordable = [tx for tx in known.values() if tx.fee_cap_wei >= base_fee_wei]
            if await _sealed(nodes, in_order(affordable, base_fee_wei), timestamp, _PROPOSER, base_fee_wei):
                await _accepted(nodes, known.values())
                return
            for node in nodes:
                known |= {transaction.hash: transaction for transaction in node.branch[-1].transactions}
                await node.roll_back(1)
        raise NodesDisagree(f"the nodes of {self.name} make different blocks of the same transactions")

    async def _replace(
        self,
        nodes: Sequence[EvmNode],
        old: Sequence[Sealed],
        contents: Sequence[Sequence[Transaction]],
        dropped: Collection[Transaction],
    ) -> None:
        pending = [transaction for name, transaction in (await self._pending()).items()]
        await asyncio.gather(*(node.roll_back(len(old)) for node in nodes))
        # Another proposer makes another block, also of the same transactions at the same time.
        proposer = "0x" + self._randomness.randbytes(20).hex()
        waiting: list[Transaction] = []
        for position, content in enumerate(contents):
            branch = nodes[0].branch
            parent_time = branch[-1].timestamp if branch else 0
            wanted_time = old[position].timestamp if position < len(old) else int(time.time())
            content = [*waiting, *content]
            if not await _sealed(
                nodes, content, max(parent_time + 1, wanted_time), proposer, base_fee_after(branch)
            ):
                raise NodesDisagree(f"the nodes of {self.name} do not come to the same new branch")
            waiting = [tx for tx in content if tx not in nodes[0].branch[-1].transactions]
        await _accepted(nodes, [tx for tx in [*waiting, *pending] if tx not in dropped])

    async def _follow(self, node: EvmNode, pending: Iterable[Transaction] = ()) -> None:
        """Bring a node from wherever it is to the majority's branch; what only it had is pending again."""
        shared = shared_length(node.branch, self._majority)
        lost = [transaction for block in node.branch[shared:] for transaction in block.transactions]
        await node.empty_pool()
        await node.roll_back(len(node.branch) - shared)
        for block in self._majority[shared:]:
            made = await node.seal(
                block.transactions,
                timestamp=block.timestamp,
                proposer=block.proposer,
                base_fee_wei=block.base_fee_wei,
            )
            if made.hash != block.hash:
                raise NodesDisagree(f"{node.name} makes another block {block.number} than the others had")
        await _accepted([node], [*pending, *lost])

    def _remember(self) -> None:
        self._majority = list(max(_groups(self.alive(), {}), key=len)[0].branch)
        self._history.save(self._majority)


def _groups(nodes: Sequence[EvmNode], withheld: Mapping[int, Collection[str]]) -> list[list[EvmNode]]:
    """Nodes that make the same next block: on the same branch, and kept from the same transactions."""
    groups: dict[tuple[str, frozenset[str]], list[EvmNode]] = {}
    for node in nodes:
        head = node.branch[-1].hash if node.branch else ""
        groups.setdefault((head, frozenset(withheld.get(node.index, ()))), []).append(node)
    return list(groups.values())


async def _sealed(
    nodes: Sequence[EvmNode],
    transactions: Sequence[Transaction],
    timestamp: int,
    proposer: str,
    base_fee_wei: int,
) -> bool:
    """Whether all of them made the same block of these, and of nothing else."""

    async def seal(node: EvmNode) -> str:
        await node.empty_pool()
        sealed = await node.seal(
            transactions, timestamp=timestamp, proposer=proposer, base_fee_wei=base_fee_wei
        )
        return sealed.hash

    return len(set(await asyncio.gather(*(seal(node) for node in nodes)))) == 1


async def _accepted(nodes: Sequence[EvmNode], pending: Iterable[Transaction]) -> None:
    """Put into every pool what its last block did not take."""

    async def accept(node: EvmNode) -> None:
        mined = node.branch[-1].transactions if node.branch else ()
        waiting = [transaction for transaction in pending if transaction not in mined]
        if waiting:
            await node.accept(in_order(waiting, base_fee_after(node.branch)))

    await asyncio.gather(*(accept(node) for node in nodes))
