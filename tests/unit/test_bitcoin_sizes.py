"""Sizes and fees: the published figures, and never less than a real signed transaction weighs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptowatch.chains.bitcoin.sizes import (
    dust_limit,
    fee_of,
    input_weight,
    marginal_fee,
    output_weight,
    transaction_weight,
    vsize_of,
)
from cryptowatch.chains.bitcoin.transaction import TxInput, TxOutput, UnsignedTransaction, weight_of
from cryptowatch.money import BaseUnits

P2WPKH, P2TR = b"\x00\x14" + bytes(20), b"\x51\x20" + bytes(32)
P2PKH, P2SH, P2WSH = (
    b"\x76\xa9\x14" + bytes(20) + b"\x88\xac",
    b"\xa9\x14" + bytes(20) + b"\x87",
    b"\x00\x20" + bytes(32),
)
#: The heaviest witnesses: a DER signature of 71 bytes with its type, a Schnorr signature.
WITNESSES = {P2WPKH: (bytes(72), bytes(33)), P2TR: (bytes(64),)}


def test_inputs_and_outputs_weigh_what_bitcoin_optech_says() -> None:
    assert (input_weight(P2WPKH), input_weight(P2TR)) == (4 * 68, 4 * 57 + 2)
    assert [output_weight(script) // 4 for script in (P2WPKH, P2TR, P2PKH, P2SH, P2WSH)] == [
        31,
        43,
        34,
        32,
        43,
    ]


@pytest.mark.parametrize("script", [P2PKH, P2WSH, b"", P2TR[:-1]])
def test_what_is_not_ours_has_no_input_weight(script: bytes) -> None:
    with pytest.raises(ValueError, match="P2WPKH and P2TR"):
        input_weight(script)


@pytest.mark.parametrize(
    ("script", "limit"), [(P2WPKH, 294), (P2TR, 330), (P2PKH, 546), (P2SH, 540), (P2WSH, 330)]
)
def test_dust_limits_are_bitcoin_cores(script: bytes, limit: int) -> None:
    assert dust_limit(script) == limit


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 101), (252, 252), (253, 253), (300, 1)])
def test_a_signed_transaction_weighs_exactly_what_was_foretold(inputs: int, outputs: int) -> None:
    own = [(P2WPKH, P2TR)[n % 2] for n in range(inputs)]
    paid = [(P2WPKH, P2PKH, P2TR)[n % 3] for n in range(outputs)]
    transaction = UnsignedTransaction(
        tuple(TxInput(bytes(32), n, BaseUnits(1000), script) for n, script in enumerate(own)),
        tuple(TxOutput(script, BaseUnits(500)) for script in paid),
    )
    assert transaction_weight(own, paid) == weight_of(transaction, [WITNESSES[script] for script in own])


def test_a_hundred_payouts_from_one_coin_take_32_virtual_bytes_each() -> None:
    assert vsize_of(transaction_weight([P2WPKH], [P2WPKH] * 101)) == 3210


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=10), st.integers(1, 1_000_000))
def test_the_parts_fees_are_never_below_the_wholes(weights: list[int], fee_rate: int) -> None:
    assert fee_of(sum(weights), fee_rate) <= sum(marginal_fee(weight, fee_rate) for weight in [*weights, 3])
    assert fee_of(sum(weights), fee_rate) * 1000 >= vsize_of(sum(weights)) * fee_rate
