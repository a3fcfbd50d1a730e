"""Derivation: the vectors of BIP84 and BIP86, and the same scripts as embit and bitcoinlib make."""

import hmac
from typing import Any

import pytest
from embit import base58, bip32, script
from embit.networks import NETWORKS

from cryptowatch.chains.bip32 import InvalidExtendedKey
from cryptowatch.chains.bitcoin.address import address_of
from cryptowatch.chains.bitcoin.derive import (
    Scheme,
    derive_scripts,
    parse_extended_key,
)
from tests.support.bitcoinlib_apart import LibKey

#: BIP84 and BIP86, "Test vectors": the account 0 of `abandon … about`.
ZPUB = (
    "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3Ef"
    "H1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs"
)
XPUB_86 = (
    "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcL"
    "teoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ"
)
ROOT = bip32.HDKey.from_seed(bytes(range(64)))


def extended(path: str, network: str = "main", version: str = "xpub") -> str:
    """A public key of our own test root, as text."""
    return str(ROOT.derive(path).to_public().to_string(NETWORKS[network][version]))


@pytest.mark.parametrize(
    ("text", "scheme", "branch", "index", "address"),
    [
        (ZPUB, Scheme.BIP84, 0, 0, "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
        (ZPUB, Scheme.BIP84, 0, 1, "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g"),
        (ZPUB, Scheme.BIP84, 1, 0, "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el"),
        (XPUB_86, Scheme.BIP86, 0, 0, "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"),
        (XPUB_86, Scheme.BIP86, 0, 1, "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh"),
        (XPUB_86, Scheme.BIP86, 1, 0, "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7"),
    ],
)
def test_the_published_accounts_give_the_published_addresses(
    text: str, scheme: Scheme, branch: int, index: int, address: str
) -> None:
    (derived,) = derive_scripts(parse_extended_key(text, "main", scheme), scheme, branch, [index])
    assert address_of(derived.script, "main") == address
    assert derived.key_path == (scheme, branch, index)


@pytest.mark.parametrize(("scheme", "path"), [(Scheme.BIP84, "m/84h/1h/0h"), (Scheme.BIP86, "m/86h/1h/0h")])
def test_embit_derives_the_same_scripts(scheme: Scheme, path: str) -> None:
    account = ROOT.derive(path).to_public()
    ours = parse_extended_key(extended(path, "regtest"), "regtest", scheme)
    make = script.p2wpkh if scheme is Scheme.BIP84 else script.p2tr
    for branch in (0, 1):
        theirs = [make(account.derive([branch, index])).data for index in range(40)]
        assert [derived.script for derived in derive_scripts(ours, scheme, branch, range(40))] == theirs


def test_bitcoinlib_derives_the_same_bip84_addresses() -> None:
    """Only BIP84: bitcoinlib's taproot addresses are wrong (they encode a hash instead of BIP341's key)."""
    text = extended("m/84h/0h/0h")
    theirs: Any = LibKey(text, witness_type="segwit")
    ours = derive_scripts(parse_extended_key(text, "main", Scheme.BIP84), Scheme.BIP84, 0, range(5))
    assert [address_of(derived.script, "main") for derived in ours] == [
        theirs.subkey_for_path(f"M/0/{index}").address() for index in range(5)
    ]


def test_an_index_without_a_child_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """BIP32: a left half beyond the group's order has no key. One in 2^127, so it is made to happen."""
    real = hmac.digest

    def digest(key: bytes, message: bytes, name: str) -> bytes:
        return b"\xff" * 64 if message.endswith((3).to_bytes(4, "big")) else real(key, message, name)

    monkeypatch.setattr(hmac, "digest", digest)
    account = parse_extended_key(ZPUB, "main", Scheme.BIP84)
    derived = derive_scripts(account, Scheme.BIP84, 0, range(6))
    assert [one.key_path[2] for one in derived] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("index", [-1, 1 << 31])
def test_an_index_out_of_range_is_an_error_of_ours(index: int) -> None:
    account = parse_extended_key(ZPUB, "main", Scheme.BIP84)
    with pytest.raises(ValueError, match="2\\^31"):
        derive_scripts(account, Scheme.BIP84, 0, [index])


PRIVATE = str(ROOT.derive("m/84h/0h/0h").to_string(NETWORKS["main"]["xprv"]))


@pytest.mark.parametrize(
    ("text", "network", "scheme", "why"),
    [
        ("", "main", Scheme.BIP84, "not"),
        ("x" * 200, "main", Scheme.BIP84, "too long"),
        (ZPUB[:-1] + "t", "main", Scheme.BIP84, "checksum"),
        (ZPUB, "regtest", Scheme.BIP84, "the main network"),
        (ZPUB, "main", Scheme.BIP86, "BIP84"),
        (extended("m/84h/1h/0h", "regtest"), "main", Scheme.BIP84, "a test network"),
        (PRIVATE, "main", Scheme.BIP84, "private key"),
        (base58.encode_check(bytes.fromhex("0488b21e") + bytes(74)), "main", Scheme.BIP84, "curve"),
        (base58.encode_check(bytes.fromhex("0488b21e") + bytes(73)), "main", Scheme.BIP84, "not an extended"),
        ("1AGNa15ZQXAZUgFiqJ2i7Z2DPU2J6hW62i", "main", Scheme.BIP84, "not an extended"),
    ],
)
def test_what_is_no_public_key_for_the_place_is_refused_without_being_repeated(
    text: str, network: Any, scheme: Scheme, why: str
) -> None:
    with pytest.raises(InvalidExtendedKey, match=why) as refusal:
        parse_extended_key(text, network, scheme)
    assert not text or text not in str(refusal.value)
