"""What a bitcoind's fault proxy answers by itself: lies, over RPC and REST alike, and errors.

`proxy` asks the teller of its node's family; `lies` knows what is told.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from aiohttp import web

from cryptowatch.devnet.faults import Fault
from cryptowatch.devnet.lies import ForgedBlocks, StaleHead, rest
from cryptowatch.devnet.lying import PASS, Lie, Refused
from cryptowatch.devnet.nodes import BitcoinNode
from cryptowatch.devnet.rpc import RpcError
from cryptowatch.errors import OperatorError

#: Where a call by name has its arguments, for the calls that lies look at.
_PARAMETERS = {
    "getblockhash": ("height",),
    "getblock": ("blockhash", "verbosity"),
    "getblockheader": ("blockhash", "verbose"),
    "getrawtransaction": ("txid", "verbosity", "blockhash"),
}


_TOLD = frozenset({"getblockchaininfo", "getblockcount", "getbestblockhash", "getchaintips", *_PARAMETERS})


class BitcoinTeller:
    """Speaks for one node (a `lying.Teller`)."""

    always: frozenset[str] = frozenset()

    def __init__(self, node: BitcoinNode) -> None:
        self._node = node

    async def lie(self, fault: Fault) -> Lie | None:
        try:
            return await self._lie(fault)
        except (RpcError, OSError) as problem:
            raise OperatorError(
                f"{self._node.name} gave no answer to build the lie on: {problem}"
            ) from problem

    async def _lie(self, fault: Fault) -> Lie | None:
        if fault.kind == "stale_head":
            return await StaleHead.capture(self._ask_node)
        if fault.kind != "forged_block":
            return None
        script, sat = b"\x51", 5_000_000_000
        if fault.address is not None:
            script = bytes.fromhex((await self._ask_node("validateaddress", fault.address))["scriptPubKey"])
            sat = int(Decimal(fault.amount) * 100_000_000)
        above = int(await self._ask_node("getblockcount")) if fault.height is None else fault.height
        body_only = fault.variant == "body"
        return ForgedBlocks(self._ask_node, above, script=script, amount_sat=sat, body_only=body_only)

    async def tell(
        self, path: str, body: bytes, calls: list[dict[str, Any]] | None, lies: Sequence[Lie]
    ) -> web.Response | None:
        async def ask(method: str, *params: Any) -> Any:
            for lie in lies:
                told = await lie.rpc(method, params)
                if told is not PASS:
                    return told
            return await self._ask_node(method, *params)

        if calls is None:
            try:
                told = await rest(path, ask)
            except (Refused, RpcError) as refusal:
                return web.Response(status=404, text=f"{refusal.message}\r\n")
            if told is None:
                return None
            content = told.body if isinstance(told.body, bytes) else _dumped(told.body)
            return web.Response(body=content, headers={"Content-Type": told.content_type})
        single = not body.lstrip().startswith(b"[")
        if single and calls[0].get("method") not in _TOLD:
            return None
        answers = [await _answered(call, ask) for call in calls]
        if not single:
            return _json(200, answers)
        modern = calls[0].get("jsonrpc") == "2.0"
        return _json(500 if answers[0].get("error") and not modern else 200, answers[0])

    def error(self, body: bytes, calls: list[dict[str, Any]] | None) -> web.Response:
        if calls is None:
            return web.Response(status=500, text="injected fault\r\n")
        error = {"code": -32603, "message": "injected fault"}
        return _json(500, {"result": None, "error": error, "id": calls[0].get("id")})

    async def _ask_node(self, method: str, *params: Any) -> Any:
        return await self._node.rpc(method, *params)


async def _answered(call: dict[str, Any], ask: Any) -> dict[str, Any]:
    method, params = str(call.get("method")), call.get("params") or []
    if isinstance(params, dict):
        names = [name for name in _PARAMETERS.get(method, ()) if name in params]
        params = [params[name] for name in names]
    version = {"jsonrpc": "2.0"} if call.get("jsonrpc") == "2.0" else {}
    try:
        result = await ask(method, *params)
    except (Refused, RpcError) as refusal:
        error = {"code": refusal.code, "message": refusal.message}
        return {**version, **({} if version else {"result": None}), "error": error, "id": call.get("id")}
    return {**version, "result": result, **({} if version else {"error": None}), "id": call.get("id")}


def _json(status: int, value: Any) -> web.Response:
    # Exactly this content type: python-bitcoinrpc takes no other.
    return web.Response(status=status, body=_dumped(value), headers={"Content-Type": "application/json"})


def _dumped(value: Any) -> bytes:
    return json.dumps(value, default=float).encode()
