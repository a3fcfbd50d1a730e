"""Our own transactions: the same bytes as eth-account makes; and signed bytes that are not what was asked for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
import rlp
from coincurve import PrivateKey
from eth_account import Account
from eth_account.typed_transactions.set_code_transaction import Authorization as TheirAuthorization
from eth_keys.datatypes import PrivateKey as TheirKey
from hypothesis import given, settings

from cryptowatch.chains.ethereum.derive import account_of
from cryptowatch.chains.ethereum.recovery import is_signed_by
from cryptowatch.chains.ethereum.transaction import (
    Authorization,
    InvalidTransaction,
    Signature,
    UnsignedTransaction,
    authorization_hash,
    from_json,
    serialise,
    signing_hash,
    to_json,
)

#: secp256k1's (SEC 2).
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

secrets = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32, "big"))
addresses = st.binary(min_size=20, max_size=20)
transactions = st.builds(
    UnsignedTransaction,
    chain_id=st.integers(1, 2**53),
    nonce=st.integers(0, 2**64 - 2),
    max_fee=st.integers(0, 2**128),
    tip=st.integers(0, 2**128),
    gas=st.integers(0, 2**63),
    to=addresses,
    value=st.integers(0, 2**256 - 1),
    data=st.binary(max_size=300),
)
authorizations = st.lists(
    st.tuples(st.builds(Authorization, addresses, st.integers(0, 2**64 - 2)), secrets), max_size=3
)


def signed_by(secret: bytes, digest: bytes) -> Signature:
    made = PrivateKey(secret).sign_recoverable(digest, hasher=None)
    return Signature(made[64], int.from_bytes(made[:32], "big"), int.from_bytes(made[32:64], "big"))


def account(secret: bytes) -> bytes:
    return account_of(PrivateKey(secret).public_key)


def signed(t: UnsignedTransaction, secret: bytes, authorizing: Sequence[bytes] = ()) -> bytes:
    authorized = [
        signed_by(key, authorization_hash(t.chain_id, given))
        for key, given in zip(authorizing, t.authorizations, strict=True)
    ]
    return serialise(t, authorized, signed_by(secret, signing_hash(t, authorized)))


def theirs(t: UnsignedTransaction, secret: bytes, authorizing: Sequence[bytes]) -> bytes:
    """As eth-account signs it, which derives nonces for signatures by the same RFC."""
    fields: dict[str, Any] = {
        "type": 4 if authorizing else 2,
        "chainId": t.chain_id,
        "nonce": t.nonce,
        "maxFeePerGas": t.max_fee,
        "maxPriorityFeePerGas": t.tip,
        "gas": t.gas,
        "to": t.to,
        "value": t.value,
        "data": t.data,
        "accessList": [],
    }
    if authorizing:
        fields["authorizationList"] = [
            Account.sign_authorization(
                {"chainId": t.chain_id, "address": given.delegate, "nonce": given.nonce}, TheirKey(key)
            )
            for key, given in zip(authorizing, t.authorizations, strict=True)
        ]
    return bytes(Account.sign_transaction(fields, secret).raw_transaction)


@given(transactions, secrets, authorizations)
def test_signed_bytes_are_those_of_eth_account(
    t: UnsignedTransaction, secret: bytes, authorized: list[tuple[Authorization, bytes]]
) -> None:
    t = replace(t, authorizations=tuple(given for given, _ in authorized))
    authorizing = [key for _, key in authorized]
    assert signed(t, secret, authorizing) == theirs(t, secret, authorizing)


@given(st.integers(1, 2**53), st.builds(Authorization, addresses, st.integers(0, 2**64 - 2)))
def test_what_an_account_signs_to_delegate_is_what_eth_account_hashes(
    chain_id: int, given_: Authorization
) -> None:
    told = TheirAuthorization(chain_id, given_.delegate, given_.nonce)
    assert authorization_hash(chain_id, given_) == bytes(told.hash())


@given(transactions, authorizations)
def test_a_transaction_survives_its_document(
    t: UnsignedTransaction, authorized: list[tuple[Authorization, bytes]]
) -> None:
    t = replace(t, authorizations=tuple(given for given, _ in authorized))
    assert from_json(to_json(t)) == t


T = UnsignedTransaction(1, 7, 30, 2, 21_000, b"\x11" * 20, 5)
SWEEP = replace(
    T, data=b"\x22" * 36, authorizations=(Authorization(b"\x33" * 20), Authorization(b"\x44" * 20, 1))
)


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": 1},
        {"nonce": "7"},
        {"nonce": "0x07"},
        {"nonce": "0x-7"},
        {"value": "0x1" + "0" * 64},
        {"gas": "0xA"},
        {"to": "0x" + "11" * 19},
        {"to": "0x" + "AA" * 20},
        {"to": None},
        {"data": "0x1"},
        {"data": "0x" + "00" * 65_536},
        {"authorizations": [{"delegate": "0x" + "11" * 20}]},
        {"authorizations": [{"delegate": "0x" + "11" * 20, "nonce": "0x0", "chain_id": "0x0"}]},
        {"authorizations": [{"delegate": "0x" + "11" * 20, "nonce": "0x0"}] * 201},
        {"type": "0x0"},
    ],
)
def test_a_document_that_we_would_not_write_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidTransaction):
        from_json(to_json(T) | change)


# --- whether signed bytes are what was asked for ------------------------------------------------------------

ME, ONE, TWO, STRANGER = (bytes([n]) * 32 for n in range(1, 5))
AUTHORITIES = [account(ONE), account(TWO)]


def test_what_was_asked_for_is_recognised() -> None:
    assert is_signed_by(signed(T, ME), T, account(ME), [])
    assert is_signed_by(signed(SWEEP, ME, [ONE, TWO]), SWEEP, account(ME), AUTHORITIES)


@given(transactions, secrets, authorizations)
@settings(max_examples=50)
def test_whatever_was_asked_for_is_recognised(
    t: UnsignedTransaction, secret: bytes, authorized: list[tuple[Authorization, bytes]]
) -> None:
    t = replace(t, authorizations=tuple(given for given, _ in authorized))
    keys = [key for _, key in authorized]
    assert is_signed_by(signed(t, secret, keys), t, account(secret), list(map(account, keys)))


CHANGES: list[dict[str, Any]] = [
    {"chain_id": 2},
    {"nonce": 8},
    {"max_fee": 31},
    {"tip": 1},
    {"gas": 21_001},
    {"to": b"\x12" * 20},
    {"value": 6},
    {"data": b"\x22" * 37},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
@pytest.mark.parametrize(("asked", "keys"), [(T, []), (SWEEP, [ONE, TWO])])
def test_a_changed_field_is_another_transaction(
    asked: UnsignedTransaction, keys: list[bytes], change: dict[str, Any]
) -> None:
    raw = signed(replace(asked, **change), ME, keys)
    assert not is_signed_by(raw, asked, account(ME), list(map(account, keys)))


@pytest.mark.parametrize(
    ("given_", "keys"),
    [
        ((SWEEP.authorizations[0],), [ONE]),
        ((SWEEP.authorizations[0], Authorization(b"\x45" * 20, 1)), [ONE, TWO]),
        ((SWEEP.authorizations[0], Authorization(b"\x44" * 20, 2)), [ONE, TWO]),
        (SWEEP.authorizations[::-1], [TWO, ONE]),
        ((), []),
    ],
)
def test_other_authorizations_are_another_transaction(
    given_: tuple[Authorization, ...], keys: list[bytes]
) -> None:
    raw = signed(replace(SWEEP, authorizations=given_), ME, keys)
    assert not is_signed_by(raw, SWEEP, account(ME), AUTHORITIES)


def test_another_signer_is_refused() -> None:
    assert not is_signed_by(signed(T, STRANGER), T, account(ME), [])
    assert not is_signed_by(signed(SWEEP, STRANGER, [ONE, TWO]), SWEEP, account(ME), AUTHORITIES)


@pytest.mark.parametrize("keys", [[ONE, STRANGER], [STRANGER, TWO], [TWO, ONE], [ONE, ONE]])
def test_another_signer_of_an_authorization_is_refused(keys: list[bytes]) -> None:
    assert not is_signed_by(signed(SWEEP, ME, keys), SWEEP, account(ME), AUTHORITIES)


def test_authorities_that_nobody_asked_for_are_refused() -> None:
    assert not is_signed_by(signed(T, ME), T, account(ME), AUTHORITIES)


def test_a_mirrored_signature_is_refused() -> None:
    """The same key's, and nodes refuse it (EIP-2): its hash would be another one for ever."""
    digest = signing_hash(T, [])
    low = signed_by(ME, digest)
    high = Signature(1 - low.y_parity, low.r, ORDER - low.s)
    assert is_signed_by(serialise(T, [], low), T, account(ME), [])
    assert not is_signed_by(serialise(T, [], high), T, account(ME), [])
    given_ = [
        signed_by(key, authorization_hash(1, one))
        for key, one in zip([ONE, TWO], SWEEP.authorizations, strict=True)
    ]
    mirrored = [Signature(1 - given_[0].y_parity, given_[0].r, ORDER - given_[0].s), given_[1]]
    raw = serialise(SWEEP, mirrored, signed_by(ME, signing_hash(SWEEP, mirrored)))
    assert not is_signed_by(raw, SWEEP, account(ME), AUTHORITIES)


