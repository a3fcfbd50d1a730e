"""`/health/…`, `/metrics`, `/openapi.json`, `/docs`: for supervisors, Prometheus and people; no key needed.

They take no part in the limit on concurrent requests, so that they answer under overload too. They tell
nothing of players; still, only the platform's and operators' networks should reach this API at all.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from cryptowatch import __version__
from cryptowatch.api.problems import refuse
from cryptowatch.api.services import Services
from cryptowatch.db.pool import connection
from cryptowatch.errors import DatabaseUnavailable

_READY_WITHIN_S = 3.0
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"

OpenHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HealthView(msgspec.Struct, frozen=True):
    status: str
    version: str


def health_handlers(services: Services) -> dict[str, OpenHandler]:
    """path -> handler."""

    async def live(_: web.Request) -> web.Response:
        """The process answers. Says nothing of what it depends on: a restart would not help that."""
        return _json(HealthView("live", __version__))

    async def ready(_: web.Request) -> web.Response:
        """The database answers too: requests can be taken."""
        try:
            async with asyncio.timeout(_READY_WITHIN_S), connection(services.pool) as conn:
                await conn.execute("SELECT 1")
        except (TimeoutError, DatabaseUnavailable) as problem:
            raise refuse("database_unavailable", "the database does not answer") from problem
        return _json(HealthView("ready", __version__))

    async def metrics(request: web.Request) -> web.Response:
        """All of them, or those that `?name[]=` names, as Prometheus' own client library serves them."""
        registry, names = services.metrics.registry, request.query.getall("name[]", [])
        return web.Response(
            body=generate_latest(registry.restricted_registry(names) if names else registry),
            headers={"Content-Type": CONTENT_TYPE_PLAIN_1_0_0},
        )

    return {"/health/live": live, "/health/ready": ready, "/metrics": metrics}


def document_handlers(document: bytes, page: str) -> dict[str, OpenHandler]:
    """The OpenAPI document and its page, made once at start."""

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    async def docs(_: web.Request) -> web.Response:
        return web.Response(
            text=page, content_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY}
        )

    return {"/openapi.json": openapi, "/docs": docs}


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
