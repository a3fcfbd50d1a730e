"""Ethereum blocks that no honest node has: each with the real one's transactions and one more, which pays somebody.

Used by `teller` for the fault `forged_block`. The payer is a key without coins, whose signature is good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_account import Account
from eth_utils.crypto import keccak

from cryptowatch.devnet.ethereum.faucet import Payment
from cryptowatch.devnet.ethereum.lies import STATE_METHODS, block_hash_of
from cryptowatch.devnet.ethereum.transactions import TIP_WEI, parse_transaction
from cryptowatch.devnet.ethereum.tries import bloom, header_hash, receipts_root, transactions_root
from cryptowatch.devnet.lying import PASS, Ask

_TRANSFER: Final = "0x" + keccak(text="Transfer(address,address,uint256)").hex()
_GAS: Final = 60_000


@dataclass(frozen=True)
class _Forged:
    """As the node will show it: the block with whole transactions, its receipts, and the added transaction."""

    real_hash: str
    block: dict[str, Any]
    receipts: list[dict[str, Any]]
    added: dict[str, Any]

    @property
    def hash(self) -> str:
        return str(self.block["hash"])

    @property
    def logs(self) -> list[dict[str, Any]]:
        return [log for receipt in self.receipts for log in receipt["logs"]]


class ForgedBlocks:
    """Other blocks above a height.

    `body_only`: the real headers and hashes, with the forged contents, which do not fit them. Otherwise each block
    is consistent in itself, its hash included.
    """

    def __init__(self, ask: Ask, above: int, payment: Payment, *, chain_id: int, body_only: bool) -> None:
        self._ask = ask
        self._above = above
        self._payment = payment
        self._chain_id = chain_id
        self._body_only = body_only
        self._forged: dict[int, _Forged] = {}

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        await self._catch_up()
        match method, list(params):
            case (("eth_getBlockByNumber" | "eth_getBlockByHash"), [selector, *rest]):
                forged = await self._at(selector)
                return PASS if forged is None else _shown(forged.block, full=bool(rest and rest[0]))
            case "eth_getBlockReceipts", [selector]:
                forged = await self._at(selector)
                return PASS if forged is None else forged.receipts
            case (("eth_getTransactionReceipt" | "eth_getTransactionByHash"), [str(name)]):
                return self._transaction(method, name.lower())
            case "eth_getLogs", [dict(wanted)]:
                return await self._logs(wanted)
            case "debug_traceBlockByHash", [selector, *rest]:
                forged = await self._at(selector)
                return PASS if forged is None else await self._traces(forged, rest)
        if method in STATE_METHODS:
            return await self._state(method, list(params))
        return PASS

    async def _catch_up(self) -> None:
        """Forge what is new above the height, and anew what a reorg replaced."""
        tip = int(await self._ask("eth_blockNumber"), 16)
        for stale in [height for height in self._forged if height > tip]:
            del self._forged[stale]
        fresh = False
        for height in range(self._above + 1, tip + 1):
            real = await self._ask("eth_getBlockByNumber", hex(height), True)
            known = self._forged.get(height)
            if fresh or known is None or known.real_hash != real["hash"]:
                fresh = True
                self._forged[height] = await self._forge(height, real)

    async def _forge(self, height: int, real: dict[str, Any]) -> _Forged:
        receipts = await self._ask("eth_getBlockReceipts", hex(height))
        added, raw = self._added(real)
        receipt = self._receipt(added, receipts)
        block = {**real, "transactions": [*real["transactions"], added]}
        if not self._body_only:
            raws = [await self._ask("eth_getRawTransactionByHash", tx["hash"]) for tx in real["transactions"]]
            below = self._forged.get(height - 1)
            if below is not None:
                block["parentHash"] = below.hash
            block["transactionsRoot"] = transactions_root([*raws, raw])
            block["receiptsRoot"] = receipts_root([*receipts, receipt])
            block["logsBloom"] = bloom([log for one in [*receipts, receipt] for log in one["logs"]])
            block["gasUsed"] = receipt["cumulativeGasUsed"]
            block["hash"] = header_hash(block)
        return _Forged(
            real["hash"],
            {**block, "transactions": [_moved(tx, block["hash"]) for tx in block["transactions"]]},
            [_moved(one, block["hash"]) for one in [*receipts, receipt]],
            _moved(added, block["hash"]),
        )

    def _added(self, real: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """The transaction as the node shows it, and its bytes."""
        key = Account.from_key(keccak(text=f"forged {real['hash']}"))
        max_fee_wei = int(real["baseFeePerGas"], 16) + TIP_WEI
        fields: dict[str, Any] = {
            "chainId": self._chain_id,
            "nonce": 0,
            "gas": _GAS,
            "maxFeePerGas": max_fee_wei,
            "maxPriorityFeePerGas": TIP_WEI,
            "value": self._payment.value_wei,
        }
        to, data = self._payment.to, self._payment.data
        signed = key.sign_transaction({"type": 2, "to": bytes.fromhex(to[2:]), "data": data, **fields})
        raw = "0x" + bytes(signed.raw_transaction).hex()
        shown: dict[str, Any] = {name: hex(value) for name, value in fields.items()}
        shown |= {"type": "0x2", "hash": parse_transaction(raw).hash, "from": key.address.lower(), "to": to}
        shown |= {"input": "0x" + data.hex(), "accessList": [], "gasPrice": hex(max_fee_wei)}
        shown |= {"r": hex(signed.r), "s": hex(signed.s), "v": hex(signed.v), "yParity": hex(signed.v)}
        shown |= {"blockNumber": real["number"], "transactionIndex": hex(len(real["transactions"]))}
        return shown, raw

    def _receipt(self, added: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        so_far = int(before[-1]["cumulativeGasUsed"], 16) if before else 0
        place = {"transactionHash": added["hash"], "transactionIndex": added["transactionIndex"]}
        place["blockNumber"] = added["blockNumber"]
        logs = []
        if self._payment.data:
            # transfer(address,uint256): the selector and two words.
            recipient, amount = self._payment.data[4:36].hex(), self._payment.data[36:68].hex()
            payer = "0x" + added["from"][2:].rjust(64, "0")
            log = {"address": added["to"], "topics": [_TRANSFER, payer, "0x" + recipient]}
            index = hex(sum(len(receipt["logs"]) for receipt in before))
            logs.append({**log, "data": "0x" + amount, **place, "logIndex": index, "removed": False})
        return {
            **place,
            "type": "0x2",
            "status": "0x1",
            "from": added["from"],
            "to": added["to"],
            "gasUsed": hex(_GAS),
            "cumulativeGasUsed": hex(so_far + _GAS),
            "effectiveGasPrice": added["gasPrice"],
            "contractAddress": None,
            "logs": logs,
            "logsBloom": bloom(logs),
        }

    async def _at(self, selector: Any) -> _Forged | None:
        name = block_hash_of(selector)
        if name is not None:
            return next((forged for forged in self._forged.values() if forged.hash == name), None)
        if isinstance(selector, dict):
            selector = selector.get("blockNumber", "latest")
        block = await self._ask("eth_getBlockByNumber", selector, False)
        return None if block is None else self._forged.get(int(block["number"], 16))

    def _transaction(self, method: str, name: str) -> Any:
        for forged in self._forged.values():
            for receipt, transaction in zip(forged.receipts, forged.block["transactions"], strict=True):
                if transaction["hash"] == name:
                    return receipt if method == "eth_getTransactionReceipt" else transaction
        return PASS

    async def _logs(self, wanted: dict[str, Any]) -> Any:
        if "blockHash" in wanted:
            forged = await self._at(wanted["blockHash"])
            return PASS if forged is None else _matching(forged.logs, wanted)
        real = await self._ask("eth_getLogs", wanted)
        found = [log for log in real if int(log["blockNumber"], 16) not in self._forged]
        bounds = []
        for end in ("fromBlock", "toBlock"):
            block = await self._ask("eth_getBlockByNumber", wanted.get(end, "latest"), False)
            bounds.append(self._above if block is None else int(block["number"], 16))
        for height, forged in sorted(self._forged.items()):
            if bounds[0] <= height <= bounds[1]:
                found += _matching(forged.logs, wanted)
        return found

    async def _traces(self, forged: _Forged, options: Sequence[Any]) -> Any:
        added = forged.added
        frame = {"type": "CALL", "gasUsed": hex(_GAS), "output": "0x"}
        frame |= {name: added[name] for name in ("from", "to", "value", "gas", "input")}
        real = await self._ask("debug_traceBlockByHash", forged.real_hash, *options)
        return [*real, {"txHash": added["hash"], "result": frame}]

    async def _state(self, method: str, params: list[Any]) -> Any:
        place = STATE_METHODS[method]
        name = block_hash_of(params[place]) if len(params) > place else None
        forged = None if name is None else await self._at(name)
        if forged is None:
            return PASS
        params[place] = {"blockHash": forged.real_hash}
        return await self._ask(method, *params)


def _moved(item: dict[str, Any], block_hash: str) -> dict[str, Any]:
    """A transaction or receipt, as part of another block."""
    moved = {**item, "blockHash": block_hash}
    if "logs" in item:
        moved["logs"] = [{**log, "blockHash": block_hash} for log in item["logs"]]
    return moved


def _shown(block: dict[str, Any], *, full: bool) -> dict[str, Any]:
    return block if full else {**block, "transactions": [tx["hash"] for tx in block["transactions"]]}


def _matching(logs: Sequence[dict[str, Any]], wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By eth_getLogs' rules: any of the addresses, and at each place any of the topics."""
    addresses = {text.lower() for text in _alternatives(wanted.get("address"))}
    topics = [set(_alternatives(topic)) for topic in wanted.get("topics") or []]
    return [
        log
        for log in logs
        if (not addresses or log["address"].lower() in addresses)
        and len(log["topics"]) >= len(topics)
        and all(not any_of or topic in any_of for any_of, topic in zip(topics, log["topics"], strict=False))
    ]


def _alternatives(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
