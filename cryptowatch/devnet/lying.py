"""What a lie is, whatever the chain: `proxy` tells it, each family of nodes has its own."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from aiohttp import web

from cryptowatch.devnet.faults import Fault

Ask = Callable[..., Awaitable[Any]]

#: The lie has nothing to say to this call: the node may answer.
PASS: Final = object()


class Refused(Exception):
    """The error that the node would answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Lie(Protocol):
    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        """The untrue answer, or PASS. Raises Refused."""
        ...


class Teller(Protocol):
    """What a node's proxy answers by itself, in the way of the node's family."""

    #: Calls that it answers also when there is no lie to tell.
    always: frozenset[str]

    async def lie(self, fault: Fault) -> Lie | None:
        """What a fault makes the node tell, if it does. Raises OperatorError when the node does not answer."""
        ...

    async def tell(
        self, path: str, body: bytes, calls: list[dict[str, Any]] | None, lies: Sequence[Lie]
    ) -> web.Response | None:
        """The answer when lies are told; None when the node's own is as good. `calls`: None for REST."""
        ...

    def error(self, body: bytes, calls: list[dict[str, Any]] | None) -> web.Response:
        """An internal error, as the node would put it."""
        ...
