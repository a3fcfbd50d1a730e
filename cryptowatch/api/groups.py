"""Requests of one call that come at once, answered in one transaction: a commit costs the same for one and for many.

Made by `pipeline` for each route whose handler is `Together`. A request alone is a group of one and does not wait for
others; while a group is under way, the next one gathers. Two are under way at once and take half of all each: while
Postgres works for one, the other one is decided, and nobody waits for a group of all others. Each member has its own
outcome: what refuses one writes nothing for it, and a failure that may be one member's doing makes the group fall
apart, so that each is tried alone.
Keeps P2 as `pipeline` does: every answer is committed with its effect, under its own Idempotency-Key.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Any

import msgspec

from cryptowatch.api import idempotency
from cryptowatch.api.calls import Call, Route, Together
from cryptowatch.api.idempotency import Claim, Stored
from cryptowatch.api.keys import Caller, find_callers
from cryptowatch.api.problems import Problem, Refused, problem_view, refuse
from cryptowatch.api.services import Services
from cryptowatch.db.pool import Connection, transaction
from cryptowatch.errors import ConcurrentUpdate, DatabaseUnavailable

#: How often a request runs anew, alone, after losing to another writer.
_TRIES = 5
#: Groups under way at once: one is committed while the next one is decided.
_GROUPS = 2
#: How long the next group gathers at most while another one is decided: who waits for a lock holds up nobody longer.
_GATHERING_S = 0.01


class Asking(msgspec.Struct, frozen=True):
    """One request, decoded. `key` is its Idempotency-Key."""

    request_id: str
    authorization: str | None
    key: str
    fingerprint: bytes
    path: Mapping[str, str]
    query: Any
    body: Any


@dataclass(slots=True)
class _Member:
    asking: Asking
    apart: frozenset[str]
    answer: "asyncio.Future[Stored]"


@dataclass(slots=True)
class Groups:
    """Of one route. Bounded by the requests that the API takes at once (P10)."""

    services: Services
    route: Route
    together: Together
    #: Told of everyone who is let in.
    meet: Callable[[Caller, datetime], None]
    _waiting: deque[_Member] = field(default_factory=deque)
    _working: int = 0
    #: Members of the groups that are under way.
    _under_way: int = 0
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    #: Groups that are being decided, and are not at their commit yet; and that there is none.
    _deciding: int = 0
    _all_decided: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, asking: Asking) -> Stored:
        """Raises Refused, and what the pipeline knows of the database."""
        future: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        # One key at a time, and what the call keeps apart: whoever comes second belongs into the next group.
        apart = {f"{asking.authorization} {asking.key}"}
        if self.together.apart is not None:
            apart.add(self.together.apart(asking.body))
        self._waiting.append(_Member(asking, frozenset(apart), future))
        if self._working < _GROUPS:
            self._working += 1
            task = asyncio.create_task(self._work(), name=f"groups:{self.route.path}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _work(self) -> None:
        """Counts itself out in the step that finds nobody waiting: whoever comes after that begins another one."""
        try:
            while self._waiting:
                if self._deciding:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._all_decided.wait(), _GATHERING_S)
                if group := self._next():
                    self._under_way += len(group)
                    try:
                        await self._settle(group)
                    finally:
                        self._under_way -= len(group)
        finally:
            self._working -= 1

    def _next(self) -> list[_Member]:
        """The oldest that fit together, and no more than this group's share of all that are there.

        Who gave up waiting before it began is left out.
        """
        share = ceil((len(self._waiting) + self._under_way) / _GROUPS)
        count_max = min(share, self.services.settings.api.group_max)
        group, passed, taken = list[_Member](), list[_Member](), set[str]()
        while self._waiting and len(group) < count_max:
            member = self._waiting.popleft()
            if member.answer.done():
                continue
            if taken.isdisjoint(member.apart):
                group.append(member)
            else:
                passed.append(member)
            taken |= member.apart
        self._waiting.extendleft(reversed(passed))
        return group

    async def _settle(self, group: Sequence[_Member], tries: int = _TRIES) -> None:
        """Every member's future is done afterwards."""
        try:
            outcomes = await self._commit([member.asking for member in group])
        except ConcurrentUpdate as problem:
            if len(group) > 1:
                await self._each_alone(group)
            elif tries > 1:
                await self._settle(group, tries - 1)
            else:
                _fail(group, DatabaseUnavailable(f"lost to other writers {_TRIES} times: {problem}"))
        except DatabaseUnavailable as problem:
            # Whether it was committed is unknown: whoever asks again under the same key will hear.
            _fail(group, problem)
        except Exception as problem:
            if len(group) == 1:
                _fail(group, problem)
            else:
                await self._each_alone(group)
        else:
            _end(group, outcomes)

    async def _each_alone(self, group: Sequence[_Member]) -> None:
        """At once, as far as the pool has connections: who waits for a lock holds up nobody."""
        await asyncio.gather(*(self._settle([member]) for member in group))

    async def _commit(self, group: Sequence[Asking]) -> Sequence[Stored | Exception]:
        observe = self.services.metrics.database.transaction_seconds.observe
        with ExitStack() as decision:
            decision.enter_context(self._decision())
            async with transaction(self.services.pool, observe_seconds=observe) as conn:
                outcomes = await self._outcomes(conn, group)
                decision.close()  # what is left is the commit
                return outcomes

    @contextmanager
    def _decision(self) -> Iterator[None]:
        self._deciding += 1
        self._all_decided.clear()
        try:
            yield
        finally:
            self._deciding -= 1
            if not self._deciding:
                self._all_decided.set()

    async def _outcomes(self, conn: Connection, group: Sequence[Asking]) -> Sequence[Stored | Exception]:
        """In order. In the transaction of the effects; an Exception is a refusal that leaves nothing behind."""
        now = self.services.clock.now()
        callers = await find_callers(conn, {asking.authorization for asking in group}, now)
        outcomes: dict[int, Stored | Exception] = {}
        claims = dict[int, Claim]()
        for place, asking in enumerate(group):
            caller = self._allowed(callers.get(asking.authorization), now)
            if isinstance(caller, Refused):
                outcomes[place] = caller
            else:
                claims[place] = Claim(caller.id, asking.key, asking.fingerprint)
        earlier = await idempotency.begin_all(conn, list(claims.values()))
        for place, found in zip(list(claims), earlier, strict=True):
            if found is not None:
                outcomes[place] = Refused(found) if isinstance(found, Problem) else found
                del claims[place]
        calls = [self._call(group[place], callers[group[place].authorization], now) for place in claims]
        replies = await self.together.handle(calls, conn) if calls else []
        stored = list[tuple[Claim, int, bytes]]()
        for (place, claim), reply in zip(claims.items(), replies, strict=True):
            if isinstance(reply, Refused):
                outcomes[place] = reply
                continue
            if isinstance(reply, Problem):
                body = msgspec.json.encode(problem_view(reply, group[place].request_id))
                answer = Stored(reply.status, body, replayed=False)
            else:
                body = msgspec.json.encode(reply.value)
                answer = Stored(reply.status or self.route.status, body, replayed=False)
            outcomes[place] = answer
            stored.append((claim, answer.status, answer.body))
        await idempotency.store_all(conn, stored, self.route.guarded, now)
        return [outcomes[place] for place in range(len(group))]

    def _allowed(self, caller: Caller | None, now: datetime) -> Caller | Refused:
        """As `pipeline` says of one."""
        if caller is None:
            return refuse("unauthorized", "send a valid key as `Authorization: Bearer cwk_…`")
        if self.route.scope not in caller.scopes:
            return refuse("forbidden", f"this call needs the scope `{self.route.scope}`")
        self.meet(caller, now)
        return caller

    def _call(self, asking: Asking, caller: Caller | None, now: datetime) -> Call[Any, Any]:
        assert caller is not None
        effect = idempotency.effect_of(caller.id, asking.key)
        return Call(self.services, caller, asking.path, asking.query, asking.body, now, effect)


def _fail(group: Sequence[_Member], problem: Exception) -> None:
    _end(group, [problem] * len(group))


def _end(group: Sequence[_Member], outcomes: Sequence[Stored | Exception]) -> None:
    for member, outcome in zip(group, outcomes, strict=True):
        if member.answer.done():
            continue
        if isinstance(outcome, Exception):
            member.answer.set_exception(outcome)
        else:
            member.answer.set_result(outcome)
