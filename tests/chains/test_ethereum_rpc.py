"""The JSON-RPC client and the node against a server that misbehaves: every failure has a name (P5, P10)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from cryptowatch.chains.ethereum.facts import ChainFacts, Token
from cryptowatch.chains.ethereum.node import EthereumNode
from cryptowatch.chains.ethereum.rpc import BATCH_MAX, Answer, RpcClient
from cryptowatch.chains.port import BroadcastOutcome
from cryptowatch.errors import NodeLied, NodeRejected, NodeUnavailable
from tests.support.ethereum_blocks import Answers, account, block_of, send, transfer_log

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TOKEN = account("token")
FACTS = ChainFacts(chain_id=31337, asset="ETH", tokens={TOKEN: Token("USDC")})
TEXT = msgspec.json.Decoder(Answer[str])
TEXTS = msgspec.json.Decoder(list[Answer[str]])


class Server:
    """A node that says what each test sets: `results` by method, or a whole `body`."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.body: tuple[str, int] | None = None
        self.requests: list[Any] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read())
        self.requests.append(asked)
        if self.body is not None:
            return web.Response(text=self.body[0], status=self.body[1])
        told: Any = (
            [self._one(one) for one in reversed(asked)] if isinstance(asked, list) else self._one(asked)
        )
        return web.Response(body=msgspec.json.encode(told))

    def _one(self, asked: dict[str, Any]) -> dict[str, Any]:
        method = asked["method"]
        if method in self.refusals:
            code, message = self.refusals[method]
            return {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": code, "message": message}}
        return {"jsonrpc": "2.0", "id": asked["id"], "result": self.results.get(method, asked["id"])}

    def shows(self, answers: Answers) -> None:
        self.results["eth_getBlockByHash"] = answers.block
        self.results["eth_getBlockReceipts"] = answers.receipts
        self.results["debug_traceBlockByHash"] = answers.traces


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    behaviour = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", behaviour.answer)
    async with TestServer(application) as running:
        behaviour.url = str(running.make_url("")).rstrip("/")
        yield behaviour


@pytest_asyncio.fixture
async def client(server: Server) -> AsyncIterator[RpcClient]:
    opened = RpcClient("n1", server.url, None, timeout_s=0.5, response_bytes_max=50_000)
    yield opened
    await opened.close()


@pytest.fixture
def node(client: RpcClient) -> EthereumNode:
    return EthereumNode(client, FACTS, finality_tag=True)


# --- the client ---------------------------------------------------------------------------------------------


async def test_a_call_gives_its_result_and_none_for_null(client: RpcClient, server: Server) -> None:
    server.results = {"a": "text", "b": None}
    assert await client.call(TEXT, "a", 1, "two") == "text"
    assert await client.call(TEXT, "b") is None
    assert server.requests[0] == {"jsonrpc": "2.0", "id": 0, "method": "a", "params": [1, "two"]}


async def test_a_refusal_has_the_nodes_code_and_words(client: RpcClient, server: Server) -> None:
    server.refusals["a"] = (-32000, "nonce too low")
    with pytest.raises(NodeRejected, match="a: nonce too low") as refusal:
        await client.call(TEXT, "a")
    assert refusal.value.code == -32000


@pytest.mark.parametrize("code", [-32603, -32005, 429])
async def test_an_internal_error_or_a_limit_is_no_refusal(
    client: RpcClient, server: Server, code: int
) -> None:
    server.refusals["a"] = (code, "later")
    with pytest.raises(NodeUnavailable, match="later"):
        await client.call(TEXT, "a")


@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        ("busy", 503, "HTTP status 503"),
        ("<html>", 200, "HTTP status 200"),
        ('{"error": {"code": 429, "message": "slow down"}}', 429, "too many requests"),
        ("{not json", 200, "no JSON"),
        ("{}", 200, "not a JSON-RPC answer"),
        ('{"result": 5}', 200, "another shape"),
        ('{"error": "words"}', 200, "another shape"),
        ('{"result": "' + "x" * 60_000 + '"}', 200, "more than 50000 bytes"),
        ('{"result": ' + "[" * 20_000, 200, "a: "),
    ],
)
async def test_what_is_no_answer_means_unavailable(
    client: RpcClient, server: Server, text: str, status: int, why: str
) -> None:
    server.body = (text, status)
    with pytest.raises(NodeUnavailable, match=why):
        await client.call(TEXT, "a")


async def test_a_batch_gives_results_in_order_whatever_order_they_came_in(
    client: RpcClient, server: Server
) -> None:
    server.results = {"a": "one", "c": None}
    server.refusals["b"] = (-32000, "no")
    one, refused, nothing = await client.batch(TEXTS, [("a", ()), ("b", ()), ("c", ())])
    assert (one, nothing) == ("one", None)
    assert isinstance(refused, NodeRejected)
    assert await client.batch(TEXTS, []) == []


