"""Webhook secrets at rest: sealed with a key that is not in the database (Fernet: AES-CBC with HMAC-SHA256).

Opened by `daemon` for the API, which seals what it makes, and for the worker, which opens what it signs with. Whoever
reads the database, or a backup of it, can then forge no webhook. Without keys secrets are kept as they are.
"""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import OperatorError, SettingsError

SQL = load_queries(__package__, "sealing.sql")

_PREFIX: Final = "sealed:"
_KEY_BYTES: Final = 32
_SETTING: Final = "webhooks.key_file"


@dataclass(frozen=True, slots=True)
class Seal:
    """The first key seals; each of them opens."""

    keys: tuple[Fernet, ...] = ()

    def close(self, secret: str) -> str:
        return _PREFIX + self.keys[0].encrypt(secret.encode()).decode() if self.keys else secret

    def open(self, kept: str) -> str:
        """Raises OperatorError when no key opens it."""
        if not kept.startswith(_PREFIX):
            return kept
        try:
            return MultiFernet(self.keys).decrypt(kept.removeprefix(_PREFIX)).decode()
        except (InvalidToken, ValueError) as problem:
            raise OperatorError(f"setting {_SETTING}: holds no key for a webhook's secret") from problem

    def is_newest(self, kept: str) -> bool:
        """Whether it is kept as `close` would now."""
        if not self.keys:
            return not kept.startswith(_PREFIX)
        try:
            self.keys[0].decrypt(kept.removeprefix(_PREFIX))
        except InvalidToken:
            return False
        return True


def read_seal(path: Path | None) -> Seal:
    """One key a line, 32 bytes in base64, the newest first. Raises SettingsError."""
    if path is None:
        return Seal()
    try:
        lines = path.read_text(encoding="ascii").split()
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except OSError as problem:
        raise SettingsError(_SETTING, f"cannot read it: {problem.strerror}") from problem
    except (binascii.Error, ValueError):
        keys = []
    if not keys or {len(key) for key in keys} != {_KEY_BYTES}:
        raise SettingsError(_SETTING, f"each line is {_KEY_BYTES} random bytes in base64")
    return Seal(tuple(Fernet(base64.urlsafe_b64encode(key)) for key in keys))


async def seal_all(conn: Connection, seal: Seal) -> None:
    """Bring every secret under the newest key, in a transaction. Raises OperatorError when no key opens one of them."""
    for row in await conn.fetch(SQL["secrets"]):
        kept = [row["secret"], row["previous_secret"]]
        if all(secret is None or seal.is_newest(secret) for secret in kept):
            continue
        sealed = [None if secret is None else seal.close(seal.open(secret)) for secret in kept]
        await conn.execute(SQL["reseal"], row["id"], *sealed)
