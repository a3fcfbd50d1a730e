"""JSON-RPC to one node of this family, decoded into what was asked for.

Used by `chains.ethereum.node`, over `chains.http`. What goes wrong comes out as NodeUnavailable (try again or
elsewhere) or NodeRejected (the node understood and refused); no error's text ever holds a secret.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from cryptowatch.chains.http import RESPONSE_BYTES_MAX, HttpClient
from cryptowatch.errors import NodeLied, NodeRejected, NodeUnavailable

#: Calls in one request: some nodes take no more (bor's default).
BATCH_MAX = 100
_INTERNAL_ERROR = -32603
#: Too many requests, by the usual codes of hosted nodes.
_LIMITED = frozenset({-32005, -32029, 429})
#: Here some nodes (reth) say with the code of an internal error what is wrong with the transaction.
_BROADCAST = "eth_sendRawTransaction"

_T = TypeVar("_T")


class Refusal(msgspec.Struct):
    code: int
    message: str = ""


class Answer(msgspec.Struct, Generic[_T]):
    """A JSON-RPC answer whose result has the type."""

    result: _T | msgspec.UnsetType | None = msgspec.UNSET
    error: Refusal | None = None
    id: int | str | None = None


class RpcClient:
    """One node's JSON-RPC interface."""

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

    async def call(
        self, kind: msgspec.json.Decoder[Answer[_T]], method: str, *parameters: object
    ) -> _T | None:
        """The method's result, decoded; None for null. Raises NodeRejected or NodeUnavailable.

        A connection that breaks is tried once more: call only what may run twice.
        """
        body = await self.fetch(method, *parameters)
        try:
            return self.read(kind, method, body)
        except NodeLied as problem:
            raise NodeUnavailable(self.node, f"{method}: an answer of another shape") from problem

    async def fetch(self, method: str, *parameters: object) -> bytes:
        """The answer as it came, for `read`, which for a block takes long enough to be called in a thread."""
        return await self._post(_request(0, method, parameters))

    def read(self, kind: msgspec.json.Decoder[Answer[_T]], method: str, body: bytes) -> _T | None:
        """What `fetch` brought. Raises NodeLied for JSON of another shape, NodeUnavailable for no JSON at all."""
        try:
            answer = kind.decode(body)
        except msgspec.ValidationError as problem:
            raise NodeLied(self.node, f"{method}: {problem}") from problem
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise NodeUnavailable(self.node, f"{method}: the answer is no JSON") from None
        result = self._result(answer, method)
        if isinstance(result, NodeRejected):
            raise result
        return result

    async def batch(
        self, kind: msgspec.json.Decoder[list[Answer[_T]]], calls: Sequence[tuple[str, Sequence[object]]]
    ) -> list[_T | NodeRejected | None]:
        """Many calls, BATCH_MAX a request; a refusal stands in its place as a value. Raises NodeUnavailable."""
        results: list[_T | NodeRejected | None] = []
        for start in range(0, len(calls), BATCH_MAX):
            part = calls[start : start + BATCH_MAX]
            requests = [
                _request(number, method, parameters) for number, (method, parameters) in enumerate(part)
            ]
            try:
                answers = kind.decode(await self._post(requests))
            except (msgspec.DecodeError, ValueError, RecursionError):
                raise NodeUnavailable(self.node, "batch: an answer of another shape") from None
            by_number = {answer.id: answer for answer in answers}
            for number, (method, _) in enumerate(part):
                result = self._result(by_number.get(number, Answer()), method)
                results.append(result)
        return results

    async def close(self) -> None:
        await self._http.close()

    async def _post(self, request: object) -> bytes:
        status, body = await self._http.exchange("POST", "", msgspec.json.encode(request))
        # Some nodes send errors with a status of their own; anything without JSON is no answer.
        if status != 429 and body[:1] in (b"{", b"["):
            return body
        raise NodeUnavailable(self.node, "too many requests" if status == 429 else f"HTTP status {status}")

    def _result(self, answer: Answer[_T], method: str) -> _T | NodeRejected | None:
        if answer.error is not None:
            words = f"{method}: {answer.error.message[:500]}"
            internal = answer.error.code == _INTERNAL_ERROR and method != _BROADCAST
            if internal or answer.error.code in _LIMITED:
                raise NodeUnavailable(self.node, words)
            return NodeRejected(self.node, answer.error.code, words)
        if isinstance(answer.result, msgspec.UnsetType):
            raise NodeUnavailable(self.node, f"{method}: not a JSON-RPC answer")
        return answer.result


def _request(number: int, method: str, parameters: Sequence[object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(parameters)}
