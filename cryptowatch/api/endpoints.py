"""`/v1/webhook-endpoints`: who hears of events, what was delivered, and delivering it again."""

from datetime import timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from cryptowatch.api.calls import TEXT, Call, NoQuery, Page, PageQuery, Position, Reply, not_found
from cryptowatch.api.deposits import Empty
from cryptowatch.api.paging import page, page_size, position_cursor, uuid_cursor
from cryptowatch.api.problems import Problem, refuse
from cryptowatch.db.pool import Connection
from cryptowatch.ids import Kind, read_id
from cryptowatch.outbound.signature import SECRET_BYTES
from cryptowatch.outbound.target import URL_LENGTH_MAX, InvalidUrl, check_url
from cryptowatch.webhooks import deliveries, endpoints
from cryptowatch.webhooks.deliveries import DeliveryView
from cryptowatch.webhooks.endpoints import EndpointView, TooManyEndpoints
from cryptowatch.webhooks.machine import State as DeliveryState

EndpointPage = Page[EndpointView]
DeliveryPage = Page[DeliveryView]

Url = Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=URL_LENGTH_MAX)]
Description = Annotated[str, Meta(pattern=TEXT, max_length=500)]
EventTypes = Annotated[
    list[Annotated[str, Meta(pattern=r"^[a-z_]+\.([a-z_]+|\*)$", max_length=100)]], Meta(max_length=100)
]
_OVERLAP_S_MAX = 7 * 86_400


class NewEndpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`event_types`: names (`deposit.credited`) or groups (`deposit.*`); none = all."""

    url: Url
    event_types: EventTypes = []
    description: Description = ""


class EndpointPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out, or null, stays as it is."""

    url: Url | None = None
    event_types: EventTypes | None = None
    description: Description | None = None
    status: endpoints.State | None = None


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All events after this `sequence` are delivered again, in order, with the same ids."""

    after: Position


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So long the old secret signs beside the new one."""

    overlap_s: Annotated[int, Meta(ge=0, le=_OVERLAP_S_MAX)] = 86_400


class DeliveriesQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    state: DeliveryState | None = None


async def create_endpoint(call: Call[NoQuery, NewEndpoint], conn: Connection) -> Reply | Problem:
    wanted, services = call.body, call.services
    _check(call, wanted.url)
    created = await endpoints.create_endpoint(
        conn,
        services.new_id(call.now),
        url=wanted.url,
        description=wanted.description,
        event_types=wanted.event_types,
        secret_bytes=services.random_bytes(SECRET_BYTES),
        seal=services.webhook_seal,
        endpoints_max=services.settings.webhooks.endpoints_max,
        now=call.now,
    )
    if isinstance(created, TooManyEndpoints):
        raise refuse("too_many_endpoints", f"there are {created.limit}")
    return Reply(created)


async def list_endpoints(call: Call[PageQuery, None], conn: Connection) -> Reply | Problem:
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    rows = await endpoints.list_endpoints(conn, limit=limit + 1, before=uuid_cursor(call.query))
    return Reply(page(rows, limit, lambda row: row["id"], endpoints.endpoint_view))


async def get_endpoint(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    return _found(await endpoints.read_endpoint(conn, call.path_id(Kind.ENDPOINT)))


async def update_endpoint(call: Call[NoQuery, EndpointPatch], conn: Connection) -> Reply | Problem:
    patch = call.body
    if patch.url is not None:
        _check(call, patch.url)
    changed = await endpoints.patch_endpoint(
        conn,
        call.path_id(Kind.ENDPOINT),
        url=patch.url,
        description=patch.description,
        event_types=patch.event_types,
        state=patch.status,
        now=call.now,
    )
    return _found(changed)


async def delete_endpoint(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    if not await endpoints.delete_endpoint(conn, call.path_id(Kind.ENDPOINT), call.now):
        raise not_found()
    return Reply(None)


async def rotate_secret(call: Call[NoQuery, Rotation], conn: Connection) -> Reply | Problem:
    until = call.now + timedelta(seconds=call.body.overlap_s)
    secret_bytes = call.services.random_bytes(SECRET_BYTES)
    endpoint_id, seal = call.path_id(Kind.ENDPOINT), call.services.webhook_seal
    return _found(await endpoints.rotate_secret(conn, endpoint_id, secret_bytes, seal, until, call.now))


async def ping_endpoint(call: Call[NoQuery, Empty], conn: Connection) -> Reply | Problem:
    """Sends a `webhook_endpoint.ping` the way of all events."""
    return _found(await endpoints.ping_endpoint(conn, call.path_id(Kind.ENDPOINT), call.now))


async def replay_endpoint(call: Call[NoQuery, Replay], conn: Connection) -> Reply | Problem:
    return _found(await endpoints.replay(conn, call.path_id(Kind.ENDPOINT), call.body.after, call.now))


async def list_deliveries(call: Call[DeliveriesQuery, None], conn: Connection) -> Reply | Problem:
    endpoint_id = call.path_id(Kind.ENDPOINT)
    if await endpoints.read_endpoint(conn, endpoint_id) is None:
        raise not_found()
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    rows = await deliveries.list_deliveries(
        conn, endpoint_id, limit=limit + 1, before=position_cursor(call.query), state=call.query.state
    )
    return Reply(page(rows, limit, lambda row: row["position"], deliveries.delivery_view))


async def retry_delivery(call: Call[NoQuery, Empty], conn: Connection) -> Reply | Problem:
    """Starts one delivery anew, with the same id; meant for dead ones."""
    endpoint_id = call.path_id(Kind.ENDPOINT)
    delivery_id = read_id(Kind.DELIVERY, call.path["delivery_id"])
    if delivery_id is None or await endpoints.read_endpoint(conn, endpoint_id) is None:
        raise not_found()
    return _found(await deliveries.retry_delivery(conn, endpoint_id, delivery_id, call.now))


def _check(call: Call[object, object], url: str) -> None:
    """Raises Refused (422 invalid_url)."""
    refused = check_url(url, allow_private=call.services.settings.webhooks.allow_private_addresses)
    if isinstance(refused, InvalidUrl):
        raise refuse("invalid_url", refused.reason)


def _found(value: object | None) -> Reply:
    if value is None:
        raise not_found()
    return Reply(value)