async def test_a_batch_is_cut_into_requests_that_every_node_takes(client: RpcClient, server: Server) -> None:
    server.results["a"] = "text"
    assert len(await client.batch(TEXTS, [("a", ())] * (2 * BATCH_MAX + 1))) == 2 * BATCH_MAX + 1
    assert [len(request) for request in server.requests] == [BATCH_MAX, BATCH_MAX, 1]


@pytest.mark.parametrize(
    "body", ['[{"id": 0, "result": "x"}]', '{"error": {"code": 1, "message": "x"}}', "[5]"]
)
async def test_a_batch_that_lacks_an_answer_is_none(client: RpcClient, server: Server, body: str) -> None:
    server.body = (body, 200)
    with pytest.raises(NodeUnavailable):
        await client.batch(TEXTS, [("a", ()), ("b", ())])


async def test_nobody_listening_is_unavailable() -> None:
    lonely = RpcClient("n1", "http://127.0.0.1:9", None, timeout_s=1)
    with pytest.raises(NodeUnavailable, match="connection failed: Connection refused"):
        await lonely.call(TEXT, "a")
    await lonely.close()


# --- blocks -------------------------------------------------------------------------------------------------


@pytest.fixture
def honest(server: Server) -> Answers:
    logs = [transfer_log(TOKEN, account("a"), account("player"), 7)]
    answers = block_of(send("a", TOKEN, data=b"\x01", logs=logs))
    server.shows(answers)
    return answers


async def test_a_block_is_read_out_of_its_answers(
    node: EthereumNode, server: Server, honest: Answers
) -> None:
    block = await node.block(honest.hash, honest.height)
    assert block.ref.hash == honest.hash
    assert {request["method"] for request in server.requests} == {
        "eth_getBlockByHash",
        "eth_getBlockReceipts",
    }
    assert {request["params"][0] for request in server.requests} == {"0x" + honest.hash.hex()}


async def test_traces_are_asked_for_where_the_settings_say_so(
    client: RpcClient, server: Server, honest: Answers
) -> None:
    traced = EthereumNode(client, ChainFacts(31337, "ETH", traces=True), finality_tag=True)
    assert (await traced.block(honest.hash, honest.height)).unproven != b""
    server.results["debug_traceBlockByHash"] = []
    with pytest.raises(NodeLied, match="number of traces"):
        await traced.block(honest.hash, honest.height)
    server.refusals["debug_traceBlockByHash"] = (-32601, "the method does not exist")
    with pytest.raises(NodeRejected, match="does not exist"):
        await traced.block(honest.hash, honest.height)


@pytest.mark.parametrize("method", ["eth_getBlockByHash", "eth_getBlockReceipts"])
async def test_a_block_or_receipts_that_are_missing_are_unavailable(
    node: EthereumNode, server: Server, honest: Answers, method: str
) -> None:
    server.results[method] = None
    with pytest.raises(NodeUnavailable, match="does not have block"):
        await node.block(honest.hash, honest.height)


@pytest.mark.parametrize(
    ("method", "lie"),
    [
        ("eth_getBlockReceipts", []),
        ("eth_getBlockReceipts", [{"status": "0x1"}]),
        ("eth_getBlockReceipts", "text"),
        ("eth_getBlockByHash", {}),
        ("eth_getBlockByHash", 5),
    ],
)
async def test_answers_that_are_not_that_block_are_lies(
    node: EthereumNode, server: Server, honest: Answers, method: str, lie: Any
) -> None:
    server.results[method] = lie
    with pytest.raises(NodeLied):
        await node.block(honest.hash, honest.height)


# --- everything else ----------------------------------------------------------------------------------------


async def test_a_final_block_that_the_node_does_not_know_yet_is_unavailable(
    node: EthereumNode, server: Server
) -> None:
    server.results["eth_getBlockByNumber"] = None
    with pytest.raises(NodeUnavailable, match="does not know the block"):
        await node.finalized()


@pytest.mark.parametrize(
    "head", [{"number": "0x-1", "hash": "0x" + "11" * 32}, {"number": "0x1", "hash": "0x11"}, None]
)
async def test_a_head_that_is_none_is_unavailable(
    node: EthereumNode, server: Server, head: dict[str, str] | None
) -> None:
    server.results = {"eth_chainId": "0x7a69", "eth_getBlockByNumber": head}
    with pytest.raises(NodeUnavailable):
        await node.head()


