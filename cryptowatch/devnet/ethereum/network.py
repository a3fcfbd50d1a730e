"""One Ethereum chain of the devnet with all that belongs to it: nodes, coordinator, proxies, faucet.

`devnet.network` starts one for every chain that it is asked for.
"""

import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from cryptowatch.devnet.ethereum.chain import EvmChain
from cryptowatch.devnet.ethereum.faucet import BALANCE_WEI, EvmFaucet, rich
from cryptowatch.devnet.ethereum.node import EvmNode, genesis_document, program
from cryptowatch.devnet.ethereum.rpc import CALL_TIMEOUT_S
from cryptowatch.devnet.ethereum.teller import EvmTeller
from cryptowatch.devnet.processes import Supervisor
from cryptowatch.devnet.proxy import FaultProxy

#: anvil's own; the second chain has the next one, and so on.
FIRST_CHAIN_ID = 31337


@dataclass(frozen=True)
class EvmNetwork:
    chain: EvmChain
    faucet: EvmFaucet
    proxies: tuple[FaultProxy[EvmNode], ...]


@asynccontextmanager
async def evm_network(
    folder: Path, name: str, *, place: int, node_count: int, anvil: Path, supervisor: Supervisor, seed: int
) -> AsyncIterator[EvmNetwork]:
    """The chain at `place` among the devnet's Ethereum chains, as long as the block lasts.

    Its processes are the supervisor's, and end with it.
    """
    chain_id = FIRST_CHAIN_ID + place
    genesis = _write_genesis(folder, chain_id)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
            )
        )
        nodes = [EvmNode(name, n, folder / str(n), session) for n in range(node_count)]
        for node in nodes:
            stack.callback(node.port.close)
            await supervisor.run(program(node, anvil, chain_id=chain_id, genesis=genesis))
        chain = EvmChain(name, chain_id, nodes, supervisor, folder, random.Random(f"{seed}:{name}"))
        await chain.open()
        faucet = EvmFaucet(chain, first=place == 0)
        await faucet.open()
        proxies = []
        for node in nodes:
            chances = random.Random(f"{seed}:{node.name}")
            proxy = FaultProxy(node, EvmTeller(node, faucet), chances, chain.gate.passing)
            await proxy.open()
            stack.push_async_callback(proxy.close)
            proxies.append(proxy)
        yield EvmNetwork(chain, faucet, tuple(proxies))


def _write_genesis(folder: Path, chain_id: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "genesis.json"
    path.write_text(json.dumps(genesis_document(chain_id, rich(), BALANCE_WEI)), encoding="utf-8")
    return path
