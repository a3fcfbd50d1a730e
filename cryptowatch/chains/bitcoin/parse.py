"""Raw Bitcoin blocks and transactions -> ids, inputs and outputs. Pure, strict, and fast.

Called by `chains.bitcoin.contents`. Keeps P5: whatever is returned for a block is committed to by the block's
hash, because the header hashes to it, meets its own proof of work, and carries the merkle root of the
transactions' ids. The formats are those of Bitcoin Core's primitives/block.h, primitives/transaction.h
(BIP144) and serialize.h.

Anything that Bitcoin Core would not read raises MalformedData: cut short, trailing bytes, numbers not written
in their shortest form, a witness flag without witness. Inside this module hashes are in the order of the
wire; `shown` turns one into the order in which explorers show it, which is the order of everything beyond.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from operator import eq

import numpy as np

HEADER_BYTES = 80
#: Consensus: 4,000,000 weight units, and each byte weighs at least one.
BLOCK_BYTES_MAX = 4_000_000
#: consensus/amount.h: no output, and no sum of them, is above it.
AMOUNT_MAX_SAT = 21_000_000 * 100_000_000

_NULL_OUTPOINT = b"\x00" * 32 + b"\xff" * 4
_HEADER = struct.Struct("<i32s32sIII")
#: By first byte: the layout of what follows it, and the smallest number that needs this form.
_LONG_NUMBERS = {
    0xFD: (struct.Struct("<H"), 0xFD),
    0xFE: (struct.Struct("<I"), 0x1_0000),
    0xFF: (struct.Struct("<Q"), 0x1_0000_0000),
}


class MalformedData(ValueError):
    """Bytes that are not the block or transaction that they should be; says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header (hashes as explorers show them)."""

    hash: bytes
    prev_hash: bytes
    merkle_root: bytes
    time: datetime


@dataclass(frozen=True, slots=True)
class Transactions:
    """One or many transactions in columns, so that a whole block is matched in bulk.

    Transaction t has the inputs `outpoints[input_ends[t-1]:input_ends[t]]` and the outputs
    `scripts[output_ends[t-1]:output_ends[t]]`. Ids and outpoints are in wire order.
    """

    raw: bytes
    ids: Sequence[bytes]
    outpoints: Sequence[bytes]
    input_ends: Sequence[int]
    scripts: Sequence[bytes]
    #: Where in `raw` each transaction's first output stands: few amounts are ever read.
    output_starts: Sequence[int]
    output_ends: Sequence[int]
    #: Where in `raw` each transaction begins; it ends where the next one does.
    starts: Sequence[int]

    def bytes_of(self, number: int) -> bytes:
        """The transaction with this number, as on the wire."""
        is_last = number + 1 == len(self.starts)
        return self.raw[self.starts[number] : len(self.raw) if is_last else self.starts[number + 1]]

    def first_output(self, number: int) -> int:
        """Where in `scripts` the outputs of the transaction with this number begin."""
        return self.output_ends[number - 1] if number else 0

    def amounts_sat(self, number: int) -> list[int]:
        """The amounts of that transaction's outputs; not checked against AMOUNT_MAX_SAT."""
        raw, offset, amounts = self.raw, self.output_starts[number], []
        for _ in range(self.output_ends[number] - self.first_output(number)):
            amounts.append(int.from_bytes(raw[offset : offset + 8], "little"))
            length, script = _number(raw, offset + 8)
            offset = script + length
        return amounts


def shown(wire_hash: bytes) -> bytes:
    """A hash in the order in which explorers show it; also the way back."""
    return wire_hash[::-1]


def resources_of(outpoints: Sequence[bytes]) -> list[bytes]:
    """Outpoints as on the wire -> the port's form: hash as shown + index, big endian."""
    wire = np.frombuffer(b"".join(outpoints), dtype=np.uint8).reshape(-1, 36)
    joined = np.hstack((wire[:, 31::-1], wire[:, :31:-1])).tobytes()
    return [joined[start : start + 36] for start in range(0, len(joined), 36)]


def is_coinbase(outpoint: bytes) -> bool:
    """Whether the outpoint is the one of a coinbase's input, which spends nothing."""
    return outpoint == _NULL_OUTPOINT


def parse_block(raw: bytes, block_hash: bytes) -> tuple[Header, Transactions]:
    """Read a block and prove that it is the one with this hash (as shown). Raises MalformedData.

    Refuses the two known ways to give other contents to the same merkle root: a repeated tail (CVE-2012-2459)
    and inner nodes posing as transactions (CVE-2017-12842: the first would have to be a coinbase, which needs
    36 chosen bytes in a hash).
    """
    if len(raw) > BLOCK_BYTES_MAX:
        raise MalformedData("the block is larger than any valid one")
    header = parse_header(raw[:HEADER_BYTES])
    if header.hash != block_hash:
        raise MalformedData("the header does not hash to the block's hash")
    try:
        count, position = _number(raw, HEADER_BYTES)
    except (IndexError, struct.error) as problem:
        raise MalformedData("the block is cut short") from problem
    if not 0 < count <= BLOCK_BYTES_MAX // 60:
        raise MalformedData("an impossible number of transactions")
    transactions = _parse_all(raw, position, count)
    if transactions.input_ends[0] != 1 or not is_coinbase(transactions.outpoints[0]):
        raise MalformedData("the first transaction is no coinbase")
    if merkle_root(transactions.ids) != shown(header.merkle_root):
        raise MalformedData("the transactions do not fit the header's merkle root")
    return header, transactions


