"""P9: keys and signatures against published vectors (BIP84, 86, 143, 340, 341), embit and bitcoinlib."""

from dataclasses import replace

import pytest
from coincurve import PrivateKey, PublicKey, PublicKeyXOnly
from embit import bip39, ec
from embit.bip32 import HDKey
from embit.psbt import PSBT, DerivationPath
from embit.script import Script
from embit.transaction import Transaction as EmbitTransaction
from embit.transaction import TransactionOutput as EmbitOutput

from cryptowatch.chains.bitcoin.transaction import (
    SignatureHashes,
    TxOutput,
    UnsignedTransaction,
    read_transaction,
    serialise,
)
from cryptowatch.money import BaseUnits
from cryptowatch.signing.bitcoin import change_outputs, input_keys, proposal, sign
from cryptowatch.signing.keys import (
    KeyMaterialError,
    SigningKey,
    accounts_from_mnemonic,
    accounts_from_xprvs,
)
from cryptowatch.signing.messages import KeyPath, Scheme
from cryptowatch.signing.policy import Reason, Refusal
from tests.support.bitcoin_vectors import BIP143_UNSIGNED, bip341_unsigned
from tests.support.bitcoinlib_apart import LibKey, LibMnemonic
from tests.support.wallet import ACCOUNTS, MNEMONIC, build

#: BIP86, test vectors: account 0.
BIP86_XPRV = (
    "xprv9xgqHN7yz9MwCkxsBPN5qetuNdQSUttZNKw1dcYTV4mkaAFiBVGQz"
    "iHs3NRSWMkCzvgjEe3n9xV8oYywvM8at9yRqyaZVz6TYYhX98VjsUk"
)
BIP86_XPUB = (
    "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afY"
    "WcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ"
)


@pytest.mark.parametrize(
    ("branch", "index", "public_key"),
    [
        (0, 0, "0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c"),
        (0, 1, "03e775fd51f0dfb8cd865d9ff1cca2a158cf651fe997fdc9fee9c1d3b5e995ea77"),
        (1, 0, "03025324888e429ab8e3dbaf1f7802648b9cd01e9b418485c5fa4c1b9b5700e1a6"),
    ],
)
def test_the_bip84_vectors_give_the_published_keys(branch: int, index: int, public_key: str) -> None:
    assert ACCOUNTS.key(KeyPath("bip84", branch, index)).public_key.hex() == public_key  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("branch", "index", "script"),
    [
        (0, 0, "5120a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c"),
        (0, 1, "5120a82f29944d65b86ae6b5e5cc75e294ead6c59391a1edc5e016e3498c67fc7bbb"),
        (1, 0, "5120882d74e5d0572d5a816cef0041a96b6c1de832f6f9676d9605c44d5e9a97d3dc"),
    ],
)
def test_the_bip86_vectors_give_the_published_scripts(branch: int, index: int, script: str) -> None:
    key = ACCOUNTS.key(KeyPath("bip86", branch, index))  # type: ignore[arg-type]
    assert key.script.hex() == script
    assert PublicKeyXOnly.from_valid_secret(key.private.secret).format() == key.script[2:]


def test_the_bip86_account_xpub_is_the_published_one() -> None:
    assert ACCOUNTS.xpubs("main")["bip86"] == BIP86_XPUB


def test_an_imported_account_xprv_gives_the_same_keys_as_its_mnemonic() -> None:
    imported = accounts_from_xprvs({"bip86": BIP86_XPRV})
    path = KeyPath("bip86", 1, 7)
    assert imported.key(path).script == ACCOUNTS.key(path).script
    with pytest.raises(KeyError):
        imported.key(KeyPath("bip84", 0, 0))


def test_test_networks_have_their_own_accounts() -> None:
    regtest = accounts_from_mnemonic(MNEMONIC, "regtest")
    assert regtest.xpubs("regtest")["bip84"].startswith("tpub")
    assert regtest.key(KeyPath("bip84", 0, 0)).script != ACCOUNTS.key(KeyPath("bip84", 0, 0)).script


def test_bitcoinlib_derives_the_same_bip84_keys() -> None:
    root = LibKey.from_seed(LibMnemonic().to_seed(MNEMONIC), network="bitcoin", witness_type="segwit")
    for index in (0, 1, 999, 2**31 - 1):
        theirs = root.subkey_for_path(f"m/84'/0'/0'/0/{index}")
        assert ACCOUNTS.key(KeyPath("bip84", 0, index)).public_key.hex() == theirs.public_hex


