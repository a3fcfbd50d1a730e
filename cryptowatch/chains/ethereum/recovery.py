"""Whether signed bytes are one of our transactions, signed by the account that it names. Pure.

Used by the signer's client: bytes that came over a socket are stored and sent only if they mean what was planned.
"""

from collections.abc import Sequence

import rlp
from coincurve import PublicKey

from cryptowatch.chains.ethereum.keccak import keccak
from cryptowatch.chains.ethereum.transaction import Signature, UnsignedTransaction, serialise, signing_hash

_SIGNATURE_FIELDS = 3
#: Of a transaction of type 4: the list of authorizations is the field before the signature.
_AUTHORIZATIONS = -4


def is_signed_by(raw: bytes, transaction: UnsignedTransaction, account: bytes) -> bool:
    """Whether the bytes are this transaction with the account's signature (and whosever authorizations)."""
    try:
        fields = rlp.decode(raw[1:])
        signature = _signature(fields[-_SIGNATURE_FIELDS:])
        authorized = [
            _signature(given[-_SIGNATURE_FIELDS:])
            for given in (fields[_AUTHORIZATIONS] if transaction.authorizations else ())
        ]
        if serialise(transaction, authorized, signature) != raw:
            return False
        return recovered(signing_hash(transaction, authorized), signature) == account
    except (rlp.exceptions.RLPException, ValueError, TypeError, IndexError):
        return False


def recovered(digest: bytes, signature: Signature) -> bytes:
    """The account whose key signed. Raises ValueError for what is no signature."""
    compact = signature.r.to_bytes(32, "big") + signature.s.to_bytes(32, "big") + bytes([signature.y_parity])
    key = PublicKey.from_signature_and_message(compact, digest, hasher=None)
    return keccak(key.format(compressed=False)[1:])[-20:]


def _signature(fields: Sequence[bytes]) -> Signature:
    y_parity, r, s = (int.from_bytes(field, "big") for field in fields)
    return Signature(y_parity, r, s)
