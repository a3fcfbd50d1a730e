"""Stands between the daemon and one node, and does to their talk what faults ask for.

`network` runs one per node; `control` sets and clears the faults. Without a fault, bytes pass unread
(JSON-RPC with batches, and REST). Credentials pass through as well: the proxy knows the node's own only to
ask it when lying. What is said in the node's name is its family's `Teller`'s.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from cryptowatch.devnet.faults import Fault
from cryptowatch.devnet.lying import Lie, Teller

BODY_BYTES_MAX = 64 * 1024 * 1024
UPSTREAM_TIMEOUT_S = 300
_OWN_TO_ONE_CONNECTION = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "host",
    "content-encoding",
}


class ProxiedNode(Protocol):
    """`url` is the address with credentials, where there are any."""

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def url(self) -> str: ...


@dataclass(frozen=True)
class _InForce:
    fault: Fault
    ends_at_s: float
    lie: Lie | None


Node = TypeVar("Node", bound=ProxiedNode)


class FaultProxy(Generic[Node]):
    """`open` it; `url` is what the daemon is given. What it asks its node is asked within `passing()`."""

    def __init__(
        self,
        node: Node,
        teller: Teller,
        randomness: random.Random,
        passing: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self.node = node
        self._teller = teller
        self._randomness = randomness
        self._passing = passing
        self._in_force: list[_InForce] = []
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        credentials, at, _ = urlsplit(self.node.url).netloc.rpartition("@")
        return f"http://{credentials}{at}127.0.0.1:{self.port}"

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=UPSTREAM_TIMEOUT_S),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def add(self, fault: Fault) -> None:
        """The fault is in force when this returns. Raises OperatorError when the node does not answer."""
        async with self._passing():
            lie = await self._teller.lie(fault)
        self._in_force.append(_InForce(fault, fault.ends_at_s(time.monotonic()), lie))

    def clear(self) -> None:
        self._in_force.clear()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if not self._in_force and not self._teller.always:
            return await self._forward(request, body)
        now_s = time.monotonic()
        self._in_force = [entry for entry in self._in_force if entry.ends_at_s > now_s]
        calls = _calls(request, body)
        methods = [str(call.get("method")) for call in calls] if calls is not None else ["rest"]
        struck = [entry for entry in self._in_force if entry.fault.strikes(methods, self._randomness)]
        for entry in struck:
            if entry.fault.kind == "delay":
                await asyncio.sleep(entry.fault.delay_s)
        for entry in struck:
            if entry.fault.kind == "drop":
                return _hang_up(request)
            if entry.fault.kind == "error":
                return self._teller.error(body, calls)
            if entry.fault.kind == "error_after_send":
                await self._answer(request, body, calls, methods, [])
                return _hang_up(request) if entry.fault.answer == "drop" else self._teller.error(body, calls)
        lies = [entry.lie for entry in struck if entry.lie is not None]
        return await self._answer(request, body, calls, methods, lies)

    async def _answer(
        self,
        request: web.Request,
        body: bytes,
        calls: list[dict[str, Any]] | None,
        methods: Sequence[str],
        lies: Sequence[Lie],
    ) -> web.StreamResponse:
        if lies or self._teller.always.intersection(methods):
            async with self._passing():
                told = await self._teller.tell(request.path_qs, body, calls, lies)
            if told is not None:
                return told
        return await self._forward(request, body)

    async def _forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        assert self._session is not None
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _OWN_TO_ONE_CONNECTION
        }
        url = self.node.address + request.rel_url.raw_path_qs
        try:
            async with (
                self._passing(),
                self._session.request(request.method, url, data=body or None, headers=headers) as answer,
            ):
                content = await answer.read()
                kept = {n: v for n, v in answer.headers.items() if n.lower() not in _OWN_TO_ONE_CONNECTION}
                return web.Response(status=answer.status, body=content, headers=kept)
        except (aiohttp.ClientError, TimeoutError):
            # The node is down: nearest to what its caller would see without a proxy.
            return _hang_up(request)


def _calls(request: web.Request, body: bytes) -> list[dict[str, Any]] | None:
    """The JSON-RPC calls of a request; None for REST."""
    if request.method != "POST":
        return None
    try:
        parsed = json.loads(body)
    except ValueError:
        return [{}]
    found = parsed if isinstance(parsed, list) else [parsed]
    return [call for call in found if isinstance(call, dict)] or [{}]


def _hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
