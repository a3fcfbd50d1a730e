"""Whether signed bytes are one of our transactions, signed by the account that it names. Pure.

Used by the signer's client: bytes that came over a socket are stored and sent only if they mean what was planned.
"""

from collections.abc import Sequence

import rlp
from coincurve import PublicKey

from cryptowatch.chains.ethereum.derive import account_of
from cryptowatch.chains.ethereum.transaction import (
    Signature,
    UnsignedTransaction,
    authorization_hash,
    serialise,
    signing_hash,
)

_SIGNATURE_FIELDS = 3
#: Of a transaction of type 4: the list of authorizations is the field before the signature.
_AUTHORIZATIONS = -4
#: Half of the group's order (SEC 2): above it a signature is another one's mirror image (EIP-2).
_S_MAX = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0


def is_signed_by(
    raw: bytes, transaction: UnsignedTransaction, account: bytes, authorities: Sequence[bytes]
) -> bool:
    """Whether the bytes are this transaction, signed by the account, with the authorities' authorizations in order."""
    try:
        fields = rlp.decode(raw[1:])
        signature = _signature(fields[-_SIGNATURE_FIELDS:])
        authorized = [
            _signature(given[-_SIGNATURE_FIELDS:])
            for given in (fields[_AUTHORIZATIONS] if transaction.authorizations else ())
        ]
        if serialise(transaction, authorized, signature) != raw:
            return False
        digests = [authorization_hash(transaction.chain_id, given) for given in transaction.authorizations]
        signers = [recovered(*signed) for signed in zip(digests, authorized, strict=True)]
        signer = recovered(signing_hash(transaction, authorized), signature)
        return signer == account and signers == list(authorities)
    # RecursionError: lists in lists without end.
    except (rlp.exceptions.RLPException, ValueError, TypeError, IndexError, RecursionError):
        return False


def recovered(digest: bytes, signature: Signature) -> bytes:
    """The account whose key signed. Raises ValueError for what is no signature."""
    if signature.y_parity > 1 or not 0 < signature.s <= _S_MAX or signature.r >> 256:
        raise ValueError("not a signature of Ethereum's")
    compact = signature.r.to_bytes(32, "big") + signature.s.to_bytes(32, "big") + bytes([signature.y_parity])
    return account_of(PublicKey.from_signature_and_message(compact, digest, hasher=None))


def _signature(fields: Sequence[bytes]) -> Signature:
    y_parity, r, s = (int.from_bytes(field, "big") for field in fields)
    return Signature(y_parity, r, s)
