"""Requests written beforehand, over connections that stay open: as little of the client's own work as can be."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


def http_request(path: str, headers: Mapping[str, str], body: object) -> bytes:
    """The bytes of one POST."""
    payload = msgspec.json.encode(body)
    named = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(len(payload)),
        **headers,
    }
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return head.encode() + b"\r\n" + payload


async def load(
    port: int, requests: Sequence[bytes], connections: int, status: int
) -> tuple[float, list[float]]:
    """(seconds for all, seconds of each). Every answer must have the status."""
    waiting, latencies = iter(requests), list[float]()
    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(_connection(port, waiting, latencies, status))
    return time.perf_counter() - started_s, latencies


async def _connection(port: int, waiting: Iterator[bytes], latencies: list[float], status: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in waiting:
        started_s = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        found = _LENGTH.search(head)
        assert found is not None
        body = await reader.readexactly(int(found[1]))
        latencies.append(time.perf_counter() - started_s)
        assert head.startswith(b"HTTP/1.1 %d" % status), head + body
    writer.close()
