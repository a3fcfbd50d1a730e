"""Extended public keys -> output scripts, in bulk. Pure.

Called when addresses are given out or made ahead, and by wallets' checks. Holds public keys only (P9). BIP32
public derivation with BIP84 (P2WPKH) or BIP86 (P2TR) below an account's key: branch 0 receives, branch 1
takes change.

About one child in 2^127 does not exist (BIP32: its number is beyond the group's order, or the point is at
infinity); its index is left out, and nobody ever gets that address.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from coincurve import PublicKey, PublicKeyXOnly
from embit import base58, hashes

from cryptowatch.chains.bitcoin.address import Network

_HARDENED = 1 << 31
_PAYLOAD_BYTES = 78
#: First bytes of the texts (BIP32; SLIP-132 for those that name a scheme) -> (for the main network, scheme if
#: named).
_VERSIONS: dict[bytes, tuple[bool, int | None]] = {
    bytes.fromhex("0488b21e"): (True, None),  # xpub
    bytes.fromhex("04b24746"): (True, 84),  # zpub
    bytes.fromhex("043587cf"): (False, None),  # tpub
    bytes.fromhex("045f1cf6"): (False, 84),  # vpub
}
_PRIVATE_VERSIONS = frozenset(bytes.fromhex(v) for v in ("0488ade4", "04b2430c", "04358394", "045f18bc"))
_TAP_TWEAK = sha256(b"TapTweak").digest() * 2


class Scheme(IntEnum):
    """Which script is made of a key, named by its BIP; the first part of a key path."""

    BIP84 = 84
    BIP86 = 86


class InvalidExtendedKey(ValueError):
    """A text that is not an extended public key for this network and scheme. Never contains the text."""


@dataclass(frozen=True, slots=True)
class DerivedScript:
    """One output script and the path of its key: (scheme, branch, index)."""

    key_path: tuple[int, int, int]
    script: bytes


@dataclass(frozen=True, slots=True)
class ExtendedPublicKey:
    """A public key below which others are derived (BIP32)."""

    public_key: bytes
    chain_code: bytes

    def child(self, index: int) -> "ExtendedPublicKey | None":
        """The child with this index, 0 to 2^31 - 1; None in the one case of 2^127 that has none."""
        if not 0 <= index < _HARDENED:
            raise ValueError("public derivation knows indexes from 0 to 2^31 - 1")
        digest = hmac.digest(self.chain_code, self.public_key + index.to_bytes(4, "big"), "sha512")
        try:
            key = PublicKey(self.public_key).add(digest[:32])
        except ValueError:
            return None
        return ExtendedPublicKey(key.format(), digest[32:])


def parse_extended_key(text: str, network: Network, scheme: Scheme) -> ExtendedPublicKey:
    """Read an account's xpub or tpub (for BIP84 also zpub or vpub). Raises InvalidExtendedKey."""
    if len(text) > 120:
        raise InvalidExtendedKey("too long for an extended key")
    try:
        payload: bytes = base58.decode_check(text)
    except ValueError:
        raise InvalidExtendedKey("not base58 with a right checksum") from None
    if payload[:4] in _PRIVATE_VERSIONS:
        raise InvalidExtendedKey("this is a private key: it must never be here; give its public counterpart")
    if len(payload) != _PAYLOAD_BYTES or payload[:4] not in _VERSIONS:
        raise InvalidExtendedKey("not an extended public key")
    is_main, named_scheme = _VERSIONS[payload[:4]]
    if is_main != (network == "main"):
        raise InvalidExtendedKey(
            f"a key of {'the main' if is_main else 'a test'} network, but this is {network}"
        )
    if named_scheme is not None and named_scheme != scheme:
        raise InvalidExtendedKey(f"a key for BIP{named_scheme}, but this is for BIP{int(scheme)}")
    try:
        PublicKey(payload[45:])
    except ValueError:
        raise InvalidExtendedKey("its key is no point on the curve") from None
    return ExtendedPublicKey(public_key=payload[45:], chain_code=payload[13:45])


def derive_scripts(
    account: ExtendedPublicKey,
    scheme: Scheme,
    branch: int,
    indexes: Iterable[int],
) -> list[DerivedScript]:
    """The scripts at account/branch/index. About 50 to 100 microseconds each: call in a thread if many."""
    parent = account.child(branch)
    if parent is None:
        return []
    script_of_key = _p2tr if scheme is Scheme.BIP86 else _p2wpkh
    point = PublicKey(parent.public_key)
    derived = []
    for index in indexes:
        if not 0 <= index < _HARDENED:
            raise ValueError("public derivation knows indexes from 0 to 2^31 - 1")
        tweak = hmac.digest(parent.chain_code, parent.public_key + index.to_bytes(4, "big"), "sha512")[:32]
        try:
            script = script_of_key(point.add(tweak))
        except ValueError:
            continue
        derived.append(DerivedScript((int(scheme), branch, index), script))
    return derived


def _p2wpkh(key: PublicKey) -> bytes:
    """BIP141: version 0 with the key's HASH160."""
    key_hash: bytes = hashes.hash160(key.format())
    return b"\x00\x14" + key_hash


def _p2tr(key: PublicKey) -> bytes:
    """BIP86: BIP341's output key of the internal key alone, without scripts. ValueError if there is none."""
    internal = key.format()[1:]
    output = PublicKeyXOnly(internal)
    output.tweak_add(sha256(_TAP_TWEAK + internal).digest())
    return b"\x51\x20" + output.format()
