"""A block's answers, proven against its hash: header, transactions, receipts. Pure.

Called by `contents`. Keeps P5: whatever is returned is committed to by the block's hash, because the header's fields
hash to it, the transactions and receipts give the header's roots, and each sender follows from its signature. Blooms
are not computed: those that the node says are hashed with the rest, so that a changed one fits no root.

The header is that of Frontier to Amsterdam (the Yellow Paper, EIP-1559, 4895, 4844, 4788, 7685, 7928, 7843). A block
of a later fork, with a field that is not known here, does not hash to its hash and is refused: no chain is followed
blindly into rules that nobody read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from cryptowatch.chains.ethereum import rlp
from cryptowatch.chains.ethereum.keccak import keccak
from cryptowatch.chains.ethereum.mined import MinedTransaction, Transaction, prove, quantity
from cryptowatch.chains.ethereum.rlp import MalformedData
from cryptowatch.chains.ethereum.trie import ordered_root
from cryptowatch.chains.port import BlockRef

_ADDRESS_TEXT, _WORD_TEXT = 42, 66
#: Year 9999: `datetime` knows no later one.
_TIME_MAX = 253_402_300_799


class Block(msgspec.Struct, rename="camel", gc=False):
    """`eth_getBlockByHash` with whole transactions."""

    parent_hash: str
    sha3_uncles: str = msgspec.field(name="sha3Uncles")
    miner: str
    state_root: str
    transactions_root: str
    receipts_root: str
    logs_bloom: str
    difficulty: str
    number: str
    gas_limit: str
    gas_used: str
    timestamp: str
    extra_data: str
    mix_hash: str
    nonce: str
    transactions: list[MinedTransaction]
    base_fee_per_gas: str | None = None
    withdrawals_root: str | None = None
    blob_gas_used: str | None = None
    excess_blob_gas: str | None = None
    parent_beacon_block_root: str | None = None
    requests_hash: str | None = None
    block_access_list_hash: str | None = None
    slot_number: str | None = None


class Log(msgspec.Struct, gc=False):
    """Its place in the transaction is its place in the receipt: what nodes say of places is not committed to."""

    address: str
    topics: list[str]
    data: str


class Receipt(msgspec.Struct, rename="camel", gc=False):
    """One of `eth_getBlockReceipts`. Fields that no hash commits to are not read, but for the price of blobs."""

    cumulative_gas_used: str
    logs_bloom: str
    logs: list[Log]
    status: str | None = None
    #: Instead of the status, before Byzantium.
    root: str | None = None
    blob_gas_price: str | None = None

    @property
    def succeeded(self) -> bool:
        """Never so before Byzantium, where the receipt does not say."""
        return self.status is not None and quantity(self.status) == 1


@dataclass(frozen=True, slots=True)
class ProvenBlock:
    """What the hash commits to."""

    ref: BlockRef
    #: Wei per gas; 0 before London.
    base_fee: int
    transactions: Sequence[Transaction]
    #: One for each transaction. A failed one has no logs.
    receipts: Sequence[Receipt]
    size_bytes: int

    def gas_used(self, number: int) -> int:
        """By the transaction with this number: the receipts commit to running totals only."""
        before = quantity(self.receipts[number - 1].cumulative_gas_used) if number else 0
        return quantity(self.receipts[number].cumulative_gas_used) - before


def prove_block(block: Block, receipts: Sequence[Receipt], block_hash: bytes, height: int) -> ProvenBlock:
    """Raises MalformedData unless this is the block with the hash, at the height, with all its receipts."""
    header = prove_header(block, block_hash, height)
    transactions, encoded = prove_transactions(block)
    prove_receipts(block, receipts)
    return ProvenBlock(
        ref=BlockRef(
            height, block_hash, bytes.fromhex(block.parent_hash[2:]), _time(quantity(block.timestamp))
        ),
        base_fee=quantity(block.base_fee_per_gas) if block.base_fee_per_gas is not None else 0,
        transactions=transactions,
        receipts=receipts,
        size_bytes=len(header) + sum(map(len, encoded)) // 2,
    )


def prove_header(block: Block, block_hash: bytes, height: int) -> bytes:
    """Its bytes. Raises MalformedData."""
    header = rlp.raw(_header(block))
    if keccak(header) != block_hash:
        raise MalformedData("the header does not hash to the block's hash (or is of a fork not known here)")
    if quantity(block.number) != height:
        raise MalformedData("the block is of another height")
    return header


def prove_transactions(block: Block) -> tuple[list[Transaction], list[str]]:
    """(the transactions, the bytes of each in digits), by the header's root. Raises MalformedData."""
    proven, encoded = [], []
    for said in block.transactions:
        transaction, digits = prove(said)
        proven.append(transaction)
        encoded.append(digits)
    if ordered_root(encoded).hex() != block.transactions_root[2:]:
        raise MalformedData("the transactions do not fit the header's root")
    return proven, encoded


