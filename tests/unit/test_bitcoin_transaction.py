"""Bitcoin transactions against published vectors (BIP143, BIP341) and against embit and bitcoinlib."""

import io

import pytest
from embit.transaction import Transaction as EmbitTransaction
from hypothesis import given
from hypothesis import strategies as st

from cryptowatch.chains.bitcoin.transaction import (
    SATOSHI_MAX,
    SEQUENCE_REPLACEABLE,
    InvalidTransaction,
    SignatureHashes,
    TxInput,
    TxOutput,
    UnsignedTransaction,
    from_json,
    read_transaction,
    serialise,
    to_json,
    weight_of,
)
from cryptowatch.money import BaseUnits
from tests.support.bitcoin_vectors import (
    BIP143_SIGNED_RAW,
    BIP143_UNSIGNED,
    BIP143_UNSIGNED_RAW,
    BIP341_UNSIGNED_RAW,
    bip341_unsigned,
)
from tests.support.bitcoinlib_apart import LibTransaction


def test_the_bip143_example_serialises_to_the_published_bytes() -> None:
    assert serialise(BIP143_UNSIGNED).hex() == BIP143_UNSIGNED_RAW


def test_the_bip143_signature_hash_of_p2wpkh_is_the_published_one() -> None:
    assert SignatureHashes(BIP143_UNSIGNED).of(1).hex() == (
        "c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670"
    )


def test_an_input_that_is_not_native_segwit_has_no_signature_hash() -> None:
    with pytest.raises(InvalidTransaction, match="input 0"):
        SignatureHashes(BIP143_UNSIGNED).of(0)


def test_the_bip341_signature_hash_of_the_default_key_path_is_the_published_one() -> None:
    # Input 4 is the vector with SIGHASH_DEFAULT; the others commit to less than a whole transaction.
    assert SignatureHashes(bip341_unsigned()).of(4).hex() == (
        "4f900a0bae3f1446fd48490c2958b5a023228f01661cda3496a11da502a7f7ef"
    )


def test_the_bip143_example_is_read_with_its_witness_and_its_id_without() -> None:
    signed = read_transaction(bytes.fromhex(BIP143_SIGNED_RAW))
    unsigned = read_transaction(bytes.fromhex(BIP143_UNSIGNED_RAW))
    assert unsigned.txid == BIP143_UNSIGNED.txid
    assert signed.inputs[0].witness == () and len(signed.inputs[1].witness) == 2
    assert signed.outputs == BIP143_UNSIGNED.outputs
    assert signed.txid != signed.wtxid and unsigned.txid == unsigned.wtxid


@pytest.mark.parametrize("raw_hex", [BIP143_SIGNED_RAW, BIP143_UNSIGNED_RAW, BIP341_UNSIGNED_RAW])
def test_embit_reads_the_same_transaction(raw_hex: str) -> None:
    ours, theirs = read_transaction(bytes.fromhex(raw_hex)), EmbitTransaction.parse(bytes.fromhex(raw_hex))
    assert ours.txid == theirs.txid()
    assert [coin.prev_hash for coin in ours.inputs] == [coin.txid for coin in theirs.vin]
    assert [output.script for output in ours.outputs] == [output.script_pubkey.data for output in theirs.vout]


def test_bitcoinlib_computes_the_same_id_and_virtual_size() -> None:
    ours = read_transaction(bytes.fromhex(BIP143_SIGNED_RAW))
    theirs = LibTransaction.parse(io.BytesIO(bytes.fromhex(BIP143_SIGNED_RAW)), strict=False)
    assert ours.txid.hex() == theirs.txid
    assert ours.weight == theirs.calc_weight_units()
    assert ours.vsize == theirs.vsize


@pytest.mark.parametrize("cut", [1, 4, 5, 40, 100, 200])
def test_a_transaction_that_ends_too_early_is_refused(cut: int) -> None:
    with pytest.raises(InvalidTransaction):
        read_transaction(bytes.fromhex(BIP143_SIGNED_RAW)[:-cut])


def test_bytes_after_a_transaction_are_refused() -> None:
    with pytest.raises(InvalidTransaction, match="follow"):
        read_transaction(bytes.fromhex(BIP143_SIGNED_RAW) + b"\x00")


def test_a_count_beyond_the_bytes_is_refused_without_reading_on() -> None:
    with pytest.raises(InvalidTransaction, match="too early"):
        read_transaction(bytes.fromhex("02000000" + "ff" + "ff" * 8) + bytes(100))


coins = st.builds(
    TxInput,
    prev_hash=st.binary(min_size=32, max_size=32),
    prev_index=st.integers(0, 2**32 - 1),
    amount=st.integers(0, SATOSHI_MAX),
    script=st.binary(max_size=60),
    sequence=st.integers(0, 2**32 - 1),
)
payments = st.builds(TxOutput, script=st.binary(max_size=300), amount=st.integers(0, SATOSHI_MAX))
transactions = st.builds(
    UnsignedTransaction,
    inputs=st.lists(coins, min_size=1, max_size=5, unique_by=lambda coin: coin.outpoint).map(tuple),
    outputs=st.lists(payments, min_size=1, max_size=5).map(tuple),
    locktime=st.integers(0, 2**32 - 1),
)


@given(transactions)
def test_the_json_form_gives_back_the_same_transaction(transaction: UnsignedTransaction) -> None:
    assert from_json(to_json(transaction)) == transaction


@given(transactions, st.data())
def test_what_is_serialised_is_read_back(transaction: UnsignedTransaction, data: st.DataObject) -> None:
    witness = st.lists(st.binary(max_size=80), min_size=1, max_size=3)
    witnesses = [data.draw(witness) for _ in transaction.inputs]
    read = read_transaction(serialise(transaction, witnesses))
    assert read.txid == transaction.txid
    assert [coin.outpoint for coin in read.inputs] == [coin.outpoint for coin in transaction.inputs]
    assert [list(coin.witness) for coin in read.inputs] == witnesses
    assert read.outputs == transaction.outputs
    assert read.weight == weight_of(transaction, witnesses)


def test_new_inputs_are_replaceable() -> None:
    assert TxInput(bytes(32), 0, BaseUnits(1), b"").sequence == SEQUENCE_REPLACEABLE == 0xFFFFFFFD


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 3}, "version"),
        ({"locktime": -1}, "locktime"),
        ({"locktime": 2**32}, "locktime"),
        ({"inputs": []}, "inputs"),
        ({"outputs": []}, "outputs"),
        ({"fee": 1}, "fee"),
        ({"outputs": [{"script": "00", "amount": -1}]}, "amount"),
        ({"outputs": [{"script": "00", "amount": 1.0}]}, "amount"),
        ({"outputs": [{"script": "00", "amount": True}]}, "amount"),
        ({"outputs": [{"script": "00", "amount": SATOSHI_MAX + 1}]}, "amount"),
        ({"outputs": [{"script": "0", "amount": 1}]}, "script"),
        ({"outputs": [{"script": "00\n", "amount": 1}]}, "script"),
    ],
)
def test_json_that_is_no_transaction_is_refused_and_named(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidTransaction, match=complaint):
        from_json(to_json(BIP143_UNSIGNED) | change)


def test_json_that_spends_a_coin_twice_is_refused() -> None:
    twice = UnsignedTransaction((BIP143_UNSIGNED.inputs[1],) * 2, BIP143_UNSIGNED.outputs)
    with pytest.raises(InvalidTransaction, match="same coin"):
        from_json(to_json(twice))
