"""Blocks of Ethereum as a node tells them, with whatever is to be in them: right in every root, signature and hash.

Made with the reference implementations (rlp, trie, eth-account), so that ours are measured by others' ideas.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
import rlp
from eth_account import Account
from eth_utils.crypto import keccak
from trie.hexary import HexaryTrie

from cryptowatch.chains.ethereum.block import Block, Receipt
from cryptowatch.chains.ethereum.contents import EthereumBlock
from cryptowatch.chains.ethereum.facts import ChainFacts
from cryptowatch.chains.ethereum.traces import Trace

CHAIN_ID = 31337
BASE_FEE = 1_000
TIP = 50
#: keccak-256 of the RLP of an empty list, and of the empty string's.
_NO_UNCLES = keccak(rlp.encode([]))
_NOTHING = keccak(rlp.encode(b""))


@lru_cache
def key(name: str) -> bytes:
    return keccak(name.encode())


@lru_cache
def account(name: str) -> bytes:
    """The account of somebody with this name."""
    return bytes.fromhex(Account.from_key(key(name)).address[2:])


@dataclass(frozen=True)
class Sent:
    """A transaction as it is told, its receipt, and its trace."""

    told: dict[str, Any]
    raw: bytes
    receipt: dict[str, Any]
    trace: dict[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> bytes:
        return bytes.fromhex(self.told["hash"][2:])


def send(
    sender: str,
    to: bytes | None,
    value: int = 0,
    data: bytes = b"",
    *,
    nonce: int = 0,
    kind: int = 2,
    logs: Sequence[dict[str, Any]] = (),
    status: int = 1,
    gas_used: int = 21_000,
    authorizations: Sequence[Any] = (),
    calls: Sequence[dict[str, Any]] = (),
) -> Sent:
    """A signed transaction of type 0, 1, 2 or 4, and what became of it."""
    fields: dict[str, Any] = {
        "nonce": nonce,
        "gas": 100_000,
        "value": value,
        "data": data,
        "chainId": CHAIN_ID,
    }
    if to is not None:
        fields["to"] = to
    if kind < 2:
        fields["gasPrice"] = BASE_FEE + TIP
    else:
        fields |= {"maxFeePerGas": 2 * BASE_FEE, "maxPriorityFeePerGas": TIP}
    if kind:
        fields |= {"type": kind, "accessList": []}
    if kind == 4:
        fields["authorizationList"] = list(authorizations)
    signed = Account.sign_transaction(fields, key(sender))
    told: dict[str, Any] = {
        name: hex(number) for name, number in fields.items() if isinstance(number, int)
    } | {
        "type": hex(kind),
        "hash": _hex(signed.hash),
        "from": _hex(account(sender)),
        "to": None if to is None else _hex(to),
        "input": _hex(data),
        "r": hex(signed.r),
        "s": hex(signed.s),
        "v": hex(signed.v),
    }
    if kind:
        told |= {"accessList": [], "yParity": hex(signed.v)}
    if kind == 4:
        told["authorizationList"] = [_told_authorization(one) for one in authorizations]
    receipt = {
        "status": hex(status),
        "logs": list(logs),
        "gasUsed": gas_used,
        "logsBloom": _hex(_bloom(logs)),
    }
    trace: dict[str, Any] = {
        "type": "CALL" if to else "CREATE",
        "from": told["from"],
        "to": told["to"],
        "value": told["value"],
    }
    trace |= {"calls": list(calls)} if calls else {}
    trace |= {} if status else {"error": "execution reverted"}
    return Sent(told, bytes(signed.raw_transaction), receipt, trace)


def authorize(name: str, delegate: bytes, nonce: int, chain_id: int = CHAIN_ID) -> Any:
    """A signed delegation (EIP-7702), as eth-account makes it."""
    wanted = {"chainId": chain_id, "address": delegate, "nonce": nonce}
    return Account.from_key(key(name)).sign_authorization(wanted)


def log(contract: bytes, topics: Sequence[bytes], data: bytes = b"") -> dict[str, Any]:
    return {"address": _hex(contract), "topics": [_hex(topic) for topic in topics], "data": _hex(data)}


def transfer_log(token: bytes, source: bytes, destination: bytes, amount: int) -> dict[str, Any]:
    topics = [
        keccak(b"Transfer(address,address,uint256)"),
        source.rjust(32, b"\0"),
        destination.rjust(32, b"\0"),
    ]
    return log(token, topics, amount.to_bytes(32, "big"))


def call(kind: str, source: bytes, destination: bytes, value: int, **more: Any) -> dict[str, Any]:
    """A frame of a trace."""
    return {"type": kind, "from": _hex(source), "to": _hex(destination), "value": hex(value)} | more


@dataclass
class Answers:
    """What a node says of one block; changed by tests that lie."""

    block: dict[str, Any]
    receipts: list[dict[str, Any]]
    traces: list[dict[str, Any]]
    hash: bytes
    height: int

    def read(self, facts: ChainFacts) -> EthereumBlock:
        """Through JSON, as from a node."""
        return EthereumBlock.read(
            _through_json(self.block, Block),
            _through_json(self.receipts, list[Receipt]),
            _through_json(self.traces, list[Trace]) if facts.traces else None,
            self.hash,
            self.height,
            facts,
        )


def block_of(*sent: Sent, height: int = 100) -> Answers:
    """The block with these transactions."""
    receipts = []
    total = 0
    for one in sent:
        total += one.receipt["gasUsed"]
        receipts.append(
            one.receipt | {"gasUsed": hex(one.receipt["gasUsed"]), "cumulativeGasUsed": hex(total)}
        )
    kinds = [int(one.told["type"], 16) for one in sent]
    encoded = [_encoded_receipt(kind, receipt) for kind, receipt in zip(kinds, receipts, strict=True)]
    bloom = _bloom([log for one in sent for log in one.receipt["logs"]])
    header: dict[str, bytes | int] = {
        "parentHash": keccak(b"parent"),
        "sha3Uncles": _NO_UNCLES,
        "miner": account("builder"),
        "stateRoot": keccak(b"state"),
        "transactionsRoot": root_of([one.raw for one in sent]),
        "receiptsRoot": root_of(encoded),
        "logsBloom": bloom,
        "difficulty": 0,
        "number": height,
        "gasLimit": 30_000_000,
        "gasUsed": total,
        "timestamp": 1_750_000_000,
        "extraData": b"built for a test",
        "mixHash": keccak(b"random"),
        "nonce": bytes(8),
        "baseFeePerGas": BASE_FEE,
        "withdrawalsRoot": _NOTHING,
        "blobGasUsed": 0,
        "excessBlobGas": 0,
        "parentBeaconBlockRoot": keccak(b"beacon"),
        "requestsHash": keccak(b"requests"),
    }
    told: dict[str, Any] = {
        name: hex(value) if isinstance(value, int) else _hex(value) for name, value in header.items()
    }
    told["transactions"] = [one.told for one in sent]
    traces = [{"txHash": one.told["hash"], "result": one.trace} for one in sent]
    return Answers(told, receipts, traces, keccak(rlp.encode(list(header.values()))), height)


def root_of(items: Sequence[bytes]) -> bytes:
    """By the reference implementation."""
    reference = HexaryTrie(db={})
    for place, item in enumerate(items):
        reference[rlp.encode(place)] = item
    return bytes(reference.root_hash)


def _encoded_receipt(kind: int, receipt: dict[str, Any]) -> bytes:
    logs = [
        [_raw(one["address"]), [_raw(topic) for topic in one["topics"]], _raw(one["data"])]
        for one in receipt["logs"]
    ]
    fields = [
        int(receipt["status"], 16),
        int(receipt["cumulativeGasUsed"], 16),
        _raw(receipt["logsBloom"]),
        logs,
    ]
    return (bytes([kind]) if kind else b"") + bytes(rlp.encode(fields))


def _bloom(logs: Sequence[dict[str, Any]]) -> bytes:
    """Yellow Paper, section 4.4.3."""
    bits = 0
    for one in logs:
        for item in (one["address"], *one["topics"]):
            digest = keccak(_raw(item))
            for start in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[start : start + 2], "big") & 2047)
    return bits.to_bytes(256, "big")


def _told_authorization(signed: Any) -> dict[str, Any]:
    return {
        "chainId": hex(signed.chain_id),
        "address": _hex(signed.address),
        "nonce": hex(signed.nonce),
        "yParity": hex(signed.y_parity),
        "r": hex(signed.r),
        "s": hex(signed.s),
    }


def _through_json(told: object, kind: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(told), type=kind)


def _hex(data: bytes) -> str:
    return "0x" + bytes(data).hex()


def _raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])
