"""Stands between the daemon and one bitcoind, and does to their talk what faults ask for.

`network` runs one per node; `control` sets and clears the faults. Without a fault, bytes pass unread
(JSON-RPC with batches, and REST). Credentials pass through as well: the proxy knows the node's own only to
ask it when lying.
"""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp
from aiohttp import web

from cryptowatch.devnet.faults import LIES, Fault
from cryptowatch.devnet.lies import PASS, ForgedBlocks, Lie, Refused, StaleHead, rest
from cryptowatch.devnet.nodes import BitcoinNode
from cryptowatch.devnet.rpc import RpcError
from cryptowatch.errors import OperatorError

BODY_BYTES_MAX = 64 * 1024 * 1024
UPSTREAM_TIMEOUT_S = 300
_OWN_TO_ONE_CONNECTION = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "host",
    "content-encoding",
}
#: Where a call by name has its arguments, for the calls that lies look at.
_PARAMETERS = {
    "getblockhash": ("height",),
    "getblock": ("blockhash", "verbosity"),
    "getblockheader": ("blockhash", "verbose"),
    "getrawtransaction": ("txid", "verbosity", "blockhash"),
}


@dataclass(frozen=True)
class _InForce:
    fault: Fault
    ends_at_s: float
    lie: Lie | None


class FaultProxy:
    """An async context; `url` is what the daemon is given."""

    def __init__(self, node: BitcoinNode, randomness: random.Random) -> None:
        self.node = node
        self._randomness = randomness
        self._in_force: list[_InForce] = []
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.node.user}:{self.node.password}@127.0.0.1:{self.port}"

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=UPSTREAM_TIMEOUT_S),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def add(self, fault: Fault) -> None:
        """The fault is in force when this returns. Raises OperatorError when the node does not answer."""
        try:
            lie = await self._lie(fault)
        except (RpcError, OSError) as problem:
            raise OperatorError(
                f"{self.node.name} gave no answer to build the lie on: {problem}"
            ) from problem
        self._in_force.append(_InForce(fault, fault.ends_at_s(time.monotonic()), lie))

    def clear(self) -> None:
        self._in_force.clear()

    async def _lie(self, fault: Fault) -> Lie | None:
        if fault.kind not in LIES:
            return None
        if fault.kind == "stale_head":
            return await StaleHead.capture(self._ask_node)
        script, sat = b"\x51", 5_000_000_000
        if fault.address is not None:
            script = bytes.fromhex((await self._ask_node("validateaddress", fault.address))["scriptPubKey"])
            sat = int(Decimal(fault.amount) * 100_000_000)
        above = int(await self._ask_node("getblockcount")) if fault.height is None else fault.height
        body_only = fault.variant == "body"
        return ForgedBlocks(self._ask_node, above, script=script, amount_sat=sat, body_only=body_only)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if not self._in_force:
            return await self._forward(request, body)
        now_s = time.monotonic()
        self._in_force = [entry for entry in self._in_force if entry.ends_at_s > now_s]
        calls = _calls(request, body)
        methods = [str(call.get("method")) for call in calls] if calls is not None else ["rest"]
        struck = [entry for entry in self._in_force if entry.fault.strikes(methods, self._randomness)]
        for entry in struck:
            if entry.fault.kind == "delay":
                await asyncio.sleep(entry.fault.delay_s)
        for entry in struck:
            if entry.fault.kind == "drop":
                return _hang_up(request)
            if entry.fault.kind == "error":
                return _internal_error(calls)
            if entry.fault.kind == "error_after_send":
                await self._forward(request, body)
                return _hang_up(request) if entry.fault.answer == "drop" else _internal_error(calls)
        lies = [entry.lie for entry in struck if entry.lie is not None]
        if lies:
            return await self._tell(request, body, calls, lies)
        return await self._forward(request, body)

    async def _forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        assert self._session is not None
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _OWN_TO_ONE_CONNECTION
        }
        url = self.node.address + request.rel_url.raw_path_qs
        try:
            async with self._session.request(
                request.method, url, data=body or None, headers=headers
            ) as answer:
                content = await answer.read()
                kept = {n: v for n, v in answer.headers.items() if n.lower() not in _OWN_TO_ONE_CONNECTION}
                return web.Response(status=answer.status, body=content, headers=kept)
        except (aiohttp.ClientError, TimeoutError):
            # The node is down: nearest to what its caller would see without a proxy.
            return _hang_up(request)

    async def _ask_node(self, method: str, *params: Any) -> Any:
        return await self.node.rpc(method, *params)

    async def _tell(
        self, request: web.Request, body: bytes, calls: list[dict[str, Any]] | None, lies: Sequence[Lie]
    ) -> web.StreamResponse:
        async def ask(method: str, *params: Any) -> Any:
            for lie in lies:
                told = await lie.rpc(method, params)
                if told is not PASS:
                    return told
            return await self._ask_node(method, *params)

        if calls is None:
            try:
                told = await rest(request.path_qs, ask)
            except (Refused, RpcError) as refusal:
                return web.Response(status=404, text=f"{refusal.message}\r\n")
            if told is None:
                return await self._forward(request, body)
            content = told.body if isinstance(told.body, bytes) else _dumped(told.body)
            return web.Response(body=content, headers={"Content-Type": told.content_type})
        single = not body.lstrip().startswith(b"[")
        if single and calls[0].get("method") not in _TOLD:
            return await self._forward(request, body)
        answers = [await _answered(call, ask) for call in calls]
        if not single:
            return _json(200, answers)
        modern = calls[0].get("jsonrpc") == "2.0"
        return _json(500 if answers[0].get("error") and not modern else 200, answers[0])


_TOLD = frozenset({"getblockchaininfo", "getblockcount", "getbestblockhash", "getchaintips", *_PARAMETERS})


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


def _calls(request: web.Request, body: bytes) -> list[dict[str, Any]] | None:
    """The JSON-RPC calls of a request; None for REST."""
    if request.method != "POST":
        return None
    try:
        parsed = json.loads(body)
    except ValueError:
        return [{}]
    found = parsed if isinstance(parsed, list) else [parsed]
    return [call for call in found if isinstance(call, dict)] or [{}]


def _internal_error(calls: list[dict[str, Any]] | None) -> web.Response:
    if calls is None:
        return web.Response(status=500, text="injected fault\r\n")
    error = {"code": -32603, "message": "injected fault"}
    return _json(500, {"result": None, "error": error, "id": calls[0].get("id")})


def _hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _json(status: int, value: Any) -> web.Response:
    # Exactly this content type: python-bitcoinrpc takes no other.
    return web.Response(status=status, body=_dumped(value), headers={"Content-Type": "application/json"})


def _dumped(value: Any) -> bytes:
    return json.dumps(value, default=float).encode()
