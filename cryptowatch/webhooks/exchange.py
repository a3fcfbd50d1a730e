"""One POST and its answer over a connection that is kept: HTTP/1.1 as `attempt` needs it, and no more.

Called by `attempt`. Connections are aiohttp's: its pool, its TLS, its resolver, its parser of answers. What its client
adds for each request (redirects, cookies, bodies of every kind) is of no use here and costs more than all the rest of
a delivery.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from cryptowatch import __version__
from cryptowatch.outbound.target import guarded_sockets
from cryptowatch.settings import Webhooks

#: URLs whose part of a request is kept.
_PREPARED_MAX = 256
_SWITCHING = 101
_FINAL_FROM = 200
_TIMES = aiohttp.ClientTimeout(total=None)


class NotHttp(aiohttp.ClientError):
    """What came is no answer of HTTP."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is the same in each request to one URL; `key` tells the pool where it goes."""

    key: aiohttp.ClientRequest
    head: str


@dataclass(frozen=True, slots=True)
class Poster:
    """The one client of a worker: at most `concurrency` connections, each to an address that was checked."""

    connector: aiohttp.TCPConnector
    settings: Webhooks
    _prepared: dict[str, _Prepared] = field(default_factory=dict)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str | None]:
        """The answer's status, and what its Retry-After says.

        `url` passed `target.check_url`; headers are ours, and none of their values holds a line's end. Raises
        TimeoutError after `timeout_s`, aiohttp.ClientError and OSError. Once the status is there, it is the outcome.
        """
        prepared = self._prepare(url)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"{prepared.head}Content-Length: {len(body)}\r\n{lines}\r\n".encode("ascii") + body
        async with asyncio.timeout(self.settings.timeout_s) as limit:
            connection = await self.connector.connect(prepared.key, traces=[], timeout=_TIMES)
            try:
                answer, rest = await _exchange(connection.protocol, request)
            except BaseException:
                connection.close()
                raise
        usable = False
        try:
            usable = rest.is_eof() or await _is_read(rest, self.settings.response_bytes_max, limit.when())
        finally:
            if usable and _all_sent(connection.transport):
                connection.release()
            else:
                connection.close()
        return answer.code, answer.headers.get("Retry-After")

    def _prepare(self, url: str) -> _Prepared:
        prepared = self._prepared.get(url)
        if prepared is None:
            if len(self._prepared) >= _PREPARED_MAX:
                self._prepared.clear()
            prepared = self._prepared[url] = _prepare(URL(url))
        return prepared


@asynccontextmanager
async def open_poster(settings: Webhooks, resolver: AbstractResolver | None = None) -> AsyncIterator[Poster]:
    """`resolver` None = the machine's own."""
    connector = aiohttp.TCPConnector(
        limit=settings.concurrency,
        resolver=resolver,
        socket_factory=guarded_sockets(allow_private=settings.allow_private_addresses),
    )
    try:
        yield Poster(connector, settings)
    finally:
        await connector.close()


def _prepare(url: URL) -> _Prepared:
    head = (
        f"POST {url.raw_path_qs} HTTP/1.1\r\n"
        f"Host: {url.host_port_subcomponent}\r\n"
        f"User-Agent: cryptowatch/{__version__}\r\n"
        "Accept: */*\r\n"
        "Accept-Encoding: identity\r\n"
        "Content-Type: application/json\r\n"
    )
    return _Prepared(aiohttp.ClientRequest("POST", url, loop=asyncio.get_running_loop()), head)


async def _exchange(
    protocol: ResponseHandler | None, request: bytes
) -> tuple[RawResponseMessage, StreamReader]:
    if protocol is None or protocol.transport is None:
        raise aiohttp.ServerDisconnectedError
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    protocol.transport.write(request)
    while True:
        try:
            answer, rest = await protocol.read()
        except HttpProcessingError as problem:
            raise NotHttp from problem
        # Those below only announce the answer.
        if answer.code >= _FINAL_FROM or answer.code == _SWITCHING:
            return answer, rest


async def _is_read(rest: StreamReader, bytes_max: int, until: float | None) -> bool:
    """Reads the answer to its end, so that the connection can be used again; whether it can.

    The status has been said: an answer that is too long, breaks off or stalls changes nothing about the outcome.
    """
    left = bytes_max
    try:
        async with asyncio.timeout_at(until):
            while left > 0:
                chunk = await rest.read(left)
                if not chunk:
                    return True
                left -= len(chunk)
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    return False


def _all_sent(transport: asyncio.Transport | None) -> bool:
    """An answer may come before the request is through: then the rest of it would be the next request's beginning."""
    return transport is not None and transport.get_write_buffer_size() == 0
