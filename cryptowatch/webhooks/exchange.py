"""One POST and its answer, by aiohttp's client as `attempt` needs it.

Called by `attempt`. Never follows a redirect, sends no cookies, verifies TLS, connects only to addresses that were
checked, and reads a bounded part of the answer.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver

from cryptowatch import __version__
from cryptowatch.outbound.target import guarded_sockets
from cryptowatch.settings import Webhooks

_HEADERS: Final = {
    "Content-Type": "application/json",
    "User-Agent": f"cryptowatch/{__version__}",
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class Poster:
    """The one client of a worker: at most `concurrency` connections."""

    session: aiohttp.ClientSession
    settings: Webhooks

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str | None]:
        """The answer's status, and what its Retry-After says.

        `url` passed `target.check_url`. Raises TimeoutError after `timeout_s`, aiohttp.ClientError and OSError. Once
        the status is there, it is the outcome.
        """
        request = self.session.post(url, data=body, headers=headers, allow_redirects=False)
        async with request as response:
            if not response.content.at_eof():
                await _finish_reading(response, self.settings.response_bytes_max)
            return response.status, response.headers.get("Retry-After")


@asynccontextmanager
async def open_poster(settings: Webhooks, resolver: AbstractResolver | None = None) -> AsyncIterator[Poster]:
    """`resolver` None = the machine's own."""
    connector = aiohttp.TCPConnector(
        limit=settings.concurrency,
        resolver=resolver,
        socket_factory=guarded_sockets(allow_private=settings.allow_private_addresses),
    )
    async with aiohttp.ClientSession(
        connector=connector,
        headers=_HEADERS,
        timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:
        yield Poster(session, settings)


async def _finish_reading(response: aiohttp.ClientResponse, bytes_max: int) -> None:
    """Read the answer to its end, so that the connection can be used again; else close it.

    The status has been said: an answer that is too long, or breaks off, changes nothing about the outcome.
    """
    left = bytes_max
    try:
        while left > 0:
            chunk = await response.content.read(left)
            if not chunk:
                return
            left -= len(chunk)
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    response.close()