def parse_header(raw: bytes) -> Header:
    """Read 80 bytes and check that their hash meets the difficulty that they name. Raises MalformedData."""
    if len(raw) != HEADER_BYTES:
        raise MalformedData("the header is cut short")
    wire_hash = _double_sha256(raw)
    _, prev_hash, root, time_s, bits, _ = _HEADER.unpack(raw)
    if int.from_bytes(wire_hash, "little") > _target(bits):
        raise MalformedData("the header's hash does not meet its own difficulty")
    return Header(shown(wire_hash), shown(prev_hash), shown(root), datetime.fromtimestamp(time_s, UTC))


def parse_transaction(raw: bytes) -> Transactions:
    """Read exactly one transaction. Raises MalformedData."""
    if len(raw) > BLOCK_BYTES_MAX:
        raise MalformedData("the transaction is larger than any valid one")
    return _parse_all(raw, 0, 1)


def merkle_root(wire_ids: Sequence[bytes]) -> bytes:
    """The root over ids in wire order (consensus/merkle.cpp). Raises MalformedData if a pair is a repeat."""
    level = list(wire_ids)
    while len(level) > 1:
        left, right = level[0::2], level[1::2]
        if any(map(eq, left, right)):
            raise MalformedData("the merkle tree repeats a branch")
        if len(right) < len(left):
            right.append(left[-1])
        level = [
            sha256(sha256(one + other).digest()).digest() for one, other in zip(left, right, strict=True)
        ]
    return level[0]


def _parse_all(raw: bytes, position: int, count: int) -> Transactions:
    """Read `count` transactions that fill `raw` from `position` to its end.

    One loop without calls: it handles most of the chain's bytes in Python. Reading past the end either raises
    IndexError at once or leaves `position` beyond the end, which is checked last; positions only grow.
    """
    ids: list[bytes] = []
    outpoints: list[bytes] = []
    input_ends: list[int] = []
    scripts: list[bytes] = []
    output_starts: list[int] = []
    output_ends: list[int] = []
    starts: list[int] = []
    try:
        for _ in range(count):
            start = position
            starts.append(start)
            has_witness = raw[start + 4] == 0
            if has_witness and raw[start + 5] != 1:
                raise MalformedData("a transaction without inputs, or with an unknown flag")
            body = position = start + 6 if has_witness else start + 4
            inputs = raw[position]
            position += 1
            if inputs > 252:
                inputs, position = _number(raw, body)
            for _ in range(inputs):
                script = position + 36
                outpoints.append(raw[position:script])
                length = raw[script]
                if length > 252:
                    length, script = _number(raw, script)
                    position = script + length + 4
                else:
                    position = script + length + 5
            outputs = raw[position]
            if outputs > 252:
                outputs, position = _number(raw, position)
            else:
                position += 1
            output_starts.append(position)
            for _ in range(outputs):
                length = raw[position + 8]
                script = position + 9
                if length > 252:
                    length, script = _number(raw, position + 8)
                position = script + length
                scripts.append(raw[script:position])
            if has_witness:
                body_end = position
                position = _after_witness(raw, position, inputs)
                base = raw[start : start + 4] + raw[body:body_end] + raw[position : position + 4]
                position += 4
            else:
                position += 4
                base = raw[start:position]
            ids.append(sha256(sha256(base).digest()).digest())
            input_ends.append(len(outpoints))
            output_ends.append(len(scripts))
    except (IndexError, struct.error):
        raise MalformedData("cut short") from None
    if position != len(raw):
        raise MalformedData("cut short" if position > len(raw) else "bytes after the end")
    return Transactions(raw, ids, outpoints, input_ends, scripts, output_starts, output_ends, starts)


def _after_witness(raw: bytes, position: int, inputs: int) -> int:
    """Where the witness of so many inputs ends. Raises MalformedData when it is empty, IndexError if cut."""
    empty_end = position + inputs
    for _ in range(inputs):
        items = raw[position]
        if items == 2:  # a signature and a key, nearly always
            first = raw[position + 1]
            second = raw[position + 2 + first]
            if first < 253 and second < 253:
                position += first + second + 3
                continue
        if items > 252:
            items, position = _number(raw, position)
        else:
            position += 1
        for _ in range(items):
            length = raw[position]
            position += 1
            if length > 252:
                length, position = _number(raw, position - 1)
            position += length
    if position == empty_end:
        raise MalformedData("a witness flag without a witness")
    return position


def _number(raw: bytes, position: int) -> tuple[int, int]:
    """A CompactSize and where it ends (serialize.h, ReadCompactSize). IndexError or struct.error if cut."""
    first = raw[position]
    if first < 0xFD:
        return first, position + 1
    layout, minimum = _LONG_NUMBERS[first]
    (value,) = layout.unpack_from(raw, position + 1)
    if value < minimum:
        raise MalformedData("a number not in its shortest form")
    return value, position + 1 + layout.size


def _target(bits: int) -> int:
    """What a header's hash may not exceed (arith_uint256.cpp, SetCompact); 0, never met, if invalid."""
    exponent, mantissa = bits >> 24, bits & 0x007F_FFFF
    if bits & 0x0080_0000:
        return 0
    target = mantissa << 8 * (exponent - 3) if exponent > 3 else mantissa >> 8 * (3 - exponent)
    return target if target < 1 << 256 else 0


def _double_sha256(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()