def prove_receipts(block: Block, receipts: Sequence[Receipt]) -> None:
    """By the header's root. Raises MalformedData."""
    if len(receipts) != len(block.transactions):
        raise MalformedData("another number of receipts than of transactions")
    encoded = [
        _receipt(quantity(said.type), receipt)
        for said, receipt in zip(block.transactions, receipts, strict=True)
    ]
    if ordered_root(encoded).hex() != block.receipts_root[2:]:
        raise MalformedData("the receipts do not fit the header's root")


def _header(block: Block) -> str:
    texts = (block.parent_hash, block.sha3_uncles, block.miner, block.state_root, block.transactions_root)
    numbers = (block.difficulty, block.number, block.gas_limit, block.gas_used, block.timestamp)
    fields = [rlp.string(text[2:]) for text in (*texts, block.receipts_root, block.logs_bloom)]
    fields += [rlp.scalar(text[2:]) for text in numbers]
    fields += [rlp.string(text[2:]) for text in (block.extra_data, block.mix_hash, block.nonce)]
    later: tuple[tuple[str | None, bool], ...] = (
        (block.base_fee_per_gas, True),
        (block.withdrawals_root, False),
        (block.blob_gas_used, True),
        (block.excess_blob_gas, True),
        (block.parent_beacon_block_root, False),
        (block.requests_hash, False),
        (block.block_access_list_hash, False),
        (block.slot_number, True),
    )
    for text, is_number in later:
        if text is not None:
            fields.append(rlp.scalar(text[2:]) if is_number else rlp.string(text[2:]))
    return rlp.listed("".join(fields))


def _receipt(kind: int, receipt: Receipt) -> str:
    """The consensus encoding (EIP-658, EIP-2718). One loop over all logs of the block: it must be quick."""
    logs = []
    for log in receipt.logs:
        words = ""
        for topic in log.topics:
            # Each by itself: where one ends in a0, its end could pass for the next one's beginning.
            if len(topic) != _WORD_TEXT:
                raise MalformedData("a log's topic of a wrong length")
            words += "a0" + topic[2:]
        if len(log.address) != _ADDRESS_TEXT:
            raise MalformedData("a log's address of a wrong length")
        logs.append(rlp.listed("94" + log.address[2:] + rlp.listed(words) + rlp.string(log.data[2:])))
    if receipt.status is not None:
        outcome = rlp.scalar(receipt.status[2:])
    elif receipt.root is not None:
        outcome = rlp.string(receipt.root[2:])
    else:
        raise MalformedData("a receipt that tells no outcome")
    encoded = rlp.listed(
        outcome
        + rlp.scalar(receipt.cumulative_gas_used[2:])
        + rlp.string(receipt.logs_bloom[2:])
        + rlp.listed("".join(logs))
    )
    return f"{kind:02x}{encoded}" if kind else encoded


def _time(seconds: int) -> datetime:
    if seconds > _TIME_MAX:
        raise MalformedData("a time beyond reason")
    return datetime.fromtimestamp(seconds, UTC)
