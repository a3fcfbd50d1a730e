"""What a call is: the typed request that a handler gets, the reply that it gives, and the entry of the table.

Used by `routes` (the table), `pipeline` (which runs it), `openapi` (which documents it) and all handlers.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from cryptowatch.api.keys import Caller, Scope
from cryptowatch.api.problems import Problem, Refused, refuse
from cryptowatch.api.services import Services
from cryptowatch.db.pool import Connection
from cryptowatch.ids import Kind, read_id

Query = TypeVar("Query", covariant=True)
Body = TypeVar("Body", covariant=True)
Item = TypeVar("Item")

#: Postgres takes no NUL characters, so no text may hold one.
TEXT = r"^[^\x00]*$"
Text = Annotated[str, Meta(pattern=TEXT, max_length=200)]
Id = Annotated[str, Meta(pattern=TEXT, max_length=64)]
#: An amount in whole units; `money.parse_amount` says the rest.
Amount = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,77})(\.[0-9]{1,78})?$", max_length=157)]
Metadata = Annotated[
    dict[
        Annotated[str, Meta(pattern=TEXT, max_length=40)], Annotated[str, Meta(pattern=TEXT, max_length=500)]
    ],
    Meta(max_length=50),
]
Position = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call without parameters."""


class PageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`limit` is lowered to the setting `api.page_size_max`; `cursor` is the last answer's `next_cursor`."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, Meta(pattern=TEXT, max_length=100)] | None = None


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """One page of a list; `next_cursor` is null on the last one."""

    data: list[Item]
    next_cursor: str | None


class Call(msgspec.Struct, Generic[Query, Body], frozen=True):
    """One request, decoded and allowed. `now` is one moment for all that it does."""

    services: Services
    caller: Caller
    path: Mapping[str, str]
    query: Query
    body: Body
    now: datetime
    #: Derived from API key and Idempotency-Key: names the effect in the ledger. Empty for calls without one.
    effect: str

    def path_id(self, kind: Kind) -> UUID:
        """The id in the path. Raises Refused (404) when it is not an id of this kind."""
        value = read_id(kind, next(iter(self.path.values())))
        if value is None:
            raise not_found()
        return value


class Reply(msgspec.Struct, frozen=True):
    """A success. `status` None = the route's own."""

    value: object
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """A success that is a file. `next_cursor` is told in a header; None: this was all."""

    content: bytes
    name: str
    next_cursor: str | None


Handler = Callable[[Call[Any, Any], Connection], Awaitable[Reply | Problem | Download]]


@dataclass(frozen=True, slots=True)
class Together:
    """A handler of requests that share a transaction (`groups`). It answers in order; Refused leaves nothing behind.

    `name` is that of one such call. `apart`: two requests whose bodies have the same are never in one group; None: all
    fit.
    """

    name: str
    handle: Callable[[Sequence[Call[Any, Any]], Connection], Awaitable[Sequence[Reply | Problem | Refused]]]
    apart: Callable[[Any], str] | None


@dataclass(frozen=True, slots=True)
class Live:
    """A call that is answered by a stream of events (`live`). `name` is the call's."""

    name: str


@dataclass(frozen=True, slots=True)
class Route:
    """One call of the API. `codes` are the problems that it can answer beside those that all calls share."""

    method: str
    path: str
    scope: Scope
    summary: str
    handler: Handler | Together | Live
    answer: Any
    query: type = NoQuery
    body: type | None = None
    #: Of the answer: JSON of the type `answer`, or text.
    media: str = "application/json"
    status: int = 200
    other_statuses: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    #: Takes an Idempotency-Key, and its answer is stored with its effect.
    idempotent: bool = False
    #: The ledger's own key recognizes a repetition, so that the stored answer may be forgotten after a while.
    guarded: bool = False
    #: Optional ones, by name, with what they mean.
    header_parameters: Mapping[str, str] = field(default_factory=dict)
    #: Whether the audit log tells of it. What machines do by the thousand stands in ledgers of its own.
    audited: bool = True

    @property
    def operation(self) -> str:
        return self.handler.name if isinstance(self.handler, Together | Live) else self.handler.__name__

    @property
    def writes(self) -> bool:
        return self.method != "GET"


def not_found() -> Exception:
    return refuse("not_found", "no such object")


def body_id(kind: Kind, text: str, code: str) -> UUID:
    """An id in a body or parameter. Raises Refused with the code when it is not an id of this kind."""
    value = read_id(kind, text)
    if value is None:
        raise refuse(code, "no such object")
    return value
