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
        self._changed = asyncio.Event()

    def put(self, delivery: Claimed) -> None:
        self._waiting.setdefault(delivery.endpoint_id, deque()).append(delivery)
        self._changed.set()

    async def get(self) -> Claimed:
        """The next delivery of the endpoint that has the fewest under way. Call `sent` when it is over."""
        while (delivery := self._pick()) is None:
            self._changed.clear()
            await self._changed.wait()
        return delivery

    def sent(self, delivery: Claimed) -> None:
        self._sending[delivery.endpoint_id] -= 1
        if not self._sending[delivery.endpoint_id]:
            del self._sending[delivery.endpoint_id]
        self._changed.set()

    def drain(self) -> list[Claimed]:
        """Take out all that nobody sends yet."""
        left = [delivery for waiting in self._waiting.values() for delivery in waiting]
        self._waiting.clear()
        return left

    def _pick(self) -> Claimed | None:
        open_endpoints = [
            (self._sending[endpoint_id], endpoint_id)
            for endpoint_id in self._waiting
            if self._sending[endpoint_id] < self._each_max
        ]
        if not open_endpoints:
            return None
        endpoint_id = min(open_endpoints)[1]
        waiting = self._waiting[endpoint_id]
        delivery = waiting.popleft()
        if not waiting:
            del self._waiting[endpoint_id]
        self._sending[endpoint_id] += 1
        return delivery
