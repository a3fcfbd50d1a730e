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
class Net:
    """A running devnet. Calls answer when what they ask for is done; they raise OperatorError otherwise."""

    folder: Path
    postgres_dsn: str
    api_url: str
    api_key: str
    approver_key: str
    control_url: str
    bitcoin: tuple[NodeAddress, ...]

    @property
    def settings_file(self) -> Path:
        """Ready for `cryptowatch run --config`."""
        return self.folder / "cryptowatch.toml"

    async def mine(self, blocks: int = 1) -> list[str]:
        """The new hashes, once every running node has them."""
        return list((await self._ask("POST", "/mine", blocks=blocks))["blocks"])

    async def reorg(
        self, depth: int, drop: Sequence[str] = (), include: Sequence[str] = ()
    ) -> dict[str, Any]:
        """`{fork_height, old_blocks, new_blocks, dropped}`, once every running node is on the new branch."""
        return await self._ask("POST", "/reorg", depth=depth, drop=list(drop), include=list(include))

    async def fault(self, node: int | None, kind: str, **options: Any) -> None:
        """Set a fault on one node's proxy, on all when None; `options` as in `faults.Fault`."""
        await self._ask("POST", "/faults", node=node, kind=kind, **options)

    async def clear_faults(self) -> None:
        await self._ask("DELETE", "/faults")

    async def kill(self, process: str) -> None:
        """SIGKILL `postgres`, `bitcoin:N`, `signer` or `daemon`."""
        await self._ask("POST", "/kill", process=process)

    async def start(self, process: str) -> None:
        await self._ask("POST", "/start", process=process)

    async def processes(self) -> list[dict[str, Any]]:
        return list((await self._ask("GET", "/processes"))["processes"])

    async def send(self, address: str, amount: str, *, fee_rate: str = "5", replaceable: bool = True) -> str:
        """Pay from the faucet; the transaction's hash. `amount` in BTC, `fee_rate` in sat/vB."""
        asked = {"address": address, "amount": amount, "fee_rate": fee_rate, "replaceable": replaceable}
        return str((await self._ask("POST", "/send", **asked))["tx_hash"])

    async def send_many(self, outputs: Mapping[str, str], *, fee_rate: str = "5") -> str:
        """Pay several addresses in one transaction."""
        return str((await self._ask("POST", "/send", outputs=dict(outputs), fee_rate=fee_rate))["tx_hash"])

    async def broadcast(self, raw: str) -> str:
        """Hand a raw transaction to every running node, not through the proxies."""
        return str((await self._ask("POST", "/broadcast", raw=raw))["tx_hash"])

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
    keys = ("postgres_dsn", "api_url", "api_key", "approver_key", "control_url")
    return Net(folder=folder, bitcoin=bitcoin, **{key: document[key] for key in keys})
