"""What a cold wallet signs, and whether what came back is it: partially signed transactions (BIP174). Pure.

Implements `plans.ColdFormat` for `treasury` and the API. What comes back is never sent as it stands: only its
signatures are taken, each is verified, and the bytes are written anew from our own plan. Nothing else of it can matter.
"""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coincurve import PublicKey
from embit import ec
from embit import transaction as embit_transaction
from embit.hashes import hash160
from embit.psbt import PSBT, DerivationPath
from embit.script import Script

from cryptowatch.chains.bip32 import ExtendedPublicKey
from cryptowatch.chains.bitcoin.payments import BitcoinPlan, KeyPath
from cryptowatch.chains.bitcoin.transaction import (
    InvalidTransaction,
    SignatureHashes,
    TxInput,
    UnsignedTransaction,
    Witness,
    compact_size,
    read_transaction,
    serialise,
)
from cryptowatch.chains.connect import COLD_BRANCH
from cryptowatch.chains.plans import ColdFormatName, Plan, WrongSignature

_HARDENED = 1 << 31
_SIGHASH_ALL = 1


class NotPsbt(ValueError):
    """A text that is no partially signed transaction."""


@dataclass(frozen=True, slots=True)
class ColdPsbt:
    """One cold account. `fingerprint` is that of its master key, by which devices know their own."""

    key: ExtendedPublicKey
    fingerprint: bytes
    coin_type: int

    @property
    def name(self) -> ColdFormatName:
        return "psbt"

    def write(self, plan: Plan, parents: Mapping[bytes, bytes]) -> str:
        """Base64. `parents`: hash -> bytes of each transaction whose coins are spent: they prove the amounts."""
        assert isinstance(plan, BitcoinPlan)
        psbt = PSBT(embit_transaction.Transaction.parse(serialise(plan.transaction)))
        for scope, coin, path in zip(psbt.inputs, plan.transaction.inputs, plan.input_paths, strict=True):
            scope.witness_utxo = embit_transaction.TransactionOutput(int(coin.amount), Script(coin.script))
            scope.non_witness_utxo = embit_transaction.Transaction.parse(parents[coin.prev_hash])
            scope.bip32_derivations.update(self._derivation(path))
        for change in plan.change:
            if change.position is not None:
                psbt.outputs[change.position].bip32_derivations.update(self._derivation(change.path))
        text: str = psbt.to_base64()
        return text

    def _derivation(self, path: KeyPath) -> dict[ec.PublicKey, DerivationPath]:
        """`path` is the tables': the cold wallet's branches stand there behind the hot wallet's."""
        scheme, branch, index = path
        parent = self.key.child(branch - COLD_BRANCH)
        assert parent is not None, "its addresses were derived"
        [(_, key)] = parent.children([index])
        purpose = [_HARDENED + scheme, _HARDENED + self.coin_type, _HARDENED]
        return {
            ec.PublicKey.parse(key.format()): DerivationPath(
                self.fingerprint, [*purpose, branch - COLD_BRANCH, index]
            )
        }

    def read_signed(self, plan: Plan, text: str) -> tuple[bytes, bytes]:
        """The plan's own transaction with the signatures of a PSBT, or of a final transaction in hex."""
        assert isinstance(plan, BitcoinPlan)
        try:
            witnesses = _witnesses(text.strip(), plan.transaction)
        except (NotPsbt, InvalidTransaction) as problem:
            raise WrongSignature(str(problem)) from problem
        hashes = SignatureHashes(plan.transaction)
        for place, (coin, witness) in enumerate(zip(plan.transaction.inputs, witnesses, strict=True)):
            if not _is_signed(coin, witness, hashes.of(place)):
                raise WrongSignature(f"input {place} has no valid signature over the whole transaction")
        return plan.tx_hash, serialise(plan.transaction, witnesses)


def _witnesses(text: str, expected: UnsignedTransaction) -> Sequence[Witness]:
    """One for each input. A segwit transaction's id commits to all of it but signatures: it must be the very same."""
    if all(digit in "0123456789abcdefABCDEF" for digit in text):
        signed = read_transaction(bytes.fromhex(text[: len(text) // 2 * 2]))
        if signed.txid != expected.txid:
            raise WrongSignature("another transaction than the one that was to be signed")
        return [one.witness for one in signed.inputs]
    # It begins with the unsigned transaction, as every program writes it: another one is not even read.
    unsigned = serialise(expected)
    if not _decoded(text).startswith(PSBT.MAGIC + b"\x01\x00" + compact_size(len(unsigned)) + unsigned):
        raise WrongSignature(
            "another transaction than the one that was to be signed, or no PSBT of version 0"
        )
    psbt = read_psbt(text)
    found: list[Witness] = []
    for scope in psbt.inputs:
        if scope.final_scriptwitness is not None:
            found.append(tuple(scope.final_scriptwitness.items))
        else:
            found.append(
                tuple(part for key, given in scope.partial_sigs.items() for part in (given, key.sec()))
            )
    return found


def read_psbt(text: str) -> PSBT:
    """Raises NotPsbt."""
    try:
        return PSBT.parse(_decoded(text))
    except Exception as problem:
        # For bytes that are no PSBT the library raises whatever comes up in it.
        raise NotPsbt("not a PSBT") from problem


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise NotPsbt("not base64") from None


def _is_signed(coin: TxInput, witness: Witness, digest: bytes) -> bool:
    """P2WPKH, SIGHASH_ALL; libsecp256k1 takes strict DER with a low S only."""
    if len(witness) != 2:
        return False
    signature, key = witness
    if not signature or signature[-1] != _SIGHASH_ALL or b"\x00\x14" + hash160(key) != coin.script:
        return False
    try:
        return bool(PublicKey(key).verify(signature[:-1], digest, hasher=None))
    except ValueError:
        return False
