"""What in a Bitcoin block or pending transaction is ours: the port's RawBlock and RawPending. Pure.

Made by `chains.bitcoin.node` from fetched bytes; asked by the watcher with its up-to-date watch list. Keeps
P5 (everything returned was checked against the hash that it was asked by) and the identity of P2:
(transaction hash, output index).

A coinbase uses no resource, and what it pays can be used 100 blocks later (consensus/consensus.h,
COINBASE_MATURITY).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from operator import or_

from cryptowatch.chains.bitcoin.parse import (
    AMOUNT_MAX_SAT,
    MalformedData,
    Transactions,
    is_coinbase,
    parse_block,
    parse_transaction,
    resources_of,
    shown,
)
from cryptowatch.chains.port import BlockContents, BlockRef, Interest, PendingTransaction, Spend, Transfer
from cryptowatch.money import BaseUnits

#: COINBASE_MATURITY counts the coinbase's own block.
COINBASE_IMMATURE_BLOCKS = 99


@dataclass(frozen=True, slots=True)
class BitcoinBlock:
    """A whole block, read and proven."""

    ref: BlockRef
    asset: str
    transactions: Transactions
    #: The merkle root commits to all of it.
    unproven: bytes = b""

    @classmethod
    def read(cls, raw: bytes, block_hash: bytes, height: int, asset: str) -> "BitcoinBlock":
        """Raises MalformedData unless the bytes are the block with this hash (as shown)."""
        header, transactions = parse_block(raw, block_hash)
        return cls(BlockRef(height, header.hash, header.prev_hash, header.time), asset, transactions)

    def raw_transaction(self, tx_hash: bytes) -> bytes | None:
        """The bytes of the transaction with this hash, if it is in the block."""
        columns, wire = self.transactions, shown(tx_hash)
        return columns.bytes_of(columns.ids.index(wire)) if wire in columns.ids else None

    def contents(self, interest: Interest) -> BlockContents:
        """What in it is ours."""
        columns = self.transactions
        resources = resources_of(columns.outpoints)
        paying, transfers = _transfers(columns, interest, self.asset)
        watched = interest.resources(resources)
        # What this very block pays us may be used in it, too, before the watch list can know of it.
        paid = {transfer.tx_hash + transfer.position.to_bytes(4, "big") for transfer in transfers}
        spends = tuple(
            Spend(resources[number], shown(columns.ids[bisect_right(columns.input_ends, number)]))
            for number in compress(
                range(len(resources)),
                map(or_, watched, map(paid.__contains__, resources)) if paid else watched,
            )
        )
        used = {
            shown(columns.ids[number]): _used_by(columns, number, resources)
            for number in dict.fromkeys(paying)
        }
        return BlockContents(self.ref, transfers, spends, used, len(columns.ids), len(columns.raw))


@dataclass(frozen=True, slots=True)
class BitcoinPending:
    """An unconfirmed transaction, read and proven to hash to its id."""

    tx_hash: bytes
    asset: str
    transaction: Transactions

    @classmethod
    def read(cls, raw: bytes, tx_hash: bytes, asset: str) -> "BitcoinPending":
        """Raises MalformedData unless the bytes are the transaction with this id (as shown)."""
        transaction = parse_transaction(raw)
        if shown(transaction.ids[0]) != tx_hash:
            raise MalformedData("the transaction does not hash to its id")
        return cls(tx_hash, asset, transaction)

    def contents(self, interest: Interest) -> PendingTransaction | None:
        """What in it is ours, or None."""
        _, transfers = _transfers(self.transaction, interest, self.asset)
        if not transfers:
            return None
        resources = resources_of(self.transaction.outpoints)
        return PendingTransaction(self.tx_hash, transfers, _used_by(self.transaction, 0, resources))


def _transfers(
    columns: Transactions,
    interest: Interest,
    asset: str,
) -> tuple[list[int], tuple[Transfer, ...]]:
    """The transfers in order, and of each the number of its transaction.

    An output of zero is no money, and one above all coins can be in no valid block: neither is a transfer.
    """
    coinbase = is_coinbase(columns.outpoints[0])
    paying: list[int] = []
    transfers: list[Transfer] = []
    number, end = -1, 0
    for output in compress(range(len(columns.scripts)), interest.destinations(columns.scripts)):
        if output >= end:
            number = bisect_right(columns.output_ends, output)
            first, end = columns.first_output(number), columns.output_ends[number]
            tx_hash, amounts = shown(columns.ids[number]), columns.amounts_sat(number)
            immature_blocks = COINBASE_IMMATURE_BLOCKS if coinbase and number == 0 else 0
        position = output - first
        amount = BaseUnits(amounts[position])
        if 0 < amount <= AMOUNT_MAX_SAT:
            paying.append(number)
            transfers.append(
                Transfer(tx_hash, position, columns.scripts[output], asset, amount, immature_blocks)
            )
    return paying, tuple(transfers)


def _used_by(columns: Transactions, number: int, resources: Sequence[bytes]) -> tuple[bytes, ...]:
    """What the transaction with this number uses, out of what all of them use."""
    first = columns.input_ends[number - 1] if number else 0
    return (
        () if is_coinbase(columns.outpoints[first]) else tuple(resources[first : columns.input_ends[number]])
    )
