"""The encrypted key file: made by `wallet create-keystore`, read once by the signer when it starts.

Keeps P9: keys are on the disk only encrypted (scrypt, ChaCha20-Poly1305), readable by their user only. The
header with all parameters is authenticated. A wrong passphrase and a damaged file look alike and give one
clear error, which quotes nothing.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from cryptowatch.errors import OperatorError
from cryptowatch.signing.messages import Scheme

#: 128 MiB and about half a second: RFC 7914 with N for a file at rest.
SCRYPT_N = 2**17
_KEYSTORE_BYTES_MAX = 1_048_576
PASSPHRASE_BYTES_MAX = 1024

_Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})+\Z")]


class KeystoreError(OperatorError):
    """The keystore or its passphrase cannot be used; one clear line."""


class KeystoreSecrets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is encrypted: one mnemonic for all chains, or account xprvs for each."""

    mnemonic: str | None = None
    #: Chain -> scheme -> account xprv.
    accounts: Mapping[str, Mapping[Scheme, str]] = {}

    def __repr__(self) -> str:
        return "KeystoreSecrets(…)"


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Authenticated as the cipher's associated data, so no parameter can be weakened unnoticed."""

    format: Literal["cryptowatch-keystore-1"]
    #: Bounded: a forged header must not make the signer allocate without limit.
    scrypt_n: Annotated[int, msgspec.Meta(ge=2**14, le=2**20)]
    scrypt_r: Literal[8]
    scrypt_p: Literal[1]
    salt: _Hex
    nonce: _Hex


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    header: _Header
    ciphertext: _Hex


def write_keystore(path: Path, secrets: KeystoreSecrets, passphrase: bytes, scrypt_n: int = SCRYPT_N) -> None:
    """Create the file, whole or not at all, mode 0600. Raises KeystoreError, also if it exists."""
    if not passphrase:
        raise KeystoreError("the passphrase is empty")
    header = _Header("cryptowatch-keystore-1", scrypt_n, 8, 1, os.urandom(16).hex(), os.urandom(12).hex())
    cipher = ChaCha20Poly1305(_derive(passphrase, header))
    ciphertext = cipher.encrypt(
        bytes.fromhex(header.nonce), msgspec.json.encode(secrets), msgspec.json.encode(header)
    )
    document = msgspec.json.format(msgspec.json.encode(_File(header, ciphertext.hex())))
    draft = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(document)
            stream.flush()
            os.fsync(stream.fileno())
        # A link, unlike a rename, fails when the name is taken: a keystore is never replaced by accident.
        os.link(draft, path)
    except FileExistsError:
        raise KeystoreError(f"{path} exists already; it is not overwritten") from None
    except OSError as problem:
        raise KeystoreError(f"cannot write {path}: {problem.strerror}") from problem
    finally:
        draft.unlink(missing_ok=True)
    _sync_directory(path.parent)


def read_keystore(path: Path, passphrase: bytes) -> KeystoreSecrets:
    """Raises KeystoreError: unreadable, open to other users, not a keystore, or a wrong passphrase."""
    document = _read_private(path, _KEYSTORE_BYTES_MAX, forbidden_mode=0o077)
    try:
        file = msgspec.json.decode(document, type=_File)
    except msgspec.DecodeError as problem:
        raise KeystoreError(f"{path} is not a keystore: {problem}") from problem
    nonce = bytes.fromhex(file.header.nonce)
    if len(nonce) != 12:
        raise KeystoreError(f"{path} is not a keystore: its nonce is not 12 bytes")
    cipher = ChaCha20Poly1305(_derive(passphrase, file.header))
    try:
        plain = cipher.decrypt(nonce, bytes.fromhex(file.ciphertext), msgspec.json.encode(file.header))
    except InvalidTag:
        raise KeystoreError(f"{path}: the passphrase is wrong or the file is damaged") from None
    try:
        return msgspec.json.decode(plain, type=KeystoreSecrets)
    except msgspec.DecodeError:
        raise KeystoreError(f"{path}: what it encrypts is not of this version") from None


def read_passphrase(path: Path) -> bytes:
    """The first line of a private file, of a systemd credential or of /dev/fd/N. Raises KeystoreError."""
    # systemd shows a credential as 0440 because of its access list; other users never have a right to it.
    content = _read_private(path, PASSPHRASE_BYTES_MAX, forbidden_mode=0o027)
    passphrase = content.split(b"\n", 1)[0].rstrip(b"\r")
    if not passphrase:
        raise KeystoreError(f"{path}: the passphrase is empty")
    return passphrase


def _read_private(path: Path, bytes_max: int, forbidden_mode: int) -> bytes:
    """The content, if no other user can read or change it; checked on the open file."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & forbidden_mode:
                mode = f"{stat.S_IMODE(status.st_mode):04o}"
                raise KeystoreError(f"{path} is open to other users (mode {mode}): chmod 600 it")
            if status.st_uid not in (0, os.geteuid()):
                raise KeystoreError(f"{path} belongs to another user")
            content = stream.read(bytes_max + 1)
    except OSError as problem:
        raise KeystoreError(f"cannot read {path}: {problem.strerror}") from problem
    if len(content) > bytes_max:
        raise KeystoreError(f"{path} is longer than {bytes_max} bytes")
    return content


def _derive(passphrase: bytes, header: _Header) -> bytes:
    return Scrypt(
        salt=bytes.fromhex(header.salt), length=32, n=header.scrypt_n, r=header.scrypt_r, p=header.scrypt_p
    ).derive(passphrase)


def _sync_directory(directory: Path) -> None:
    """Make the new name durable before the command reports success."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
