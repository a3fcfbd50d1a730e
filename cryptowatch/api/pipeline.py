"""What happens to every request before its handler and after it: limits, who asks, decoding, the answer.

Made by `app`. Keeps P2 (idempotency around every handler that moves money), P4 (a handler sees a connection,
never the network) and P10 (bounded concurrency, body and time). Whatever goes wrong, the answer is problem
JSON with a request id; a mistake of ours is logged with its traceback and answered without it.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog
from aiohttp import web

from cryptowatch.api import idempotency
from cryptowatch.api.calls import Call, Download, Live, Route, Together
from cryptowatch.api.groups import Asking, Groups
from cryptowatch.api.idempotency import Claim, Stored
from cryptowatch.api.keys import Caller, digest_of, find_caller
from cryptowatch.api.live import LiveFeed
from cryptowatch.api.problems import CONTENT_TYPE, RETRY_AFTER_S, Problem, Refused, problem_view, refuse
from cryptowatch.api.rates import Buckets, Rate
from cryptowatch.api.reading import decode_body, decode_query, read_raw
from cryptowatch.api.services import Services
from cryptowatch.api.trail import trail_of
from cryptowatch.compliance.audit import append_entry
from cryptowatch.db.pool import Connection, connection, transaction
from cryptowatch.errors import ConcurrentUpdate, DatabaseUnavailable

log = structlog.get_logger(__name__)

REQUEST_ID_HEADER = "X-Request-Id"
#: Of a file: where the next one goes on.
NEXT_CURSOR_HEADER = "X-Next-Cursor"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
#: How often a write runs anew after losing to another writer.
_TRIES = 5

_ID = web.RequestKey("request_id", str)
_LABEL = web.RequestKey("label", str)

_REPLAYED = {idempotency.REPLAYED_HEADER: "true"}

Answer = Callable[[web.Request, Route, bytes], Awaitable[web.Response]]
RouteHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Pipeline:
    """One per application. `last_used` is written out by the application's housekeeping."""

    services: Services
    live: LiveFeed
    in_flight: int = 0
    last_used: dict[UUID, datetime] = field(default_factory=dict)
    rates: Buckets = field(init=False)

    def __post_init__(self) -> None:
        settings = self.services.settings.api
        self.rates = Buckets(Rate(settings.rate_per_s, settings.rate_burst))
        self.services.metrics.api.in_flight.set_function(lambda: self.in_flight)

    def handler_of(self, route: Route) -> RouteHandler:
        """aiohttp's handler of a route of the table."""
        label = f"{route.method} {route.path}"
        if isinstance(route.handler, Live):
            return partial(self._stream, route)
        answer = self._answer
        if isinstance(route.handler, Together):
            answer = partial(self._answer_together, Groups(self.services, route, route.handler, self._meet))

        async def handle(request: web.Request) -> web.StreamResponse:
            request[_LABEL] = label
            self._admit(request)
            settings = self.services.settings.api
            if self.in_flight >= settings.concurrent_requests_max:
                self.services.metrics.api.overloaded.inc()
                raise refuse("overloaded", f"{settings.concurrent_requests_max} requests are under way")
            self.in_flight += 1
            try:
                return await self._within_time(request, route, answer)
            finally:
                self.in_flight -= 1

        return handle

    def _admit(self, request: web.Request) -> None:
        """Once for each request, before anything is done for it. Raises Refused (429)."""
        digest = digest_of(request.headers.get("Authorization"))
        if not self.rates.take(digest, self.services.clock.monotonic_s()):
            self.services.metrics.api.rate_limited.inc()
            raise refuse("rate_limited", "this key calls more often than it may")

    async def _stream(self, route: Route, request: web.Request) -> web.StreamResponse:
        """An answer without end: beyond the limits on time and on requests, and within those on streams."""
        request[_LABEL] = f"{route.method} {route.path}"
        self._admit(request)
        async with connection(self.services.pool) as conn:
            await self._allowed(request, route, conn, self.services.clock.now())
        query = decode_query(request, route.query)
        return await self.live.answer(request, query, route.scope, {REQUEST_ID_HEADER: request[_ID]})

    async def _within_time(self, request: web.Request, route: Route, answer: Answer) -> web.Response:
        limit_s = self.services.settings.api.request_timeout_s
        raw = b"" if route.body is None else await self._body(request, limit_s)
        try:
            async with asyncio.timeout(limit_s):
                return await answer(request, route, raw)
        except TimeoutError as problem:
            detail = f"no answer within {limit_s:g} s; the outcome is unknown: send the same request again"
            raise refuse("request_timeout", detail) from problem

    async def _body(self, request: web.Request, limit_s: float) -> bytes:
        if request.content.is_eof():  # as most: it came with the headers
            return await read_raw(request)
        try:
            async with asyncio.timeout(limit_s):
                return await read_raw(request)
        except TimeoutError as problem:
            raise refuse("timeout", f"the body did not arrive within {limit_s:g} s") from problem

    async def _answer(self, request: web.Request, route: Route, raw: bytes) -> web.Response:
        """Runs anew after losing to another writer: nothing of the lost run is left."""
        for _ in range(_TRIES):
            try:
                return await self._once(request, route, raw)
            except ConcurrentUpdate as problem:
                lost = problem
        raise DatabaseUnavailable(f"lost to other writers {_TRIES} times: {lost}")

    async def _answer_together(
        self, groups: Groups, request: web.Request, route: Route, raw: bytes
    ) -> web.Response:
        """In a transaction that others may share."""
        try:
            asking = _asking(request, route, raw)
        except Refused:
            # Whoever may not call hears so, and nothing of what is wrong with the call.
            async with connection(self.services.pool) as conn:
                await self._allowed(request, route, conn, self.services.clock.now())
            raise
        answer = await groups.answer(asking)
        return _response(answer.status, answer.body, _REPLAYED if answer.replayed else None)

    async def _once(self, request: web.Request, route: Route, raw: bytes) -> web.Response:
        pool, database = self.services.pool, self.services.metrics.database
        if not route.writes:
            async with connection(pool) as conn:
                return await self._handle(request, route, raw, conn)
        async with transaction(pool, observe_seconds=database.transaction_seconds.observe) as conn:
            return await self._handle(request, route, raw, conn)

    async def _handle(self, request: web.Request, route: Route, raw: bytes, conn: Connection) -> web.Response:
        """Raises Refused for what must leave nothing behind.

        A handler's own refusal is an answer like others.
        """
        now = self.services.clock.now()
        caller = await self._allowed(request, route, conn, now)
        query = decode_query(request, route.query)
        body = None if route.body is None else decode_body(raw, route.body)
        claim, effect = None, ""
        if route.idempotent:
            claim = _claim(request, caller, body)
            effect = idempotency.effect_of(caller.id, claim.key)
            earlier = await idempotency.begin(conn, claim)
            if isinstance(earlier, Problem):
                raise Refused(earlier)
            if isinstance(earlier, Stored):
                return _response(earlier.status, earlier.body, _REPLAYED)
        assert not isinstance(route.handler, Together | Live)
        call = Call(self.services, caller, request.match_info, query, body, now, effect)
        reply = await route.handler(call, conn)
        if isinstance(reply, Download):
            return _file(reply, route)
        if isinstance(reply, Problem):
            status = reply.status
            answer = msgspec.json.encode(problem_view(reply, request[_ID]))
        else:
            status = reply.status or route.status
            answer = b"" if reply.value is None else msgspec.json.encode(reply.value)
            if route.writes and route.audited:
                await append_entry(conn, trail_of(call, route, request[_ID], reply.value, status))
        if claim is not None:
            await idempotency.store_all(conn, [(claim, status, answer)], route.guarded, now)
        return _response(status, answer)

    async def _allowed(self, request: web.Request, route: Route, conn: Connection, now: datetime) -> Caller:
        caller = await find_caller(conn, request.headers.get("Authorization"), now)
        if caller is None:
            raise refuse("unauthorized", "send a valid key as `Authorization: Bearer cwk_…`")
        if route.scope not in caller.scopes:
            raise refuse("forbidden", f"this call needs the scope `{route.scope}`")
        self._meet(caller, now)
        return caller

    def _meet(self, caller: Caller, now: datetime) -> None:
        self.last_used[caller.id] = now
        self.rates.meet(caller.digest, caller.rate, self.services.clock.monotonic_s())

    @property
    def middleware(self) -> Any:
        """The outermost layer: what leaves here is always an answer with a request id."""

        @web.middleware
        async def guard(request: web.Request, handler: RouteHandler) -> web.StreamResponse:
            clock = self.services.clock
            started_s = clock.monotonic_s()
            request[_ID] = self._request_id(request)
            try:
                response = await handler(request)
            except Exception as problem:
                closing = self.services.pool.is_closing()
                response = _problem_response(request, problem, closing)
            if response.prepared:
                return response
            response.headers[REQUEST_ID_HEADER] = request[_ID]
            response.headers.setdefault("Cache-Control", "no-store")
            response.headers["X-Content-Type-Options"] = "nosniff"
            self.services.metrics.api.request_seconds.labels(
                request.get(_LABEL, "other"), f"{response.status // 100}xx"
            ).observe(clock.monotonic_s() - started_s)
            return response

        return guard

    def _request_id(self, request: web.Request) -> str:
        given = request.headers.get(REQUEST_ID_HEADER, "")
        return given if _REQUEST_ID.fullmatch(given) else f"req_{self.services.random_bytes(8).hex()}"