async def test_another_transaction_than_the_one_asked_for_is_a_lie(
    node: EthereumNode, server: Server
) -> None:
    server.results["eth_getTransactionByHash"] = {"hash": "0x" + "22" * 32, "blockHash": None}
    with pytest.raises(NodeLied, match="another transaction"):
        await node.pending(frozenset(), frozenset({b"\x11" * 32}))


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        # geth and reth; Nethermind now and before; Erigon; Besu; anvil.
        ("already known", BroadcastOutcome.ACCEPTED),
        ("AlreadyKnown", BroadcastOutcome.ACCEPTED),
        ("ALREADY_EXISTS: already known", BroadcastOutcome.ACCEPTED),
        ("Known transaction", BroadcastOutcome.ACCEPTED),
        ("transaction already imported", BroadcastOutcome.ACCEPTED),
        ("replacement transaction underpriced", BroadcastOutcome.REJECTED),
        ("insufficient funds for gas * price + value: balance 0, tx cost 1", BroadcastOutcome.REJECTED),
        ("Upfront cost exceeds account balance", BroadcastOutcome.REJECTED),
        ("intrinsic gas too low: gas 20000, minimum needed 21000", BroadcastOutcome.REJECTED),
        ("max fee per gas less than block base fee", BroadcastOutcome.REJECTED),
        ("nonce too high", BroadcastOutcome.UNKNOWN),
        ("in-flight transaction limit reached for delegated accounts", BroadcastOutcome.UNKNOWN),
        ("something new", BroadcastOutcome.UNKNOWN),
    ],
)
async def test_a_refused_broadcast_means_what_the_node_says_and_no_more(
    node: EthereumNode, server: Server, words: str, outcome: BroadcastOutcome
) -> None:
    server.refusals["eth_sendRawTransaction"] = (-32000, words)
    answer = await node.broadcast(b"\x02")
    assert (answer.outcome, answer.node) == (outcome, "n1")
    assert words in answer.detail


async def test_a_refusal_under_an_internal_errors_code_means_the_same(
    node: EthereumNode, server: Server
) -> None:
    """As reth gives it."""
    server.refusals["eth_sendRawTransaction"] = (-32603, "already known")
    assert (await node.broadcast(b"\x02")).outcome is BroadcastOutcome.ACCEPTED


@pytest.mark.parametrize(
    ("receipt", "outcome"),
    [
        ({"blockHash": "0x" + "11" * 32}, BroadcastOutcome.CONFIRMED),
        ({"blockHash": None}, BroadcastOutcome.UNKNOWN),
        (None, BroadcastOutcome.UNKNOWN),
    ],
)
@pytest.mark.parametrize("words", ["nonce too low: next nonce 5, tx nonce 4", "Nonce too low", "OldNonce"])
async def test_a_used_nonce_means_confirmed_only_with_this_transactions_own_receipt(
    node: EthereumNode,
    server: Server,
    receipt: dict[str, str | None] | None,
    outcome: BroadcastOutcome,
    words: str,
) -> None:
    server.refusals["eth_sendRawTransaction"] = (-32000, words)
    server.results["eth_getTransactionReceipt"] = receipt
    assert (await node.broadcast(b"\x02")).outcome is outcome


def history(base_fees: Sequence[int], *tips: Sequence[int]) -> dict[str, Any]:
    return {
        "baseFeePerGas": [hex(fee) for fee in base_fees],
        "reward": [[hex(tip) for tip in row] for row in tips],
    }


async def test_tips_are_medians_of_the_blocks_that_had_any(node: EthereumNode, server: Server) -> None:
    server.results["eth_feeHistory"] = history([9, 8, 7, 6], [1, 2, 3], [0, 0, 0], [3, 4, 5])
    market = await node.fee_market()
    assert (market.estimates, market.floor) == ({10: 3, 3: 4, 1: 5}, 6)


@pytest.mark.parametrize("told", [history([9, 7]), {"baseFeePerGas": ["0x7"], "reward": None}])
async def test_a_young_chain_has_no_tips(node: EthereumNode, server: Server, told: dict[str, Any]) -> None:
    server.results["eth_feeHistory"] = told
    market = await node.fee_market()
    assert (market.estimates, market.floor) == ({}, 7)


async def test_an_account_whose_token_has_no_contract_has_nothing_of_it(
    node: EthereumNode, server: Server
) -> None:
    server.results = {
        "eth_getTransactionCount": "0x0",
        "eth_getBalance": "0x0",
        "eth_getCode": "0x",
        "eth_call": "0x",
    }
    (state,) = await node.accounts([account("a")], b"\x11" * 32)
    assert (state.nonce, state.balances, state.exists) == (0, {"ETH": 0, "USDC": 0}, False)
    (asked,) = server.requests
    assert asked[3]["params"][1] == {"blockHash": "0x" + "11" * 32, "requireCanonical": True}


async def test_a_delegated_account_exists(node: EthereumNode, server: Server) -> None:
    server.results = {
        "eth_getTransactionCount": "0x0",
        "eth_getBalance": "0x0",
        "eth_getCode": "0xef0100",
        "eth_call": "0x" + "00" * 31 + "05",
    }
    (state,) = await node.accounts([account("a")], b"\x11" * 32)
    assert (state.exists, state.balances["USDC"]) == (True, 5)
