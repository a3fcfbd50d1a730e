"""JSON-RPC and REST to one bitcoind: single calls, batches, blocks as bytes.

Used by `chains.bitcoin.node` (and by the devnet, which drives real nodes through it), over `chains.http`. What goes
wrong comes out as NodeUnavailable (try again or elsewhere) or NodeRejected (the node understood and refused); no
error's text ever holds a secret. Numbers with a fraction are read as Decimal, so no amount passes through a float.
"""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from cryptowatch.chains.http import RESPONSE_BYTES_MAX, HttpClient
from cryptowatch.errors import NodeRejected, NodeUnavailable

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
        self._http = HttpClient(
            node, url, auth_file, timeout_s=timeout_s, response_bytes_max=response_bytes_max
        )

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

    async def fetch(self, method: str, *parameters: object) -> bytes:
        """A call's whole answer, for who reads large ones in a thread. Raises NodeUnavailable."""
        return await self._post("/", _request(0, method, parameters))

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
        status, body = await self._http.exchange("GET", "/rest/" + path, None)
        if status == 404:
            return None
        if status != 200:
            raise NodeUnavailable(self.node, f"REST: HTTP status {status}")
        return body

    async def close(self) -> None:
        await self._http.close()

    async def _post(self, path: str, request: object) -> bytes:
        status, body = await self._http.exchange("POST", path, msgspec.json.encode(request))
        # JSON-RPC 1.0 errors come with 404 or 500 and a JSON body; anything else without JSON is no answer.
        if status in (200, 404, 500) and body[:1] in (b"{", b"["):
            return body
        reason = "too many requests (work queue)" if status == 503 else f"HTTP status {status}"
        raise NodeUnavailable(self.node, reason)

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
