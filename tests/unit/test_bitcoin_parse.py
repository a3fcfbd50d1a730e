"""The block parser: the same as embit reads, and nothing but the very block that was asked for (P5)."""

import io
import struct

import pytest
from embit.transaction import Transaction as EmbitTransaction
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptowatch.chains.bitcoin.parse import (
    BLOCK_BYTES_MAX,
    MalformedData,
    merkle_root,
    parse_block,
    parse_header,
    parse_transaction,
    resources_of,
    shown,
)
from tests.support import blocks
from tests.support.bitcoin_vectors import BIP143_SIGNED_RAW, BIP341_UNSIGNED_RAW

#: Bitcoin's first block.
GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81b"
    "c3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c0101000000010000000000000000000000000000000000000000000000"
    "000000000000000000ffffffff4d04ffff001d0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72"
    "206f6e206272696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a0100000043410467"
    "8afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d"
    "578a4c702b6bf11d5fac00000000"
)
GENESIS_HASH = bytes.fromhex("000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f")

outpoints = st.binary(min_size=36, max_size=36)
outputs = st.tuples(st.integers(0, 2**50), st.binary(max_size=300))
stacks = st.lists(st.binary(max_size=260), max_size=4)


@st.composite
def transactions(draw: st.DrawFn) -> bytes:
    spent = draw(st.lists(outpoints, min_size=1, max_size=4))
    witness = draw(st.lists(stacks, min_size=len(spent), max_size=len(spent)) | st.just([]))
    if witness and not any(witness):
        witness[0] = [b"x"]
    return blocks.transaction(spent, draw(st.lists(outputs, max_size=4)), witness)


def a_block(count: int = 5) -> bytes:
    spending = [blocks.transaction([bytes([n]) * 36], [(1000 + n, b"\x51")]) for n in range(1, count)]
    return blocks.block([blocks.coinbase(), *spending])


def test_the_first_block_of_bitcoin_is_read() -> None:
    header, read = parse_block(GENESIS, GENESIS_HASH)
    assert header.hash == GENESIS_HASH
    assert header.time.isoformat() == "2009-01-03T18:15:05+00:00"
    assert shown(read.ids[0]) == header.merkle_root
    assert read.amounts_sat(0) == [5_000_000_000]


@pytest.mark.parametrize("raw", [BIP143_SIGNED_RAW, BIP341_UNSIGNED_RAW])
def test_published_transactions_read_as_embit_reads_them(raw: str) -> None:
    same_as_embit(bytes.fromhex(raw))


@given(transactions())
def test_any_transaction_reads_as_embit_reads_it(raw: bytes) -> None:
    same_as_embit(raw)


def same_as_embit(raw: bytes) -> None:
    theirs, ours = EmbitTransaction.read_from(io.BytesIO(raw)), parse_transaction(raw)
    assert shown(ours.ids[0]) == theirs.txid()
    assert [(o[31::-1], int.from_bytes(o[32:], "little")) for o in ours.outpoints] == [
        (spent.txid, spent.vout) for spent in theirs.vin
    ]
    assert list(ours.scripts) == [output.script_pubkey.data for output in theirs.vout]
    assert ours.amounts_sat(0) == [output.value for output in theirs.vout]
    assert resources_of(ours.outpoints) == [
        spent.txid + spent.vout.to_bytes(4, "big") for spent in theirs.vin
    ]


@given(transactions(), st.data())
def test_a_transaction_cut_short_or_with_more_behind_it_is_refused(raw: bytes, data: st.DataObject) -> None:
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    for damaged in (cut, raw + data.draw(st.binary(min_size=1, max_size=8))):
        with pytest.raises(MalformedData):
            parse_transaction(damaged)


@settings(max_examples=300)
@given(st.binary(max_size=400) | transactions().flatmap(lambda raw: st.permutations(list(raw)).map(bytes)))
def test_garbage_is_refused_or_read_but_never_breaks_the_parser(raw: bytes) -> None:
    try:
        read = parse_transaction(raw)
    except MalformedData:
        return
    assert read.input_ends == [len(read.outpoints)]


@given(st.data())
def test_a_block_with_any_byte_altered_is_not_the_block(data: st.DataObject) -> None:
    raw = a_block()
    place = data.draw(st.integers(0, len(raw) - 1))
    altered = raw[:place] + bytes([raw[place] ^ data.draw(st.integers(1, 255))]) + raw[place + 1 :]
    with pytest.raises(MalformedData):
        parse_block(altered, blocks.block_hash(raw))