def _asking(request: web.Request, route: Route, raw: bytes) -> Asking:
    """Raises Refused for what does not have the call's form."""
    query = decode_query(request, route.query)
    assert route.body is not None
    body = decode_body(raw, route.body)
    return Asking(
        request_id=request[_ID],
        authorization=request.headers.get("Authorization"),
        key=_key(request),
        fingerprint=idempotency.fingerprint(request.method, request.path, body),
        path=request.match_info,
        query=query,
        body=body,
    )


def _key(request: web.Request) -> str:
    key = idempotency.read_key(request.headers.get(idempotency.HEADER))
    if isinstance(key, Problem):
        raise Refused(key)
    return key


def _claim(request: web.Request, caller: Caller, body: object) -> Claim:
    return Claim(caller.id, _key(request), idempotency.fingerprint(request.method, request.path, body))


def _file(download: Download, route: Route) -> web.Response:
    headers = {"Content-Disposition": f'attachment; filename="{download.name}"'}
    if download.next_cursor is not None:
        headers[NEXT_CURSOR_HEADER] = download.next_cursor
    return web.Response(body=download.content, content_type=route.media, charset="utf-8", headers=headers)


def _response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    if not body:
        return web.Response(status=status, headers=headers)
    content_type = "application/json" if status < 400 else CONTENT_TYPE
    return web.Response(status=status, body=body, content_type=content_type, headers=headers)


