"""Takes regtest blocks apart and puts others together: what reorgs and forged blocks are made of.

Used by `branches` (a real second branch) and `lies` (a block that no honest node has). Written apart from
`chains.bitcoin`'s parser on purpose: the two check each other. Hashes are bytes as nodes hash them
("internal" order); `shown` turns one into the hex that people and RPC use.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

HEADER_BYTES = 80
HALVING_BLOCKS = 150  # on regtest
_MARKER = b"\x00\x01"
_NULL_HASH = bytes(32)


def double_sha256(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def shown(digest: bytes) -> str:
    return digest[::-1].hex()


def hidden(text: str) -> bytes:
    """The inverse of `shown`."""
    return bytes.fromhex(text)[::-1]


@dataclass(frozen=True)
class Transaction:
    """The bytes and what is needed to place it in another block."""

    raw: bytes
    txid: bytes
    wtxid: bytes
    #: (txid, output index) of every coin it spends.
    spends: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True)
class Block:
    header: bytes
    transactions: tuple[Transaction, ...]

    @property
    def hash(self) -> bytes:
        return double_sha256(self.header)

    @property
    def raw(self) -> bytes:
        return self.header + _size(len(self.transactions)) + b"".join(tx.raw for tx in self.transactions)

    @property
    def time(self) -> int:
        return int.from_bytes(self.header[68:72], "little")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self.data):
            raise ValueError("the block or transaction is cut short")
        return self.data[self.at - count : self.at]

    def size(self) -> int:
        first = self.take(1)[0]
        if first < 0xFD:
            return first
        return int.from_bytes(self.take({0xFD: 2, 0xFE: 4, 0xFF: 8}[first]), "little")


def parse_block(raw: bytes) -> Block:
    reader = _Reader(raw)
    header = reader.take(HEADER_BYTES)
    transactions = tuple(_read_transaction(reader) for _ in range(reader.size()))
    if reader.at != len(raw):
        raise ValueError("bytes follow the block")
    return Block(header, transactions)


def parse_transaction(raw: bytes) -> Transaction:
    reader = _Reader(raw)
    transaction = _read_transaction(reader)
    if reader.at != len(raw):
        raise ValueError("bytes follow the transaction")
    return transaction


def _read_transaction(reader: _Reader) -> Transaction:
    start = reader.at
    version = reader.take(4)
    has_witness = reader.data[reader.at : reader.at + 2] == _MARKER
    if has_witness:
        reader.take(2)
    body_start = reader.at
    spends = []
    for _ in range(reader.size()):
        txid, index = reader.take(32), int.from_bytes(reader.take(4), "little")
        reader.take(reader.size())
        reader.take(4)
        spends.append((txid, index))
    for _ in range(reader.size()):
        reader.take(8)
        reader.take(reader.size())
    body = reader.data[body_start : reader.at]
    if has_witness:
        for _ in spends:
            for _ in range(reader.size()):
                reader.take(reader.size())
    locktime = reader.take(4)
    raw = reader.data[start : reader.at]
    return Transaction(raw, double_sha256(version + body + locktime), double_sha256(raw), tuple(spends))


def assemble(
    parent: bytes, height: int, time: int, transactions: Sequence[Transaction], *, pay_to: bytes, salt: bytes
) -> Block:
    """A valid regtest block on `parent` (hash) with these transactions after a coinbase to script `pay_to`.

    `salt` (up to 32 bytes) makes it another block than any with the same content. Leaves the fees unclaimed.
    """
    coinbase = _coinbase(height, transactions, pay_to, salt)
    content = (coinbase, *transactions)
    return Block(
        _proven(0x20000000, parent, merkle_root([tx.txid for tx in content]), time, 0x207FFFFF), content
    )


def merkle_root(hashes: Sequence[bytes]) -> bytes:
    level = list(hashes)
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        level = [double_sha256(level[n] + level[n + 1]) for n in range(0, len(level), 2)]
    return level[0]


def payment(script: bytes, amount_sat: int, salt: bytes) -> Transaction:
    """A transaction that pays a script out of nothing: well formed, and never valid."""
    spends = ((hashlib.sha256(salt).digest(), 0),)
    inputs = _size(1) + spends[0][0] + struct.pack("<I", 0) + _size(0) + b"\xff" * 4
    outputs = _size(1) + struct.pack("<q", amount_sat) + _size(len(script)) + script
    raw = struct.pack("<i", 2) + inputs + outputs + bytes(4)
    return Transaction(raw, double_sha256(raw), double_sha256(raw), spends)


def subsidy_sat(height: int) -> int:
    return 5_000_000_000 >> (height // HALVING_BLOCKS)


def _coinbase(height: int, transactions: Sequence[Transaction], pay_to: bytes, salt: bytes) -> Transaction:
    # The coinbase's own witness hash counts as zero (BIP141).
    witness_root = merkle_root([_NULL_HASH, *(tx.wtxid for tx in transactions)])
    commitment = b"\x6a\x24\xaa\x21\xa9\xed" + double_sha256(witness_root + _NULL_HASH)
    unlock = _pushed_height(height) + _size(len(salt)) + salt
    inputs = _size(1) + _NULL_HASH + b"\xff" * 4 + _size(len(unlock)) + unlock + b"\xff" * 4
    outputs = _size(2) + struct.pack("<q", subsidy_sat(height)) + _size(len(pay_to)) + pay_to
    outputs += struct.pack("<q", 0) + _size(len(commitment)) + commitment
    version, locktime = struct.pack("<i", 2), bytes(4)
    witness = _size(1) + _size(32) + _NULL_HASH
    raw = version + _MARKER + inputs + outputs + witness + locktime
    return Transaction(raw, double_sha256(version + inputs + outputs + locktime), double_sha256(raw), ())


def _pushed_height(height: int) -> bytes:
    """The height as a script pushes it (BIP34)."""
    if 1 <= height <= 16:
        return bytes([0x50 + height])
    number = height.to_bytes((height.bit_length() // 8) + 1, "little")
    return bytes([len(number)]) + number


def _proven(version: int, parent: bytes, root: bytes, time: int, bits: int) -> bytes:
    """The header with the first nonce whose hash meets the target: two tries on average on regtest."""
    target = (bits & 0xFFFFFF) << (8 * ((bits >> 24) - 3))
    start = struct.pack("<i", version) + parent + root + struct.pack("<II", time, bits)
    for nonce in range(2**32):
        header = start + struct.pack("<I", nonce)
        if int.from_bytes(double_sha256(header), "little") <= target:
            return header
    raise ValueError("no nonce meets the target")


def _size(count: int) -> bytes:
    if count < 0xFD:
        return bytes([count])
    if count <= 0xFFFF:
        return b"\xfd" + struct.pack("<H", count)
    return b"\xfe" + struct.pack("<I", count)
