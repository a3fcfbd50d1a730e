"""Programmes as rows: create, change, list; and the one of the settings.

Called by the API inside its transactions, and at start. New terms are a new version: referrals that were made keep
theirs, so a change never rewrites what was promised. Keeps P8: one event for each creation and each change.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import SettingsError
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.referrals.refusal import Refusal
from cryptowatch.referrals.terms import InvalidTerms, Terms, assets_of, read_terms
from cryptowatch.settings import Settings

SQL = load_queries(__package__, "programmes.sql")

#: What the settings' programme is called.
SETTINGS_NAME = "default"


class ProgrammeState(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"  # refers nobody and pays nothing meanwhile
    CLOSED = "closed"  # refers nobody any more; what was earned is paid


class ProgrammeView(msgspec.Struct, frozen=True):
    """`is_default`: codes without a programme of their own refer under it. `terms` are those of new referrals."""

    id: str
    name: str
    state: ProgrammeState
    is_default: bool
    terms_version: int
    terms: Terms
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Given:
    """Terms, and the decimals of at least the assets that they name: those are kept with them."""

    terms: Terms
    decimals: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Change:
    """What is None stays as it is."""

    state: ProgrammeState | None = None
    is_default: bool | None = None
    given: Given | None = None


async def create_programme(
    conn: Connection, programme_id: UUID, name: str, given: Given, *, is_default: bool, now: datetime
) -> ProgrammeView | Refusal:
    """Becoming the default ends another one's being so."""
    await conn.execute(SQL["one_at_a_time"])
    if is_default:
        await _displace_default(conn, now)
    if await conn.fetchval(SQL["insert"], programme_id, name, is_default, now) is None:
        return Refusal("name_taken", "another programme has this name")
    await _insert_terms(conn, programme_id, 1, given, now)
    return await _told(conn, programme_id, "created", now)


async def change_programme(
    conn: Connection, programme_id: UUID, change: Change, now: datetime
) -> ProgrammeView | None:
    """None = no such programme. No change, no event."""
    await conn.execute(SQL["one_at_a_time"])
    row = await conn.fetchrow(SQL["by_id"], programme_id)
    if row is None:
        return None
    state = row["state"] if change.state is None else change.state
    is_default = row["is_default"] if change.is_default is None else change.is_default
    terms_version = row["terms_version"]
    given = None if change.given is None or change.given.terms == _terms(row) else change.given
    if given is not None:
        terms_version += 1
        await _insert_terms(conn, programme_id, terms_version, given, now)
    if given is None and (state, is_default) == (row["state"], row["is_default"]):
        return _view(row)
    if is_default and not row["is_default"]:
        await _displace_default(conn, now)
    await conn.execute(SQL["change"], programme_id, state, is_default, terms_version, now)
    return await _told(conn, programme_id, "updated", now)


async def read_programme(conn: Connection, programme_id: UUID) -> ProgrammeView | None:
    row = await conn.fetchrow(SQL["by_id"], programme_id)
    return None if row is None else _view(row)


async def list_programmes(
    conn: Connection, *, limit: int, before: UUID | None
) -> Sequence[tuple[UUID, ProgrammeView]]:
    """The newest below an id."""
    return [(row["id"], _view(row)) for row in await conn.fetch(SQL["newest"], before, limit)]


@dataclass(frozen=True, slots=True)
class SettingsProgramme:
    """What one process's settings say of the programme `default`."""

    given: Given
    revision: int


async def keep_settings_programme(
    conn: Connection, new_id: UUID, wanted: SettingsProgramme, now: datetime
) -> bool:
    """The settings' programme says what settings said last. Whether it does what these say.

    Each terms are written once per revision, and none of an earlier revision: two processes with different settings do
    not write in turn for ever, and what people changed since stays. Whether it is active, and the default, is theirs.
    """
    await conn.execute(SQL["one_at_a_time"])
    given = wanted.given
    digest = hashlib.sha256(_json(given.terms).encode()).digest()
    is_new = await conn.fetchval(SQL["give"], wanted.revision, digest, now) is not None
    found = await conn.fetchval(SQL["id_by_name"], SETTINGS_NAME)
    if found is None:
        taken = await conn.fetchval(SQL["default"]) is not None
        await create_programme(conn, new_id, SETTINGS_NAME, given, is_default=not taken, now=now)
        return True
    if is_new:
        await change_programme(conn, found, Change(given=given), now)
        return True
    programme = await read_programme(conn, found)
    return programme is not None and programme.terms == given.terms


def settings_programme(settings: Settings) -> SettingsProgramme | None:
    """Raises SettingsError that names what cannot be a programme's terms."""
    own = settings.referrals
    if own.default_programme is None:
        return None
    try:
        terms = msgspec.convert(own.default_programme, Terms)
        read_terms(terms, settings.decimals)
    except (msgspec.ValidationError, InvalidTerms) as problem:
        raise SettingsError("referrals.default_programme", str(problem)) from problem
    return SettingsProgramme(Given(terms, settings.decimals), own.default_programme_revision)


async def _insert_terms(
    conn: Connection, programme_id: UUID, version: int, given: Given, now: datetime
) -> None:
    kept = {asset: given.decimals[asset] for asset in sorted(assets_of(given.terms))}
    decimals = msgspec.json.encode(kept).decode()
    await conn.execute(SQL["insert_terms"], programme_id, version, _json(given.terms), decimals, now)


async def _displace_default(conn: Connection, now: datetime) -> None:
    found = await conn.fetchval(SQL["default"])
    if found is not None:
        row = await conn.fetchrow(SQL["by_id"], found)
        assert row is not None
        await conn.execute(SQL["change"], found, row["state"], False, row["terms_version"], now)
        await _told(conn, found, "updated", now)


async def _told(conn: Connection, programme_id: UUID, what: str, now: datetime) -> ProgrammeView:
    row = await conn.fetchrow(SQL["by_id"], programme_id)
    assert row is not None
    view = _view(row)
    event = NewEvent(
        type=f"referral_programme.{what}",
        entity_kind="referral_programme",
        entity_id=view.id,
        entity_version=row["version"],
        account_id=None,
        data=msgspec.json.encode(view).decode(),
        created_at=now,
    )
    await append_events(conn, [event])
    return view


def _view(row: asyncpg.Record) -> ProgrammeView:
    return ProgrammeView(
        id=show_id(Kind.PROGRAMME, row["id"]),
        name=row["name"],
        state=ProgrammeState(row["state"]),
        is_default=row["is_default"],
        terms_version=row["terms_version"],
        terms=_terms(row),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _terms(row: asyncpg.Record) -> Terms:
    return msgspec.json.decode(row["terms"], type=Terms)


def _json(terms: Terms) -> str:
    return msgspec.json.encode(terms, order="deterministic").decode()
