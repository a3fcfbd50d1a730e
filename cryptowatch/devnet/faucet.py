"""The devnet's purse: the wallet `faucet` of the first node, which mining fills and players are paid from.

Called by `network`. Payments made here do not depend on one another: each spends confirmed coins of its own,
and change only when nothing else is left, so that a reorg that drops one payment takes no other with it.
"""

import asyncio
from contextlib import suppress
from decimal import ROUND_DOWN, Decimal
from typing import Any

from cryptowatch.devnet.nodes import BitcoinNode
from cryptowatch.devnet.rpc import RpcError
from cryptowatch.errors import OperatorError

WALLET = "faucet"
# Coinbase outputs can be spent after 100 blocks: this leaves 40 of 50 BTC each.
FUNDING_BLOCKS = 140
COINS, COIN_BTC = 250, "6"
FEE_RATE_SAT_VB = 5
_OWN_LABELS = _MINING, _COIN = "mining", "coin"
_INPUT_VB, _OUTPUT_VB, _OVERHEAD_VB = 69, 43, 11


class Faucet:
    """`open` first. Amounts are decimal strings in BTC."""

    def __init__(self, node: BitcoinNode) -> None:
        self.node = node
        self.mining_address = ""
        self.mining_script = b""
        self._picking = asyncio.Lock()
        self._picked: set[tuple[str, int]] = set()

    async def open(self) -> None:
        """Make and fund the wallet, unless it is there from an earlier run."""
        rpc = self.node.rpc
        if WALLET not in await rpc("listwallets"):
            await rpc("createwallet", WALLET, False, False, "", False, True, True)
        if _MINING in await rpc("listlabels"):
            self.mining_address = str(next(iter(await rpc("getaddressesbylabel", _MINING))))
            # A head older than a day makes nodes think that they are still catching up; then they relay
            # nothing.
            await rpc("generatetoaddress", 1, self.mining_address)
        else:
            self.mining_address = str(await rpc("getnewaddress", _MINING, "bech32"))
            await rpc("generatetoaddress", FUNDING_BLOCKS, self.mining_address)
            coins = [str(await rpc("getnewaddress", _COIN, "bech32")) for _ in range(COINS)]
            await rpc("sendmany", "", dict.fromkeys(coins, COIN_BTC))
            await rpc("generatetoaddress", 1, self.mining_address)
        self.mining_script = bytes.fromhex(
            (await rpc("validateaddress", self.mining_address))["scriptPubKey"]
        )

    async def send(
        self, outputs: dict[str, str], *, fee_rate: str = str(FEE_RATE_SAT_VB), replaceable: bool = True
    ) -> str:
        """Pay addresses in one transaction; answers its hash. `fee_rate` in sat/vB."""
        async with self._picking:
            inputs = await self._pick(outputs, Decimal(fee_rate))
            options = {
                "inputs": inputs,
                "fee_rate": fee_rate,
                "replaceable": replaceable,
                "add_inputs": False,
            }
            try:
                sent = await self.node.rpc("send", outputs, None, "unset", None, options)
            except RpcError as refusal:
                self._picked -= {(coin["txid"], coin["vout"]) for coin in inputs}
                raise OperatorError(f"the faucet cannot pay: {refusal.message}") from refusal
        return str(sent["txid"])

    async def _pick(self, outputs: dict[str, str], fee_rate_sat_vb: Decimal) -> list[dict[str, Any]]:
        wanted = sum((Decimal(amount) for amount in outputs.values()), Decimal(0))
        fee_sat = fee_rate_sat_vb * (_OVERHEAD_VB + _OUTPUT_VB * (len(outputs) + 1))
        inputs: list[dict[str, Any]] = []
        found = Decimal(0)
        coins = await self.node.rpc("listunspent", 1)
        # Change last, since a reorg that drops its parent takes it along; large coins are for large payments.
        for coin in sorted(coins, key=lambda coin: (coin.get("label") not in _OWN_LABELS, coin["amount"])):
            place = (coin["txid"], coin["vout"])
            if coin["spendable"] and place not in self._picked:
                inputs.append({"txid": place[0], "vout": place[1]})
                found += coin["amount"]
                fee_sat += fee_rate_sat_vb * _INPUT_VB
                # Room for a fee that rises when the payment is replaced.
                if found >= wanted + 2 * fee_sat / 100_000_000:
                    self._picked |= {(one["txid"], one["vout"]) for one in inputs}
                    return inputs
        raise OperatorError(
            f"the faucet has {found} BTC in confirmed coins and {wanted} are asked for: mine first"
        )

    async def conflicting(self, tx_hash: str, to: str | None, fee_rate: str) -> str:
        """A signed transaction (hex) that spends what a faucet's transaction spends, to another address."""
        rpc = self.node.rpc
        original = (
            await rpc("getrawtransaction", tx_hash, 2)
            if await self._is_known(tx_hash)
            else await self._own(tx_hash)
        )
        spent, found = [], Decimal(0)
        for coin in original["vin"]:
            source = (await rpc("getrawtransaction", coin["txid"], 2))["vout"][coin["vout"]]
            spent.append(
                {
                    "txid": coin["txid"],
                    "vout": coin["vout"],
                    "scriptPubKey": source["scriptPubKey"]["hex"],
                    "amount": str(source["value"]),
                }
            )
            found += source["value"]
        fee = Decimal(fee_rate) * (_OVERHEAD_VB + _OUTPUT_VB + _INPUT_VB * len(spent)) / 100_000_000
        value = (found - fee).quantize(Decimal("1e-8"), rounding=ROUND_DOWN)
        target = to or str(await rpc("getnewaddress", "", "bech32"))
        inputs = [{"txid": coin["txid"], "vout": coin["vout"], "sequence": 0xFFFFFFFD} for coin in spent]
        unsigned = await rpc("createrawtransaction", inputs, {target: str(value)})
        signed = await rpc("signrawtransactionwithwallet", unsigned, spent)
        if not signed["complete"]:
            raise OperatorError(f"{tx_hash} spends coins that are not the faucet's")
        return str(signed["hex"])

    async def forget(self, tx_hashes: tuple[str, ...]) -> None:
        """Keep the wallet from sending dropped transactions again by itself and from using their coins."""
        for tx_hash in tx_hashes:
            # Not every dropped transaction is the faucet's.
            with suppress(RpcError, OperatorError):
                original = await self._own(tx_hash)
                await self.node.rpc("abandontransaction", tx_hash)
                for coin in original["vin"]:
                    place = {"txid": coin["txid"], "vout": coin["vout"]}
                    await self.node.rpc("lockunspent", False, [place], True)

    async def _is_known(self, tx_hash: str) -> bool:
        try:
            await self.node.rpc("getrawtransaction", tx_hash)
        except RpcError:
            return False
        return True

    async def _own(self, tx_hash: str) -> dict[str, Any]:
        try:
            found = await self.node.rpc("gettransaction", tx_hash, True, True)
        except RpcError as refusal:
            raise OperatorError(f"{tx_hash} is not one of the faucet's transactions") from refusal
        decoded: dict[str, Any] = found["decoded"]
        return decoded
