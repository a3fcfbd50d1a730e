"""A real HTTP server that plays a casino's webhook endpoint:

It answers as told, and remembers what it got.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks.webhooks import Webhook

Answering = Callable[["Received"], web.Response]


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        decoded: dict[str, Any] = msgspec.json.decode(self.body)
        return decoded

    @property
    def entity(self) -> tuple[str, int]:
        return self.event["entity"]["id"], self.event["entity"]["version"]

    def verified_by(self, secret: str) -> bool:
        """By an implementation of the standard that is not ours."""
        try:
            Webhook(secret).verify(self.body, self.headers)
        except Exception:
            return False
        return True


@dataclass
class Receiver:
    url: str = ""
    answer: Answering = field(default=lambda _: web.Response(status=204))
    delay_s: float = 0.0
    received: list[Received] = field(default_factory=list)
    in_flight_max: int = 0
    _in_flight: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        self._in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self._in_flight)
        try:
            got = Received(dict(request.headers), await request.read())
            self.received.append(got)
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            return self.answer(got)
        finally:
            self._in_flight -= 1

    async def until(self, count: int, timeout_s: float = 10) -> list[Received]:
        async with asyncio.timeout(timeout_s):
            while len(self.received) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return self.received


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()
