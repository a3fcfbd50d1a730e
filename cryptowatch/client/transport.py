"""One request to the API, repeated where that cannot have a second effect. Used by `client`.

A request whose outcome is unknown (the connection broke, no answer in time, the database was away) is sent again as it
was, under the same Idempotency-Key: the API answers what it answered first, or does it now (P2). What has no such key,
and is no mere reading, is never repeated, except when the API says that it did not begin. Tries and waits are bounded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from cryptowatch.api.idempotency import HEADER
from cryptowatch.api.problems import ProblemView
from cryptowatch.errors import CryptowatchError

T = TypeVar("T")

#: Nothing was begun: anything may be sent again.
_NOT_BEGUN: Final = frozenset({"rate_limited", "overloaded", "no_address_free"})
#: Passes by itself; whether anything was done is unknown, or another request under the same key is at it.
_UNKNOWN: Final = frozenset({"database_unavailable", "request_timeout", "timeout", "in_progress"})


class ApiProblem(CryptowatchError):
    """The API refused. `code` is for programs, and one of those that the OpenAPI document lists for the call."""

    def __init__(self, problem: ProblemView) -> None:
        super().__init__(f"{problem.code}: {problem.detail} ({problem.request_id})")
        self.code, self.status, self.request_id = problem.code, problem.status, problem.request_id


class OutcomeUnknown(CryptowatchError):
    """It may have been done, or not: call again, with the same idempotency key where the call takes one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is sent, and how long the first wait between two is; each next one is twice as long."""

    tries: int = 5
    wait_s: float = 0.2
    wait_max_s: float = 5.0

    def before(self, attempt: int) -> float:
        """Seconds to wait before the second, third … try."""
        return min(self.wait_max_s, self.wait_s * 2.0 ** min(attempt - 2, 16))


@dataclass(slots=True)
class Transport:
    session: aiohttp.ClientSession
    patience: Patience
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = Random().random  # noqa: S311 - of waits

    async def send(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        query: object = None,
        body: object = None,
        idempotency_key: str | None = None,
        repeatable: bool = False,
    ) -> T:
        """Raises ApiProblem and OutcomeUnknown. `repeatable`: doing it twice is doing it once."""
        raw = await self._answer(method, path, query, body, idempotency_key, repeatable)
        return msgspec.json.decode(raw, type=answer)

    async def call(self, method: str, path: str, *, body: object = None) -> None:
        """As `send`, of what is answered with nothing and has no key: it is not repeated by itself."""
        await self._answer(method, path, None, body, None, repeatable=False)

    async def _answer(
        self,
        method: str,
        path: str,
        query: object,
        body: object,
        idempotency_key: str | None,
        repeatable: bool,
    ) -> bytes:
        headers = {} if idempotency_key is None else {HEADER: idempotency_key}
        repeatable = repeatable or method == "GET" or idempotency_key is not None
        data = None if body is None else msgspec.json.encode(body)
        if data is not None:
            headers["Content-Type"] = "application/json"
        unknown = False
        for attempt in range(1, self.patience.tries + 1):
            refused, problem, asked_s, again = None, "", 0.0, repeatable
            try:
                status, raw, asked_s = await self._once(method, path, query, data, headers)
            except aiohttp.ClientConnectorError as failure:
                problem, again = str(failure), True
            except (aiohttp.ClientError, TimeoutError, OSError) as failure:
                problem, unknown = f"{type(failure).__name__}: {failure}", True
            else:
                if status < 400:
                    return raw
                refused = ApiProblem(read_problem(raw, status))
                if refused.code not in _NOT_BEGUN | _UNKNOWN:
                    raise refused
                problem = str(refused)
                unknown = unknown or refused.code in _UNKNOWN
                again = repeatable or refused.code in _NOT_BEGUN
            if not again or attempt == self.patience.tries:
                break
            await self.sleep(max(asked_s, self.patience.before(attempt + 1) * (0.5 + 0.5 * self.jitter())))
        if refused is not None and not unknown:
            raise refused
        raise OutcomeUnknown(f"{method} {path}, sent {attempt} times: {problem}")

    async def _once(
        self, method: str, path: str, query: object, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, float]:
        """(status, body, seconds that the API asks to wait)"""
        parameters = query_parameters(query)
        async with self.session.request(
            method, path, params=parameters, data=data, headers=headers, allow_redirects=False
        ) as response:
            raw = await response.read()
            asked = response.headers.get("Retry-After", "0")
            return response.status, raw, float(asked) if asked.isdigit() else 0.0


def query_parameters(query: object) -> dict[str, str]:
    """What is None is left out, as query strings have no null."""
    found: dict[str, Any] = {} if query is None else msgspec.to_builtins(query)
    return {name: str(value) for name, value in found.items() if value is not None}


def read_problem(raw: bytes, status: int) -> ProblemView:
    """A proxy's own refusal has no form that we know; whether it had passed the request on, only 4xx says."""
    try:
        return msgspec.json.decode(raw, type=ProblemView)
    except msgspec.MsgspecError:
        code = "database_unavailable" if status >= 500 else "invalid_request"
        return ProblemView("about:blank", "not an answer of the API", status, f"HTTP {status}", code, "")
