"""One anvil: its process, its readiness, and the few things the coordinator does to it.

Called by `chain` and `devnet.network`. The node makes no block by itself, takes transactions in the order they
come, and calls a block final two blocks later, as the tags of a real node lag, only faster.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from cryptowatch.devnet.ethereum.history import Sealed, base_fee_after, next_base_fee_wei
from cryptowatch.devnet.ethereum.rpc import EthereumRefused, EthereumRpc, EthereumUnreachable
from cryptowatch.devnet.ethereum.transactions import Transaction, outbids, parse_transaction
from cryptowatch.devnet.ports import HeldPort
from cryptowatch.devnet.processes import Program
from cryptowatch.errors import OperatorError
from cryptowatch.leash import leashed

_REFUSED = -32000
_OPTIONS = [
    "--no-mining",
    "--order=fifo",
    "--slots-in-an-epoch=1",
    # In memory alone: what it puts away on the disk after 500 blocks comes back without contracts' code and storage, so
    # that a reorg of ten blocks would lose the tokens.
    "--prune-history=400",
    "--hardfork=prague",
    "--enable-tx-gas-limit",
    "--no-request-size-limit",
    "--accounts=0",
    "--host=127.0.0.1",
    "--silent",
]


@dataclass
class EvmNode:
    """A node of the devnet; `rpc` reaches it directly, not through the fault proxy."""

    chain: str
    index: int
    folder: Path
    session: aiohttp.ClientSession
    port: HeldPort = field(default_factory=HeldPort)
    #: What it has been brought to, block 1 first.
    branch: list[Sealed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rpc = EthereumRpc(self.url, self.session)
        self._base_fee_away = asyncio.Lock()

    @property
    def name(self) -> str:
        return f"{self.chain}:{self.index}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port.number}"

    @property
    def address(self) -> str:
        """Without credentials: it has none."""
        return self.url

    async def pending(self) -> list[Transaction]:
        """What waits in its pool, including what cannot be mined yet."""
        pool = await self.rpc("txpool_content")
        entries = [tx for part in pool.values() for queue in part.values() for tx in queue.values()]
        raws = await asyncio.gather(
            *(self.rpc("eth_getRawTransactionByHash", entry["hash"]) for entry in entries)
        )
        return [parse_transaction(raw) for raw in raws if raw is not None]

    async def empty_pool(self) -> None:
        await self.rpc("anvil_dropAllTransactions")

    async def accept(self, transactions: Sequence[Transaction]) -> None:
        """Put transactions into the pool; what cannot be valid any more is left out, as any node does."""
        async with self._without_base_fee():
            await self._feed(transactions)

    async def submit(self, raw: str) -> str:
        """Take a transaction as geth does, where anvil would be stricter or laxer; its hash.

        What bids less than the base fee waits until that falls, and a replacement bids a tenth more. Raises
        EthereumRefused.
        """
        try:
            transaction = parse_transaction(raw)
        except OperatorError:
            return str(await self.rpc("eth_sendRawTransaction", raw))
        other = await self.rpc(
            "eth_getTransactionBySenderAndNonce", transaction.sender, hex(transaction.nonce)
        )
        if other is not None and other["blockHash"] is None and other["hash"] != transaction.hash:
            waiting = parse_transaction(await self.rpc("eth_getRawTransactionByHash", other["hash"]))
            if not outbids(transaction, waiting):
                raise EthereumRefused(_REFUSED, "replacement transaction underpriced")
        try:
            return str(await self.rpc("eth_sendRawTransaction", raw))
        except EthereumRefused as refusal:
            if "less than block base fee" not in refusal.message:
                raise
        if other is not None and other["hash"] == transaction.hash:
            raise EthereumRefused(_REFUSED, "already known")
        async with self._without_base_fee():
            return str(await self.rpc("eth_sendRawTransaction", raw))

    @asynccontextmanager
    async def _without_base_fee(self) -> AsyncIterator[None]:
        """A real node holds what bids less than the base fee; anvil does so when there is none."""
        async with self._base_fee_away:
            await self.rpc("anvil_setNextBlockBaseFeePerGas", "0x0")
            try:
                yield
            finally:
                await self.rpc("anvil_setNextBlockBaseFeePerGas", hex(base_fee_after(self.branch)))

    async def seal(
        self, transactions: Sequence[Transaction], *, timestamp: int, proposer: str, base_fee_wei: int
    ) -> Sealed:
        """Mine a block of these (and what else is in the pool)."""
        await self.rpc("anvil_setNextBlockBaseFeePerGas", hex(base_fee_wei))
        await self.rpc("evm_setNextBlockTimestamp", timestamp)
        await self.rpc("anvil_setCoinbase", proposer)
        await self._feed(transactions)
        await self.rpc("evm_mine")
        header = await self.rpc("eth_getBlockByNumber", "latest", False)
        known = {transaction.hash: transaction for transaction in transactions}
        for name in header["transactions"]:
            if name not in known:
                known[name] = parse_transaction(await self.rpc("eth_getRawTransactionByHash", name))
        sealed = Sealed(
            hash=header["hash"],
            number=int(header["number"], 16),
            timestamp=timestamp,
            proposer=proposer,
            base_fee_wei=base_fee_wei,
            next_base_fee_wei=next_base_fee_wei(
                base_fee_wei, int(header["gasUsed"], 16), int(header["gasLimit"], 16)
            ),
            transactions=tuple(known[name] for name in header["transactions"]),
        )
        self.branch.append(sealed)
        return sealed

    async def roll_back(self, depth: int) -> None:
        if depth:
            await self.rpc("anvil_rollback", depth)
            del self.branch[-depth:]

    async def _feed(self, transactions: Sequence[Transaction]) -> None:
        for transaction in transactions:
            try:
                await self.rpc("eth_sendRawTransaction", transaction.raw)
            except EthereumRefused:
                # Its nonce was used on this branch, or its sender cannot pay any more.
                continue


def program(node: EvmNode, anvil: Path, *, chain_id: int, genesis: Path) -> Program:
    """Says how to run it. A node that starts is at the genesis block; `chain` brings it to where the others are."""
    node.folder.mkdir(parents=True, exist_ok=True)
    options = [f"--port={node.port.number}", f"--chain-id={chain_id}", f"--init={genesis}"]
    options.append(f"--cache-path={node.folder}")
    argv = leashed([str(anvil), *_OPTIONS, *options], death_signal=signal.SIGKILL)

    async def ready() -> bool:
        return await is_ready(node)

    # It has nothing to write down.
    return Program(node.name, tuple(argv), node.folder / "anvil.log", ready=ready, stop_signal=signal.SIGKILL)


async def is_ready(node: EvmNode) -> bool:
    try:
        await node.rpc("eth_blockNumber")
    except (*EthereumUnreachable, EthereumRefused):
        return False
    return True


def genesis_document(chain_id: int, rich: Sequence[str], balance_wei: int) -> dict[str, Any]:
    """The first block: who has coins in it."""
    return {
        "config": {"chainId": chain_id},
        "nonce": "0x0",
        # 2026-01-01; every block after it has the time of its making.
        "timestamp": hex(1_767_225_600),
        "extraData": "0x",
        "gasLimit": hex(60_000_000),
        "difficulty": "0x0",
        "mixHash": "0x" + "00" * 32,
        "coinbase": "0x" + "00" * 20,
        "alloc": {address: {"balance": hex(balance_wei)} for address in rich},
    }
