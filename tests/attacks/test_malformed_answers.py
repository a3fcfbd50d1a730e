"""Answers that no honest node gives: each is that node's fault by name, and the pool goes on without it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from cryptowatch.chains.bitcoin.node import BitcoinNode
from cryptowatch.chains.bitcoin.rpc import RpcClient
from cryptowatch.chains.nodes import NodePool
from cryptowatch.clock import SystemClock
from cryptowatch.errors import NodeLied, NodeUnavailable
from tests.support.blocks import block, block_hash, coinbase

RAW = block([coinbase()])
HASH = block_hash(RAW)
RESOURCE = b"\xaa" * 32 + bytes(4)
HEIGHT = 5
RESULTS: dict[str, object] = {
    "getblockchaininfo": {"chain": "regtest", "blocks": HEIGHT, "bestblockhash": HASH.hex()},
    "getblockhash": HASH.hex(),
    "getrawmempool": [],
    "gettxspendingprevout": [{"txid": "aa" * 32, "vout": 0, "spendingtxid": "bb" * 32}],
    "getmempoolinfo": {"mempoolminfee": 0.00001, "minrelaytxfee": 0.00001},
    "estimatesmartfee": {"feerate": 0.00002},
    "getmempoolentry": {"fees": {"descendant": 0.00001}},
}


class Server:
    """An honest node's HTTP interface, of which each test spoils one answer."""

    def __init__(self) -> None:
        self.raw = RAW
        self.results = dict(RESULTS)
        self.spoil_answer: Callable[[dict[str, Any]], object] = lambda answer: answer
        self.spoil_text: Callable[[str], str] = lambda text: text

    async def handle(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(body=self.raw)
        asked = await request.json()
        answers = asked if isinstance(asked, list) else [asked]
        out = [
            self.spoil_answer({"jsonrpc": "2.0", "id": one["id"], "result": self.results[one["method"]]})
            for one in answers
        ]
        return web.Response(text=self.spoil_text(json.dumps(out if isinstance(asked, list) else out[0])))


@pytest_asyncio.fixture
async def running() -> AsyncIterator[list[tuple[Server, BitcoinNode]]]:
    """Three nodes; tests spoil the first one."""
    async with AsyncExitStack() as stack:
        found = []
        for number in range(3):
            server = Server()
            application = web.Application()
            application.router.add_route("*", "/{path:.*}", server.handle)
            test_server = await stack.enter_async_context(TestServer(application))
            url = str(test_server.make_url("")).rstrip("/")
            node = BitcoinNode(
                RpcClient(f"n{number}", url, None, timeout_s=5), network="regtest", asset="BTC"
            )
            stack.push_async_callback(node.close)
            found.append((server, node))
        yield found


def _cut_after_the_header(server: Server) -> None:
    server.raw = RAW[:80]


def _cut_within_the_count(server: Server) -> None:
    server.raw = RAW[:80] + b"\xfd\x01"


def _height_of_400_digits(server: Server) -> None:
    server.results["getblockchaininfo"] = {**_info(), "blocks": int("9" * 400)}


def _height_below_zero(server: Server) -> None:
    server.results["getblockchaininfo"] = {**_info(), "blocks": -1}


def _info() -> dict[str, object]:
    info = RESULTS["getblockchaininfo"]
    assert isinstance(info, dict)
    return info


def _index_below_zero(server: Server) -> None:
    server.results["gettxspendingprevout"] = [{"txid": "aa" * 32, "vout": -1, "spendingtxid": "bb" * 32}]


def _fee_below_zero(server: Server) -> None:
    server.results["getmempoolentry"] = {"fees": {"descendant": -0.5}}


def _number_of_an_answer_is_a_list(server: Server) -> None:
    server.spoil_answer = lambda answer: {**answer, "id": [1]}


def _rate_beyond_reason(server: Server) -> None:
    server.spoil_text = lambda text: text.replace("1e-05", "9e999999")


def _nested_without_end(server: Server) -> None:
    server.spoil_text = lambda text: "[" * 200_000 + "]" * 200_000


Spoil = Callable[[Server], None]
Ask = Callable[[BitcoinNode], Awaitable[object]]
CASES: list[tuple[Spoil, Ask, type[Exception]]] = [
    (_cut_after_the_header, lambda node: node.block(HASH, HEIGHT), NodeLied),
    (_cut_within_the_count, lambda node: node.block(HASH, HEIGHT), NodeLied),
    (_height_of_400_digits, lambda node: node.head(), NodeUnavailable),
    (_height_below_zero, lambda node: node.head(), NodeUnavailable),
    (_index_below_zero, lambda node: node.spenders([RESOURCE]), NodeUnavailable),
    (_fee_below_zero, lambda node: node.evicted_fees(HASH), NodeUnavailable),
    (_number_of_an_answer_is_a_list, lambda node: node.fee_market(), NodeUnavailable),
    (_rate_beyond_reason, lambda node: node.fee_market(), NodeUnavailable),
    (_nested_without_end, lambda node: node.head(), NodeUnavailable),
]
NAMES = [case[0].__name__.strip("_") for case in CASES]


@pytest.mark.parametrize(("spoil", "ask", "named"), CASES, ids=NAMES)
async def test_a_malformed_answer_is_the_nodes_fault_by_name(
    running: list[tuple[Server, BitcoinNode]], spoil: Spoil, ask: Ask, named: type[Exception]
) -> None:
    server, node = running[0]
    await ask(node)
    spoil(server)
    with pytest.raises(named):
        await ask(node)


@pytest.mark.parametrize("spoil", [case[0] for case in CASES], ids=NAMES)
async def test_a_pool_with_one_node_that_answers_malformed_goes_on(
    running: list[tuple[Server, BitcoinNode]], spoil: Spoil
) -> None:
    spoil(running[0][0])
    pool = NodePool(
        "bitcoin",
        [node for _, node in running],
        quorum=2,
        clock=SystemClock(),
        lag_blocks_max=3,
        quarantine_s=60,
    )
    head = await pool.agreed_head()
    assert head is not None and head.height == HEIGHT
    assert (await pool.block(HASH, HEIGHT)).ref.hash == HASH
    await pool.pending(frozenset())
    await pool.spenders([RESOURCE])
    assert await pool.evicted_fees(HASH) == 1_000
    assert (await pool.fee_market()).floor == 1_000


_ENTRY = {"weight": 561, "fees": {"base": 0.0001}, "depends": []}


@pytest.mark.parametrize(
    "mempool",
    [
        [],
        None,
        {"aa": {}},
        {"aa": {**_ENTRY, "weight": 0}},
        {"aa": {**_ENTRY, "weight": 4_000_001}},
        {"aa": {**_ENTRY, "weight": 10**400}},
        {"aa": {**_ENTRY, "fees": {"base": -1}}},
        {"aa": {**_ENTRY, "fees": {"base": 21_000_000}}},
        {"aa": {**_ENTRY, "fees": {"base": "NaN"}}},
        {"aa": {**_ENTRY, "fees": {"base": "Infinity"}}},
        {"aa": {**_ENTRY, "depends": [7]}},
    ],
)
async def test_a_mempool_that_cannot_be_is_the_nodes_fault_by_name(
    running: list[tuple[Server, BitcoinNode]], mempool: object
) -> None:
    server, node = running[0]
    server.results["getrawmempool"] = {"aa": _ENTRY, "bb": {**_ENTRY, "depends": ["aa", "cc"]}}
    assert (await node.backlog()).above[0] == 1_122
    server.results["getrawmempool"] = mempool
    with pytest.raises(NodeUnavailable):
        await node.backlog()


async def test_parents_in_a_circle_end(running: list[tuple[Server, BitcoinNode]]) -> None:
    """No chain has such, a liar may say so."""
    server, node = running[0]
    server.results["getrawmempool"] = {
        "aa": {**_ENTRY, "depends": ["bb"]},
        "bb": {**_ENTRY, "depends": ["aa", "bb"]},
    }
    assert (await node.backlog()).above[0] == 1_122
