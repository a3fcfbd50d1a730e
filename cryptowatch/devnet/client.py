"""The devnet as its users see it: tests, the demo and benchmarks, in the devnet's own process or in another.

`network.up` gives a `Net`; `connect(DIR)` makes one from the `devnet.json` that a running devnet wrote. A
Net holds addresses only, so it can be used from any event loop and any thread.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from cryptowatch.devnet.ethereum.rpc import EthereumRpc
from cryptowatch.devnet.rpc import BitcoinRpc
from cryptowatch.errors import OperatorError

CONTROL_TIMEOUT_S = 300


@dataclass(frozen=True)
class NodeAddress:
    """One bitcoind. `rpc` reaches it directly, `proxied` through its faults, as the daemon does."""

    rpc_url: str
    direct_rpc_url: str
    rpc: BitcoinRpc
    proxied: BitcoinRpc


@dataclass(frozen=True)
class EvmNodeAddress:
    """One anvil. `rpc` reaches it directly, `proxied` through its faults, as the daemon does."""

    rpc_url: str
    direct_rpc_url: str
    rpc: EthereumRpc
    proxied: EthereumRpc


@dataclass(frozen=True)
class EvmChainAddress:
    """`tokens`: the contract of each, lower case with 0x."""

    chain_id: int
    nodes: tuple[EvmNodeAddress, ...]
    tokens: Mapping[str, str]


@dataclass(frozen=True)
class Net:
    """A running devnet. Calls answer when what they ask for is done; they raise OperatorError otherwise."""

    folder: Path
    postgres_dsn: str
    api_url: str
    api_key: str
    approver_key: str
    control_url: str
    bitcoin: tuple[NodeAddress, ...]
    evm: Mapping[str, EvmChainAddress]
    ethereum_private_key: str
    #: None without `stream`.
    nats_url: str | None

    @property
    def settings_file(self) -> Path:
        """Ready for `cryptowatch run --config`."""
        return self.folder / "cryptowatch.toml"

    async def mine(
        self,
        blocks: int = 1,
        *,
        chain: str = "bitcoin",
        withhold: Mapping[int, Sequence[str]] | None = None,
        base_fee_wei: int | None = None,
    ) -> list[str]:
        """The new hashes, once every running node has them.

        On an Ethereum chain, a node that transactions are withheld from makes other blocks than the rest until
        `heal`; `base_fee_wei` is the first new block's.
        """
        asked: dict[str, Any] = {"blocks": blocks, "chain": chain}
        if withhold:
            asked["withhold"] = {str(node): list(names) for node, names in withhold.items()}
        if base_fee_wei is not None:
            asked["base_fee_wei"] = base_fee_wei
        return list((await self._ask("POST", "/mine", **asked))["blocks"])

    async def reorg(
        self, depth: int, drop: Sequence[str] = (), include: Sequence[str] = (), *, chain: str = "bitcoin"
    ) -> dict[str, Any]:
        """`{fork_height, old_blocks, new_blocks, dropped}`, once every running node is on the new branch."""
        asked = {"depth": depth, "drop": list(drop), "include": list(include), "chain": chain}
        return await self._ask("POST", "/reorg", **asked)

    async def heal(self, chain: str) -> None:
        """Bring all nodes of an Ethereum chain to the branch that most are on."""
        await self._ask("POST", "/heal", chain=chain)

    async def fault(self, node: int | None, kind: str, *, chain: str = "bitcoin", **options: Any) -> None:
        """Set a fault on one node's proxy, on all when None; `options` as in `faults.Fault`."""
        await self._ask("POST", "/faults", chain=chain, node=node, kind=kind, **options)

    async def clear_faults(self) -> None:
        await self._ask("DELETE", "/faults")

    async def kill(self, process: str) -> None:
        """SIGKILL `postgres`, `nats`, `bitcoin:N`, `ethereum:N`, `signer` or `daemon`."""
        await self._ask("POST", "/kill", process=process)

    async def start(self, process: str) -> None:
        await self._ask("POST", "/start", process=process)

    async def processes(self) -> list[dict[str, Any]]:
        return list((await self._ask("GET", "/processes"))["processes"])

    async def send(
        self,
        address: str,
        amount: str,
        *,
        chain: str = "bitcoin",
        asset: str | None = None,
        internal: bool = False,
        fee_rate: str = "5",
        replaceable: bool = True,
    ) -> str:
        """Pay from the faucet, in whole coins or tokens; the transaction's hash.

        Bitcoin: `fee_rate` in sat/vB. Ethereum: `asset` is the chain's coin when it is not said; `internal` sends
        the coin from within a contract's call.
        """
        asked: dict[str, Any] = {"chain": chain, "address": address, "amount": amount}
        if chain == "bitcoin":
            asked |= {"fee_rate": fee_rate, "replaceable": replaceable}
        else:
            asked |= {"asset": asset, "internal": internal}
        return str((await self._ask("POST", "/send", **asked))["tx_hash"])

    async def deploy(self, chain: str, name: str, args: Sequence[Any] = ()) -> str:
        """Deploy a contract of `contracts/` by the faucet and mine it; its address."""
        return str((await self._ask("POST", "/deploy", chain=chain, name=name, args=list(args)))["address"])

    async def send_many(self, outputs: Mapping[str, str], *, fee_rate: str = "5") -> str:
        """Pay several addresses in one transaction."""
        return str((await self._ask("POST", "/send", outputs=dict(outputs), fee_rate=fee_rate))["tx_hash"])

    async def broadcast(self, raw: str, *, chain: str = "bitcoin") -> str:
        """Hand a raw transaction to every running node, not through the proxies."""
        return str((await self._ask("POST", "/broadcast", chain=chain, raw=raw))["tx_hash"])

    async def double_spend(
        self, tx_hash: str, to: str | None = None, *, fee_rate: str = "50", broadcast: bool = True
    ) -> dict[str, str]:
        """`{tx_hash, raw}` of a transaction that spends the same coins as a faucet's one, to another address.

        With `broadcast` it replaces the other in all mempools; without, use `raw` in `reorg(include=…)`.
        """
        asked = {"tx_hash": tx_hash, "to": to, "fee_rate": fee_rate, "broadcast": broadcast}
        return {**await self._ask("POST", "/double_spend", **asked)}

    async def _ask(self, verb: str, path: str, **body: Any) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=CONTROL_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            try:
                async with session.request(verb, self.control_url + path, json=body or None) as answer:
                    found: dict[str, Any] = await answer.json()
            except aiohttp.ClientError as problem:
                raise OperatorError(f"the devnet in {self.folder} does not answer: {problem}") from problem
        if answer.status != 200:
            raise OperatorError(f"{verb} {path}: {found.get('error', answer.status)}")
        return found


