"""What was mined on a private Ethereum chain, so that any node can be brought to any of its branches.

anvil keeps nothing over a restart that a later reorg could be made on. So the coordinator remembers each block's
ingredients; the same ingredients on the same parent give the same hash. Kept in the devnet's folder, one block a
line: a folder used again goes on with the chain that its database knows.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptowatch.devnet.ethereum.transactions import Transaction, parse_transaction

_GENESIS_BASE_FEE_WEI = 1_000_000_000
_ELASTICITY, _CHANGE_DENOMINATOR = 2, 8


@dataclass(frozen=True)
class Sealed:
    """A block's ingredients, and what became of them. Hex with 0x."""

    hash: str
    number: int
    timestamp: int
    proposer: str
    base_fee_wei: int
    #: What EIP-1559 makes of this block for the next one.
    next_base_fee_wei: int
    transactions: tuple[Transaction, ...]


def next_base_fee_wei(base_fee_wei: int, gas_used: int, gas_limit: int) -> int:
    """EIP-1559."""
    target = gas_limit // _ELASTICITY
    if gas_used > target:
        return base_fee_wei + max(base_fee_wei * (gas_used - target) // target // _CHANGE_DENOMINATOR, 1)
    return base_fee_wei - base_fee_wei * (target - gas_used) // target // _CHANGE_DENOMINATOR


def base_fee_after(branch: Sequence[Sealed]) -> int:
    """The next block's, in wei."""
    return branch[-1].next_base_fee_wei if branch else _GENESIS_BASE_FEE_WEI


def shared_length(one: Sequence[Sealed], other: Sequence[Sealed]) -> int:
    """How many blocks two branches have in common."""
    length = min(len(one), len(other))
    while length and one[length - 1].hash != other[length - 1].hash:
        length -= 1
    return length


class History:
    """The chain's blocks in a file, block 1 first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: list[Sealed] = []

    def load(self) -> list[Sealed]:
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            self._written = [_block(line) for line in lines]
        return list(self._written)

    def save(self, blocks: Sequence[Sealed]) -> None:
        kept = shared_length(self._written, blocks)
        if kept < len(self._written):
            self._path.write_text("".join(map(_line, blocks[:kept])), encoding="utf-8")
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(map(_line, blocks[kept:]))
        self._written = list(blocks)


def _line(block: Sealed) -> str:
    return json.dumps({**vars(block), "transactions": [tx.raw for tx in block.transactions]}) + "\n"


def _block(line: str) -> Sealed:
    fields = json.loads(line)
    return Sealed(**{**fields, "transactions": tuple(map(parse_transaction, fields["transactions"]))})
