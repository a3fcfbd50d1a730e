"""One Ethereum node as a `port.AccountNode`: everything over JSON-RPC, blocks checked against their hashes.

Made by `family` from the settings, driven by `chains.nodes.NodePool`. Keeps P5 (a block whose answers do not give its
hash raises NodeLied) and the outcomes of P3: an answer to a broadcast says accepted, confirmed or rejected only where
the node's does; all else is unknown.

Works with any node that has `eth_getBlockReceipts`: geth, reth, Nethermind, Erigon, Besu, anvil.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from cryptowatch.chains.ethereum.block import Block, Receipt
from cryptowatch.chains.ethereum.contents import EthereumBlock
from cryptowatch.chains.ethereum.facts import ChainFacts
from cryptowatch.chains.ethereum.keccak import keccak
from cryptowatch.chains.ethereum.rlp import MalformedData
from cryptowatch.chains.ethereum.rpc import Answer, RpcClient
from cryptowatch.chains.ethereum.traces import Trace
from cryptowatch.chains.port import (
    OWN_COIN_POSITION,
    AccountState,
    BroadcastAnswer,
    BroadcastOutcome,
    FeeMarket,
    RawBlock,
    RawPending,
)
from cryptowatch.errors import NodeLied, NodeRejected, NodeUnavailable

#: How many blocks' tips are looked at, and which percentile of them stands for which target in blocks.
_FEE_HISTORY_BLOCKS = 20
_PERCENTILES: Mapping[int, int] = {30: 10, 50: 3, 85: 1}
#: The call of a token up to the account: the function's selector, and what fills the account up to a word.
_BALANCE_OF = "0x" + keccak(b"balanceOf(address)")[:4].hex() + "00" * 12
#: No height, fee or nonce is beyond it; a balance may be.
_SANE = 1 << 128

_T = TypeVar("_T")


class _Head(msgspec.Struct):
    number: str
    hash: str


class _Status(msgspec.Struct, rename="camel"):
    """What a transaction and a receipt have in common."""

    block_hash: str | None = None
    hash: str | None = None


class _Log(msgspec.Struct):
    topics: list[str]


class _Mined(msgspec.Struct, rename="camel"):
    """Of a receipt, who paid."""

    block_hash: str
    logs: list[_Log]
    sender: str = msgspec.field(name="from")


class _FeeHistory(msgspec.Struct, rename="camel"):
    base_fee_per_gas: list[str]
    reward: list[list[str]] | None = None


_texts = msgspec.json.Decoder(list[Answer[str]])
_text = msgspec.json.Decoder(Answer[str])
_heads = msgspec.json.Decoder(list[Answer[str | _Head]])
_head = msgspec.json.Decoder(Answer[_Head])
_status = msgspec.json.Decoder(Answer[_Status])
_statuses = msgspec.json.Decoder(list[Answer[_Status]])
_fee_history = msgspec.json.Decoder(Answer[_FeeHistory])
_mined = msgspec.json.Decoder(Answer[_Mined])
_block = msgspec.json.Decoder(Answer[Block])
_receipts = msgspec.json.Decoder(Answer[list[Receipt]])
_traces = msgspec.json.Decoder(Answer[list[Trace]])


class EthereumNode:
    """A node. `facts.chain_id` is checked with every head; `finality_tag`: it knows which block is final."""

    def __init__(self, rpc: RpcClient, facts: ChainFacts, *, finality_tag: bool) -> None:
        self._rpc = rpc
        self._facts = facts
        self._finality_tag = finality_tag

    @property
    def name(self) -> str:
        return self._rpc.node

    async def head(self) -> tuple[int, bytes]:
        """The best (height, hash). Raises NodeLied when the node serves another chain."""
        chain_id, head = await self._rpc.batch(
            _heads, [("eth_chainId", ()), ("eth_getBlockByNumber", ("latest", False))]
        )
        if isinstance(chain_id, NodeRejected):
            raise chain_id
        if isinstance(head, NodeRejected):
            raise head
        if self._number(chain_id) != self._facts.chain_id:
            raise NodeLied(self.name, f"serves the chain {chain_id!s:.20}, not {self._facts.chain_id:#x}")
        return self._point(head)

    async def hash_at(self, height: int) -> bytes | None:
        """The hash on the node's best chain at the height; None above its head."""
        head = await self._rpc.call(_head, "eth_getBlockByNumber", hex(height), False)
        return None if head is None else self._hash(head.hash)

    async def block(self, block_hash: bytes, height: int) -> RawBlock:
        """All of it from this node, by hash. Raises NodeLied when the answers are not that block."""
        text = _shown(block_hash)
        wanted = [
            self._rpc.fetch("eth_getBlockByHash", text, True),
            self._rpc.fetch("eth_getBlockReceipts", text),
        ]
        if self._facts.traces:
            wanted.append(self._rpc.fetch("debug_traceBlockByHash", text, {"tracer": "callTracer"}))
        answers = await asyncio.gather(*wanted)
        # In a thread: a full block takes some 30 ms, in which others want an answer.
        return await asyncio.to_thread(self._read_block, answers, block_hash, height)

    async def finalized(self) -> tuple[int, bytes] | None:
        """(height, hash) of what the node calls final; None where the settings say that it knows no such thing."""
        if not self._finality_tag:
            return None
        head = await self._rpc.call(_head, "eth_getBlockByNumber", "finalized", False)
        return self._point(head)

    async def pending(
        self,
        known: frozenset[bytes],
        tracked: frozenset[bytes],
    ) -> tuple[frozenset[bytes], Sequence[RawPending]]:
        """(those of `tracked` that wait at the node, none): pools of this family cannot be listed."""
        asked = list(tracked)
        answers = await self._rpc.batch(
            _statuses, [("eth_getTransactionByHash", (_shown(tx_hash),)) for tx_hash in asked]
        )
        waiting = set()
        for tx_hash, answer in zip(asked, answers, strict=True):
            if isinstance(answer, NodeRejected):
                raise answer
            if answer is not None and answer.block_hash is None:
                if answer.hash != _shown(tx_hash):
                    raise NodeLied(self.name, "gives another transaction than the one asked for")
                waiting.add(tx_hash)
        return frozenset(waiting), ()

    async def spenders(self, resources: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Nothing: which waiting transaction uses a nonce, nodes do not tell."""
        return {}

    async def funders(self, tx_hash: bytes, position: int, block_hash: bytes) -> Sequence[str] | None:
        """Who sent the transaction, and of a token also whom the log names as its payer."""
        mined = await self._rpc.call(_mined, "eth_getTransactionReceipt", _shown(tx_hash))
        if mined is None or mined.block_hash != _shown(block_hash):
            return None
        found = {mined.sender: None}
        if position < OWN_COIN_POSITION:
            if position >= len(mined.logs) or len(mined.logs[position].topics) < 2:
                raise NodeUnavailable(self.name, "a receipt without the transfer's log")
            found["0x" + mined.logs[position].topics[1][-40:]] = None
        return list(found)

    async def broadcast(self, raw: bytes, parents: Sequence[bytes] = ()) -> BroadcastAnswer:
        """Send the bytes; safe to repeat."""
        try:
            tx_hash = await self._rpc.call(_text, "eth_sendRawTransaction", _shown(raw))
        except NodeRejected as refusal:
            detail = f"{refusal.message} ({refusal.code})"
            return BroadcastAnswer(self.name, await self._outcome(refusal, keccak(raw)), detail)
        return BroadcastAnswer(self.name, BroadcastOutcome.ACCEPTED, self._hash(tx_hash).hex())

    async def fee_market(self) -> FeeMarket:
        """Tips by target (wei per gas): medians of what recent blocks took. Floor: the next block's base fee."""
        history = await self._rpc.call(
            _fee_history, "eth_feeHistory", hex(_FEE_HISTORY_BLOCKS), "latest", list(_PERCENTILES)
        )
        if history is None or not history.base_fee_per_gas:
            raise NodeUnavailable(self.name, "a fee history without fees")
        estimates = {}
        for place, target in enumerate(_PERCENTILES.values()):
            tips = [self._number(row[place]) for row in history.reward or () if len(row) > place]
            # A block without transactions has tips of 0, which say nothing of the market.
            offered = sorted(tip for tip in tips if tip)
            if offered:
                estimates[target] = offered[len(offered) // 2]
        return FeeMarket(estimates, self._number(history.base_fee_per_gas[-1]))

    async def backlog(self) -> None:
        """Pools of this family cannot be listed, and the base fee says what a backlog would."""

    async def accounts(self, addresses: Sequence[bytes], block_hash: bytes) -> Sequence[AccountState]:
        """Each account's state after the block, in order; as the node says, which proves nothing."""
        at = {"blockHash": _shown(block_hash), "requireCanonical": True}
        wanted: list[tuple[str, Sequence[object]]] = []
        for account in addresses:
            wanted += [
                (method, (_shown(account), at))
                for method in ("eth_getTransactionCount", "eth_getBalance", "eth_getCode")
            ]
            balance_of = _BALANCE_OF + account.hex()
            wanted += [
                ("eth_call", ({"to": _shown(contract), "data": balance_of}, at))
                for contract in self._facts.tokens
            ]
        answers = await self._rpc.batch(_texts, wanted)
        each = 3 + len(self._facts.tokens)
        return [self._account(answers[start : start + each]) for start in range(0, len(answers), each)]

    async def code(self, address: bytes, block_hash: bytes) -> bytes:
        """What code is at the address after the block; as the node says, which proves nothing."""
        at = {"blockHash": _shown(block_hash), "requireCanonical": True}
        text = await self._rpc.call(_text, "eth_getCode", _shown(address), at)
        try:
            return bytes.fromhex(str(text)[2:])
        except ValueError:
            raise NodeUnavailable(self.name, "an answer that should be code is none") from None

    async def close(self) -> None:
        await self._rpc.close()

    def _read_block(self, answers: Sequence[bytes], block_hash: bytes, height: int) -> EthereumBlock:
        block = self._present(self._rpc.read(_block, "eth_getBlockByHash", answers[0]), block_hash)
        receipts = self._present(self._rpc.read(_receipts, "eth_getBlockReceipts", answers[1]), block_hash)
        traces = None
        if self._facts.traces:
            traces = self._present(self._rpc.read(_traces, "debug_traceBlockByHash", answers[2]), block_hash)
        try:
            return EthereumBlock.read(block, receipts, traces, block_hash, height, self._facts)
        except MalformedData as problem:
            raise NodeLied(self.name, f"block {block_hash.hex()}: {problem}") from problem

    def _present(self, answer: _T | None, block_hash: bytes) -> _T:
        if answer is None:
            raise NodeUnavailable(self.name, f"does not have block {block_hash.hex()}")
        return answer

    async def _outcome(self, refusal: NodeRejected, tx_hash: bytes) -> BroadcastOutcome:
        """What a refused `eth_sendRawTransaction` means."""
        words = refusal.message.lower()
        if any(text in words for text in _IN_POOL):
            return BroadcastOutcome.ACCEPTED
        if any(text in words for text in _NONCE_USED):
            # By this very transaction, or by another one.
            receipt = await self._rpc.call(_status, "eth_getTransactionReceipt", _shown(tx_hash))
            mined = receipt is not None and receipt.block_hash is not None
            return BroadcastOutcome.CONFIRMED if mined else BroadcastOutcome.UNKNOWN
        if any(text in words for text in _REFUSED):
            return BroadcastOutcome.REJECTED
        return BroadcastOutcome.UNKNOWN

    def _account(self, answers: Sequence[str | NodeRejected | None]) -> AccountState:
        for answer in answers:
            if isinstance(answer, NodeRejected):
                raise answer
        nonce, own, code, *tokens = answers
        balances: dict[str, int] = {self._facts.asset: self._facts.base_units(self._number(own, 1 << 256))}
        for token, held in zip(self._facts.tokens.values(), tokens, strict=True):
            # Empty where no contract is (yet): nobody has anything of it.
            amount = 0 if held == "0x" else self._number(held, 1 << 256)
            balances[token.asset] = balances.get(token.asset, 0) + token.base_units(amount)
        sent = self._number(nonce)
        return AccountState(sent, balances, bool(sent or self._number(own, 1 << 256) or code != "0x"))

    def _point(self, head: object) -> tuple[int, bytes]:
        if not isinstance(head, _Head):
            raise NodeUnavailable(self.name, "does not know the block that was asked for by its role")
        return self._number(head.number), self._hash(head.hash)

    def _hash(self, text: object) -> bytes:
        try:
            if isinstance(text, str) and len(text) == 66:
                return bytes.fromhex(text[2:])
        except ValueError:
            pass
        raise NodeUnavailable(self.name, "an answer that should be a hash is none")

    def _number(self, text: object, limit: int = _SANE) -> int:
        try:
            if isinstance(text, str) and 0 <= (number := int(text, 16)) < limit:
                return number
        except ValueError:
            pass
        raise NodeUnavailable(self.name, "an answer that should be a number is none, or beyond reason")


#: What the nodes say of a transaction that they hold already: geth, reth, Nethermind (since 2026, before it
#: `AlreadyKnown`), Erigon (`ALREADY_EXISTS: already known`, `existing tx with same hash`), Besu, anvil.
_IN_POOL = (
    "already known",
    "alreadyknown",
    "already imported",
    "existing tx with same hash",
    "known transaction",
)
_NONCE_USED = ("nonce too low", "oldnonce", "nonce is too low")
#: Refused for itself or its fee.
_REFUSED = (
    "underpriced",
    "insufficient funds",
    "insufficientfunds",
    "upfront cost exceeds",
    "intrinsic gas",
    "exceeds block gas limit",
    "exceeds transaction gas limit",
    "gas limit too high",
    "less than block base fee",
    "fee cap less than",
    "feetoolow",
    "gas price below",
    "txpool is full",
    "could not replace existing tx",
    "replacementnotallowed",
)


def _shown(data: bytes) -> str:
    return "0x" + data.hex()
