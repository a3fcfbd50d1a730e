"""Talks to a devnet node's JSON-RPC through python-bitcoinrpc, safely from asyncio.

Used by the devnet itself, by tests, the demo and benchmarks; never by the daemon, which has its own client.

python-bitcoinrpc holds one keep-alive connection per proxy, which two threads must not share, which breaks
for good on any error, and which bitcoind closes when idle or restarted. So: one proxy per thread, thrown
away after any error and when the other side has closed it. A call is never repeated here, since it may have
been carried out.
"""

import asyncio
import http.client
import select
import threading
from typing import Any
from urllib.parse import urlsplit

from bitcoinrpc.authproxy import (  # type: ignore[import-untyped, unused-ignore]
    AuthServiceProxy,
    JSONRPCException,
)

#: What a call raises when the node understood and refused: `.code`, `.message`.
RpcError = JSONRPCException
#: What a call raises when there was no usable answer.
RpcUnreachable = (OSError, http.client.HTTPException)

CALL_TIMEOUT_S = 120


class BitcoinRpc:
    """`await rpc("getblockhash", 5)`. Fractions come back as Decimal; send amounts as strings."""

    def __init__(self, url: str, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._of_thread = threading.local()

    async def __call__(self, method: str, *params: Any) -> Any:
        return await asyncio.to_thread(self.call_blocking, method, *params)

    def call_blocking(self, method: str, *params: Any) -> Any:
        """The same from a thread. Raises RpcError or one of RpcUnreachable."""
        try:
            return getattr(self._proxy(), method)(*params)
        except BaseException:
            self._of_thread.proxy = None
            raise

    def _proxy(self) -> Any:
        if getattr(self._of_thread, "proxy", None) is None or _closed_by_peer(self._of_thread.connection):
            place = urlsplit(self.url)
            self._of_thread.connection = http.client.HTTPConnection(
                place.hostname or "127.0.0.1", place.port, timeout=self._timeout_s
            )
            # The timeout is handed over again: the proxy sets its own on the connection it is given.
            self._of_thread.proxy = AuthServiceProxy(
                self.url, timeout=self._timeout_s, connection=self._of_thread.connection
            )
        return self._of_thread.proxy


def _closed_by_peer(connection: http.client.HTTPConnection) -> bool:
    """Between two calls nothing is to be read: if something is, it is the end of the connection."""
    return connection.sock is not None and bool(select.select([connection.sock], [], [], 0)[0])
