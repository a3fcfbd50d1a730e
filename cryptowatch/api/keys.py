"""API keys: made and revoked by operators (`cryptowatch keys`), checked with every request by `pipeline`.

A key is `cwk_` and 256 random bits. Only its SHA-256 is stored: with that much randomness there is nothing to
guess that a slow hash would protect, and looking a digest up by index tells an attacker nothing about the
key. Revocation and expiry hold from the next request on: nothing is cached.
"""

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.api.rates import Rate
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id

SQL = load_queries(__package__, "keys.sql")

PREFIX = "cwk_"
SECRET_BYTES = 32
_KEY_LENGTH = len(PREFIX) + 43
_HINT_LENGTH = 4


class Scope(StrEnum):
    """What a key may do. None implies another: an approver's key needs not be able to request."""

    READ = "read"
    ACCOUNTS = "accounts"
    LEDGER = "ledger"
    WITHDRAWALS = "withdrawals"
    APPROVALS = "approvals"
    TREASURY = "treasury"
    ADMIN = "admin"
    AGENTS = "agents"
    #: Cases: to read, to write notes about, and to decide.
    COMPLIANCE = "compliance"
    #: Agents, their players and statements, to read: all, or where the key is an agent's own, those below it.
    DOWNLINE = "downline"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the key of a request that was let in."""

    id: UUID
    scopes: frozenset[str]
    digest: bytes
    #: None: as the settings say.
    rate: Rate | None
    #: Whose key it is, where it is an agent's own.
    agent_id: UUID | None = None

    @property
    def shown_id(self) -> str:
        return show_id(Kind.API_KEY, self.id)


class KeyView(msgspec.Struct, frozen=True):
    """A key as operators see it: never the key itself, only its last characters."""

    id: str
    name: str
    hint: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    rate_per_s: int | None
    rate_burst: int | None


async def create_key(
    conn: Connection,
    key_id: UUID,
    random_bytes: bytes,
    *,
    name: str,
    scopes: Collection[Scope],
    expires_at: datetime | None,
    now: datetime,
    agent_id: UUID | None = None,
    rate: Rate | None = None,
) -> tuple[str, KeyView]:
    """(the key, to be shown once, and what is kept of it). `random_bytes`: 32 unguessable ones."""
    if agent_id is not None and set(scopes) != {Scope.DOWNLINE}:
        raise ValueError("an agent's key sees its downline, and no more")
    if len(random_bytes) != SECRET_BYTES:
        raise ValueError(f"a key is made of {SECRET_BYTES} random bytes")
    key = PREFIX + base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode()
    hint, wanted = key[-_HINT_LENGTH:], sorted(scopes)
    per_s, burst = (None, None) if rate is None else (rate.per_s, rate.burst)
    row = await conn.fetchrow(
        SQL["insert"],
        key_id,
        name,
        _digest(key),
        hint,
        wanted,
        now,
        expires_at,
        agent_id,
        per_s,
        burst,
    )
    assert row is not None
    return key, _view(row)


async def list_keys(conn: Connection) -> Sequence[KeyView]:
    return [_view(row) for row in await conn.fetch(SQL["all"])]


async def revoke_key(conn: Connection, key_id: UUID, now: datetime) -> KeyView | None:
    """None = no such key. Revoking twice changes nothing."""
    row = await conn.fetchrow(SQL["revoke"], key_id, now)
    return None if row is None else _view(row)


async def find_caller(conn: Connection, authorization: str | None, now: datetime) -> Caller | None:
    """Whom an `Authorization` header stands for; None when it is not a key that is good now."""
    return (await find_callers(conn, [authorization], now)).get(authorization)


async def find_callers(
    conn: Connection, authorizations: Collection[str | None], now: datetime
) -> Mapping[str | None, Caller]:
    """By header; one that is not a key that is good now is left out."""
    digests = {header: digest for header in authorizations if (digest := digest_of(header)) is not None}
    if not digests:
        return {}
    rows = {row["digest"]: row for row in await conn.fetch(SQL["by_digest"], list(digests.values()))}
    found = {}
    for header, digest in digests.items():
        row = rows.get(digest)
        if row is not None and (row["expires_at"] is None or row["expires_at"] > now):
            own = None if row["rate_per_s"] is None else Rate(row["rate_per_s"], row["rate_burst"])
            found[header] = Caller(row["id"], frozenset(row["scopes"]), digest, own, row["agent_id"])
    return found


def digest_of(authorization: str | None) -> bytes | None:
    """None when the header does not have the form."""
    scheme, _, key = (authorization or "").partition(" ")
    key = key.strip(" ")
    if (
        scheme.lower() != "bearer"
        or len(key) != _KEY_LENGTH
        or not key.startswith(PREFIX)
        or not key.isascii()
    ):
        return None
    return _digest(key)


async def write_last_used(conn: Connection, used: Mapping[UUID, datetime]) -> None:
    """Called now and then with the latest use of each key, instead of a write with each request."""
    if used:
        await conn.execute(SQL["used"], list(used), list(used.values()))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _view(row: asyncpg.Record) -> KeyView:
    return KeyView(
        id=show_id(Kind.API_KEY, row["id"]),
        name=row["name"],
        hint=row["hint"],
        scopes=list(row["scopes"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        rate_per_s=row["rate_per_s"],
        rate_burst=row["rate_burst"],
    )
