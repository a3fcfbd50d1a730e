"""Call traces: which frames moved the chain's own coin. Pure.

Called by `contents` where the settings ask for traces. No hash commits to what happens inside a transaction, so that a
quorum must tell the same (P5): `digest` is what they compare. What the block does prove is compared with it here: who
called whom with what value at the top, and whether it failed.
"""

from collections.abc import Sequence
from hashlib import sha256

import msgspec

from cryptowatch.chains.ethereum.block import ProvenBlock
from cryptowatch.chains.ethereum.mined import address, quantity
from cryptowatch.chains.ethereum.rlp import MalformedData

#: DELEGATECALL and CALLCODE run others' code on the caller's own account; STATICCALL carries no value.
_MOVING = frozenset({"CALL", "CREATE", "CREATE2", "SELFDESTRUCT"})


class Frame(msgspec.Struct):
    """A call, as geth's callTracer shows it."""

    type: str
    sender: str = msgspec.field(name="from")
    to: str | None = None
    value: str | None = None
    error: str | None = None
    calls: list["Frame"] = []


class Trace(msgspec.Struct, rename="camel"):
    """One of `debug_traceBlockByHash`, in the order of the transactions."""

    result: Frame
    tx_hash: str | None = None


class Move(msgspec.Struct, frozen=True, gc=False):
    """Value that a frame carried, in wei. `number`: of the frame, counting all in the order of entry from 0."""

    number: int
    source: bytes
    destination: bytes
    value: int


def moves_of(block: ProvenBlock, traces: Sequence[Trace]) -> list[list[Move]]:
    """Per transaction, what moved in it. Raises MalformedData for traces that cannot be this block's."""
    if len(traces) != len(block.transactions):
        raise MalformedData("another number of traces than of transactions")
    for transaction, receipt, trace in zip(block.transactions, block.receipts, traces, strict=True):
        root = trace.result
        if trace.tx_hash is not None and trace.tx_hash[2:] != transaction.hash.hex():
            raise MalformedData("a trace of another transaction")
        if address(root.sender) != transaction.sender or quantity(root.value or "0x0") != transaction.value:
            raise MalformedData("a trace that begins otherwise than its transaction")
        if receipt.status is not None and receipt.succeeded != (root.error is None):
            raise MalformedData("a trace that ends otherwise than its transaction")
    return [_moves(trace.result) for trace in traces]


def digest(block: ProvenBlock, moves: Sequence[Sequence[Move]]) -> bytes:
    """The same for two nodes exactly when they tell the same moves."""
    hashed = sha256()
    for transaction, moved in zip(block.transactions, moves, strict=True):
        for move in moved:
            hashed.update(transaction.hash + move.number.to_bytes(4, "big"))
            hashed.update(move.source + move.destination + move.value.to_bytes(32, "big"))
    return hashed.digest()


def _moves(root: Frame) -> list[Move]:
    """A frame that failed, and all within it, moved nothing."""
    found = []
    number = 0
    waiting = [(root, False)]
    while waiting:
        frame, undone = waiting.pop()
        undone = undone or frame.error is not None
        value = quantity(frame.value or "0x0")
        if value and not undone and frame.type in _MOVING and frame.to is not None:
            if value >= 1 << 256:
                raise MalformedData("a value beyond 256 bits")
            found.append(Move(number, address(frame.sender), address(frame.to), value))
        number += 1
        waiting.extend((inner, undone) for inner in reversed(frame.calls))
    return found
