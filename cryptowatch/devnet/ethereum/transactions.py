"""Ethereum transactions as the devnet needs them: who sent what, in which order blocks take them, and new ones.

Used by the coordinator (`chain`), its record (`history`) and the faucet. Hashes and raw bytes are hex with 0x, as
nodes show them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import rlp
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from cryptowatch.errors import OperatorError

TIP_WEI = 1_000_000_000
#: Where nonce, tip and fee cap stand among a transaction's fields, by its type; 0 is the one without a type byte.
_FIELDS = {0: (0, 1, 1), 1: (1, 2, 2), 2: (1, 2, 3), 3: (1, 2, 3), 4: (1, 2, 3)}


@dataclass(frozen=True)
class Transaction:
    hash: str
    raw: str
    sender: str
    nonce: int
    fee_cap_wei: int
    tip_cap_wei: int

    def tip_wei(self, base_fee_wei: int) -> int:
        """What its block's proposer gets per gas."""
        return min(self.tip_cap_wei, self.fee_cap_wei - base_fee_wei)


@lru_cache(maxsize=20_000)
def parse_transaction(raw: str) -> Transaction:
    """Raises OperatorError when it is none."""
    try:
        data = bytes.fromhex(raw.removeprefix("0x"))
        kind = data[0] if data[0] < 0x80 else 0
        fields = rlp.decode(data[1:] if kind else data)
        nonce, tip, cap = (int.from_bytes(fields[place], "big") for place in _FIELDS[kind])
        sender = str(Account.recover_transaction(data))
    except Exception as problem:
        # Decoding and recovery know many errors, and no common one.
        raise OperatorError(f"not a signed Ethereum transaction: {problem!r}") from problem
    return Transaction("0x" + keccak(data).hex(), "0x" + data.hex(), sender.lower(), nonce, cap, tip)


def outbids(replacement: Transaction, waiting: Transaction) -> bool:
    """By geth's rule: a tenth more of both fees."""
    return (
        replacement.fee_cap_wei * 10 >= waiting.fee_cap_wei * 11
        and replacement.tip_cap_wei * 10 >= waiting.tip_cap_wei * 11
    )


def in_order(transactions: Iterable[Transaction], base_fee_wei: int) -> list[Transaction]:
    """The order in which a block takes them, whatever order they came in: best tip first, senders by nonce."""
    by_sender: dict[str, list[Transaction]] = {}
    for transaction in sorted(transactions, key=lambda tx: (tx.nonce, tx.hash)):
        by_sender.setdefault(transaction.sender, []).append(transaction)
    queues = sorted(by_sender.values(), key=lambda queue: (-queue[0].tip_wei(base_fee_wei), queue[0].hash))
    return [transaction for queue in queues for transaction in queue]


def divided(
    blocks: Sequence[Sequence[Transaction]], drop: Collection[str], included: Sequence[Transaction]
) -> tuple[list[list[Transaction]], list[Transaction]]:
    """Blocks' transactions: those that stay, block by block, and those that go.

    A dropped one takes its sender's later ones along, as they cannot come before it; one whose nonce an included
    one uses goes alone.
    """
    taken = {(tx.sender, tx.nonce) for tx in included}
    stopped: set[str] = set()
    kept: list[list[Transaction]] = []
    gone = []
    for block in blocks:
        kept.append([])
        for transaction in block:
            if transaction.hash in drop:
                stopped.add(transaction.sender)
            if transaction.sender in stopped:
                gone.append(transaction)
            elif (transaction.sender, transaction.nonce) not in taken:
                kept[-1].append(transaction)
            elif transaction not in included:
                gone.append(transaction)
    return kept, gone


def signed(key: LocalAccount, chain_id: int, **fields: Any) -> Transaction:
    """A transaction of type 2, unless the fields say otherwise."""
    complete = {"type": 2, "chainId": chain_id, "value": 0, "data": b"", **fields}
    return parse_transaction("0x" + bytes(key.sign_transaction(complete).raw_transaction).hex())


def contract_address(sender: str, nonce: int) -> str:
    """Where a contract lands that this transaction deploys; lower case."""
    return "0x" + keccak(rlp.encode([bytes.fromhex(sender.removeprefix("0x")), nonce]))[12:].hex()


def with_0x(text: str) -> str:
    """Hashes and raw bytes as nodes want them, however they were written."""
    return "0x" + text.removeprefix("0x").lower()


def without_0x(text: str) -> str:
    """Hashes as the rest of the project shows them."""
    return text.removeprefix("0x").lower()
