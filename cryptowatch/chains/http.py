"""HTTP to one node: keep-alive, credentials, bounded waits and answers.

The transport under each family's own `rpc`. Keeps P10: so many connections, so many bytes per answer, so many
seconds per request. What goes wrong comes out as NodeUnavailable, whose text never holds a secret: neither
credentials nor the URL, in which hosted nodes expect a key.

Credentials stand in a file (`user:password`) that is read again when the node refuses them, because bitcoind
writes a new `.cookie` at each start.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from cryptowatch.errors import NodeUnavailable

#: A mempool of a million ids, a block as hex, or the traces of a full block of Ethereum stay below it.
RESPONSE_BYTES_MAX = 96 * 1024 * 1024
CONNECTIONS_MAX = 8
#: bitcoind closes idle connections after 30 s (-rpcservertimeout); we do so before, so as not to race with it.
_KEEPALIVE_S = 15
_READ_BUFFER_BYTES = 1024 * 1024


class HttpClient:
    """One node's HTTP interface. Opens its connections on first use, in the running event loop."""

    def __init__(
        self,
        node: str,
        url: str,
        auth_file: Path | None,
        *,
        timeout_s: float,
        response_bytes_max: int = RESPONSE_BYTES_MAX,
    ) -> None:
        self.node = node
        self._url = url
        self._auth_file = auth_file
        self._auth: Mapping[str, str] = {}
        self._timeout_s = timeout_s
        self._response_bytes_max = response_bytes_max
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, verb: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """(status, body), with one more try for fresh credentials and one for a connection that broke.

        Send only what may arrive twice.
        """
        status, answer = await self._once(verb, path, body, may_retry=True)
        if status == 401:
            self._auth = {}
            status, answer = await self._once(verb, path, body, may_retry=False)
            if status == 401:
                raise NodeUnavailable(self.node, "refuses the credentials in auth_file")
        return status, answer

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _once(self, verb: str, path: str, body: bytes | None, *, may_retry: bool) -> tuple[int, bytes]:
        try:
            async with self._open_session().request(
                verb,
                self._url + path,
                data=body,
                headers=self._credentials(),
                allow_redirects=False,
            ) as response:
                return response.status, await self._read(response)
        except TimeoutError:
            raise NodeUnavailable(self.node, f"no answer within {self._timeout_s:g} s") from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as problem:
            if may_retry and not isinstance(problem, aiohttp.ClientConnectorError):
                return await self._once(verb, path, body, may_retry=False)
            raise NodeUnavailable(self.node, _describe(problem)) from None
        except (aiohttp.ClientError, ValueError) as problem:
            raise NodeUnavailable(self.node, _describe(problem)) from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._response_bytes_max:
                response.close()
                raise NodeUnavailable(self.node, f"an answer of more than {self._response_bytes_max} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=_KEEPALIVE_S),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Content-Type": "application/json"},
                read_bufsize=_READ_BUFFER_BYTES,
            )
        return self._session

    def _credentials(self) -> Mapping[str, str]:
        if not self._auth and self._auth_file is not None:
            try:
                user, _, password = self._auth_file.read_text().strip().partition(":")
            except (OSError, ValueError):
                raise NodeUnavailable(self.node, "auth_file cannot be read") from None
            self._auth = {"Authorization": aiohttp.encode_basic_auth(user, password)}
        return self._auth


def _describe(problem: Exception) -> str:
    """The kind of failure and the system's words for it, without anything from the request."""
    code = problem.errno if isinstance(problem, OSError) else None
    words = os.strerror(code) if code is not None and code > 0 else type(problem).__name__
    return f"connection failed: {words}"
