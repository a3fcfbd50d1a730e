"""The control server: the devnet's levers as JSON over HTTP (CONTRACT: `control_url`).

`network.up` runs it; `client.Net` is its caller in Python. Every call answers when what it asks for is done.
A wrong request is 400, an unknown thing 404, what cannot be done now 409; the body is `{"error": "…"}`.

`chain` is `bitcoin` when it is not said, or the name of one of the Ethereum chains.

    POST   /mine         {chain?, blocks = 1}                          -> {height, blocks: [hash…]}
                         Ethereum: withhold?: {node: [tx_hash…]} makes the node mine without them, alone;
                         base_fee_wei?: of the first block
    POST   /heal         {chain}  Ethereum: all nodes to the branch that most are on      -> {}
    POST   /reorg        {chain?, depth, drop?: [tx_hash…], include?: [raw…]}
                                                                       -> {fork_height, old_blocks,
                                                                       new_blocks, dropped}
    POST   /faults       {chain?, node?, kind, …} (see `faults.Fault`; without node: all)   -> {}
    DELETE /faults                                                     -> {}
    POST   /kill         {process}  SIGKILL                            -> {processes}
    POST   /start        {process}                                     -> {processes}
    GET    /processes                                                  -> {processes}
    POST   /send         {chain?, address, amount, fee_rate?, replaceable?}, or {outputs: {address: amount}}
                         Ethereum: {chain, address, amount, asset?, internal?}
                                                                       -> {tx_hash}
    POST   /deploy       {chain, name, args?}  Ethereum: deployed and mined   -> {address}
    POST   /broadcast    {chain?, raw}  to every node                  -> {tx_hash}
    POST   /double_spend {chain?, tx_hash, to?, fee_rate?, broadcast = true}  -> {tx_hash, raw}
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

import msgspec
from aiohttp import web

from cryptowatch.devnet.bitcoin_chain import BitcoinChain
from cryptowatch.devnet.ethereum.rpc import EthereumRefused, EthereumUnreachable
from cryptowatch.devnet.faults import ETHEREUM_KINDS, Fault, Kind, Variant
from cryptowatch.devnet.processes import UnknownProcess
from cryptowatch.devnet.rpc import RpcError, RpcUnreachable
from cryptowatch.devnet.running import BITCOIN, Devnet, UnknownChain
from cryptowatch.errors import OperatorError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Asked = TypeVar("Asked", bound="_Asked")


class _Asked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    chain: str = BITCOIN


class _Mine(_Asked):
    blocks: int = 1
    withhold: dict[str, list[str]] = {}
    base_fee_wei: int | None = None


class _Reorg(_Asked):
    depth: int
    drop: list[str] = []
    include: list[str] = []


class _Fault(_Asked):
    kind: Kind
    node: int | None = None
    seconds: float | None = None
    lasts_s: float | None = None
    probability: float = 1.0
    methods: tuple[str, ...] = ()
    answer: Literal["error", "drop"] = "error"
    variant: Variant = "chain"
    height: int | None = None
    address: str | None = None
    amount: str = "1"
    asset: str | None = None


class _Process(_Asked):
    process: str


class _Send(_Asked):
    address: str = ""
    amount: str = ""
    outputs: dict[str, str] = {}
    fee_rate: str | int = 5
    replaceable: bool = True
    asset: str | None = None
    internal: bool = False


class _Deploy(_Asked):
    name: str
    args: list[Any] = []


class _Broadcast(_Asked):
    raw: str


class _DoubleSpend(_Asked):
    tx_hash: str
    to: str | None = None
    fee_rate: str | int = 50
    broadcast: bool = True


@asynccontextmanager
async def serving(devnet: Devnet) -> AsyncIterator[str]:
    """Answers on a free loopback port; gives its address."""
    app = web.Application(middlewares=[_named_errors], client_max_size=64 * 1024 * 1024)
    levers = _Levers(devnet)
    app.add_routes(
        [
            web.post("/mine", levers.mine),
            web.post("/reorg", levers.reorg),
            web.post("/faults", levers.fault),
            web.delete("/faults", levers.clear_faults),
            web.post("/kill", levers.kill),
            web.post("/start", levers.start),
            web.get("/processes", levers.processes),
            web.post("/heal", levers.heal),
            web.post("/send", levers.send),
            web.post("/deploy", levers.deploy),
            web.post("/broadcast", levers.broadcast),
            web.post("/double_spend", levers.double_spend),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class _Levers:
    def __init__(self, devnet: Devnet) -> None:
        self._devnet = devnet

    async def mine(self, request: web.Request) -> web.Response:
        asked = await _asked(request, _Mine)
        if not 1 <= asked.blocks <= 10_000:
            raise web.HTTPBadRequest(text="blocks must be between 1 and 10000")
        chain = self._devnet.chain(asked.chain)
        if isinstance(chain, BitcoinChain):
            mined = await chain.mine(asked.blocks)
            height = await chain.alive()[0].rpc("getblockcount")
        else:
            mined = await chain.mine(
                asked.blocks, withhold=_by_node(asked.withhold), base_fee_wei=asked.base_fee_wei
            )
            height = chain.height
        return web.json_response({"height": height, "blocks": mined})

    async def reorg(self, request: web.Request) -> web.Response:
        asked = await _asked(request, _Reorg)
        done = await self._devnet.chain(asked.chain).reorg(asked.depth, asked.drop, asked.include)
        return web.json_response(msgspec.to_builtins(done))

    async def heal(self, request: web.Request) -> web.Response:
        await self._devnet.evm((await _asked(request, _Asked)).chain).chain.heal()
        return web.json_response({})

    async def fault(self, request: web.Request) -> web.Response:
        asked = await _asked(request, _Fault)
        fields = {name: getattr(asked, name) for name in Fault.__dataclass_fields__}
        if asked.chain == BITCOIN and asked.kind in ETHEREUM_KINDS:
            raise web.HTTPBadRequest(text=f"{asked.kind} is a fault of Ethereum nodes")
        if not 0 <= asked.probability <= 1 or (asked.seconds or 0) < 0:
            raise web.HTTPBadRequest(text="probability must be between 0 and 1, and seconds not below 0")
        await self._devnet.fault(asked.chain, asked.node, Fault(**fields))
        return web.json_response({})

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._devnet.clear_faults()
        return web.json_response({})

    async def kill(self, request: web.Request) -> web.Response:
        await self._devnet.supervisor.kill((await _asked(request, _Process)).process)
        return await self.processes(request)

    async def start(self, request: web.Request) -> web.Response:
        await self._devnet.start((await _asked(request, _Process)).process)
        return await self.processes(request)

    async def processes(self, request: web.Request) -> web.Response:
        return web.json_response({"processes": self._devnet.supervisor.listing()})

    async def send(self, request: web.Request) -> web.Response:
        asked = await _asked(request, _Send)
        if asked.chain != BITCOIN:
            name = await self._devnet.evm(asked.chain).faucet.send(
                asked.address, asked.amount, asset=asked.asset, internal=asked.internal
            )
            return web.json_response({"tx_hash": name})
        outputs = asked.outputs or {asked.address: asked.amount}
        name = await self._devnet.bitcoin.faucet.send(
            outputs, fee_rate=str(asked.fee_rate), replaceable=asked.replaceable
        )
        return web.json_response({"tx_hash": name})

    async def deploy(self, request: web.Request) -> web.Response:
        asked = await _asked(request, _Deploy)
        address = await self._devnet.evm(asked.chain).faucet.deploy(asked.name, asked.args)
        return web.json_response({"address": address})

    async def broadcast(self, request: web.Request) -> web.Response:
        asked = await _asked(request, _Broadcast)
        return web.json_response({"tx_hash": await self._devnet.chain(asked.chain).broadcast(asked.raw)})

    async def double_spend(self, request: web.Request) -> web.Response:
        asked = await _asked(request, _DoubleSpend)
        bitcoin = self._devnet.bitcoin
        raw = await bitcoin.faucet.conflicting(asked.tx_hash, asked.to, str(asked.fee_rate))
        if asked.broadcast:
            await bitcoin.broadcast(raw)
        decoded = await bitcoin.alive()[0].rpc("decoderawtransaction", raw)
        return web.json_response({"tx_hash": decoded["txid"], "raw": raw})


def _by_node(withhold: dict[str, list[str]]) -> dict[int, list[str]]:
    try:
        return {int(node): names for node, names in withhold.items()}
    except ValueError as problem:
        raise web.HTTPBadRequest(text="withhold names nodes by their numbers") from problem


async def _asked(request: web.Request, form: type[Asked]) -> Asked:
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=form)
    except (msgspec.ValidationError, msgspec.DecodeError) as problem:
        raise web.HTTPBadRequest(text=str(problem)) from problem


@web.middleware
async def _named_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as problem:
        return _error(problem.status, problem.text or problem.reason)
    except (UnknownProcess, UnknownChain) as problem:
        return _error(404, str(problem))
    except OperatorError as problem:
        return _error(409, str(problem))
    except (RpcError, EthereumRefused) as problem:
        return _error(409, f"the node refused: {problem}")
    except (*RpcUnreachable, *EthereumUnreachable, TimeoutError) as problem:
        return _error(409, f"a node gave no answer: {problem!r}")


def _error(status: int, text: str) -> web.Response:
    return web.Response(
        status=status, body=json.dumps({"error": text}).encode(), content_type="application/json"
    )
