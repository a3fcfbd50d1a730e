"""Players as rows: create, read, change, list. Called by the API inside its transactions.

Keeps P8: each creation and each change writes one event, in the same transaction. A change of standing takes
effect with the next request or block that looks: nothing is cached.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta

from cryptowatch.accounts.limits import LimitKind, PlayLimit, tightened
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


class NextPlayLimits(msgspec.Struct, frozen=True):
    """What replaces an account's limits, from then on."""

    limits: list[PlayLimit]
    effective_at: datetime


class PlayerView(msgspec.Struct, frozen=True):
    """A player as the API and the events show it."""

    id: str
    external_id: str
    status: Status
    kyc_level: int
    limits: OwnLimits
    #: Whether withdrawals go only to addresses that the account allowed.
    allow_list: bool
    #: What the player set itself on deposits, losses and bets.
    play_limits: list[PlayLimit]
    next_play_limits: NextPlayLimits | None
    #: Until then it cannot be made active again.
    excluded_until: datetime | None
    #: Until then it cannot bet.
    cooling_off_until: datetime | None
    jurisdiction: str | None
    tags: list[str]
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
    play_limits: Sequence[PlayLimit]
    next_play_limits: Sequence[PlayLimit] | None
    next_play_limits_at: datetime | None
    excluded_until: datetime | None
    cooling_off_until: datetime | None
    jurisdiction: str | None
    tags: Sequence[str]
    metadata: Mapping[str, str]
    version: int
    created_at: datetime
    updated_at: datetime

    def limits_at(self, now: datetime) -> Sequence[PlayLimit]:
        """Those on play that hold then."""
        if self.next_play_limits_at is not None and self.next_play_limits_at <= now:
            assert self.next_play_limits is not None
            return self.next_play_limits
        return self.play_limits

    def limits_to_come(self, now: datetime) -> NextPlayLimits | None:
        """Those that replace them later."""
        if self.next_play_limits_at is None or self.next_play_limits_at <= now:
            return None
        assert self.next_play_limits is not None
        return NextPlayLimits(list(self.next_play_limits), self.next_play_limits_at)


@dataclass(frozen=True, slots=True)
class Profile:
    """What the platform says of a player. None in a change: stays as it is."""

    metadata: Mapping[str, str] | None = None
    jurisdiction: str | None = None
    tags: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class PlayerPatch:
    """What is not None is changed; `limits`, `play_limits`, and the profile's mappings as a whole."""

    status: Status | None = None
    kyc_level: int | None = None
    limits: OwnLimits | None = None
    allow_list: bool | None = None
    play_limits: Sequence[PlayLimit] | None = None
    profile: Profile = Profile()


@dataclass(frozen=True, slots=True)
class LimitRules:
    """`raise_delay_s`: so long a limit on play holds that is to be loosened. `decimals`: asset -> decimals."""

    raise_delay_s: float
    decimals: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TermRuns:
    """A term that a player set itself runs until then; nobody can end it sooner."""

    until: datetime


#: A self-exclusion ends when somebody makes the account active afterwards; a cooling-off ends by itself.
Term = Literal["self_exclusion", "cooling_off"]


_BEGIN: Mapping[Term, str] = {
    "self_exclusion": SQL["begin_self_exclusion"],
    "cooling_off": SQL["begin_cooling_off"],
}


def player_view(player: Player, now: datetime) -> PlayerView:
    return PlayerView(
        id=show_id(Kind.ACCOUNT, player.id),
        external_id=player.external_id,
        status=player.status,
        kyc_level=player.kyc_level,
        limits=player.limits,
        allow_list=player.allow_list,
        play_limits=list(player.limits_at(now)),
        next_play_limits=player.limits_to_come(now),
        excluded_until=player.excluded_until,
        cooling_off_until=player.cooling_off_until,
        jurisdiction=player.jurisdiction,
        tags=list(player.tags),
        metadata=dict(player.metadata),
        created_at=player.created_at,
        updated_at=player.updated_at,
    )


async def create_player(
    conn: Connection, player_id: UUID, external_id: str, profile: Profile, now: datetime
) -> tuple[Player, bool]:
    """(the player of this external id, whether this call created it). One that exists stays as it is."""
    row = await conn.fetchrow(
        SQL["insert"],
        player_id,
        external_id,
        _json(profile.metadata or {}),
        now,
        profile.jurisdiction,
        list(profile.tags or ()),
    )
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