@pytest.mark.parametrize(
    "signature",
    [
        Signature(0, 0, 0),
        Signature(0, 1, 0),
        Signature(2, 1, 1),
        Signature(255, 1, 1),
        Signature(256, 1, 1),
        Signature(0, 2**256, 1),
        Signature(0, 1, 2**256),
        Signature(0, ORDER, 1),
    ],
)
def test_numbers_that_are_no_signature_are_refused(signature: Signature) -> None:
    assert not is_signed_by(serialise(T, [], signature), T, account(ME), [])


RAW = signed(T, ME)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x02",
        b"\x02\x80",
        b"\x02\xc0",
        b"\x04" + RAW[1:],
        RAW[1:],
        RAW[:-1],
        RAW + b"\0",
        b"\x02" + rlp.encode([b""] * 3),
        b"\x02" + rlp.encode([[b""]] * 12),
        b"\x02" + rlp.encode([*[b""] * 9, [], b"", b"", b""]),
        b"\xc1" * 100_000,
        b"\x02" + b"\xf9\xff\xff" * 50_000,
    ],
)
def test_bytes_that_are_no_transaction_are_refused(raw: bytes) -> None:
    for asked, authorities in ((T, []), (SWEEP, AUTHORITIES)):
        assert not is_signed_by(raw, asked, account(ME), authorities)


def nested(depth: int) -> bytes:
    item = b"\xc0"
    for _ in range(depth):
        item = list_head(len(item)) + item
    return item


def list_head(length: int) -> bytes:
    if length <= 55:
        return bytes([0xC0 + length])
    size = (length.bit_length() + 7) // 8
    return bytes([0xF7 + size]) + length.to_bytes(size, "big")


def test_lists_in_lists_without_end_are_refused_and_not_the_end_of_the_stack() -> None:
    assert not is_signed_by(b"\x02" + nested(20_000), T, account(ME), [])


@given(st.data())
@settings(max_examples=200)
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    raw = bytearray(signed(SWEEP, ME, [ONE, TWO]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    assert not is_signed_by(bytes(raw), SWEEP, account(ME), AUTHORITIES)
