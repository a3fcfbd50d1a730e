"""Talks JSON-RPC to an Ethereum node of the devnet.

Used by the devnet itself, by tests, the demo and benchmarks; never by the daemon, which has its own client.
A call is never repeated here, since it may have been carried out.
"""

from itertools import count
from typing import Any

import aiohttp
import msgspec

CALL_TIMEOUT_S = 120

#: What a call raises when there was no usable answer.
EthereumUnreachable = (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError)


class EthereumRefused(Exception):
    """The node understood and refused."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class EthereumRpc:
    """`await rpc("eth_getBlockByNumber", "latest", False)`: answers as the node gives them, quantities in hex.

    With a session it keeps its connections; without, it can be used from any event loop and any thread.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession | None = None) -> None:
        self.url = url
        self._session = session
        self._numbers = count(1)

    async def __call__(self, method: str, *params: Any) -> Any:
        if self._session is not None:
            return await self._asked(self._session, method, params)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)) as session:
            return await self._asked(session, method, params)

    async def _asked(self, session: aiohttp.ClientSession, method: str, params: tuple[Any, ...]) -> Any:
        body = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        async with session.post(self.url, data=msgspec.json.encode(body), headers=_JSON) as answer:
            found = msgspec.json.decode(await answer.read())
        if "error" in found:
            raise EthereumRefused(int(found["error"]["code"]), str(found["error"]["message"]))
        return found["result"]


_JSON = {"Content-Type": "application/json"}
