"""One bitcoind as a `port.Node`: blocks over REST, the rest over JSON-RPC, all checked against its hash.

Made by the composition root from `settings.NodeSettings`, driven by `chains.nodes.NodePool`. Keeps P5 (a
block or transaction that does not hash to what was asked for raises NodeLied) and the outcomes of P3: an
answer to a broadcast says accepted, confirmed or rejected only where bitcoind's does; all else is unknown.

Works with Bitcoin Core from version 24 on (gettxspendingprevout), and with Knots.
"""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal, TypeVar

import msgspec

from cryptowatch.chains.backlog import Backlog, backlog
from cryptowatch.chains.bitcoin.contents import BitcoinBlock, BitcoinPending
from cryptowatch.chains.bitcoin.packages import Waiting, packages
from cryptowatch.chains.bitcoin.parse import BLOCK_BYTES_MAX, MalformedData
from cryptowatch.chains.bitcoin.rpc import RpcClient
from cryptowatch.chains.port import BroadcastAnswer, BroadcastOutcome, FeeMarket, RawBlock, RawPending
from cryptowatch.errors import NodeLied, NodeRejected, NodeUnavailable

Network = Literal["main", "testnet", "signet", "regtest"]
#: What `getblockchaininfo` calls each network.
_CHAIN_NAMES: Mapping[Network, str] = {
    "main": "main",
    "testnet": "test",
    "signet": "signet",
    "regtest": "regtest",
}
#: Blocks within which a transaction should be mined: those for which estimates are asked.
FEE_TARGETS = (1, 2, 3, 6, 12, 24, 72, 144)
#: Per call of `pending`: the remaining ones are fetched by the next calls.
FETCHED_MAX = 5000
_BATCH = 500
_SATOSHI_PER_BITCOIN = 100_000_000
#: 4,000,000, less what miners keep for the block's header and their own transaction (-blockreservedweight: 8,000).
BLOCK_WEIGHT = 3_992_000
_WEIGHT_MAX = 4_000_000
_BITCOIN_MAX = 21_000_000

# rpc/protocol.h
_MISC_ERROR = -1
_INVALID_ADDRESS_OR_KEY = -5
_INVALID_PARAMETER = -8
_DESERIALIZATION_ERROR = -22
_TRANSACTION_ERROR = -25
_TRANSACTION_REJECTED = -26
_ALREADY_IN_UTXO_SET = -27
#: Refusals that say: this very transaction is in the mempool (with another witness, for the second).
_IN_MEMPOOL = ("txn-already-in-mempool", "txn-same-nonwitness-data-in-mempool")

_T = TypeVar("_T")


class _Fees(msgspec.Struct):
    base: Decimal


class _MempoolEntry(msgspec.Struct):
    weight: int
    fees: _Fees
    depends: list[str]


class _Mempool(msgspec.Struct):
    result: dict[str, _MempoolEntry]


_mempool = msgspec.json.Decoder(_Mempool)


