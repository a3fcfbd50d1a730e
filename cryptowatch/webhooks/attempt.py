"""One delivery attempt: one POST to one endpoint, and nothing else.

Called by `worker`, outside any transaction (P4).

Never follows a redirect, never sends cookies, verifies TLS, connects only to checked addresses, reads a
bounded part of the answer and gives up after `timeout_s`. Every way to fail is a value (`Unanswered`).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import AbstractResolver

from cryptowatch import __version__
from cryptowatch.clock import Clock
from cryptowatch.outbound.signature import signed_headers
from cryptowatch.outbound.target import ForbiddenTarget, check_url, guarded_sockets
from cryptowatch.settings import Webhooks
from cryptowatch.webhooks.machine import Answered, Attempt, Unanswered, parse_retry_after

_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": f"cryptowatch/{__version__}",
    "Accept-Encoding": "identity",
}


@asynccontextmanager
async def open_session(
    settings: Webhooks, resolver: AbstractResolver | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """The one client of a worker. `resolver` None = the machine's own."""
    connector = aiohttp.TCPConnector(
        limit=settings.concurrency,
        resolver=resolver,
        socket_factory=guarded_sockets(allow_private=settings.allow_private_addresses),
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:
        yield session


async def attempt(
    session: aiohttp.ClientSession,
    settings: Webhooks,
    clock: Clock,
    *,
    url: str,
    message_id: str,
    body: bytes,
    secrets: Sequence[str],
) -> Attempt:
    """POST the body, signed with all `secrets`. Raises nothing but cancellation."""
    refused = check_url(url, allow_private=settings.allow_private_addresses)
    if refused is not None:
        return Unanswered(refused.reason)
    headers = {**_HEADERS, **signed_headers(message_id, int(clock.now().timestamp()), body, secrets)}
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            await _finish_reading(response, settings.response_bytes_max)
            after_s = parse_retry_after(response.headers.get("Retry-After"), clock.now())
            return Answered(response.status, after_s)
    except TimeoutError:
        return Unanswered(f"no answer within {settings.timeout_s:g} s")
    except aiohttp.ClientConnectorDNSError:
        return Unanswered("the name does not resolve")
    except aiohttp.ClientConnectorCertificateError:
        return Unanswered("the TLS certificate is not valid")
    except aiohttp.ClientConnectorError as problem:
        forbidden = isinstance(problem.os_error, ForbiddenTarget)
        return Unanswered("the address is not public" if forbidden else "cannot connect")
    except (aiohttp.ClientError, OSError, ValueError) as problem:
        return Unanswered(type(problem).__name__)


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
