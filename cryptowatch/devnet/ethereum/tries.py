"""What an Ethereum header commits to, computed as the protocol says: roots, blooms, its own hash.

Used by `forgery` for blocks that are consistent and yet nobody's. Written apart from `chains.ethereum` on purpose:
the two check each other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import rlp
from eth_utils.crypto import keccak

_HEADER_QUANTITIES = {
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "baseFeePerGas",
    "blobGasUsed",
    "excessBlobGas",
}
_HEADER_FIELDS = [
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
]


def header_hash(block: Mapping[str, Any]) -> str:
    """Of a block as nodes show it."""
    fields = [
        _number(block[name]) if name in _HEADER_QUANTITIES else _bytes(block[name]) for name in _HEADER_FIELDS
    ]
    return "0x" + keccak(rlp.encode(fields)).hex()


def transactions_root(raws: Sequence[str]) -> str:
    return _root([_bytes(raw) for raw in raws])


def receipts_root(receipts: Sequence[Mapping[str, Any]]) -> str:
    return _root([_receipt(receipt) for receipt in receipts])


def bloom(logs: Sequence[Mapping[str, Any]]) -> str:
    bits = 0
    for log in logs:
        for text in (log["address"], *log["topics"]):
            digest = keccak(_bytes(text))
            for place in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[place : place + 2], "big") & 2047)
    return "0x" + bits.to_bytes(256, "big").hex()


def _receipt(receipt: Mapping[str, Any]) -> bytes:
    logs = [
        [_bytes(log["address"]), [_bytes(topic) for topic in log["topics"]], _bytes(log["data"])]
        for log in receipt["logs"]
    ]
    fields = [
        _number(receipt["status"]),
        _number(receipt["cumulativeGasUsed"]),
        _bytes(receipt["logsBloom"]),
        logs,
    ]
    kind = int(receipt["type"], 16)
    encoded: bytes = rlp.encode(fields)
    return bytes([kind]) + encoded if kind else encoded


def _root(values: Sequence[bytes]) -> str:
    """Of the trie that has each value under its place."""
    items = []
    for place, value in enumerate(values):
        key = rlp.encode(_number(hex(place)))
        items.append(([nibble for byte in key for nibble in (byte >> 4, byte & 15)], value))
    return "0x" + keccak(rlp.encode(_node(items))).hex()


def _node(items: Sequence[tuple[list[int], bytes]]) -> Any:
    if not items:
        return b""
    first, value = items[0]
    if len(items) == 1:
        return [_path(first, leaf=True), value]
    shared = 0
    while all(len(key) > shared and key[shared] == first[shared] for key, _ in items):
        shared += 1
    if shared:
        below = _node([(key[shared:], value) for key, value in items])
        return [_path(first[:shared], leaf=False), _reference(below)]
    children = [_node([(key[1:], value) for key, value in items if key and key[0] == n]) for n in range(16)]
    return [*map(_reference, children), next((value for key, value in items if not key), b"")]


def _reference(node: Any) -> Any:
    encoded = rlp.encode(node)
    return node if len(encoded) < 32 else keccak(encoded)


def _path(nibbles: list[int], *, leaf: bool) -> bytes:
    flag = 2 * leaf + len(nibbles) % 2
    padded = [flag, *nibbles] if len(nibbles) % 2 else [flag, 0, *nibbles]
    return bytes(high << 4 | low for high, low in zip(padded[::2], padded[1::2], strict=True))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _number(text: str) -> bytes:
    """Without leading zeros, as numbers are encoded."""
    value = int(text, 16)
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