class BitcoinNode:
    """A bitcoind. `asset` names the coin in transfers; `network` is checked with every head."""

    def __init__(
        self, rpc: RpcClient, *, network: Network, asset: str, block_weight: int = BLOCK_WEIGHT
    ) -> None:
        self._rpc = rpc
        self._block_weight = block_weight
        self._chain_name = _CHAIN_NAMES[network]
        self._asset = asset
        self._rest_is_off = False

    @property
    def name(self) -> str:
        return self._rpc.node

    async def head(self) -> tuple[int, bytes]:
        """The best (height, hash). Raises NodeLied when the node serves another network."""
        info = self._typed(await self._rpc.call("getblockchaininfo"), dict)
        if info.get("chain") != self._chain_name:
            raise NodeLied(self.name, f"serves network {info.get('chain')!r}, not {self._chain_name!r}")
        return self._index(info.get("blocks")), self._hash(info.get("bestblockhash"))

    async def hash_at(self, height: int) -> bytes | None:
        """The hash on the node's best chain at the height; None above its head."""
        try:
            return self._hash(await self._rpc.call("getblockhash", height))
        except NodeRejected as refusal:
            if refusal.code == _INVALID_PARAMETER:
                return None
            raise

    async def block(self, block_hash: bytes, height: int) -> RawBlock:
        """Raises NodeLied when the bytes are not that block, NodeUnavailable when the node lacks it."""
        raw = await self._raw_block(block_hash.hex())
        try:
            # In a thread: a full block takes some 15 ms, in which others want an answer.
            return await asyncio.to_thread(BitcoinBlock.read, raw, block_hash, height, self._asset)
        except MalformedData as problem:
            raise NodeLied(self.name, f"block {block_hash.hex()}: {problem}") from problem

    async def finalized(self) -> None:
        """Bitcoin's finality is a depth."""

    async def pending(
        self,
        known: frozenset[bytes],
        tracked: frozenset[bytes],
    ) -> tuple[frozenset[bytes], Sequence[RawPending]]:
        """(ids in the mempool, transactions not known). At most FETCHED_MAX of these: call again for more."""
        texts = self._typed(await self._rpc.call("getrawmempool"), list)
        ids = frozenset(self._hash(text) for text in texts)
        missing = list(ids - known)[:FETCHED_MAX]
        fetched: list[RawPending] = []
        for start in range(0, len(missing), _BATCH):
            fetched += await self._transactions(missing[start : start + _BATCH])
        return ids, fetched

    async def spenders(self, resources: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """resource -> id of the mempool's transaction that spends it, where there is one."""
        found: dict[bytes, bytes] = {}
        for start in range(0, len(resources), _BATCH):
            outpoints = [
                {"txid": resource[:32].hex(), "vout": int.from_bytes(resource[32:], "big")}
                for resource in resources[start : start + _BATCH]
            ]
            for entry in self._typed(await self._rpc.call("gettxspendingprevout", outpoints), list):
                if "spendingtxid" in self._typed(entry, dict):
                    index = self._index(entry.get("vout"))
                    resource = self._hash(entry.get("txid")) + index.to_bytes(4, "big")
                    found[resource] = self._hash(entry["spendingtxid"])
        return found

    async def evicted_fees(self, tx_hash: bytes) -> int:
        """By its mempool entry, prioritised fees included."""
        try:
            entry = self._typed(await self._rpc.call("getmempoolentry", tx_hash.hex()), dict)
        except NodeRejected as refusal:
            if refusal.code == _INVALID_ADDRESS_OR_KEY:
                return 0
            raise
        fee = self._typed(entry.get("fees"), dict).get("descendant")
        return self._satoshi(self._typed(fee, Decimal))

    async def funders(self, tx_hash: bytes, position: int, block_hash: bytes) -> Sequence[str] | None:
        """Of every input, once each: which of them paid which output, nobody can say.

        An old kind of output has no address. Raises NodeUnavailable before Bitcoin Core 25, and where the block's undo
        data is pruned.
        """
        try:
            answer = await self._rpc.call("getrawtransaction", tx_hash.hex(), 2, block_hash.hex())
        except NodeRejected as refusal:
            if refusal.code == _INVALID_ADDRESS_OR_KEY:
                return None
            raise
        found = dict[str, None]()
        for entry in self._typed(self._typed(answer, dict).get("vin"), list):
            used = self._typed(entry, dict)
            if "coinbase" in used:
                continue
            if "prevout" not in used:
                raise NodeUnavailable(self.name, "does not tell what a transaction's inputs were")
            script = self._typed(self._typed(used["prevout"], dict).get("scriptPubKey"), dict)
            if isinstance(address := script.get("address"), str):
                found[address] = None
        return list(found)

    async def broadcast(self, raw: bytes, parents: Sequence[bytes] = ()) -> BroadcastAnswer:
        """Send the bytes; safe to repeat. No limit of the node's own on fees: ours was checked before
        signing.

        A full mempool has dropped parents that pay less than its floor: as a package a child brings them back.
        -25 is the same for a conflict and for our own transaction once all its outputs are spent: unknown.
        """
        try:
            # maxfeerate 0: without it, the node's limit would give -25 too and so read as unknown.
            tx_hash = await self._rpc.call("sendrawtransaction", raw.hex(), 0)
        except NodeRejected as refusal:
            outcome = _outcome(refusal)
            if outcome is BroadcastOutcome.UNKNOWN and parents and await self._takes_package([*parents, raw]):
                return BroadcastAnswer(self.name, BroadcastOutcome.ACCEPTED, "with its parents")
            return BroadcastAnswer(self.name, outcome, f"{refusal.message} ({refusal.code})")
        return BroadcastAnswer(self.name, BroadcastOutcome.ACCEPTED, self._hash(tx_hash).hex())

    async def _takes_package(self, raws: Sequence[bytes]) -> bool:
        """The last one spends the others'. Bitcoin Core knows it from version 26 on."""
        try:
            answer = await self._rpc.call("submitpackage", [raw.hex() for raw in raws], 0)
        except (NodeRejected, NodeUnavailable):
            return False  # what it said of the transaction alone stands
        return bool(self._typed(answer, dict).get("package_msg") == "success")

    async def fee_market(self) -> FeeMarket:
        """Economical estimates and the mempool's floor, in satoshi per 1000 vB, rounded up."""
        calls: list[tuple[str, Sequence[object]]] = [("getmempoolinfo", ())]
        calls += [("estimatesmartfee", (target, "economical")) for target in FEE_TARGETS]
        mempool, *answers = await self._rpc.batch(calls)
        if isinstance(mempool, NodeRejected):
            raise mempool
        estimates = {
            target: self._rate(answer["feerate"])
            for target, answer in zip(FEE_TARGETS, answers, strict=True)
            if isinstance(answer, dict) and "feerate" in answer
        }
        floors = self._typed(mempool, dict)
        return FeeMarket(
            estimates, max(self._rate(floors.get(key)) for key in ("mempoolminfee", "minrelaytxfee"))
        )

    async def backlog(self) -> Backlog:
        """The mempool by the rates of the packages in which it would be mined."""
        answer = await self._rpc.fetch("getrawmempool", True)
        # In a thread: a full mempool takes seconds.
        return await asyncio.to_thread(self._read_backlog, answer)

    async def close(self) -> None:
        await self._rpc.close()

    def _read_backlog(self, answer: bytes) -> Backlog:
        try:
            entries = _mempool.decode(answer).result
        except (msgspec.MsgspecError, ArithmeticError, RecursionError):
            raise NodeUnavailable(self.name, "an answer that should be a mempool is none") from None
        pool = {
            tx_id: Waiting(self._satoshi(entry.fees.base), self._weight(entry.weight), tuple(entry.depends))
            for tx_id, entry in entries.items()
        }
        return backlog(((package.rate, package.weight) for package in packages(pool)), self._block_weight)

    async def _raw_block(self, block_hash: str) -> bytes:
        if not self._rest_is_off:
            raw = await self._rpc.rest(f"block/{block_hash}.bin")
            if raw is not None:
                return raw
        try:
            text = self._typed(await self._rpc.call("getblock", block_hash, 0), str)
        except NodeRejected as refusal:
            if refusal.code in (_MISC_ERROR, _INVALID_ADDRESS_OR_KEY):
                raise NodeUnavailable(self.name, f"does not have block {block_hash}") from refusal
            raise
        self._rest_is_off = True
        return self._bytes(text)

    async def _transactions(self, ids: Sequence[bytes]) -> list[RawPending]:
        """The transactions with these ids, less those that left the mempool meanwhile."""
        answers = await self._rpc.batch([("getrawtransaction", (tx_hash.hex(),)) for tx_hash in ids])
        found: list[RawPending] = []
        for tx_hash, answer in zip(ids, answers, strict=True):
            if isinstance(answer, NodeRejected):
                continue
            try:
                found.append(BitcoinPending.read(self._bytes(answer), tx_hash, self._asset))
            except MalformedData as problem:
                raise NodeLied(self.name, f"transaction {tx_hash.hex()}: {problem}") from problem
        return found

    def _hash(self, text: object) -> bytes:
        raw = self._bytes(text)
        if len(raw) != 32:
            raise NodeUnavailable(self.name, "an answer that should be a hash is none")
        return raw

    def _bytes(self, text: object) -> bytes:
        if not isinstance(text, str) or len(text) > 2 * BLOCK_BYTES_MAX:
            raise NodeUnavailable(self.name, "an answer that should be hex is not")
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise NodeUnavailable(self.name, "an answer that should be hex is not") from None

    def _index(self, value: object) -> int:
        """A height or the index of an output."""
        number = self._typed(value, int)
        if not 0 <= number < 1 << 31:
            raise NodeUnavailable(self.name, "a height or index beyond reason")
        return number

    def _rate(self, bitcoin_per_1000_vb: object) -> int:
        if not isinstance(bitcoin_per_1000_vb, Decimal | int):
            raise NodeUnavailable(self.name, "an answer that should be a fee rate is none")
        if not 0 <= bitcoin_per_1000_vb < _BITCOIN_MAX:
            raise NodeUnavailable(self.name, "a fee rate beyond reason")
        rate = Decimal(bitcoin_per_1000_vb) * _SATOSHI_PER_BITCOIN
        return int(rate.to_integral_value(ROUND_CEILING))

    def _satoshi(self, bitcoin: Decimal) -> int:
        # Of texts, "NaN" is read as a number too.
        if not bitcoin.is_finite() or not 0 <= bitcoin < _BITCOIN_MAX:
            raise NodeUnavailable(self.name, "a fee beyond reason")
        return int(bitcoin * _SATOSHI_PER_BITCOIN)

    def _weight(self, weight: int) -> int:
        if not 0 < weight <= _WEIGHT_MAX:
            raise NodeUnavailable(self.name, "a weight beyond reason")
        return weight

    def _typed(self, value: Any, kind: type[_T]) -> _T:
        if not isinstance(value, kind):
            raise NodeUnavailable(
                self.name, f"an answer that should be {kind.__name__} is {type(value).__name__}"
            )
        return value


def _outcome(refusal: NodeRejected) -> BroadcastOutcome:
    """What a refused `sendrawtransaction` means (rpc/util.cpp, RPCErrorFromTransactionError; measured)."""
    if refusal.code == _ALREADY_IN_UTXO_SET:
        return BroadcastOutcome.CONFIRMED
    if any(reason in refusal.message for reason in _IN_MEMPOOL):
        return BroadcastOutcome.ACCEPTED
    if refusal.code in (_TRANSACTION_REJECTED, _DESERIALIZATION_ERROR):
        return BroadcastOutcome.REJECTED
    return BroadcastOutcome.UNKNOWN
