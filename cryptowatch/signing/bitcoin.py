"""Signs Bitcoin transactions, after proving by derivation whose every input and change output is.

Called by `signing.service`. Keeps P9: the caller's word on which outputs are change is never taken.
Deterministic (P3): the same transaction always gives the same bytes. No I/O.
"""

from collections.abc import Mapping, Sequence

from coincurve._libsecp256k1 import ffi, lib  # coincurve names no public way to pass RFC6979 extra data

from cryptowatch.chains.bitcoin.derive import Scheme, derive_scripts
from cryptowatch.chains.bitcoin.sizes import vsize_of
from cryptowatch.chains.bitcoin.transaction import (
    SignatureHashes,
    TxOutput,
    UnsignedTransaction,
    is_p2tr,
    serialise,
    weight_of,
)
from cryptowatch.signing.keys import AccountKeys, SigningKey
from cryptowatch.signing.messages import KeyPath
from cryptowatch.signing.policy import ColdCoins, Proposal, Reason, Refusal

_SIGHASH_ALL = b"\x01"
#: Below the cold account: where it receives.
_COLD_BRANCH = 0
#: A DER signature whose R and S are both below 2^255.
_LOW_DER_BYTES = 70
#: Of the same size as a signature with its hash type, for sizes before signing.
_P2WPKH_WITNESS = (bytes(_LOW_DER_BYTES + 1), bytes(33))
_P2TR_WITNESS = (bytes(64),)


def input_keys(
    transaction: UnsignedTransaction,
    paths: Sequence[KeyPath],
    accounts: AccountKeys,
) -> tuple[SigningKey, ...] | Refusal:
    """The key of each input, or the refusal that one input's script is not that of the key at its path."""
    if len(paths) != len(transaction.inputs):
        return Refusal(Reason.MALFORMED, f"{len(paths)} input paths for {len(transaction.inputs)} inputs")
    keys = []
    for index, (coin, path) in enumerate(zip(transaction.inputs, paths, strict=True)):
        key = _key(accounts, path)
        if key is None or key.script != coin.script:
            return Refusal(Reason.FOREIGN_INPUT, f"input {index} does not belong to the key at its path")
        keys.append(key)
    return tuple(keys)


def change_outputs(
    transaction: UnsignedTransaction,
    paths: Mapping[int, KeyPath],
    accounts: AccountKeys,
) -> frozenset[int] | Refusal:
    """Indexes of the outputs that return to the wallet: derived here, on branch 1 only."""
    outputs = transaction.outputs
    for index, path in paths.items():
        key = _key(accounts, path) if path.branch == 1 else None
        if key is None or not 0 <= index < len(outputs) or key.script != outputs[index].script:
            return Refusal(Reason.WRONG_CHANGE_PATH, f"output {index} is not the change key at its path")
    return frozenset(paths)


def cold_outputs(
    transaction: UnsignedTransaction, indexes: Mapping[int, int], cold: ColdCoins | None
) -> frozenset[int] | Refusal:
    """Which outputs pay the cold wallet's addresses of these indexes: derived here, from the signer's own settings."""
    for place, index in indexes.items():
        found = [] if cold is None else derive_scripts(cold.key, Scheme.BIP84, _COLD_BRANCH, [index])
        outputs = transaction.outputs
        if not 0 <= place < len(outputs) or [one.script for one in found] != [outputs[place].script]:
            return Refusal(Reason.FOREIGN_COLD, f"output {place} is not the cold wallet's address {index}")
    return frozenset(indexes)


def proposal(
    transaction: UnsignedTransaction,
    lineage_id: str,
    change: frozenset[int],
    cold: frozenset[int] = frozenset(),
) -> Proposal:
    """The transaction as the policy judges it."""
    witnesses = [_P2TR_WITNESS if is_p2tr(coin.script) else _P2WPKH_WITNESS for coin in transaction.inputs]
    outputs = enumerate(transaction.outputs)
    foreign: list[TxOutput] = [output for n, output in outputs if n not in change | cold]
    return Proposal(
        lineage_id=lineage_id,
        inputs={f"{coin.prev_hash.hex()}:{coin.prev_index}": coin.amount for coin in transaction.inputs},
        foreign=tuple((output.script, output.amount) for output in foreign),
        change=tuple(transaction.outputs[n].amount for n in sorted(change)),
        vsize=vsize_of(weight_of(transaction, witnesses)),
        cold=tuple(transaction.outputs[n].amount for n in sorted(cold - change)),
    )


def sign(transaction: UnsignedTransaction, keys: Sequence[SigningKey]) -> bytes:
    """The signed transaction in its wire form; `keys` from `input_keys`, in the inputs' order."""
    hashes = SignatureHashes(transaction)
    witnesses = [_witness(key, hashes.of(index)) for index, key in enumerate(keys)]
    return serialise(transaction, witnesses)


def _witness(key: SigningKey, digest: bytes) -> tuple[bytes, ...]:
    if is_p2tr(key.script):
        # Zero auxiliary randomness (BIP340 allows it), so that signing again gives the same bytes. 64 bytes
        # without a hash type mean SIGHASH_DEFAULT (BIP341).
        return (key.private.sign_schnorr(digest, bytes(32)),)
    return _ecdsa_low_r(key, digest) + _SIGHASH_ALL, key.public_key


def _ecdsa_low_r(key: SigningKey, digest: bytes) -> bytes:
    """DER with R and S below 2^255, so that the size is known beforehand.

    S is always low (libsecp256k1, BIP146). For R, further RFC6979 nonces are drawn with a counter as extra
    data, as Bitcoin Core does, so the result is the same as Core's.
    """
    signature: bytes = key.private.sign(digest, hasher=None)
    attempt = 0
    while len(signature) > _LOW_DER_BYTES:
        attempt += 1
        extra = ffi.new("unsigned char[32]", attempt.to_bytes(32, "little"))
        signature = key.private.sign(
            digest, hasher=None, custom_nonce=(lib.secp256k1_nonce_function_rfc6979, extra)
        )
    return signature


def _key(accounts: AccountKeys, path: KeyPath) -> SigningKey | None:
    try:
        return accounts.key(path)
    except (KeyError, ValueError):
        return None
