"""Extended public keys and their children (BIP32), for every family that derives addresses so. Pure.

Called by the families' `derive`. Holds public keys only (P9): a private one is refused where it is read.

About one child in 2^127 does not exist (its number is beyond the group's order, or the point is at infinity); its
index is left out, and nobody ever gets that address.
"""

import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from coincurve import PublicKey
from embit import base58

_HARDENED = 1 << 31
_PAYLOAD_BYTES = 78
#: BIP32 and SLIP-132.
_PRIVATE_VERSIONS = frozenset(bytes.fromhex(v) for v in ("0488ade4", "04b2430c", "04358394", "045f18bc"))


class InvalidExtendedKey(ValueError):
    """A text that is not an extended public key for what it is to be used for. Never contains the text."""


@dataclass(frozen=True, slots=True)
class ExtendedPublicKey:
    """A public key below which others are derived."""

    public_key: bytes
    chain_code: bytes

    def child(self, index: int) -> "ExtendedPublicKey | None":
        """The child with this index, 0 to 2^31 - 1; None in the one case of 2^127 that has none."""
        digest = self._digest(index)
        try:
            key = PublicKey(self.public_key).add(digest[:32])
        except ValueError:
            return None
        return ExtendedPublicKey(key.format(), digest[32:])

    def children(self, indexes: Iterable[int]) -> Iterator[tuple[int, PublicKey]]:
        """(index, key) of each that exists, in bulk. About 30 to 60 microseconds each: in a thread if many."""
        point = PublicKey(self.public_key)
        for index in indexes:
            tweak = self._digest(index)[:32]
            try:
                key = point.add(tweak)
            except ValueError:
                continue
            yield index, key

    def _digest(self, index: int) -> bytes:
        if not 0 <= index < _HARDENED:
            raise ValueError("public derivation knows indexes from 0 to 2^31 - 1")
        return hmac.digest(self.chain_code, self.public_key + index.to_bytes(4, "big"), "sha512")


def read_extended_key(text: str) -> tuple[bytes, ExtendedPublicKey]:
    """(the version, which says what it is for; the key). Raises InvalidExtendedKey."""
    if len(text) > 120:
        raise InvalidExtendedKey("too long for an extended key")
    try:
        payload: bytes = base58.decode_check(text)
    except ValueError:
        raise InvalidExtendedKey("not base58 with a right checksum") from None
    if payload[:4] in _PRIVATE_VERSIONS:
        raise InvalidExtendedKey("this is a private key: it must never be here; give its public counterpart")
    if len(payload) != _PAYLOAD_BYTES:
        raise InvalidExtendedKey("not an extended public key")
    try:
        PublicKey(payload[45:])
    except ValueError:
        raise InvalidExtendedKey("its key is no point on the curve") from None
    return payload[:4], ExtendedPublicKey(public_key=payload[45:], chain_code=payload[13:45])
