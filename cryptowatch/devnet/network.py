"""Puts the private network together.

`up` is the devnet's front door, for the command line, the demo, benchmarks and tests: Postgres, the
connected nodes behind their fault proxies, and the control server; with `daemon` also signer and daemon. It
gives a `Net` (see `client`), by which any other process can use the same network.
"""

import asyncio
import json
import random
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from cryptowatch.db import embedded
from cryptowatch.devnet import bitcoind, configuration, control, nats, nodes
from cryptowatch.devnet.bitcoin_chain import BitcoinChain
from cryptowatch.devnet.client import Net
from cryptowatch.devnet.ethereum import anvil
from cryptowatch.devnet.ethereum.network import EvmNetwork, evm_network
from cryptowatch.devnet.ethereum.rpc import EthereumRefused, EthereumUnreachable
from cryptowatch.devnet.ethereum.wallet import WalletContracts, deploy_contracts
from cryptowatch.devnet.keys import WalletKeys, write_keys
from cryptowatch.devnet.nodes import BitcoinNode
from cryptowatch.devnet.ports import HeldPort
from cryptowatch.devnet.processes import Program, Supervisor
from cryptowatch.devnet.proxy import FaultProxy
from cryptowatch.devnet.rpc import RpcError, RpcUnreachable
from cryptowatch.devnet.running import BITCOIN, Devnet
from cryptowatch.devnet.teller import BitcoinTeller
from cryptowatch.errors import OperatorError


def _silent(step: str) -> None:
    """Progress that nobody reads."""


@asynccontextmanager
async def up(
    folder: Path,
    *,
    bitcoin_nodes: int = 3,
    ethereum: Mapping[str, int] | None = None,
    stream: bool = False,
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
    `node_options` are settings of bitcoin.conf that differ from the devnet's. `ethereum` is how many nodes each
    Ethereum chain has, by the chain's name; without, there is none. `stream` adds a NATS server for the events.
    """
    folder = _made(folder)
    async with AsyncExitStack() as stack:
        stack.enter_context(configuration.claimed(folder))
        supervisor = await stack.enter_async_context(Supervisor())
        seed = secrets.randbits(32) if seed is None else seed
        progress("finding bitcoind (fetched once per machine: 27 MB)")
        node_program = await asyncio.to_thread(bitcoind.find_or_fetch)
        progress(f"starting Postgres and {bitcoin_nodes} bitcoind nodes")
        dsn = await _postgres(folder, supervisor, fast_unsafe_postgres)
        bitcoin = _nodes(stack, folder, bitcoin_nodes, node_options or {})
        bitcoin_chain, proxies = await _bitcoin_chain(stack, bitcoin, node_program, supervisor, seed)
        evm = await _evm_networks(stack, folder, ethereum or {}, supervisor, seed, progress)
        devnet = Devnet(supervisor, bitcoin_chain, proxies, evm)
        nats_url = await _nats_server(stack, folder, supervisor, progress) if stream else None
        keys = write_keys(folder)
        api_port = HeldPort()
        stack.callback(api_port.close)
        control_url = await stack.enter_async_context(control.serving(devnet))
        net = configuration.write(
            folder,
            dsn=dsn,
            api_keys=await configuration.make_api_keys(folder, dsn),
            control_url=control_url,
            api_port=api_port.number,
            proxies=proxies,
            evm=evm,
            keys=keys,
            contracts=await _deployed(folder, evm, keys),
            start_height=await bitcoin[0].rpc("getblockcount"),
            nats_url=nats_url,
        )
        if block_time_s > 0:
            _start_mining(stack, devnet, [BITCOIN, *evm], block_time_s)
        if daemon:
            progress("starting signer and daemon")
            for part in configuration.daemon_programs(folder, net):
                await supervisor.run(part)
        progress("ready")
        yield net


async def _postgres(folder: Path, supervisor: Supervisor, fast_unsafe: bool) -> str:
    server = await asyncio.to_thread(embedded.prepare, folder / "postgres", fast_unsafe=fast_unsafe)
    await supervisor.run(postgres_program(server))
    return server.dsn


async def _nats_server(
    stack: AsyncExitStack, folder: Path, supervisor: Supervisor, progress: Callable[[str], None]
) -> str:
    progress("starting the NATS server")
    server = nats.NatsServer(folder / "nats")
    stack.callback(server.close)
    await supervisor.run(nats.program(server))
    return server.url


async def _bitcoin_chain(
    stack: AsyncExitStack,
    bitcoin: Sequence[BitcoinNode],
    program: bitcoind.Bitcoind,
    supervisor: Supervisor,
    seed: int,
) -> tuple[BitcoinChain, list[FaultProxy[BitcoinNode]]]:
    """Started, connected, with a funded faucet, and behind their proxies."""
    await asyncio.gather(*(supervisor.run(nodes.program(node, program, bitcoin)) for node in bitcoin))
    chain = BitcoinChain(bitcoin, supervisor, random.Random(seed))
    await chain.faucet.open()
    await nodes.until_same_head(bitcoin)
    proxies = []
    for node in bitcoin:
        proxy = FaultProxy(node, BitcoinTeller(node), random.Random(f"{seed}:{node.index}"))
        await proxy.open()
        stack.push_async_callback(proxy.close)
        proxies.append(proxy)
    return chain, proxies


async def _evm_networks(
    stack: AsyncExitStack,
    folder: Path,
    wanted: Mapping[str, int],
    supervisor: Supervisor,
    seed: int,
    progress: Callable[[str], None],
) -> dict[str, EvmNetwork]:
    if not wanted:
        return {}
    progress("finding anvil (fetched once per machine: 19 MB)")
    program = await asyncio.to_thread(anvil.find_or_fetch)
    found = {}
    for place, (name, count) in enumerate(wanted.items()):
        progress(f"starting {count} anvil nodes of {name}")
        found[name] = await stack.enter_async_context(
            evm_network(
                folder / name,
                name,
                place=place,
                node_count=count,
                anvil=program,
                supervisor=supervisor,
                seed=seed,
            )
        )
    return found


async def _deployed(
    folder: Path, evm: Mapping[str, EvmNetwork], keys: WalletKeys
) -> dict[str, WalletContracts]:
    """The wallet's own contracts on every chain, deployed at the folder's first start."""
    senders, found = keys.senders(configuration.HOT_ACCOUNTS), {}
    for name, network in evm.items():
        path = folder / name / "contracts.json"
        if path.exists():
            found[name] = WalletContracts(**json.loads(path.read_text(encoding="utf-8")))
            continue
        found[name] = await deploy_contracts(network.faucet.deploy, senders)
        path.write_text(json.dumps(asdict(found[name])), encoding="utf-8")
    return found


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


def _start_mining(stack: AsyncExitStack, devnet: Devnet, chains: Sequence[str], block_time_s: float) -> None:
    for name in chains:
        miner = asyncio.create_task(_mine_regularly(devnet, name, block_time_s))
        stack.push_async_callback(_cancel, miner)


async def _mine_regularly(devnet: Devnet, chain: str, block_time_s: float) -> None:
    while True:
        await asyncio.sleep(block_time_s)
        # A node that is down or was killed just now costs a block, not the blocks after it.
        with suppress(
            OperatorError, RpcError, EthereumRefused, TimeoutError, *RpcUnreachable, *EthereumUnreachable
        ):
            await devnet.chain(chain).mine(1)


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
