"""One POST and its answer, against servers that answer as they like."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from cryptowatch.settings import Webhooks
from cryptowatch.webhooks.exchange import Poster, open_poster

SETTINGS = Webhooks(allow_private_addresses=True, timeout_s=2, concurrency=2, response_bytes_max=1000)
HEADERS = {"webhook-id": "evt_1"}

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def posting(
    answer: Answering, settings: Webhooks = SETTINGS
) -> AsyncIterator[tuple[Poster, str, list[asyncio.StreamWriter]]]:
    """A client, a URL, and the connections that came."""
    came: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer)
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        async with open_poster(settings) as poster:
            yield poster, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?a=%20b", came
    finally:
        server.close()


async def read_request(reader: asyncio.StreamReader) -> tuple[list[str], bytes]:
    *head, _, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    [length] = [int(line.partition(": ")[2]) for line in head if line.startswith("Content-Length: ")]
    return head, await reader.readexactly(length)


def always(answer: bytes) -> Answering:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer)

    return serve


async def test_a_request_is_what_http_asks_for() -> None:
    requests = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await read_request(reader))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with posting(serve) as (poster, url, _):
        assert await poster.post(url, HEADERS, b'{"a":1}') == (204, None)
    [(head, body)] = requests
    assert head[0] == "POST /hook?a=%20b HTTP/1.1"
    assert head[1] == f"Host: {url.split('/')[2]}"
    assert {"Content-Type: application/json", "webhook-id: evt_1"} <= set(head)
    assert body == b'{"a":1}'


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
async def test_a_connection_is_used_again_after_an_answer_that_was_read(answer: bytes) -> None:
    async with posting(always(answer)) as (poster, url, came):
        for _ in range(3):
            await poster.post(url, HEADERS, b"{}")
    assert len(came) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        # More than we read of it.
        b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000,
        # A second answer that nobody asked for would be taken for the next request's.
        b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_connection_that_may_hold_something_else_is_not_used_again(answer: bytes) -> None:
    async with posting(always(answer)) as (poster, url, came):
        for _ in range(3):
            assert (await poster.post(url, HEADERS, b"{}"))[0] in (200, 204)
    assert len(came) == 3


async def test_an_answer_before_the_request_is_through_ends_the_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(1)

    async with posting(serve) as (poster, url, came):
        for _ in range(2):
            assert await poster.post(url, HEADERS, b"x" * 20_000_000) == (413, None)
    assert len(came) == 2


async def test_what_only_announces_an_answer_is_not_it() -> None:
    answer = (
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    )
    async with posting(always(answer)) as (poster, url, _):
        assert await poster.post(url, HEADERS, b"{}") == (503, "7")


async def test_what_is_no_answer_of_http_is_told() -> None:
    async with posting(always(b"SSH-2.0-OpenSSH\r\n")) as (poster, url, _):
        with pytest.raises(aiohttp.ClientError):
            await poster.post(url, HEADERS, b"{}")


async def test_who_says_nothing_is_given_up_and_its_place_is_free_again() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    impatient = SETTINGS.model_copy(update={"timeout_s": 0.05})
    async with posting(silent, impatient) as (poster, url, came):
        for _ in range(SETTINGS.concurrency * 2):
            with pytest.raises(TimeoutError):
                await poster.post(url, HEADERS, b"{}")
    assert len(came) == SETTINGS.concurrency * 2