def _problem_response(request: web.Request, failure: Exception, closing: bool) -> web.Response:
    """An expected refusal, the database's absence, aiohttp's own refusals, or a mistake of ours."""
    headers: dict[str, str] = {}
    match failure:
        case Refused():
            problem = failure.problem
        case DatabaseUnavailable():
            problem = _away(request, failure)
        case asyncpg.InterfaceError() if closing:
            problem = _away(request, failure)
        case web.HTTPMethodNotAllowed():
            headers["Allow"] = failure.headers["Allow"]
            problem = Problem("method_not_allowed", f"it takes {headers['Allow']}")
        case web.HTTPException() if failure.status == 404:
            problem = Problem("not_found", "no such path")
        case web.HTTPException():
            problem = Problem("invalid_request", failure.reason)
        case _:
            log.error("request failed", request_id=request[_ID], exc_info=failure)
            problem = Problem("internal_error", "the request id finds it in our logs")
    if problem.code in RETRY_AFTER_S:
        headers["Retry-After"] = str(RETRY_AFTER_S[problem.code])
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _response(problem.status, msgspec.json.encode(problem_view(problem, request[_ID])), headers)


def _away(request: web.Request, failure: Exception) -> Problem:
    log.warning("database away", request_id=request[_ID], problem=str(failure))
    return Problem("database_unavailable", "if this was a write, send it again with the same key")


async def meet_expectation(request: web.Request) -> web.StreamResponse | None:
    """Answers `Expect: 100-continue`; any other expectation is refused in our form.

    Aiohttp's hook of a route.
    """
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None
    problem = problem_view(Problem("expectation_failed", "only 100-continue is known"), "req_unknown")
    return _response(problem.status, msgspec.json.encode(problem))
