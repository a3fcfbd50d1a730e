"""The devnet's running parts by name: what `control` reaches for.

`network` makes it when all is up.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cryptowatch.devnet.bitcoin_chain import BitcoinChain
from cryptowatch.devnet.ethereum.chain import EvmChain
from cryptowatch.devnet.ethereum.network import EvmNetwork
from cryptowatch.devnet.faults import Fault
from cryptowatch.devnet.nodes import BitcoinNode
from cryptowatch.devnet.processes import Supervisor
from cryptowatch.devnet.proxy import FaultProxy
from cryptowatch.errors import OperatorError

BITCOIN = "bitcoin"


class UnknownChain(OperatorError):
    pass


class Devnet:
    def __init__(
        self,
        supervisor: Supervisor,
        bitcoin: BitcoinChain,
        bitcoin_proxies: Sequence[FaultProxy[BitcoinNode]],
        evm: Mapping[str, EvmNetwork],
    ) -> None:
        self.supervisor = supervisor
        self.bitcoin = bitcoin
        self._evm = evm
        self._proxies: dict[str, Sequence[FaultProxy[Any]]] = {
            BITCOIN: bitcoin_proxies,
            **{name: network.proxies for name, network in evm.items()},
        }

    def evm(self, chain: str) -> EvmNetwork:
        if chain not in self._evm:
            raise UnknownChain(f"no Ethereum chain {chain}; there are: {', '.join(self._evm) or 'none'}")
        return self._evm[chain]

    def chain(self, name: str) -> BitcoinChain | EvmChain:
        return self.bitcoin if name == BITCOIN else self.evm(name).chain

    async def fault(self, chain: str, node: int | None, fault: Fault) -> None:
        """On one node of the chain, or on all when None."""
        self.chain(chain)
        proxies = self._proxies[chain]
        if node is not None and not 0 <= node < len(proxies):
            raise OperatorError(f"there is no node {node}: they are 0 to {len(proxies) - 1}")
        for proxy in proxies if node is None else [proxies[node]]:
            await proxy.add(fault)

    def clear_faults(self) -> None:
        for proxies in self._proxies.values():
            for proxy in proxies:
                proxy.clear()

    async def start(self, process: str) -> None:
        """Start a process that was killed; a node has caught up with the others when this returns."""
        chain = process.partition(":")[0]
        if chain in self._proxies and process != chain:
            await self.chain(chain).start(process)
        else:
            await self.supervisor.start(process)
