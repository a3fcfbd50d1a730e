"""What an anvil's fault proxy answers by itself: lies and errors, as Ethereum nodes put them."""

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from cryptowatch.devnet.ethereum.faucet import EvmFaucet
from cryptowatch.devnet.ethereum.forgery import ForgedBlocks
from cryptowatch.devnet.ethereum.lies import HiddenLogs, HiddenTraces, OtherFinality, StaleHead
from cryptowatch.devnet.ethereum.node import EvmNode
from cryptowatch.devnet.ethereum.rpc import EthereumRefused, EthereumUnreachable
from cryptowatch.devnet.faults import Fault
from cryptowatch.devnet.lying import PASS, Lie, Refused
from cryptowatch.errors import OperatorError

_INTERNAL_ERROR = -32603
_SEND = "eth_sendRawTransaction"
_NOBODY = "0x" + "0b" * 20


class EvmTeller:
    """Speaks for one node (a `lying.Teller`)."""

    always = frozenset({_SEND})

    def __init__(self, node: EvmNode, faucet: EvmFaucet) -> None:
        self._node = node
        self._faucet = faucet

    async def lie(self, fault: Fault) -> Lie | None:
        try:
            return await self._lie(fault)
        except (*EthereumUnreachable, EthereumRefused) as problem:
            raise OperatorError(
                f"{self._node.name} gave no answer to build the lie on: {problem}"
            ) from problem

    async def _lie(self, fault: Fault) -> Lie | None:
        ask = self._node.rpc
        match fault.kind:
            case "stale_head":
                return await StaleHead.capture(ask)
            case "hidden_logs":
                return HiddenLogs(ask, bloom_emptied=fault.variant == "bloom_emptied")
            case "hidden_traces":
                return HiddenTraces(ask)
            case "stale_finalized":
                return await OtherFinality.stale(ask)
            case "jumping_finalized":
                return OtherFinality(ask, "latest")
            case "forged_block":
                payment = self._faucet.payment(fault.address or _NOBODY, fault.amount, fault.asset)
                above = int(await ask("eth_blockNumber"), 16) if fault.height is None else fault.height
                chain_id = self._faucet.chain.chain_id
                body_only = fault.variant == "body"
                return ForgedBlocks(ask, above, payment, chain_id=chain_id, body_only=body_only)
        return None

    async def tell(
        self, path: str, body: bytes, calls: list[dict[str, Any]] | None, lies: Sequence[Lie]
    ) -> web.Response | None:
        async def ask(method: str, *params: Any) -> Any:
            for lie in lies:
                told = await lie.rpc(method, params)
                if told is not PASS:
                    return told
            if method == _SEND:
                return await self._node.submit(str(params[0]))
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
