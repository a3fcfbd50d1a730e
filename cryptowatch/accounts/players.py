"""Players as rows: create, read, change, list. Called by the API inside its transactions.

Keeps P8: each creation and each change writes one event, in the same transaction. A change of standing takes
effect with the next request or block that looks: nothing is cached.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent, append_events

SQL = load_queries(__package__, "players.sql")


class Status(StrEnum):
    ACTIVE = "active"
    FROZEN = "frozen"  # no bets, no withdrawals; new deposits wait for a person
    SELF_EXCLUDED = "self_excluded"  # no bets; deposits are credited, and money may always be taken out


class OwnLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most so much (whole units), or so many, within any so many hours."""

    hours: Annotated[int, Meta(ge=1, le=8784)]
    amount: Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,77})(\.[0-9]{1,78})?$", max_length=157)] | None = (
        None
    )
    count: Annotated[int, Meta(ge=0, le=2**31)] | None = None


#: By asset. An asset that is there has these limits instead of the settings', even when the list is empty.
OwnLimits = dict[
    Annotated[str, Meta(pattern=r"^[^\x00]*$", max_length=40)], Annotated[list[OwnLimit], Meta(max_length=10)]
]


class PlayerView(msgspec.Struct, frozen=True):
    """A player as the API and the events show it."""

    id: str
    external_id: str
    status: Status
    kyc_level: int
    limits: OwnLimits
    #: Whether withdrawals go only to addresses that the account allowed.
    allow_list: bool
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Player:
    """One row of `account`."""

    id: UUID
    external_id: str
    status: Status
    kyc_level: int
    limits: OwnLimits
    allow_list: bool
    metadata: Mapping[str, str]
    version: int
    created_at: datetime
    updated_at: datetime


def player_view(player: Player) -> PlayerView:
    return PlayerView(
        id=show_id(Kind.ACCOUNT, player.id),
        external_id=player.external_id,
        status=player.status,
        kyc_level=player.kyc_level,
        limits=player.limits,
        allow_list=player.allow_list,
        metadata=dict(player.metadata),
        created_at=player.created_at,
        updated_at=player.updated_at,
    )


async def create_player(
    conn: Connection, player_id: UUID, external_id: str, metadata: Mapping[str, str], now: datetime
) -> tuple[Player, bool]:
    """(the player of this external id, whether this call created it). One that exists stays as it is."""
    row = await conn.fetchrow(SQL["insert"], player_id, external_id, _json(metadata), now)
    if row is None:
        existing = await conn.fetchrow(SQL["by_external_id"], external_id)
        assert existing is not None, "players are never deleted"
        return _player(existing), False
    player = _player(row)
    await _tell(conn, "account.created", player, now)
    return player, True


async def read_player(conn: Connection, player_id: UUID) -> Player | None:
    row = await conn.fetchrow(SQL["by_id"], player_id)
    return None if row is None else _player(row)


async def patch_player(
    conn: Connection,
    player_id: UUID,
    *,
    status: Status | None,
    kyc_level: int | None,
    limits: OwnLimits | None,
    allow_list: bool | None,
    metadata: Mapping[str, str] | None,
    now: datetime,
) -> Player | None:
    """Change what is not None; `limits` and `metadata` are replaced as a whole. None = no such player.

    No change, no event.
    """
    text = None if metadata is None else _json(metadata)
    bounds = None if limits is None else _json(limits)
    row = await conn.fetchrow(SQL["patch"], player_id, status, kyc_level, text, now, bounds, allow_list)
    if row is None:
        return await read_player(conn, player_id)
    player = _player(row)
    await _tell(conn, "account.updated", player, now)
    return player


async def list_players(
    conn: Connection, *, limit: int, before: UUID | None, status: Status | None
) -> Sequence[Player]:
    """The newest players below an id."""
    if status is None:
        rows = await conn.fetch(SQL["newest"], before, limit)
    else:
        rows = await conn.fetch(SQL["newest_by_status"], before, limit, status)
    return [_player(row) for row in rows]


async def _tell(conn: Connection, kind: str, player: Player, now: datetime) -> None:
    view = player_view(player)
    event = NewEvent(
        type=kind,
        entity_kind="account",
        entity_id=view.id,
        entity_version=player.version,
        account_id=player.id,
        data=msgspec.json.encode(view).decode(),
        created_at=now,
    )
    await append_events(conn, [event])


def _json(mapping: Mapping[str, object]) -> str:
    return msgspec.json.encode(mapping, order="deterministic").decode()


def _player(row: asyncpg.Record) -> Player:
    return Player(
        id=row["id"],
        external_id=row["external_id"],
        status=Status(row["status"]),
        kyc_level=row["kyc_level"],
        limits=msgspec.json.decode(row["limits"], type=OwnLimits),
        allow_list=row["allow_list"],
        metadata=msgspec.json.decode(row["metadata"], type=dict[str, str]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