def connect(folder: Path) -> Net:
    """The devnet that runs in the folder. Raises OperatorError when none was started there."""
    try:
        found = json.loads((folder / "devnet.json").read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise OperatorError(
            f"there is no devnet in {folder}: cryptowatch devnet up --dir {folder}"
        ) from problem
    return net_of(folder, found)


def net_of(folder: Path, document: Mapping[str, Any]) -> Net:
    """From the contents of a `devnet.json`."""
    bitcoin = tuple(
        NodeAddress(
            node["rpc_url"],
            node["direct_rpc_url"],
            BitcoinRpc(node["direct_rpc_url"]),
            BitcoinRpc(node["rpc_url"]),
        )
        for node in document["bitcoin"]
    )
    evm = {name: _evm_chain(found) for name, found in document["evm_chains"].items()}
    keys = ("postgres_dsn", "api_url", "api_key", "approver_key", "control_url")
    return Net(
        folder=folder,
        bitcoin=bitcoin,
        evm=evm,
        ethereum_private_key=document["faucet"]["ethereum_private_key"],
        nats_url=document.get("nats_url"),
        **{key: document[key] for key in keys},
    )


def _evm_chain(found: Mapping[str, Any]) -> EvmChainAddress:
    nodes = tuple(
        EvmNodeAddress(
            node["rpc_url"],
            node["direct_rpc_url"],
            EthereumRpc(node["direct_rpc_url"]),
            EthereumRpc(node["rpc_url"]),
        )
        for node in found["nodes"]
    )
    return EvmChainAddress(found["chain_id"], nodes, found["tokens"])
