"""Bitcoin blocks and transactions made by hand, at regtest's difficulty, for tests without a node."""

import struct
from collections.abc import Sequence
from hashlib import sha256

REGTEST_BITS = 0x207FFFFF
COINBASE_OUTPOINT = b"\x00" * 32 + b"\xff" * 4


def double_sha256(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()


def compact(number: int) -> bytes:
    if number < 0xFD:
        return bytes([number])
    return b"\xfd" + struct.pack("<H", number) if number <= 0xFFFF else b"\xfe" + struct.pack("<I", number)


def transaction(
    outpoints: Sequence[bytes], outputs: Sequence[tuple[int, bytes]], witness: Sequence[Sequence[bytes]] = ()
) -> bytes:
    """Wire bytes; outpoints in wire order, outputs as (satoshi, script)."""
    body = compact(len(outpoints)) + b"".join(
        outpoint + b"\x00" + b"\xfd\xff\xff\xff" for outpoint in outpoints
    )
    body += compact(len(outputs))
    body += b"".join(struct.pack("<Q", amount) + compact(len(script)) + script for amount, script in outputs)
    version, locktime = struct.pack("<i", 2), bytes(4)
    if not witness:
        return version + body + locktime
    stacks = b"".join(
        compact(len(stack)) + b"".join(compact(len(item)) + item for item in stack) for stack in witness
    )
    return version + b"\x00\x01" + body + stacks + locktime


def wire_id(raw: bytes) -> bytes:
    """The id of a transaction in wire order, of one without witness."""
    return double_sha256(raw)


def coinbase(script: bytes = b"\x51", amount: int = 5_000_000_000, salt: int = 0) -> bytes:
    return transaction([COINBASE_OUTPOINT], [(amount, script), (salt, b"\x6a")])


def merkle(ids: Sequence[bytes]) -> bytes:
    level = list(ids)
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        level = [double_sha256(level[n] + level[n + 1]) for n in range(0, len(level), 2)]
    return level[0]


def block(transactions: Sequence[bytes], root: bytes | None = None, prev_hash: bytes = bytes(32)) -> bytes:
    """A mined block of transactions without witness. `root` in wire order, instead of the right one."""
    root = merkle([wire_id(raw) for raw in transactions]) if root is None else root
    start = struct.pack("<i32s32sII", 4, prev_hash[::-1], root, 1_700_000_000, REGTEST_BITS)
    nonce = 0
    while double_sha256(start + struct.pack("<I", nonce))[31] > 0x7E:
        nonce += 1
    return start + struct.pack("<I", nonce) + compact(len(transactions)) + b"".join(transactions)


def block_hash(raw: bytes) -> bytes:
    """As shown."""
    return double_sha256(raw[:80])[::-1]
