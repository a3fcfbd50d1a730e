"""Keccak-256, Ethereum's hash: the original padding, which is not that of SHA3-256. Pure.

Called by everything in this family that proves or names something. Checked against published vectors by the tests.
"""

from sha3 import keccak_256


def keccak(data: bytes) -> bytes:
    """The 32 bytes of the hash."""
    digest: bytes = keccak_256(data).digest()
    return digest
