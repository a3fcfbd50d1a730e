"""The nodes' word on what happened, and the database's: asked directly, not through the daemon or the fault proxies."""

import secrets
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg

from cryptowatch.devnet import Net


@dataclass(frozen=True)
class Witness:
    """One node, by default the first."""

    net: Net
    node: int = 0

    async def ask(self, method: str, *parameters: Any) -> Any:
        return await self.net.bitcoin[self.node].rpc(method, *parameters)

    async def confirmations(self, tx_hash: str) -> int:
        """0 in the mempool; -1 when neither the mempool nor the chain has it."""
        if tx_hash in await self.ask("getrawmempool"):
            return 0
        try:
            found = await self.ask("getrawtransaction", tx_hash, 1)
        except Exception as problem:
            if getattr(problem, "error", {}).get("code") == -5:
                return -1
            raise
        # With a transaction index, a transaction of an orphaned block is still told, with 0 confirmations.
        return int(found.get("confirmations", 0)) or -1

    async def outputs(self, tx_hash: str) -> dict[str, Decimal]:
        """address -> amount of a transaction's outputs."""
        found = await self.ask("getrawtransaction", tx_hash, 1)
        return {out["scriptPubKey"]["address"]: Decimal(out["value"]) for out in found["vout"]}

    async def transactions_paying(self, address: str) -> set[str]:
        """Every confirmed transaction that ever paid the address, spent or not."""
        found: set[str] = set()
        for height in range(await self.ask("getblockcount") + 1):
            block = await self.ask("getblock", await self.ask("getblockhash", height), 2)
            found |= {
                tx["txid"]
                for tx in block["tx"]
                for out in tx["vout"]
                if out["scriptPubKey"].get("address") == address
            }
        return found

    async def unspent(self, descriptors: list[str]) -> Decimal:
        """What the chain holds on these descriptors."""
        found = await self.ask(
            "scantxoutset", "start", [{"desc": text, "range": 5000} for text in descriptors]
        )
        return Decimal(found["total_amount"])

    async def signed_bytes(self, tx_hash: str) -> str | None:
        """What the daemon wrote down of a transaction before sending it, in hex; None before it is signed."""
        connection = await asyncpg.connect(self.net.postgres_dsn)
        try:
            raw = await connection.fetchval(
                "SELECT raw FROM attempt WHERE tx_hash = $1", bytes.fromhex(tx_hash)
            )
        finally:
            await connection.close()
        return None if raw is None else str(raw.hex())

    async def own_address(self, chain: str) -> str | None:
        """Of the account of the wallet's that holds its money, once it is derived."""
        connection = await asyncpg.connect(self.net.postgres_dsn)
        try:
            address = await connection.fetchval(
                "SELECT address FROM address WHERE chain = $1 AND branch = 1 AND key_index = 0", chain
            )
        finally:
            await connection.close()
        return None if address is None else str(address)

    async def balance(self, chain: str, address: str, asset: str) -> Decimal:
        """What an account of an Ethereum chain holds, in whole units."""
        evm = self.net.evm[chain]
        rpc = evm.nodes[self.node].rpc
        if asset not in evm.tokens:
            return Decimal(int(await rpc("eth_getBalance", address, "latest"), 16)).scaleb(-18)
        call = {"to": evm.tokens[asset], "data": "0x70a08231" + address[2:].lower().rjust(64, "0")}
        return Decimal(int(await rpc("eth_call", call, "latest"), 16)).scaleb(-6)

    async def new_account(self) -> str:
        """On an Ethereum chain, of nobody."""
        return "0x" + secrets.token_hex(20)

    async def new_address(self) -> str:
        """Of the faucet's wallet: an outsider's."""
        return str(await self.ask("getnewaddress", "", "bech32"))
