"""The loops that deliver: feed -> queue -> attempts -> outcomes.

One worker per process with the role `webhooks`.

Several workers may run on one database: they share the work, and all rests on row locks and leases that run
out. No request is under way while a transaction is open (P4). Keeps P10: at most `concurrency` requests and
CLAIMED_PER_SENDER times as many claimed deliveries at a time, of which one endpoint gets at most three quarters,
so that a slow one cannot stop others.

Only the errors of a database that is away are waited out; anything else ends the worker.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from uuid import UUID

import structlog

from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.errors import ConcurrentUpdate, DatabaseUnavailable
from cryptowatch.ledger.events import feed_head, sequence_events
from cryptowatch.loops import parts, run_forever
from cryptowatch.settings import Webhooks
from cryptowatch.telemetry.metrics import DatabaseMetrics, WebhookMetrics
from cryptowatch.webhooks import deliveries
from cryptowatch.webhooks.attempt import attempt
from cryptowatch.webhooks.deliveries import Claimed, Finished
from cryptowatch.webhooks.exchange import Poster, open_poster
from cryptowatch.webhooks.fair import FairQueue
from cryptowatch.webhooks.machine import State, judge, shares
from cryptowatch.webhooks.sealing import Seal, seal_all

log = structlog.get_logger(__name__)

#: Claimed deliveries per sender: what waits in memory, so that claiming is one round trip for many.
CLAIMED_PER_SENDER = 64
#: A lease, in timeouts of an attempt. What cannot be attempted within its lease is given back instead.
LEASE_TIMEOUTS = 4
FINISH_BATCH = 500
#: While others are under way, an outcome waits for them to be written with it: so often, so long …
FINISH_LINGERS, FINISH_LINGER_S = 5, 0.01
#: … or until so many are there.
FINISH_ENOUGH = 128
#: How often the backlog is measured and old rows are removed.
CARE_INTERVAL_S = 10.0
DELIVERED_KEPT = timedelta(days=30)
#: Secrets that are not opened anew for each attempt.
SECRETS_KEPT = 256


@dataclass(slots=True)
class WebhookWorker:
    """`jitter` draws from [0, 1). `poster` is what `exchange.open_poster` gave."""

    pool: Pool
    settings: Webhooks
    clock: Clock
    metrics: WebhookMetrics
    database_metrics: DatabaseMetrics
    jitter: Callable[[], float]
    poster: Poster
    seal: Seal = field(default_factory=Seal)
    _due: FairQueue = field(init=False)
    _done: asyncio.Queue[Finished | Claimed] = field(default_factory=asyncio.Queue)
    _known: list[Finished | Claimed] = field(default_factory=list)
    _held: Counter[UUID] = field(default_factory=Counter)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _open: Callable[[str], str] = field(init=False)

    def __post_init__(self) -> None:
        # Opening costs as much as sending.
        self._open = lru_cache(maxsize=SECRETS_KEPT)(self.seal.open)
        self._due = FairQueue(max(1, self.settings.concurrency * 3 // 4))

    async def run(self) -> None:
        """Until cancelled: then known outcomes are written, and what was not attempted is given back."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._loop(tasks, "fill", self._fill, 0)
                self._loop(tasks, "finish", self._finish, 0)
                self._loop(tasks, "care", self._look_after, CARE_INTERVAL_S)
                for number in range(self.settings.concurrency):
                    tasks.create_task(self._send(), name=f"webhooks:send:{number}")
        finally:
            await self._hand_back()

    def _loop(
        self, tasks: asyncio.TaskGroup, name: str, step: Callable[[], Awaitable[int]], interval_s: float
    ) -> None:
        name = f"webhooks:{name}"
        tasks.create_task(run_forever(name, step, interval_s=interval_s, clock=self.clock), name=name)

    async def fan_out(self) -> int:
        """Give positions to new events and take as many as there are places for; how many were looked at."""
        async with connection(self.pool) as conn:
            await sequence_events(conn)
            head, now = await feed_head(conn), self.clock.now()
            reserved = self._reserve(await deliveries.endpoints_behind(conn, head, now))
        looked_at = 0
        try:
            for endpoint_id in list(reserved):
                async with transaction(self.pool) as conn:
                    places, now = reserved[endpoint_id], self.clock.now()
                    taken = await deliveries.fan_out(conn, endpoint_id, places, self._lease_s, now)
                self._hold({endpoint_id: reserved.pop(endpoint_id)}, taken.claimed)
                looked_at += taken.looked_at
        finally:
            self._hold(reserved, ())
        return looked_at

    async def _fill(self) -> int:
        """Fill the free places, with what is due again first; or wait until something may have changed."""
        self._wake.clear()
        due = await self._take()
        if await self.fan_out() or due:
            return 1
        try:
            async with asyncio.timeout(self.settings.poll_interval_s):
                await self._wake.wait()
        except TimeoutError:
            pass  # look anyway: something may have become due
        return 1

    async def _take(self) -> int:
        """Claim what is due in the queue; how many."""
        if not self._free():
            return 0
        now = self.clock.now()
        async with connection(self.pool) as conn:
            reserved = self._reserve(await deliveries.ready_endpoints(conn, now))
            if not reserved:
                return 0
            claimed: Sequence[Claimed] = ()
            try:
                claimed = await deliveries.claim(conn, reserved, self._lease_s, now)
            finally:
                self._hold(reserved, claimed)
        return len(claimed)

    @property
    def _places(self) -> int:
        return self.settings.concurrency * CLAIMED_PER_SENDER

    @property
    def _lease_s(self) -> float:
        return self.settings.timeout_s * LEASE_TIMEOUTS

    def _free(self) -> int:
        """Places, when there are enough of them to be worth it; else 0."""
        free = self._places - self._held.total()
        return free if free * 4 >= self._places else 0

    def _reserve(self, endpoint_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Shares of the free places, held from here on.

        Who holds more than three quarters of what it may is not asked for a few more at a time.
        """
        each_max = self._places * 3 // 4
        asked = [endpoint_id for endpoint_id in endpoint_ids if self._held[endpoint_id] * 4 <= each_max * 3]
        given = shares(self._free(), [self._held[endpoint_id] for endpoint_id in asked], each_max)
        reserved = {endpoint_id: share for endpoint_id, share in zip(asked, given, strict=True) if share}
        self._held.update(reserved)
        return reserved

    def _hold(self, reserved: Mapping[UUID, int], claimed: Sequence[Claimed]) -> None:
        """Of what was reserved, what was claimed."""
        self._held.subtract(reserved)
        self._held.update(delivery.endpoint_id for delivery in claimed)
        for delivery in claimed:
            self._due.put(delivery)

    async def _send(self) -> None:
        delivery: Claimed | None = None
        while True:
            delivery = await self._due.get(delivery)
            if delivery.leased_until < self.clock.now() + timedelta(seconds=self.settings.timeout_s):
                self._done.put_nowait(delivery)
                continue
            started_s = self.clock.monotonic_s()
            outcome = await attempt(
                self.poster,
                self.clock,
                url=delivery.url,
                message_id=delivery.message_id,
                body=delivery.body,
                secrets=[self._open(secret) for secret in delivery.secrets],
            )
            self.metrics.attempt_seconds.observe(self.clock.monotonic_s() - started_s)
            verdict = judge(outcome, delivery.attempts, self.settings.schedule_s, self.jitter())
            self._done.put_nowait(Finished(delivery, outcome, verdict))

    async def _finish(self) -> int:
        """Write the outcomes that are there. Kept in `_known` until that worked."""
        if not self._known:
            self._known.append(await self._done.get())
            await self._linger()
        while len(self._known) < FINISH_BATCH and not self._done.empty():
            self._known.append(self._done.get_nowait())
        await self._write(self._known)
        outcomes: Counter[str] = Counter()
        for item in self._known:
            delivery = item.delivery if isinstance(item, Finished) else item
            self._held[delivery.endpoint_id] -= 1
            if isinstance(item, Finished):
                outcomes[_outcome(item)] += 1
        for outcome, times in outcomes.items():
            self.metrics.attempts.labels(outcome).inc(times)
        count = len(self._known)
        self._known.clear()
        self._held += Counter()
        self._wake.set()
        return count

    async def _linger(self) -> None:
        for _ in range(FINISH_LINGERS):
            under_way = self._held.total() - len(self._known) - self._done.qsize()
            if not under_way or self._done.qsize() >= FINISH_ENOUGH:
                return
            await self.clock.sleep(FINISH_LINGER_S)

    async def _write(self, batch: Sequence[Finished | Claimed]) -> None:
        """Outcomes of attempts; and deliveries that were not attempted, which are given back. All or nothing."""
        finished = [item for item in batch if isinstance(item, Finished)]
        arrived = [item for item in finished if item.verdict.state is State.DELIVERED]
        if len(arrived) == len(batch):
            # Nearly always; and one statement needs no transaction around it.
            async with connection(self.pool) as conn:
                await deliveries.arrive(conn, arrived, self.clock.now())
            return
        failed = [item for item in finished if item.verdict.state is not State.DELIVERED]
        returned = [item for item in batch if isinstance(item, Claimed)]
        failing_max, given_up = timedelta(days=self.settings.disable_after_days), 0
        async with transaction(self.pool) as conn:
            if finished:
                await deliveries.hold_endpoints(conn, finished)
            if arrived:
                await deliveries.arrive(conn, arrived, self.clock.now())
            if failed:
                answering = {item.delivery.endpoint_id for item in arrived}
                given_up = await deliveries.finish(conn, failed, answering, failing_max, self.clock.now())
            if returned:
                await deliveries.release(conn, returned)
        if given_up:
            self.metrics.attempts.labels("disabled").inc(given_up)

    async def _look_after(self) -> int:
        """Remove what is old, and show the backlog."""
        now = self.clock.now()
        async with connection(self.pool) as conn:
            removed = await deliveries.forget_old(conn, now - DELIVERED_KEPT)
            backlog = await deliveries.read_backlog(conn)
            head = await feed_head(conn)
        age_s = 0.0 if backlog.oldest is None else (now - backlog.oldest).total_seconds()
        self.metrics.undelivered.set(backlog.undelivered)
        self.metrics.oldest_undelivered_age_seconds.set(max(0.0, age_s))
        lag = 0 if backlog.slowest is None else head - backlog.slowest
        self.database_metrics.event_log_lag.labels("webhooks").set(lag)
        return removed

    async def _hand_back(self) -> None:
        """At the end: outcomes that are known are written, what was not attempted is given back."""
        left = [
            *self._known,
            *(self._done.get_nowait() for _ in range(self._done.qsize())),
            *self._due.drain(),
        ]
        try:
            for batch in parts(left, FINISH_BATCH):
                await self._write(batch)
        except (DatabaseUnavailable, ConcurrentUpdate) as problem:
            log.warning("claimed deliveries wait for their lease", problem=str(problem))


def _outcome(item: Finished) -> str:
    if item.verdict.disable:
        return "disabled"
    return "retrying" if item.verdict.state is State.PENDING else str(item.verdict.state)


async def run_webhooks(
    pool: Pool,
    settings: Webhooks,
    clock: Clock,
    metrics: WebhookMetrics,
    database_metrics: DatabaseMetrics,
    jitter: Callable[[], float],
    seal: Seal,
) -> None:
    """The role `webhooks`, until cancelled."""
    async with transaction(pool) as conn:
        await seal_all(conn, seal)
    async with open_poster(settings) as poster:
        worker = WebhookWorker(pool, settings, clock, metrics, database_metrics, jitter, poster, seal)
        await worker.run()
