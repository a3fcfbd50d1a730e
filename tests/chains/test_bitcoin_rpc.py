"""The HTTP client against a server that misbehaves: every failure has a name, none tells a secret (P10)."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from cryptowatch.chains.bitcoin.rpc import RpcClient
from cryptowatch.errors import NodeRejected, NodeUnavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SECRET = "s3cret-password"


class Server:
    """A web server whose behaviour each test sets."""

    def __init__(self) -> None:
        self.handler: Handler = self.echo
        self.bodies: list[object] = []
        self.credentials: list[str | None] = []
        self.url = ""

    async def echo(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if isinstance(body, list):
            return web.json_response([{"id": one["id"], "result": one["method"]} for one in reversed(body)])
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": body["params"]})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.credentials.append(request.headers.get("Authorization"))
        return await self.handler(request)

    def says(self, text: str, status: int = 200) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            return web.Response(text=text, status=status)

        self.handler = handler


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    behaviour = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", behaviour.answer)
    async with TestServer(application) as running:
        behaviour.url = str(running.make_url("")).rstrip("/")
        yield behaviour


@pytest_asyncio.fixture
async def client(server: Server, tmp_path: Path) -> AsyncIterator[RpcClient]:
    auth_file = tmp_path / "cookie"
    auth_file.write_text(f"user:{SECRET}\n")
    opened = RpcClient("n1", server.url, auth_file, timeout_s=0.5, response_bytes_max=10_000)
    yield opened
    await opened.close()


async def test_a_call_gives_its_result_and_sends_the_credentials(client: RpcClient, server: Server) -> None:
    assert await client.call("method", 1, "two") == [1, "two"]
    assert server.credentials == ["Basic " + base64.b64encode(f"user:{SECRET}".encode()).decode()]


async def test_no_amount_passes_through_a_float(client: RpcClient, server: Server) -> None:
    server.says('{"id": 0, "result": {"feerate": 0.00001007, "tiny": 1e-8, "blocks": 5}}')
    result = await client.call("method")
    assert result == {"feerate": Decimal("0.00001007"), "tiny": Decimal("1e-8"), "blocks": 5}
    assert isinstance(result["feerate"], Decimal)


async def test_a_batch_gives_results_in_the_order_of_the_calls(client: RpcClient) -> None:
    assert await client.batch([("one", ()), ("two", ()), ("three", ())]) == ["one", "two", "three"]
    assert await client.batch([]) == []


async def test_a_refused_call_of_a_batch_is_a_value_in_its_place(client: RpcClient, server: Server) -> None:
    server.says('[{"id": 1, "result": 5}, {"id": 0, "error": {"code": -5, "message": "No such"}}]')
    refused, answered = await client.batch([("one", ()), ("two", ())])
    assert isinstance(refused, NodeRejected)
    assert (refused.code, answered) == (-5, 5)


async def test_a_batch_that_lacks_an_answer_is_none(client: RpcClient, server: Server) -> None:
    server.says('[{"id": 1, "result": 5}]')
    with pytest.raises(NodeUnavailable, match="one: not a JSON-RPC answer"):
        await client.batch([("one", ()), ("two", ())])


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_a_refusal_has_the_nodes_code_and_words(client: RpcClient, server: Server, status: int) -> None:
    server.says('{"result": null, "error": {"code": -8, "message": "out of range"}, "id": 0}', status)
    with pytest.raises(NodeRejected, match="getblockhash: out of range") as refusal:
        await client.call("getblockhash", 5)
    assert refusal.value.code == -8


@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        ("Work queue depth exceeded", 503, "work queue"),
        ("busy", 500, "HTTP status 500"),
        ("<html>", 200, "HTTP status 200"),
        ("{not json", 200, "no JSON"),
        ("{}", 200, "not a JSON-RPC answer"),
        ("[]", 200, "not a JSON-RPC answer"),
        ('{"error": "words"}', 200, "not a JSON-RPC error"),
        ('{"error": {"code": -28, "message": "Loading block index…"}}', 500, "is starting"),
        ("moved", 302, "HTTP status 302"),
        ('{"result": "' + "x" * 20_000 + '"}', 200, "more than 10000 bytes"),
    ],
)
async def test_what_is_no_answer_means_unavailable(
    client: RpcClient, server: Server, text: str, status: int, why: str
) -> None:
    server.says(text, status)
    with pytest.raises(NodeUnavailable, match=why):
        await client.call("method")


async def test_an_endless_answer_is_cut_off(client: RpcClient, server: Server) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 4096)

    server.handler = endless
    with pytest.raises(NodeUnavailable, match="more than 10000 bytes"):
        await client.rest("block/x.bin")


async def test_a_late_answer_is_unavailable_after_the_timeout(client: RpcClient, server: Server) -> None:
    async def late(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    server.handler = late
    with pytest.raises(NodeUnavailable, match=r"no answer within 0\.5 s"):
        await client.call("method")


async def test_credentials_are_read_again_when_the_node_was_restarted(
    client: RpcClient, server: Server, tmp_path: Path
) -> None:
    await client.call("method")
    (tmp_path / "cookie").write_text("user:new")

    async def only_new(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] != "Basic " + base64.b64encode(b"user:new").decode():
            return web.Response(status=401)
        return await server.echo(request)

    server.handler = only_new
    assert await client.call("method", 7) == [7]
    (tmp_path / "cookie").write_text("user:wrong")
    client._http._auth = {}
    with pytest.raises(NodeUnavailable, match="refuses the credentials"):
        await client.call("method")


async def test_a_connection_that_broke_is_tried_once_more(client: RpcClient, server: Server) -> None:
    tries: list[int] = []

    async def breaks(request: web.Request) -> web.StreamResponse:
        tries.append(1)
        if len(tries) == 1:
            assert request.transport is not None
            request.transport.abort()
        return await server.echo(request)

    server.handler = breaks
    assert await client.call("method", 1) == [1]
    assert len(tries) == 2


async def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    client = RpcClient("n1", "http://127.0.0.1:9", None, timeout_s=1)
    with pytest.raises(NodeUnavailable, match="connection failed: Connection refused"):
        await client.call("method")
    await client.close()


async def test_a_missing_auth_file_is_unavailable_and_named_as_such(server: Server, tmp_path: Path) -> None:
    client = RpcClient("n1", server.url, tmp_path / "none", timeout_s=1)
    with pytest.raises(NodeUnavailable, match="auth_file cannot be read"):
        await client.call("method")
    await client.close()


@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_no_error_tells_the_password(client: RpcClient, server: Server, status: int) -> None:
    server.says("no", status)
    with pytest.raises(NodeUnavailable) as failure:
        await client.call("method")
    assert SECRET not in repr(failure.value)
    assert failure.value.__cause__ is None


async def test_rest_gives_the_bytes_and_none_for_what_is_not_there(client: RpcClient, server: Server) -> None:
    server.says("bytes")
    assert await client.rest("block/x.bin") == b"bytes"
    server.says("not found", 404)
    assert await client.rest("block/x.bin") is None
    server.says("oops", 500)
    with pytest.raises(NodeUnavailable, match="REST: HTTP status 500"):
        await client.rest("block/x.bin")
