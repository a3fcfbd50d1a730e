"""What an anvil's fault proxy answers by itself: lies and errors, as Ethereum nodes put them."""

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from cryptowatch.devnet.ethereum.node import EvmNode
from cryptowatch.devnet.ethereum.rpc import EthereumRefused
from cryptowatch.devnet.faults import Fault
from cryptowatch.devnet.lying import PASS, Lie, Refused

_INTERNAL_ERROR = -32603


class EvmTeller:
    """Speaks for one node (a `lying.Teller`)."""

    def __init__(self, node: EvmNode) -> None:
        self._node = node

    async def lie(self, fault: Fault) -> Lie | None:
        return None

    async def tell(
        self, path: str, body: bytes, calls: list[dict[str, Any]] | None, lies: Sequence[Lie]
    ) -> web.Response | None:
        async def ask(method: str, *params: Any) -> Any:
            for lie in lies:
                told = await lie.rpc(method, params)
                if told is not PASS:
                    return told
            return await self._node.rpc(method, *params)

        if calls is None:
            return None
        answers = [await _answered(call, ask) for call in calls]
        return _json(answers if _is_batch(body) else answers[0])

    def error(self, body: bytes, calls: list[dict[str, Any]] | None) -> web.Response:
        answers = [_error(call, _INTERNAL_ERROR, "injected fault") for call in calls or [{}]]
        return _json(answers if _is_batch(body) else answers[0])


async def _answered(call: dict[str, Any], ask: Any) -> dict[str, Any]:
    try:
        result = await ask(str(call.get("method")), *(call.get("params") or []))
    except (Refused, EthereumRefused) as refusal:
        return _error(call, refusal.code, refusal.message)
    return {"jsonrpc": "2.0", "id": call.get("id"), "result": result}


def _error(call: dict[str, Any], code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call.get("id"), "error": {"code": code, "message": message}}


def _is_batch(body: bytes) -> bool:
    return body.lstrip().startswith(b"[")


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
