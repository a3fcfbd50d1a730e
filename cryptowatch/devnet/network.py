"""Puts the private network together and does what its control server is asked for.

`up` is the devnet's front door, for the command line, the demo, benchmarks and tests: Postgres, the
connected nodes behind their fault proxies, and the control server; with `daemon` also signer and daemon. It
gives a `Net` (see `client`), by which any other process can use the same network.
"""

import asyncio
import random
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from cryptowatch.db import embedded
from cryptowatch.devnet import bitcoind, branches, configuration, control, nodes
from cryptowatch.devnet.client import Net
from cryptowatch.devnet.faucet import Faucet
from cryptowatch.devnet.faults import Fault
from cryptowatch.devnet.nodes import BitcoinNode
from cryptowatch.devnet.ports import HeldPort
from cryptowatch.devnet.processes import Program, Supervisor
from cryptowatch.devnet.proxy import FaultProxy
from cryptowatch.devnet.rpc import RpcError, RpcUnreachable
from cryptowatch.errors import OperatorError

_BLOCKS_PER_CALL = 50
# After that a mempool that differs is taken as it is: nodes may disagree on what to hold.
_RELAY_PATIENCE_S = 1.0


class Devnet:
    """The running parts. One change of the chain at a time."""

    def __init__(self, supervisor: Supervisor, bitcoin: Sequence[BitcoinNode], seed: int) -> None:
        self.supervisor = supervisor
        self.nodes = tuple(bitcoin)
        self.randomness = random.Random(seed)
        self.proxies = tuple(FaultProxy(node, random.Random(f"{seed}:{node.index}")) for node in bitcoin)
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
            await nodes.until_same_head(alive)
            if not await nodes.until_same_mempool(alive, timeout_s=_RELAY_PATIENCE_S):
                await self._share_mempools(alive)
            mined: list[str] = []
            while len(mined) < blocks:
                count = min(_BLOCKS_PER_CALL, blocks - len(mined))
                mined += await alive[0].rpc("generatetoaddress", count, self.faucet.mining_address)
            await nodes.until_same_head(alive)
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
        await nodes.until_same_mempool(alive, timeout_s=_RELAY_PATIENCE_S)
        names = await asyncio.gather(*(node.rpc("sendrawtransaction", raw, 0) for node in alive))
        return str(names[0])

    async def fault(self, node: int | None, fault: Fault) -> None:
        """On one node, or on all when None."""
        if node is not None and not 0 <= node < len(self.proxies):
            raise OperatorError(f"there is no node {node}: they are 0 to {len(self.proxies) - 1}")
        for proxy in self.proxies if node is None else [self.proxies[node]]:
            await proxy.add(fault)

    def clear_faults(self) -> None:
        for proxy in self.proxies:
            proxy.clear()

    async def start(self, process: str) -> None:
        """Start a process that was killed; a node has caught up with the others when this returns."""
        async with self._changing:
            await self.supervisor.start(process)
            for node in self.nodes:
                if node.name == process:
                    others = [other for other in self.alive() if other is not node]
                    await nodes.until_same_head([node, *others])
                    missed = await branches.forget_missed(
                        node, others, self._missed_drops.pop(process, set())
                    )
                    if node is self.faucet.node:
                        await self.faucet.forget(missed)


def _silent(step: str) -> None:
    """Progress that nobody reads."""


@asynccontextmanager
async def up(
    folder: Path,
    *,
    bitcoin_nodes: int = 3,
    daemon: bool = False,
    block_time_s: float = 0,
    seed: int | None = None,
    fast_unsafe_postgres: bool = False,
    node_options: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = _silent,
) -> AsyncIterator[Net]:
    """The network for as long as the block lasts. Raises OperatorError when a part does not start.

    Call it on the main thread's event loop, or on a thread that stays (`cryptowatch.leash` says why). A
    folder that was used before is taken up where it was left. `seed` makes the faults' chances repeatable.
    `node_options` are settings of bitcoin.conf that differ from the devnet's.
    """
    folder = _made(folder)
    async with AsyncExitStack() as stack:
        stack.enter_context(configuration.claimed(folder))
        progress("finding bitcoind (fetched once per machine: 27 MB)")
        node_program = await asyncio.to_thread(bitcoind.find_or_fetch)
        supervisor = await stack.enter_async_context(Supervisor())
        bitcoin = _nodes(stack, folder, bitcoin_nodes, node_options or {})
        devnet = Devnet(supervisor, bitcoin, secrets.randbits(32) if seed is None else seed)
        progress(f"starting Postgres and {bitcoin_nodes} bitcoind nodes")
        server = await asyncio.to_thread(
            embedded.prepare, folder / "postgres", fast_unsafe=fast_unsafe_postgres
        )
        await supervisor.run(postgres_program(server))
        await asyncio.gather(
            *(supervisor.run(nodes.program(node, node_program, bitcoin)) for node in bitcoin)
        )
        progress("mining and funding the faucet")
        await devnet.faucet.open()
        await nodes.until_same_head(bitcoin)
        for proxy in devnet.proxies:
            await proxy.open()
            stack.push_async_callback(proxy.close)
        api_port = HeldPort()
        stack.callback(api_port.close)
        control_url = await stack.enter_async_context(control.serving(devnet))
        net = configuration.write(
            folder,
            dsn=server.dsn,
            api_keys=await configuration.make_api_keys(folder, server.dsn),
            control_url=control_url,
            api_port=api_port.number,
            proxies=devnet.proxies,
            start_height=await bitcoin[0].rpc("getblockcount"),
        )
        if block_time_s > 0:
            stack.push_async_callback(_cancel, asyncio.create_task(_mine_regularly(devnet, block_time_s)))
        if daemon:
            progress("starting signer and daemon")
            for part in configuration.daemon_programs(folder, net):
                await supervisor.run(part)
        progress("ready")
        yield net


def _nodes(stack: AsyncExitStack, folder: Path, count: int, options: Mapping[str, str]) -> list[BitcoinNode]:
    found = [BitcoinNode(n, folder / "bitcoin" / str(n), options=options) for n in range(count)]
    for node in found:
        stack.callback(node.close)
    return found


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


def postgres_program(server: embedded.Server) -> Program:
    """Postgres as a supervised process: SIGINT is its fast shutdown."""

    async def ready() -> bool:
        return embedded.is_ready(server)

    async def before_start() -> None:
        await embedded.until_free(server)

    return Program(
        "postgres",
        server.argv,
        server.log,
        ready=ready,
        before_start=before_start,
        stop_signal=signal.SIGINT,
    )


async def _mine_regularly(devnet: Devnet, block_time_s: float) -> None:
    while True:
        await asyncio.sleep(block_time_s)
        # A node that is down or was killed just now costs a block, not the blocks after it.
        with suppress(OperatorError, RpcError, TimeoutError, *RpcUnreachable):
            await devnet.mine(1)


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
