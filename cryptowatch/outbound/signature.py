"""Standard Webhooks signatures, version 1 (HMAC-SHA256): who reads them can use any library of that standard.

Pure.

Called by webhooks and compliance with the exact bytes that they send. While a secret is being rotated, both the new
and the old one sign, so that the receiver can change over at its own time.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix
#: The standard asks for 24 to 64.
SECRET_BYTES = 32
#: SHA-256's.
_BLOCK_BYTES = 64


def show_secret(random_bytes: bytes) -> str:
    """The secret as its receiver stores it: prefix and base64."""
    if len(random_bytes) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes")
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


def signed_headers(
    message_id: str, attempted_at_unix_s: int, body: bytes, secrets: Sequence[str]
) -> Mapping[str, str]:
    """The three headers of one attempt: the id is the same in all attempts, the time is this attempt's."""
    signed = f"{message_id}.{attempted_at_unix_s}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(attempted_at_unix_s),
        "webhook-signature": " ".join(_sign(secret, signed) for secret in secrets),
    }


def _sign(secret: str, signed: bytes) -> str:
    inner, outer = (begun.copy() for begun in _begun(secret))
    inner.update(signed)
    outer.update(inner.digest())
    return "v1," + base64.b64encode(outer.digest()).decode()


@lru_cache(maxsize=256)
def _begun(secret: str) -> tuple["hashlib._Hash", "hashlib._Hash"]:
    """HMAC's two hashes after the key (RFC 2104), as far as every message of a secret has them in common.

    OpenSSL looks HMAC up anew for each message: a worker that signs between answers took 16 us for that, and takes 5.
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    return hashlib.sha256(bytes(b ^ 0x36 for b in block)), hashlib.sha256(bytes(b ^ 0x5C for b in block))