@given(st.integers(0, 300), st.binary(min_size=1, max_size=80))
def test_a_block_cut_short_or_with_more_behind_it_is_refused(cut: int, more: bytes) -> None:
    raw = a_block()
    for damaged in (raw[:cut], raw + more):
        with pytest.raises(MalformedData):
            parse_block(damaged, blocks.block_hash(raw))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 300])
def test_every_number_of_transactions_is_read(count: int) -> None:
    raw = (
        a_block(count)
        if count < 256
        else blocks.block(
            [
                blocks.coinbase(),
                *(blocks.transaction([n.to_bytes(36, "big")], [(n, b"")]) for n in range(1, count)),
            ]
        )
    )
    _, read = parse_block(raw, blocks.block_hash(raw))
    assert len(read.ids) == count
    # Each can be taken out of it as it stands.
    assert [parse_transaction(read.bytes_of(n)).ids for n in range(count)] == [[id_] for id_ in read.ids]
    assert merkle_root(read.ids) == blocks.merkle(read.ids)


def test_another_block_than_the_one_asked_for_is_refused() -> None:
    with pytest.raises(MalformedData, match="does not hash"):
        parse_block(a_block(4), blocks.block_hash(a_block(5)))


def test_other_contents_under_the_real_header_are_refused() -> None:
    real = a_block()
    forged = real[:80] + a_block(4)[80:]
    with pytest.raises(MalformedData, match="merkle root"):
        parse_block(forged, blocks.block_hash(real))


@pytest.mark.parametrize(("count", "tail"), [(3, 1), (5, 1), (7, 1), (6, 2)])
def test_a_repeated_tail_with_the_same_merkle_root_is_refused(count: int, tail: int) -> None:
    """CVE-2012-2459: the root of [1, 2, 3] is also that of [1, 2, 3, 3]."""
    real = [blocks.coinbase(), *(blocks.transaction([bytes([n]) * 36], []) for n in range(1, count))]
    repeated = real + real[-tail:]
    root = blocks.merkle([blocks.wire_id(raw) for raw in real])
    assert blocks.merkle([blocks.wire_id(raw) for raw in repeated]) == root
    raw = blocks.block(repeated, root)
    with pytest.raises(MalformedData, match="repeats"):
        parse_block(raw, blocks.block_hash(raw))


def test_a_block_that_does_not_begin_with_its_coinbase_is_refused() -> None:
    """Inner nodes of the tree cannot pose as its transactions (CVE-2017-12842): the first is never a
    coinbase.
    """
    raw = blocks.block([blocks.transaction([bytes(36)], []), blocks.coinbase()])
    with pytest.raises(MalformedData, match="no coinbase"):
        parse_block(raw, blocks.block_hash(raw))


def test_a_header_that_does_not_meet_its_own_difficulty_is_refused() -> None:
    header = GENESIS[:76] + struct.pack("<I", 1)
    with pytest.raises(MalformedData, match="difficulty"):
        parse_header(header)


@pytest.mark.parametrize("bits", [0x00000000, 0x01000000, 0x20800001, 0x047FFFFF - 0x04000000, 0xFF7FFFFF])
def test_a_difficulty_that_means_nothing_is_met_by_no_header(bits: int) -> None:
    header = GENESIS[:72] + struct.pack("<II", bits, 0)
    with pytest.raises(MalformedData, match="difficulty"):
        parse_header(header)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (bytes(BLOCK_BYTES_MAX + 1), "larger"),
        (bytes(10), "without inputs"),
        (b"\x02\x00\x00\x00\x00\x02" + bytes(60), "unknown flag"),
        (b"\x02\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", "without a witness"),
        (b"\x02\x00\x00\x00\xfd\x01\x00" + bytes(60), "shortest"),
        (b"\x02\x00\x00\x00\xff" + b"\xff" * 8 + bytes(60), "cut short"),
        (
            b"\x02\x00\x00\x00\x00\x01\x01" + bytes(36) + b"\x00" + bytes(4) + b"\x00" + b"\x00" + bytes(4),
            "without a witness",
        ),
    ],
)
def test_what_bitcoin_core_would_not_read_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(MalformedData, match=why):
        parse_transaction(raw)


@pytest.mark.parametrize("count", [b"\x00", b"\xfe\xff\xff\xff\x7f"])
def test_an_impossible_number_of_transactions_is_refused(count: bytes) -> None:
    raw = a_block(1)[:80] + count
    with pytest.raises(MalformedData, match="impossible"):
        parse_block(raw, blocks.block_hash(raw))
