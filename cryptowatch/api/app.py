"""The HTTP API put together: `create_app(services)`; the composition root serves what it returns.

Besides answering, an application keeps house: it writes out when keys were last used, and forgets stored
answers that the ledger's own keys make unnecessary.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import cache, partial

import msgspec
import structlog
from aiohttp import web

from cryptowatch.api import idempotency
from cryptowatch.api.health import document_handlers, health_handlers
from cryptowatch.api.keys import write_last_used
from cryptowatch.api.live import LiveFeed
from cryptowatch.api.openapi import docs_page, openapi_document
from cryptowatch.api.pipeline import Pipeline, meet_expectation
from cryptowatch.api.routes import ROUTES
from cryptowatch.api.services import Services
from cryptowatch.db.pool import transaction
from cryptowatch.errors import ConcurrentUpdate, DatabaseUnavailable
from cryptowatch.loops import run_forever

log = structlog.get_logger(__name__)

HOUSEKEEPING_INTERVAL_S = 30.0
#: Answers to transfers are kept so long; the ledger refuses a second effect for ever.
GUARDED_KEPT = timedelta(days=30)


def create_app(services: Services) -> web.Application:
    """Serves until cleaned up. Raises SettingsError when two chains disagree on an asset's decimals."""
    assert services.decimals is not None
    live = LiveFeed(services)
    pipeline = Pipeline(services, live)
    app = web.Application(
        middlewares=[pipeline.middleware], client_max_size=services.settings.api.body_bytes_max
    )
    for route in ROUTES:
        app.router.add_route(
            route.method, route.path, pipeline.handler_of(route), expect_handler=meet_expectation
        )
    open_handlers = health_handlers(services) | document_handlers(*_documents())
    for path, handler in open_handlers.items():
        app.router.add_route("GET", path, handler, expect_handler=meet_expectation)
    app.cleanup_ctx.append(_housekeeping(services, pipeline))
    app.cleanup_ctx.append(_feeding(services, live))
    app.on_shutdown.append(partial(_ending, live))
    return app


@cache
def _documents() -> tuple[bytes, str]:
    """The OpenAPI document and its page: the same whatever is served."""
    document = openapi_document(ROUTES)
    return msgspec.json.encode(document), docs_page(document)


def _feeding(services: Services, live: LiveFeed) -> Callable[[web.Application], AsyncIterator[None]]:
    async def run(_: web.Application) -> AsyncIterator[None]:
        interval_s = services.settings.api.stream_poll_interval_s
        loop = run_forever("api:streams", live.step, interval_s=interval_s, clock=services.clock)
        task = asyncio.create_task(loop, name="api:streams")
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return run


async def _ending(live: LiveFeed, _: web.Application) -> None:
    """Before the server waits for answers to be over: streams would never be."""
    live.end_all()


def _housekeeping(services: Services, pipeline: Pipeline) -> Callable[[web.Application], AsyncIterator[None]]:
    async def write_uses() -> None:
        used = dict(pipeline.last_used)
        async with transaction(services.pool) as conn:
            await write_last_used(conn, used)
        for key_id, at in used.items():
            if pipeline.last_used.get(key_id) == at:
                del pipeline.last_used[key_id]

    async def step() -> int:
        await write_uses()
        async with transaction(services.pool) as conn:
            return await idempotency.forget_old(conn, services.clock.now() - GUARDED_KEPT)

    async def run(_: web.Application) -> AsyncIterator[None]:
        loop = run_forever("api:housekeeping", step, interval_s=HOUSEKEEPING_INTERVAL_S, clock=services.clock)
        task = asyncio.create_task(loop, name="api:housekeeping")
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            await write_uses()
        except (DatabaseUnavailable, ConcurrentUpdate) as problem:
            log.warning("the last uses of keys are not written", problem=str(problem))

    return run