@pytest.mark.parametrize("words", ["abandon " * 12, "abandon " * 11 + "secretword", "abandon " * 10, ""])
def test_a_wrong_mnemonic_is_refused_and_not_quoted(words: str) -> None:
    with pytest.raises(KeyMaterialError) as refusal:
        accounts_from_mnemonic(words, "main")
    assert "abandon" not in str(refusal.value) and "secretword" not in str(refusal.value)


@pytest.mark.parametrize("xprv", ["", "xprv9", BIP86_XPUB, BIP86_XPRV[:-1] + "1", "0OIl"])
def test_a_wrong_xprv_is_refused_and_not_quoted(xprv: str) -> None:
    with pytest.raises(KeyMaterialError) as refusal:
        accounts_from_xprvs({"bip86": xprv})
    assert not xprv or xprv not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_no_key_shows_in_a_repr() -> None:
    key = ACCOUNTS.key(KeyPath("bip84", 0, 0))
    shown = repr(key) + repr(ACCOUNTS) + str(vars(ACCOUNTS).keys())
    assert key.private.secret.hex() not in shown and repr(key.private.secret) not in shown


# BIP340 test-vectors.csv, index 0: the one that signs with zero auxiliary randomness, as the signer does.
def test_the_bip340_vector_with_zero_auxiliary_randomness_gives_the_published_signature() -> None:
    key = PrivateKey(bytes.fromhex("00" * 31 + "03"))
    assert key.sign_schnorr(bytes(32), bytes(32)).hex().upper() == (
        "E907831F80848D1069A5371B402410364BDF1C5F8307B0084C55F1CE2DCA8215"
        "25F66A4A85EA8B71E482A74F382D2CE5EBEEE8FDB2172F477DF4900D310536C0"
    )


def test_the_bip341_vector_with_the_default_hash_type_gives_the_published_signature() -> None:
    # Input 4 of keyPathSpending[0], tweakedPrivkey and witness; the vectors use zero auxiliary randomness.
    key = PrivateKey(bytes.fromhex("a8e7aa924f0d58854185a490e6c41f6efb7b675c0f3331b7f14b549400b4d501"))
    assert key.sign_schnorr(SignatureHashes(bip341_unsigned()).of(4), bytes(32)).hex() == (
        "b4010dd48a617db09926f729e79c33ae0b4e94b79f04a1ae93ede6315eb3669d"
        "e185a17d2b0ac9ee09fd4c64b678a0b61a0a86fa888a273c8511be83bfd6810f"
    )


def test_the_bip143_key_gives_a_signature_that_its_public_key_verifies() -> None:
    private = PrivateKey(bytes.fromhex("619c335025c7f4012e556c2a58b2506e30b8511b53ade95ea316fd8c3286feb9"))
    public = bytes.fromhex("025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee6357")
    alone = replace(BIP143_UNSIGNED, inputs=BIP143_UNSIGNED.inputs[1:])
    raw = sign(alone, [SigningKey(private, public, alone.inputs[0].script)])
    signature, shown_key = read_transaction(raw).inputs[0].witness
    assert shown_key == public and private.public_key.format() == public
    assert PublicKey(public).verify(signature[:-1], SignatureHashes(alone).of(0), hasher=None)


def test_ecdsa_signatures_are_low_r_and_low_s_and_equal_to_embits() -> None:
    transaction, paths, _ = build(coins=(50_000,) * 40, pays=(1_990_000,), change=())
    keys = input_keys(transaction, paths, ACCOUNTS)
    assert not isinstance(keys, Refusal)
    hashes = SignatureHashes(transaction)
    for index, coin in enumerate(read_transaction(sign(transaction, keys)).inputs):
        signature = coin.witness[0]
        assert len(signature) <= 71 and signature[-1] == 1
        theirs = ec.PrivateKey(keys[index].private.secret).sign(hashes.of(index))
        assert signature[:-1] == theirs.serialize()


def _embit_psbt(transaction: UnsignedTransaction, paths: list[KeyPath], root: HDKey) -> PSBT:
    psbt = PSBT(EmbitTransaction.parse(serialise(transaction)))
    for ours, theirs, path in zip(transaction.inputs, psbt.inputs, paths, strict=True):
        theirs.witness_utxo = EmbitOutput(int(ours.amount), Script(ours.script))
        steps = [2**31 + int(path.scheme[3:]), 2**31, 2**31, path.branch, path.index]
        public = root.derive(steps).to_public().key
        origin = DerivationPath(root.my_fingerprint, steps)
        if path.scheme == "bip84":
            theirs.bip32_derivations[public] = origin
        else:
            internal = ec.PublicKey.from_xonly(public.xonly())
            theirs.taproot_internal_key = internal
            theirs.taproot_bip32_derivations[internal] = ([], origin)
    return psbt


