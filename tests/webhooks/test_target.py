"""Deliveries never reach into private networks, however the URL, its name or its redirects are made."""

import asyncio
import socket

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from cryptowatch.clock import SystemClock
from cryptowatch.outbound.target import InvalidUrl, check_url, is_public
from cryptowatch.settings import Webhooks
from cryptowatch.webhooks.attempt import attempt
from cryptowatch.webhooks.exchange import open_poster
from cryptowatch.webhooks.machine import Answered, Attempt, Unanswered
from tests.webhooks.receiver import Receiver

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:0:4136:e378::",
    "2001:db8::1",
    "::127.0.0.1",
    "localhost",
    "",
]


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_address_may_be_called(host: str) -> None:
    assert is_public(host)


@pytest.mark.parametrize("host", PRIVATE)
def test_no_other_address_may_be_called(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "https://example.com:8443/a?b=c",
        "https://8.8.8.8/",
        "https://[2606:4700::1]/",
    ],
)
def test_a_proper_url_is_taken(url: str) -> None:
    assert check_url(url, allow_private=False) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "http://example.com/",
        "ftp://example.com/",
        "javascript:alert(1)",
        "https://",
        "https:///x",
        "https://user@example.com/",
        "https://user:pw@example.com/",
        "https://example.com/#x",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://10.0.0.1:8332/",
        "https://a b/",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://example.com\\@127.0.0.1/",
        "https://exa\tmple.com/",
        "https://exämple.com/",
        "https://example.com/\n",
        "https://example.com/" + "a" * 2000,
        "https://[::1",
        "file:///etc",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    assert isinstance(check_url(url, allow_private=False), InvalidUrl)


def test_private_addresses_and_plain_http_only_where_allowed() -> None:
    assert check_url("http://10.0.0.1/", allow_private=True) is None
    assert isinstance(check_url("ftp://10.0.0.1/", allow_private=True), InvalidUrl)


class Names(AbstractResolver):
    """A DNS under the attacker's control."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


async def tried(url: str, settings: Webhooks, resolver: AbstractResolver | None = None) -> Attempt:
    async with open_poster(settings, resolver) as poster:
        return await attempt(
            poster,
            SystemClock(),
            url=url,
            message_id="evt_1",
            body=b"{}",
            secrets=["whsec_" + "A" * 44],
        )


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["::1"], ["10.0.0.1", "127.0.0.1"], ["::ffff:127.0.0.1"]]
)
async def test_a_public_name_that_resolves_to_a_private_address_is_not_called(
    hook: Receiver, addresses: list[str]
) -> None:
    port = hook.url.split(":")[2].split("/")[0]
    guarded = Webhooks(allow_private_addresses=False, timeout_s=2)
    assert await tried(f"https://rebound.example:{port}/", guarded, Names(*addresses)) == Unanswered(
        "the address is not public"
    )
    assert hook.received == []


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.", "localhost", "①②⑦.⓪.⓪.①"]
)
async def test_other_spellings_of_a_private_address_are_not_called(hook: Receiver, host: str) -> None:
    port = hook.url.split(":")[2].split("/")[0]
    answer = await tried(f"https://{host}:{port}/", Webhooks(allow_private_addresses=False, timeout_s=2))
    assert isinstance(answer, Unanswered)
    assert hook.received == []


async def test_where_private_addresses_are_allowed_the_same_name_is_called(hook: Receiver) -> None:
    port = hook.url.split(":")[2].split("/")[0]
    open_door = Webhooks(allow_private_addresses=True, timeout_s=2)
    assert await tried(f"http://inside.example:{port}/", open_door, Names("127.0.0.1")) == Answered(204)


async def test_a_redirect_is_a_failure_and_never_followed(hook: Receiver) -> None:
    hook.answer = lambda _: web.Response(status=302, headers={"Location": hook.url + "/elsewhere"})
    assert await tried(hook.url, Webhooks(allow_private_addresses=True)) == Answered(302)
    assert len(hook.received) == 1


async def test_tls_must_verify(hook: Receiver) -> None:
    answer = await tried(
        hook.url.replace("http://", "https://"), Webhooks(allow_private_addresses=True, timeout_s=2)
    )
    assert isinstance(answer, Unanswered)
    assert hook.received == []


async def test_an_endless_answer_is_read_in_part_only() -> None:
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while sent < 50_000_000:
                writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                await writer.drain()
                sent += 65_536
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    assert await tried(url, Webhooks(allow_private_addresses=True, timeout_s=5)) == Answered(200)
    server.close()
    assert sent < 20_000_000


async def test_who_answers_and_then_stalls_has_answered() -> None:
    async def stall(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        await asyncio.sleep(2)
        writer.close()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    assert await tried(url, Webhooks(allow_private_addresses=True, timeout_s=0.3)) == Answered(200)
    server.close()


async def test_who_does_not_speak_http_has_not_answered() -> None:
    async def mumble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xff nonsense\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(mumble, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    assert isinstance(await tried(url, Webhooks(allow_private_addresses=True, timeout_s=1)), Unanswered)
    server.close()
    await server.wait_closed()
    assert isinstance(await tried(url, Webhooks(allow_private_addresses=True, timeout_s=1)), Unanswered)
