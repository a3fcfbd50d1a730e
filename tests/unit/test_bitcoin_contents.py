"""What of a block is ours: transfers by (hash, position), uses of watched resources, no more (P2)."""

import pytest

from cryptowatch.chains.bitcoin.contents import BitcoinBlock, BitcoinPending
from cryptowatch.chains.bitcoin.parse import AMOUNT_MAX_SAT, MalformedData
from cryptowatch.chains.port import Spend, Transfer
from cryptowatch.chains.watchset import WatchList
from cryptowatch.money import BaseUnits
from tests.support import blocks

OURS, OTHERS = b"\x00\x14" + b"o" * 20, b"\x00\x14" + b"x" * 20
#: The same outpoint on the wire and as the port names it.
WIRE = bytes(range(32)) + b"\x07\x00\x00\x00"
RESOURCE = bytes(range(31, -1, -1)) + b"\x00\x00\x00\x07"


def read(transactions: list[bytes]) -> BitcoinBlock:
    raw = blocks.block(transactions, prev_hash=b"p" * 32)
    return BitcoinBlock.read(raw, blocks.block_hash(raw), 7, "BTC")


def test_outputs_to_us_are_transfers_with_their_place_in_the_transaction() -> None:
    paying = blocks.transaction([WIRE, b"z" * 36], [(1, OTHERS), (2, OURS), (3, b"\x6a" * 300), (4, OURS)])
    tx_hash = blocks.wire_id(paying)[::-1]
    other = blocks.transaction([b"y" * 36], [(9, OTHERS)])
    found = read([blocks.coinbase(), other, paying, other[:-1] + b"\x01"]).contents(WatchList([OURS]))
    assert found.transfers == (
        Transfer(tx_hash, 1, OURS, "BTC", BaseUnits(2)),
        Transfer(tx_hash, 3, OURS, "BTC", BaseUnits(4)),
    )
    assert found.resources == {tx_hash: (RESOURCE, b"z" * 36)}
    assert (found.ref.height, found.ref.prev_hash, found.transactions) == (7, b"p" * 32, 4)
    assert found.spends == ()


def test_a_watched_resource_is_told_whoever_uses_it() -> None:
    """The transaction that replaces a deposit need not pay us at all (NBXplorer #436)."""
    conflict = blocks.transaction([b"y" * 36, WIRE], [(9, OTHERS)])
    block = read([blocks.coinbase(), conflict])
    found = block.contents(WatchList([OURS], [RESOURCE]))
    assert found.spends == (Spend(RESOURCE, blocks.wire_id(conflict)[::-1]),)
    assert found.transfers == ()
    assert block.contents(WatchList([OURS], [b"other"])).spends == ()


def test_a_coinbase_that_pays_us_uses_no_resource() -> None:
    found = read([blocks.coinbase(OURS, 50)]).contents(WatchList([OURS]))
    assert [transfer.amount for transfer in found.transfers] == [50]
    assert list(found.resources.values()) == [()]


@pytest.mark.parametrize("amount", [0, AMOUNT_MAX_SAT + 1, 2**64 - 1])
def test_an_output_of_nothing_or_of_more_than_all_coins_is_no_transfer(amount: int) -> None:
    paying = blocks.transaction([WIRE], [(amount, OURS)])
    assert read([blocks.coinbase(), paying]).contents(WatchList([OURS])).transfers == ()


def test_a_pending_transaction_that_pays_us_tells_what_it_uses() -> None:
    raw = blocks.transaction([WIRE], [(1, OTHERS), (2, OURS)])
    tx_hash = blocks.wire_id(raw)[::-1]
    found = BitcoinPending.read(raw, tx_hash, "BTC").contents(WatchList([OURS]))
    assert found is not None
    assert found.transfers == (Transfer(tx_hash, 1, OURS, "BTC", BaseUnits(2)),)
    assert found.resources == (RESOURCE,)


def test_a_pending_transaction_of_others_means_nothing() -> None:
    raw = blocks.transaction([WIRE], [(1, OTHERS)])
    assert BitcoinPending.read(raw, blocks.wire_id(raw)[::-1], "BTC").contents(WatchList([OURS])) is None


def test_bytes_of_another_transaction_than_asked_for_are_refused() -> None:
    with pytest.raises(MalformedData, match="does not hash to its id"):
        BitcoinPending.read(blocks.transaction([WIRE], []), b"h" * 32, "BTC")
