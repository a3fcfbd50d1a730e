"""The devnet's Bitcoin chain: what the control server's levers do to its nodes. Called by `devnet.network`."""

import asyncio
import random
from collections.abc import Sequence

from cryptowatch.devnet import branches
from cryptowatch.devnet.faucet import Faucet
from cryptowatch.devnet.nodes import BitcoinNode, until_same_head, until_same_mempool
from cryptowatch.devnet.processes import Supervisor
from cryptowatch.devnet.rpc import RpcError
from cryptowatch.errors import OperatorError

_BLOCKS_PER_CALL = 50
# After that a mempool that differs is taken as it is: nodes may disagree on what to hold.
_RELAY_PATIENCE_S = 1.0


class BitcoinChain:
    """The running nodes. One change of the chain at a time."""

    def __init__(
        self, nodes: Sequence[BitcoinNode], supervisor: Supervisor, randomness: random.Random
    ) -> None:
        self.nodes = tuple(nodes)
        self.supervisor = supervisor
        self.randomness = randomness
        self.faucet = Faucet(self.nodes[0])
        self._changing = asyncio.Lock()
        #: Transactions that reorgs dropped while a node was down: it will bring them back when it follows.
        self._missed_drops: dict[str, set[str]] = {}

    def alive(self) -> list[BitcoinNode]:
        found = [node for node in self.nodes if self.supervisor.is_running(node.name)]
        if not found:
            raise OperatorError("no bitcoind is running: start one first")
        return found

    async def mine(self, blocks: int) -> list[str]:
        """Mine what the running nodes know of, and answer the new hashes once all of them are there."""
        async with self._changing:
            alive = self.alive()
            await until_same_head(alive)
            if not await until_same_mempool(alive, timeout_s=_RELAY_PATIENCE_S):
                await self._share_mempools(alive)
            mined: list[str] = []
            while len(mined) < blocks:
                count = min(_BLOCKS_PER_CALL, blocks - len(mined))
                mined += await alive[0].rpc("generatetoaddress", count, self.faucet.mining_address)
            await until_same_head(alive)
            return mined

    async def _share_mempools(self, alive: Sequence[BitcoinNode]) -> None:
        """Nodes tell a peer each transaction once: what is sent again after a reorg may miss on one."""
        miner = alive[0]
        held = set(await miner.rpc("getrawmempool"))
        for node in alive[1:]:
            details = await node.rpc("getrawmempool", True)
            for name in sorted(set(details) - held, key=lambda name: int(details[name]["ancestorcount"])):
                try:
                    await miner.rpc("sendrawtransaction", await node.rpc("getrawtransaction", name), 0)
                    held.add(name)
                except RpcError:
                    # It conflicts with what the miner holds; one of the two gets mined, as on a real network.
                    continue

    async def reorg(self, depth: int, drop: Sequence[str], include: Sequence[str]) -> branches.Reorg:
        async with self._changing:
            alive = self.alive()
            done = await branches.reorg(
                alive,
                depth,
                drop=drop,
                include=include,
                pay_to=self.faucet.mining_script,
                randomness=self.randomness,
            )
            if self.nodes[0] in alive:
                await self.faucet.forget(done.dropped)
            for node in self.nodes:
                if node not in alive:
                    self._missed_drops.setdefault(node.name, set()).update(done.dropped)
            return done

    async def broadcast(self, raw: str) -> str:
        """Hand a raw transaction to every running node; answers its hash. A node that refuses it raises."""
        alive = self.alive()
        # What it spends may still be on its way from one node to the others.
        await until_same_mempool(alive, timeout_s=_RELAY_PATIENCE_S)
        names = await asyncio.gather(*(node.rpc("sendrawtransaction", raw, 0) for node in alive))
        return str(names[0])

    async def start(self, process: str) -> None:
        """Start a node that was killed; it has caught up with the others when this returns."""
        async with self._changing:
            await self.supervisor.start(process)
            [node] = [node for node in self.nodes if node.name == process]
            others = [other for other in self.alive() if other is not node]
            await until_same_head([node, *others])
            missed = await branches.forget_missed(node, others, self._missed_drops.pop(process, set()))
            if node is self.faucet.node:
                await self.faucet.forget(missed)