async def read_players(conn: Connection, player_ids: Sequence[UUID]) -> Sequence[Player]:
    """Those of these that there are."""
    return [_player(row) for row in await conn.fetch(SQL["by_ids"], player_ids)]


async def patch_player(
    conn: Connection, player_id: UUID, patch: PlayerPatch, rules: LimitRules, now: datetime
) -> Player | TermRuns | None:
    """Change what the patch has. None = no such player. No change, no event.

    TermRuns: who excluded itself is not made active before its term is over.
    """
    before = await conn.fetchrow(SQL["hold"], player_id)
    if before is None:
        return None
    player = _player(before)
    if patch.status is Status.ACTIVE and player.excluded_until is not None and player.excluded_until > now:
        return TermRuns(player.excluded_until)
    play_limits, coming, coming_at = _limits_after(player, patch.play_limits, rules, now)
    profile = patch.profile
    row = await conn.fetchrow(
        SQL["patch"],
        player_id,
        patch.status,
        patch.kyc_level,
        None if profile.metadata is None else _json(profile.metadata),
        now,
        None if patch.limits is None else _json(patch.limits),
        patch.allow_list,
        profile.jurisdiction,
        None if profile.tags is None else list(profile.tags),
        _json(play_limits),
        None if coming is None else _json(coming),
        coming_at,
        any(limit.kind is LimitKind.DEPOSIT for limit in (*play_limits, *(coming or ()))),
    )
    if row is None:
        return player
    player = _player(row)
    await _tell(conn, "account.updated", player, now)
    return player


def _limits_after(
    player: Player, wanted: Sequence[PlayLimit] | None, rules: LimitRules, now: datetime
) -> tuple[Sequence[PlayLimit], Sequence[PlayLimit] | None, datetime | None]:
    """(limits on play from now on, those to come, when)."""
    if wanted is None:
        return player.play_limits, player.next_play_limits, player.next_play_limits_at
    held = player.limits_at(now)
    until_then = tightened(held, wanted, rules.decimals)
    if sorted(until_then, key=repr) == sorted(wanted, key=repr):
        return list(wanted), None, None
    coming = player.limits_to_come(now)
    if coming is not None and coming.limits == list(wanted):
        # Asked again: the wait does not begin anew.
        return until_then, wanted, coming.effective_at
    return until_then, wanted, now + timedelta(seconds=rules.raise_delay_s)


async def begin_term(
    conn: Connection, player_id: UUID, term: Term, until: datetime, now: datetime
) -> Player | TermRuns | None:
    """Self-exclude an account, or let it cool off, until a time. None = no such player.

    TermRuns: one that ends later runs already. Told once: the same term again changes nothing.
    """
    before = await conn.fetchrow(SQL["hold"], player_id)
    if before is None:
        return None
    player = _player(before)
    running = player.excluded_until if term == "self_exclusion" else player.cooling_off_until
    if running is not None and running > until and running > now:
        return TermRuns(running)
    if running == until:
        return player
    row = await conn.fetchrow(_BEGIN[term], player_id, until, now)
    assert row is not None
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
    view = player_view(player, now)
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


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _play_limits(text: str) -> list[PlayLimit]:
    return msgspec.json.decode(text, type=list[PlayLimit])


def _player(row: asyncpg.Record) -> Player:
    return Player(
        id=row["id"],
        external_id=row["external_id"],
        status=Status(row["status"]),
        kyc_level=row["kyc_level"],
        limits=msgspec.json.decode(row["limits"], type=OwnLimits),
        allow_list=row["allow_list"],
        play_limits=_play_limits(row["play_limits"]),
        next_play_limits=None if row["next_play_limits"] is None else _play_limits(row["next_play_limits"]),
        next_play_limits_at=row["next_play_limits_at"],
        excluded_until=row["excluded_until"],
        cooling_off_until=row["cooling_off_until"],
        jurisdiction=row["jurisdiction"],
        tags=row["tags"],
        metadata=msgspec.json.decode(row["metadata"], type=dict[str, str]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
