"""Webhook endpoints: who wants to hear of which events, and with which secret they are signed.

Called by the API inside its transactions, and by `worker` when an endpoint answers 410, or nothing well for days. Keeps
P8: each change writes one event `webhook_endpoint.…`. The secret is shown when it is made and when it is rotated, and
never again.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent, append_events, feed_head
from cryptowatch.outbound.signature import show_secret
from cryptowatch.webhooks.sealing import Seal

SQL = load_queries(__package__, "endpoints.sql")

ENTITY_KIND = "webhook_endpoint"
PING = "webhook_endpoint.ping"


class State(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"


class EndpointView(msgspec.Struct, frozen=True):
    """An endpoint as the API and the events show it. `position`: events up to this one are in its queue."""

    id: str
    url: str
    description: str
    event_types: list[str]
    status: State
    disabled_reason: str | None
    position: int
    created_at: datetime
    updated_at: datetime


class EndpointSecretView(msgspec.Struct, frozen=True):
    """The endpoint with its secret: shown once. The previous secret signs too until then."""

    endpoint: EndpointView
    secret: str
    previous_secret_until: datetime | None


class TooManyEndpoints(msgspec.Struct, frozen=True):
    limit: int


def endpoint_view(row: asyncpg.Record) -> EndpointView:
    return EndpointView(
        id=show_id(Kind.ENDPOINT, row["id"]),
        url=row["url"],
        description=row["description"],
        event_types=list(row["event_types"]),
        status=State(row["state"]) if row["state"] in tuple(State) else State.DISABLED,
        disabled_reason=row["reason"],
        position=row["position"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def create_endpoint(
    conn: Connection,
    endpoint_id: UUID,
    *,
    url: str,
    description: str,
    event_types: Sequence[str],
    secret_bytes: bytes,
    seal: Seal,
    endpoints_max: int,
    now: datetime,
) -> EndpointSecretView | TooManyEndpoints:
    """The caller has checked the URL (`target.check_url`)."""
    await conn.execute(SQL["lock_creation"])
    if await conn.fetchval(SQL["count"]) >= endpoints_max:
        return TooManyEndpoints(endpoints_max)
    secret, position = show_secret(secret_bytes), await feed_head(conn)
    row = await conn.fetchrow(
        SQL["insert"], endpoint_id, url, description, list(event_types), seal.close(secret), position, now
    )
    assert row is not None
    await _tell(conn, "created", row, now)
    return EndpointSecretView(endpoint_view(row), secret, None)


async def read_endpoint(conn: Connection, endpoint_id: UUID) -> EndpointView | None:
    row = await conn.fetchrow(SQL["by_id"], endpoint_id)
    return None if row is None else endpoint_view(row)


async def list_endpoints(conn: Connection, *, limit: int, before: UUID | None) -> Sequence[asyncpg.Record]:
    """Rows, newest first, below an id."""
    return await conn.fetch(SQL["newest"], before, limit)


async def patch_endpoint(
    conn: Connection,
    endpoint_id: UUID,
    *,
    url: str | None,
    description: str | None,
    event_types: Sequence[str] | None,
    state: State | None,
    now: datetime,
) -> EndpointView | None:
    """Change what is not None. One that is enabled again goes on where it stopped: nothing was lost."""
    types = None if event_types is None else list(event_types)
    row = await conn.fetchrow(SQL["patch"], endpoint_id, url, description, types, state, now)
    return await _told(conn, "updated", row, now)


async def delete_endpoint(conn: Connection, endpoint_id: UUID, now: datetime) -> bool:
    row = await conn.fetchrow(SQL["delete"], endpoint_id, now)
    return await _told(conn, "deleted", row, now) is not None


async def rotate_secret(
    conn: Connection,
    endpoint_id: UUID,
    secret_bytes: bytes,
    seal: Seal,
    previous_until: datetime,
    now: datetime,
) -> EndpointSecretView | None:
    """A new secret; the one before it signs too until `previous_until`, any earlier one no more."""
    secret = show_secret(secret_bytes)
    row = await conn.fetchrow(SQL["rotate_secret"], endpoint_id, seal.close(secret), previous_until, now)
    view = await _told(conn, "secret_rotated", row, now)
    return None if view is None else EndpointSecretView(view, secret, previous_until)


async def ping_endpoint(conn: Connection, endpoint_id: UUID, now: datetime) -> EndpointView | None:
    """An event for this endpoint alone, which takes the same way as all others."""
    row = await conn.fetchrow(SQL["touch"], endpoint_id, now)
    return await _told(conn, "ping", row, now)


async def replay(conn: Connection, endpoint_id: UUID, after: int, now: datetime) -> EndpointView | None:
    """Deliver again all events after a position, delivered or dead, in their order, with the same ids."""
    row = await conn.fetchrow(SQL["rewind"], endpoint_id, after, now)
    return await _told(conn, "replayed", row, now)


async def disable_endpoint(conn: Connection, endpoint_id: UUID, reason: str, now: datetime) -> bool:
    """False when it was not enabled."""
    row = await conn.fetchrow(SQL["disable"], endpoint_id, reason, now)
    return await _told(conn, "disabled", row, now) is not None


def wants(event_types: Sequence[str], endpoint_id: str, event: NewEvent | Any) -> bool:
    """Whether an endpoint with these types hears of the event. Pure.

    No types: everything, but not what happens to endpoints; that goes to who names it. A ping goes to its
    endpoint.
    """
    if event.type == PING:
        return bool(event.entity_id == endpoint_id)
    if not event_types:
        return bool(event.entity_kind != ENTITY_KIND)
    group = event.type.partition(".")[0] + ".*"
    return event.type in event_types or group in event_types


async def _told(
    conn: Connection, what: str, row: asyncpg.Record | None, now: datetime
) -> EndpointView | None:
    if row is None:
        return None
    await _tell(conn, what, row, now)
    return endpoint_view(row)


async def _tell(conn: Connection, what: str, row: asyncpg.Record, now: datetime) -> None:
    view = endpoint_view(row)
    event = NewEvent(
        type=f"{ENTITY_KIND}.{what}",
        entity_kind=ENTITY_KIND,
        entity_id=view.id,
        entity_version=row["version"],
        account_id=None,
        data=msgspec.json.encode(view).decode(),
        created_at=now,
    )
    await append_events(conn, [event])
