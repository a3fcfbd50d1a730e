"""Who is served next: a queue that gives each endpoint's deliveries a fair share of the senders.

Used by `worker`.

Keeps P10: of one endpoint at most `each_max` are being sent at a time, so that however slow it is, places are
left for the others. In memory only: what is in here is leased in the database, and comes back when this
process dies.
"""

import asyncio
from collections import Counter, deque
from uuid import UUID

from cryptowatch.webhooks.deliveries import Claimed


class FairQueue:
    """For one event loop. Bounded by who puts: `worker` claims no more than there is room for."""

    def __init__(self, each_max: int) -> None:
        self._each_max = each_max
        self._waiting: dict[UUID, deque[Claimed]] = {}
        self._sending: Counter[UUID] = Counter()
        self._idle: deque[asyncio.Future[None]] = deque()

    def put(self, delivery: Claimed) -> None:
        self._waiting.setdefault(delivery.endpoint_id, deque()).append(delivery)
        self._wake_one()

    async def get(self, sent: Claimed | None = None) -> Claimed:
        """The next delivery of the endpoint that has the fewest under way; `sent` is the one that is over."""
        if sent is not None:
            self._over(sent.endpoint_id)
        while (endpoint_id := self._open()) is None:
            await self._woken()
        return self._take(endpoint_id)

    def drain(self) -> list[Claimed]:
        """Take out all that nobody sends yet."""
        left = [delivery for waiting in self._waiting.values() for delivery in waiting]
        self._waiting.clear()
        return left

    def _open(self) -> UUID | None:
        """The endpoint that is served next, if one may be."""
        open_endpoints = [
            (self._sending[endpoint_id], endpoint_id)
            for endpoint_id in self._waiting
            if self._sending[endpoint_id] < self._each_max
        ]
        return min(open_endpoints)[1] if open_endpoints else None

    def _take(self, endpoint_id: UUID) -> Claimed:
        waiting = self._waiting[endpoint_id]
        delivery = waiting.popleft()
        if not waiting:
            del self._waiting[endpoint_id]
        self._sending[endpoint_id] += 1
        return delivery

    def _over(self, endpoint_id: UUID) -> None:
        self._sending[endpoint_id] -= 1
        if not self._sending[endpoint_id]:
            del self._sending[endpoint_id]

    async def _woken(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._idle.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # Whoever is cancelled with a turn passes it on.
            if turn.done() and not turn.cancelled():
                self._wake_one()
            raise

    def _wake_one(self) -> None:
        """One for each delivery that comes. A place that is free again needs nobody woken: who left it asks first."""
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                return
