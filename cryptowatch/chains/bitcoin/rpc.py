"""JSON-RPC and REST to one bitcoind over HTTP: keep-alive, batches, bounded waits and answers.

Used by `chains.bitcoin.node` (and by the devnet, which drives real nodes through it). Keeps P10: so many
connections, so many bytes per answer, so many seconds per request. What goes wrong comes out as
NodeUnavailable (try again or elsewhere) or NodeRejected (the node understood and refused); no error's text
ever holds a secret.

Credentials stand in a file (`user:password`) that is read again when the node refuses them, because bitcoind
writes a new `.cookie` at each start. Numbers with a fraction are read as Decimal, so no amount passes through
a float.
"""

import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from cryptowatch.errors import NodeRejected, NodeUnavailable

#: A mempool of a million ids, or a block as hex, stays below it.
RESPONSE_BYTES_MAX = 96 * 1024 * 1024
CONNECTIONS_MAX = 8
#: bitcoind closes idle connections after 30 s (-rpcservertimeout); we do so before, so as not to race with
#: it.
_KEEPALIVE_S = 15
_READ_BUFFER_BYTES = 1024 * 1024
#: rpc/protocol.h: RPC_IN_WARMUP. The node will answer soon.
_IN_WARMUP = -28

_decoder = msgspec.json.Decoder(float_hook=Decimal)


class RpcClient:
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

    async def call(self, method: str, *parameters: object, wallet: str | None = None) -> Any:
        """The method's result. Raises NodeRejected with the node's code, or NodeUnavailable.

        A connection that breaks is tried once more: call only what may run twice.
        """
        path = f"/wallet/{wallet}" if wallet is not None else "/"
        answer = self._decode(await self._post(path, _request(0, method, parameters)), method)
        result = self._result(answer, method)
        if isinstance(result, NodeRejected):
            raise result
        return result

    async def batch(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Any | NodeRejected]:
        """Many calls in one request; a refusal stands in its place as a value. Raises NodeUnavailable."""
        if not calls:
            return []
        requests = [_request(number, method, parameters) for number, (method, parameters) in enumerate(calls)]
        answers = self._decode(await self._post("/", requests), "batch")
        if not isinstance(answers, list):
            raise NodeUnavailable(self.node, "batch: the answer is no list")
        by_number = {
            answer["id"]: answer
            for answer in answers
            if isinstance(answer, dict) and isinstance(answer.get("id"), int)
        }
        return [self._result(by_number.get(number), method) for number, (method, _) in enumerate(calls)]

    async def rest(self, path: str) -> bytes | None:
        """GET `/rest/...`; None for 404, which also means that REST is off. Raises NodeUnavailable."""
        status, body = await self._exchange("GET", "/rest/" + path, None)
        if status == 404:
            return None
        if status != 200:
            raise NodeUnavailable(self.node, f"REST: HTTP status {status}")
        return body

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, path: str, request: object) -> bytes:
        status, body = await self._exchange("POST", path, msgspec.json.encode(request))
        # JSON-RPC 1.0 errors come with 404 or 500 and a JSON body; anything else without JSON is no answer.
        if status in (200, 404, 500) and body[:1] in (b"{", b"["):
            return body
        reason = "too many requests (work queue)" if status == 503 else f"HTTP status {status}"
        raise NodeUnavailable(self.node, reason)

    async def _exchange(self, verb: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """(status, body), with one more try for fresh credentials and one for a connection that broke."""
        status, answer = await self._once(verb, path, body, may_retry=True)
        if status == 401:
            self._auth = {}
            status, answer = await self._once(verb, path, body, may_retry=False)
            if status == 401:
                raise NodeUnavailable(self.node, "refuses the credentials in auth_file")
        return status, answer

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

    def _decode(self, body: bytes, method: str) -> Any:
        try:
            return _decoder.decode(body)
        except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError):
            raise NodeUnavailable(self.node, f"{method}: the answer is no JSON") from None

    def _result(self, answer: Any, method: str) -> Any | NodeRejected:
        """One answer's result or refusal, of JSON-RPC 1.0 (both fields) or 2.0 (either)."""
        if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
            raise NodeUnavailable(self.node, f"{method}: not a JSON-RPC answer")
        error = answer.get("error")
        if error is None:
            return answer.get("result")
        if not isinstance(error, dict) or not isinstance(error.get("code"), int):
            raise NodeUnavailable(self.node, f"{method}: not a JSON-RPC error")
        if error["code"] == _IN_WARMUP:
            raise NodeUnavailable(self.node, "is starting")
        return NodeRejected(self.node, error["code"], f"{method}: {str(error.get('message'))[:500]}")


def _request(number: int, method: str, parameters: Sequence[object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(parameters)}


def _describe(problem: Exception) -> str:
    """The kind of failure and the system's words for it, without anything from the request."""
    code = problem.errno if isinstance(problem, OSError) else None
    words = os.strerror(code) if code is not None and code > 0 else type(problem).__name__
    return f"connection failed: {words}"