@pytest.mark.parametrize("scheme", ["bip84", "bip86"])
def test_embit_signs_the_same_psbt_and_each_accepts_the_others_signatures(scheme: Scheme) -> None:
    root = HDKey.from_seed(bip39.mnemonic_to_seed(MNEMONIC))
    transaction, paths, _ = build((50_000, 60_000, 70_000), (100_000,), (70_000,), scheme)
    keys = input_keys(transaction, paths, ACCOUNTS)
    assert not isinstance(keys, Refusal)
    ours = read_transaction(sign(transaction, keys))
    psbt = _embit_psbt(transaction, paths, root)
    assert psbt.sign_with(root) == 3
    hashes = SignatureHashes(transaction)
    for index, (coin, theirs) in enumerate(zip(ours.inputs, psbt.inputs, strict=True)):
        if scheme == "bip84":
            assert [coin.witness[0]] == list(theirs.partial_sigs.values())
            continue
        # Schnorr nonces may differ (embit adds no auxiliary data): both must be valid for the output key.
        output_key, digest = transaction.inputs[index].script[2:], psbt.sighash(index, sighash=0)
        assert digest == hashes.of(index)
        assert PublicKeyXOnly(output_key).verify(theirs.final_scriptwitness.items[0], digest)
        assert ec.PublicKey.from_xonly(output_key).schnorr_verify(ec.SchnorrSig(coin.witness[0]), digest)


def test_signing_twice_gives_the_same_bytes() -> None:
    """P3: a call whose outcome is unknown is repeated, and gives no second transaction."""
    for scheme in ("bip84", "bip86"):
        transaction, paths, _ = build(scheme=scheme)
        keys = input_keys(transaction, paths, ACCOUNTS)
        assert not isinstance(keys, Refusal)
        assert sign(transaction, keys) == sign(transaction, keys)


@pytest.mark.parametrize("scheme", ["bip84", "bip86"])
def test_the_size_judged_before_signing_is_the_size_after(scheme: Scheme) -> None:
    transaction, paths, change_paths = build((50_000,) * 30, (1_000_000,), (400_000,), scheme)
    keys = input_keys(transaction, paths, ACCOUNTS)
    change = change_outputs(transaction, change_paths, ACCOUNTS)
    assert not isinstance(keys, Refusal) and not isinstance(change, Refusal)
    judged = proposal(transaction, "l", change).vsize
    # Once in 256 signatures R or S has a leading zero byte, and the transaction is that much smaller.
    assert judged - 1 <= read_transaction(sign(transaction, keys)).vsize <= judged


def test_an_input_of_another_script_is_refused() -> None:
    """P9: the caller names the key, the signer proves that the coin is really that key's."""
    transaction, paths, _ = build(coins=(50_000, 60_000), pays=(100_000,), change=())
    for wrong in (KeyPath("bip84", 0, 5), KeyPath("bip84", 1, 1), KeyPath("bip86", 0, 1)):
        refusal = input_keys(transaction, [paths[0], wrong], ACCOUNTS)
        assert isinstance(refusal, Refusal) and refusal.reason is Reason.FOREIGN_INPUT
    short = input_keys(transaction, paths[:1], ACCOUNTS)
    assert isinstance(short, Refusal) and short.reason is Reason.MALFORMED


def test_an_output_is_change_only_when_the_signer_derives_it_on_branch_1() -> None:
    """P9: a deposit address (branch 0), another index, a foreign script or a missing output is not change."""
    transaction, _, paths = build(pays=(50_000,), change=(49_000,))
    assert change_outputs(transaction, paths, ACCOUNTS) == frozenset({1})
    deposit = TxOutput(ACCOUNTS.key(KeyPath("bip84", 0, 3)).script, BaseUnits(1_000))
    to_deposit = replace(transaction, outputs=(*transaction.outputs, deposit))
    for claimed, of in (
        ({0: KeyPath("bip84", 1, 0)}, transaction),
        ({1: KeyPath("bip84", 1, 1)}, transaction),
        ({1: KeyPath("bip86", 1, 0)}, transaction),
        ({2: KeyPath("bip84", 0, 3)}, to_deposit),
        ({9: KeyPath("bip84", 1, 0)}, transaction),
        ({-1: KeyPath("bip84", 1, 0)}, transaction),
    ):
        refusal = change_outputs(of, claimed, ACCOUNTS)
        assert isinstance(refusal, Refusal) and refusal.reason is Reason.WRONG_CHANGE_PATH
