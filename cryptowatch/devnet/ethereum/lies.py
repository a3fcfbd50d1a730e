"""anvils that tell of another chain than they have: behind, without logs or traces, with other final blocks.

`teller` asks a lie about each call before it asks the node. Blocks that no honest node has are in `forgery`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from cryptowatch.devnet.lying import PASS, Ask, Refused

#: A node that left blocks in a reorg does not know them any more: these many are remembered for it.
_BLOCKS_REMEMBERED = 32
_NO_BLOOM: Final = "0x" + "00" * 256
_TAGS: Final = {"latest", "pending", "safe", "finalized"}
#: Which parameter says at which block the state is asked for.
STATE_METHODS: Final = {
    "eth_getBalance": 1,
    "eth_getTransactionCount": 1,
    "eth_getCode": 1,
    "eth_call": 1,
    "eth_getStorageAt": 2,
    "eth_feeHistory": 1,
}
_TRACES: Final = {
    "debug_traceBlockByHash",
    "debug_traceBlockByNumber",
    "debug_traceTransaction",
}


def block_hash_of(selector: Any) -> str | None:
    """The hash, where a block is named by it, bare or as EIP-1898 has it."""
    if isinstance(selector, dict):
        return str(selector["blockHash"]).lower() if "blockHash" in selector else None
    text = str(selector)
    return text.lower() if len(text) == 66 else None


@dataclass
class StaleHead:
    """The node as it was: the blocks it had, no younger ones, whatever happened to the chain since."""

    ask: Ask
    #: By tag, the height it stood at.
    tags: dict[str, int]
    blocks: dict[int, dict[str, Any]] = field(default_factory=dict)
    receipts: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    async def capture(cls, ask: Ask) -> "StaleHead":
        tags = {}
        for tag in _TAGS - {"pending"}:
            tags[tag] = int((await ask("eth_getBlockByNumber", tag, False))["number"], 16)
        lie = cls(ask, {**tags, "pending": tags["latest"]})
        for n in range(max(0, lie.height - _BLOCKS_REMEMBERED), lie.height + 1):
            lie.blocks[n] = await ask("eth_getBlockByNumber", hex(n), True)
            lie.receipts[n] = await ask("eth_getBlockReceipts", hex(n))
        return lie

    @property
    def height(self) -> int:
        return self.tags["latest"]

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        if method in STATE_METHODS:
            return await self._state(method, list(params))
        match method, list(params):
            case "eth_blockNumber", _:
                return hex(self.height)
            case (("eth_getBlockByNumber" | "eth_getBlockByHash"), [selector, *rest]):
                return await self._block(selector, full=bool(rest and rest[0]))
            case "eth_getBlockReceipts", [selector]:
                number = await self._number(selector)
                if number is None:
                    return None
                if number in self.receipts:
                    return self.receipts[number]
                return await self.ask("eth_getBlockReceipts", hex(number))
            case (("eth_getTransactionReceipt" | "eth_getTransactionByHash"), [str(name)]):
                return await self._transaction(method, name.lower())
            case "eth_getLogs", [dict(wanted)]:
                return await self._logs(wanted)
            case (("debug_traceBlockByHash" | "debug_traceBlockByNumber"), [selector, *_]):
                if await self._number(selector) is None:
                    raise Refused(-32000, "block not found")
        return PASS

    async def _number(self, selector: Any) -> int | None:
        """The height of a block that the node would know."""
        if isinstance(selector, dict) and "blockNumber" in selector:
            selector = selector["blockNumber"]
        name = block_hash_of(selector)
        if name is None:
            number = self.tags[selector] if selector in _TAGS else int(str(selector), 16)
            return number if number <= self.height else None
        for number, block in self.blocks.items():
            if block["hash"] == name:
                return number
        block = await self.ask("eth_getBlockByHash", name, False)
        number = self.height if block is None else int(block["number"], 16)
        return number if number < min(self.blocks) else None

    async def _block(self, selector: Any, *, full: bool) -> Any:
        number = await self._number(selector)
        if number is None:
            return None
        block = self.blocks.get(number)
        if block is None:
            return await self.ask("eth_getBlockByNumber", hex(number), full)
        if full:
            return block
        return {**block, "transactions": [tx["hash"] for tx in block["transactions"]]}

    async def _transaction(self, method: str, name: str) -> Any:
        for number, receipts in self.receipts.items():
            for position, receipt in enumerate(receipts):
                if receipt["transactionHash"] == name:
                    return (
                        receipt
                        if method == "eth_getTransactionReceipt"
                        else self.blocks[number]["transactions"][position]
                    )
        found = await self.ask(method, name)
        if not found or found["blockNumber"] is None or int(found["blockNumber"], 16) < min(self.blocks):
            return found
        if method == "eth_getTransactionReceipt":
            return None
        return {**found, "blockHash": None, "blockNumber": None, "transactionIndex": None}

    async def _logs(self, wanted: dict[str, Any]) -> Any:
        if "blockHash" in wanted:
            if await self._number(wanted["blockHash"]) is None:
                raise Refused(-32000, "unknown block")
            return PASS
        first = await self._number(wanted.get("fromBlock", "latest"))
        last = await self._number(wanted.get("toBlock", "latest"))
        if first is None:
            return []
        last = self.height if last is None else last
        found = await self.ask("eth_getLogs", {**wanted, "fromBlock": hex(first), "toBlock": hex(last)})
        had = {number: block["hash"] for number, block in self.blocks.items()}
        return [
            log for log in found if had.get(int(log["blockNumber"], 16), log["blockHash"]) == log["blockHash"]
        ]

    async def _state(self, method: str, params: list[Any]) -> Any:
        place = STATE_METHODS[method]
        number = await self._number(params[place] if len(params) > place else "latest")
        if number is None:
            raise Refused(-32000, "header not found")
        return await self.ask(method, *params[:place], hex(number), *params[place + 1 :])


@dataclass(frozen=True)
class HiddenLogs:
    """No log ever happened; the blooms say otherwise, unless they are emptied, too."""

    ask: Ask
    bloom_emptied: bool

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        match method:
            case "eth_getLogs":
                return []
            case "eth_getBlockReceipts":
                receipts = await self.ask(method, *params)
                return receipts and [self._without_logs(receipt) for receipt in receipts]
            case "eth_getTransactionReceipt":
                receipt = await self.ask(method, *params)
                return receipt and self._without_logs(receipt)
            case "eth_getBlockByNumber" | "eth_getBlockByHash" if self.bloom_emptied:
                block = await self.ask(method, *params)
                return block and {**block, "logsBloom": _NO_BLOOM}
        return PASS

    def _without_logs(self, receipt: dict[str, Any]) -> dict[str, Any]:
        bloom = _NO_BLOOM if self.bloom_emptied else receipt["logsBloom"]
        return {**receipt, "logs": [], "logsBloom": bloom}


@dataclass(frozen=True)
class HiddenTraces:
    """Transactions without what happened inside them."""

    ask: Ask

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        if method not in _TRACES:
            return PASS
        found = await self.ask(method, *params)
        if isinstance(found, dict):
            return _flat(found)
        return [{**entry, "result": _flat(entry["result"])} for entry in found]


def _flat(trace: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in trace.items() if name != "calls"}


@dataclass(frozen=True)
class OtherFinality:
    """The finalized block is the one it was when the lie began, or always the newest."""

    ask: Ask
    finalized: str | Literal["latest"]

    @classmethod
    async def stale(cls, ask: Ask) -> "OtherFinality":
        return cls(ask, (await ask("eth_getBlockByNumber", "finalized", False))["number"])

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        if "finalized" not in params:
            return PASS
        return await self.ask(method, *(self.finalized if word == "finalized" else word for word in params))
