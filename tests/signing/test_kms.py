"""P9: keys in AWS KMS sign what the policy allows, and never leave it."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from coincurve import PrivateKey
from eth_account import Account

from cryptowatch.chains.ethereum.keccak import keccak
from cryptowatch.errors import OperatorError
from cryptowatch.settings.signer import Kms
from cryptowatch.signing.ethereum import proposal, request_keys, sign
from cryptowatch.signing.kms import KmsClient, open_keys, recoverable
from cryptowatch.signing.messages import KeyPath
from cryptowatch.signing.wallet import KeysUnavailable, WalletKeys
from tests.support.account_wallet import ACCOUNT_FACTS, transaction
from tests.support.kms import FakeKms, fake_kms
from tests.support.wallet import ACCOUNTS

DIGEST = keccak(b"what is signed")
#: The order of secp256k1's group (SEC 2).
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture(scope="module")
def kms() -> Iterator[FakeKms]:
    with fake_kms() as running:
        yield running


@pytest.fixture
def client(kms: FakeKms) -> Iterator[KmsClient]:
    opened = KmsClient(Kms(**kms.settings([kms.make_key()])))
    yield opened
    opened.close()


def test_a_transaction_that_kms_signed_is_the_accounts_for_everybody(kms: FakeKms, client: KmsClient) -> None:
    """By another implementation's word (eth-account)."""
    made = [kms.make_key(), kms.make_key()]
    wallet = WalletKeys(ACCOUNTS, open_keys(client, "signer.kms.x", Kms(**kms.settings(made))), "listed")
    for place, key in enumerate(made):
        t = transaction()
        keys = request_keys(t, KeyPath("listed", 1, place), (), wallet)
        proposed = proposal(t, keys, "L", wallet, ACCOUNT_FACTS)  # type: ignore[arg-type]
        assert proposed.resource == f"{key.address[2:].lower()}:7"  # type: ignore[union-attr]
        for _ in range(8):  # each signature is another one, with either s
            tx_hash, raw = sign(t, keys)  # type: ignore[arg-type]
            assert Account.recover_transaction(raw) == key.address
            assert keccak(raw) == tx_hash


@pytest.mark.parametrize(
    "path",
    [KeyPath("listed", 1, 1), KeyPath("bip44", 1, 0), KeyPath("listed", 0, 0), KeyPath("bip84", 0, 0)],
    ids=["beyond the list", "a derived sender", "a listed deposit account", "a coin's key"],
)
def test_only_listed_accounts_send(kms: FakeKms, client: KmsClient, path: KeyPath) -> None:
    senders = open_keys(client, "signer.kms.x", Kms(**kms.settings([kms.make_key()])))
    assert WalletKeys(ACCOUNTS, senders, "listed").key(path) is None


def test_deposit_accounts_keep_their_derived_keys(kms: FakeKms, client: KmsClient) -> None:
    senders = open_keys(client, "signer.kms.x", Kms(**kms.settings([kms.make_key()])))
    wallet, path = WalletKeys(ACCOUNTS, senders, "listed"), KeyPath("bip44", 0, 3)
    key = wallet.key(path)
    assert key is not None
    assert key.script == ACCOUNTS.key(path).script


def test_a_key_of_another_kind_or_none_is_named_at_the_start(kms: FakeKms, client: KmsClient) -> None:
    good, other = kms.make_key(), kms.make_key("ECC_NIST_P256")
    with pytest.raises(OperatorError, match=r"signer\.kms\.x\.keys\[1\]: it is no key of the kind"):
        open_keys(client, "signer.kms.x", Kms(**kms.settings([good, other])))
    gone = Kms(**(kms.settings([good]) | {"keys": ["alias/nobody"]}))
    with pytest.raises(OperatorError, match=r"signer\.kms\.x\.keys\[0\]: KMS: NotFoundException"):
        open_keys(client, "signer.kms.x", gone)


def test_a_key_that_kms_does_not_use_now_is_away_and_not_refused(kms: FakeKms, client: KmsClient) -> None:
    [key] = open_keys(client, "signer.kms.x", Kms(**kms.settings([kms.make_key()])))
    with pytest.raises(KeysUnavailable, match=r"^KMS: NotFoundException$"):
        replace(key, key_id="alias/removed").sign_recoverable(DIGEST)
    assert len(key.sign_recoverable(DIGEST)) == 65


def test_a_kms_that_does_not_answer_is_waited_for_no_longer_than_the_setting_says(kms: FakeKms) -> None:
    nobody = Kms(
        **(kms.settings([kms.make_key()]) | {"endpoint_url": "http://127.0.0.1:9", "timeout_s": 0.2})
    )
    client = KmsClient(nobody)
    begun_s = time.monotonic()
    with pytest.raises(OperatorError, match=r"KMS: (TimeoutError|EndpointConnectionError)"):
        open_keys(client, "signer.kms.x", nobody)
    assert time.monotonic() - begun_s < 30
    client.close()


def test_the_higher_s_becomes_the_lower_one_and_the_id_leads_back_to_the_key() -> None:
    key = PrivateKey(b"\x05" * 32)
    given = key.sign_recoverable(DIGEST, hasher=None)
    r, s = int.from_bytes(given[:32], "big"), int.from_bytes(given[32:64], "big")
    assert recoverable(r, s, DIGEST, key.public_key) == given
    assert recoverable(r, ORDER - s, DIGEST, key.public_key) == given


@pytest.mark.parametrize("signature", [(1, 1), (0, 0), (2**256, 1)], ids=["no point's", "zeros", "too long"])
def test_a_signature_that_is_not_the_keys_is_none(signature: tuple[int, int]) -> None:
    with pytest.raises(KeysUnavailable):
        recoverable(*signature, DIGEST, PrivateKey(b"\x05" * 32).public_key)
    other = PrivateKey(b"\x06" * 32).sign_recoverable(DIGEST, hasher=None)
    r, s = int.from_bytes(other[:32], "big"), int.from_bytes(other[32:64], "big")
    with pytest.raises(KeysUnavailable, match="another key"):
        recoverable(r, s, DIGEST, PrivateKey(b"\x05" * 32).public_key)
