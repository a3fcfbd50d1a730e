"""The queue of deliveries: filled from the event feed, claimed by workers, finished in batches.

Called by `worker` (fan_out, claim, finish) and by the API (list, retry). Nothing is lost: an endpoint's place
in the feed moves in the same transaction as its deliveries are written, and a delivery stays pending until an
outcome is written; a worker that dies leaves a lease that runs out, so each event arrives at least once.
Keeps P10: at most WAITING_MAX deliveries of an endpoint wait here, the rest waits in the feed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import Event, read_events
from cryptowatch.ledger.payload import event_id, event_view
from cryptowatch.webhooks.endpoints import disable_endpoint, wants
from cryptowatch.webhooks.machine import GONE, Answered, Attempt, State, Verdict, pause_s

SQL = load_queries(__package__, "deliveries.sql")

WAITING_MAX = 10_000
#: Events looked at in one transaction of the fan-out.
FAN_OUT_EVENTS = 1000
FORGET_ROWS = 5000


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is ours to attempt until its lease runs out. `attempts` counts this one."""

    id: UUID
    endpoint_id: UUID
    attempts: int
    url: str
    message_id: str
    body: bytes
    secrets: Sequence[str]
    leased_until: datetime


@dataclass(frozen=True, slots=True)
class Finished:
    delivery: Claimed
    attempt: Attempt
    verdict: Verdict


class DeliveryView(msgspec.Struct, frozen=True):
    id: str
    event_id: str
    event_type: str
    sequence: int
    state: State
    attempts: int
    next_attempt_at: datetime | None
    last_status: int | None
    last_problem: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """For metrics. `slowest` is the feed position of the enabled endpoint that is furthest behind."""

    undelivered: int
    oldest: datetime | None
    slowest: int | None


def delivery_view(row: asyncpg.Record) -> DeliveryView:
    state = State(row["state"])
    return DeliveryView(
        id=show_id(Kind.DELIVERY, row["id"]),
        event_id=event_id(row["event_id"]),
        event_type=row["type"],
        sequence=row["position"],
        state=state,
        attempts=row["attempts"],
        next_attempt_at=row["next_attempt_at"] if state is State.PENDING else None,
        last_status=row["last_status"],
        last_problem=row["last_problem"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def endpoints_behind(conn: Connection, head: int) -> Sequence[UUID]:
    return [row["id"] for row in await conn.fetch(SQL["behind"], head)]


async def fan_out(conn: Connection, endpoint_id: UUID, now: datetime) -> int:
    """Take the next events of the feed into one endpoint's queue; how many were looked at. In a transaction.

    0: nothing is left, another worker is at it, or too many deliveries wait already.
    """
    endpoint = await conn.fetchrow(SQL["lock_endpoint"], endpoint_id)
    if endpoint is None:
        return 0
    waiting = await conn.fetchval(SQL["waiting"], endpoint_id, WAITING_MAX)
    room = min(FAN_OUT_EVENTS, WAITING_MAX - waiting)
    events = await read_events(conn, endpoint["position"], room) if room > 0 else []
    if not events:
        return 0
    shown, types = show_id(Kind.ENDPOINT, endpoint_id), endpoint["event_types"]
    wanted = [event for event in events if wants(types, shown, event)]
    if wanted:
        await conn.execute(
            SQL["enqueue"],
            endpoint_id,
            [event.position for event in wanted],
            [event.id for event in wanted],
            [event.entity_kind for event in wanted],
            [event.entity_id for event in wanted],
            now,
        )
    await conn.execute(SQL["advance"], endpoint_id, events[-1].position)
    return len(events)


async def ready_endpoints(conn: Connection, now: datetime) -> Sequence[UUID]:
    return [row["id"] for row in await conn.fetch(SQL["ready_endpoints"], now)]


async def claim(
    conn: Connection, places: Mapping[UUID, int], lease_s: float, now: datetime
) -> Sequence[Claimed]:
    """Take due deliveries, for each endpoint at most as many as it has places. One statement."""
    until = now + timedelta(seconds=lease_s)
    rows = await conn.fetch(SQL["claim"], list(places), list(places.values()), now, until)
    bodies: dict[int, bytes] = {}
    return [_claimed(row, bodies, until) for row in rows]


def _claimed(row: asyncpg.Record, bodies: dict[int, bytes], until: datetime) -> Claimed:
    """`bodies`: of the same portion, so that what goes to many endpoints is one body."""
    id_, endpoint_id, attempts, url, secret, previous_secret, *told = row
    event = Event(*told)
    body = bodies.get(event.id)
    if body is None:
        body = bodies[event.id] = msgspec.json.encode(event_view(event))
    return Claimed(
        id=id_,
        endpoint_id=endpoint_id,
        attempts=attempts,
        url=url,
        message_id=event_id(event.id),
        body=body,
        secrets=(secret,) if previous_secret is None else (secret, previous_secret),
        leased_until=until,
    )


async def finish(
    conn: Connection, finished: Sequence[Finished], failing_max: timedelta, now: datetime
) -> int:
    """Write the outcomes of a batch of attempts, and what they say about their endpoints. In a transaction.

    Answers how many endpoints were disabled for failing longer than `failing_max`.
    """
    ordered = sorted(finished, key=lambda item: item.delivery.id)
    await conn.execute(
        SQL["finish"],
        now,
        [item.delivery.id for item in ordered],
        [item.delivery.attempts for item in ordered],
        [item.verdict.state for item in ordered],
        [now + timedelta(seconds=item.verdict.wait_s) for item in ordered],
        [item.attempt.status if isinstance(item.attempt, Answered) else None for item in ordered],
        [None if isinstance(item.attempt, Answered) else item.attempt.problem for item in ordered],
    )
    succeeded = sorted(
        {item.delivery.endpoint_id for item in finished if item.verdict.state is State.DELIVERED}
    )
    if succeeded:
        await conn.execute(SQL["succeeded"], succeeded)
    failures: dict[UUID, list[Finished]] = {}
    for item in finished:
        if item.verdict.state is not State.DELIVERED:
            failures.setdefault(item.delivery.endpoint_id, []).append(item)
    given_up = 0
    for endpoint_id in sorted(failures):
        verdicts = [item.verdict for item in failures[endpoint_id]]
        if any(verdict.disable for verdict in verdicts):
            await disable_endpoint(conn, endpoint_id, f"it answered {GONE} Gone", now)
            continue
        wait_s = max(verdict.pause_s for verdict in verdicts)
        if endpoint_id not in succeeded:
            row = await conn.fetchrow(SQL["failed"], endpoint_id, now)
            assert row is not None
            wait_s = max(wait_s, pause_s(row["failures"]))
            since = row["failing_since"]
            if now - since >= failing_max:
                reason = f"nothing was answered well since {since:%Y-%m-%d %H:%M} UTC"
                given_up += await disable_endpoint(conn, endpoint_id, reason, now)
        if wait_s > 0:
            await conn.execute(SQL["pause"], endpoint_id, now + timedelta(seconds=wait_s))
    return given_up


async def release(conn: Connection, claimed: Sequence[Claimed]) -> None:
    """Give back what was claimed and not attempted, so that another worker need not wait for the lease."""
    await conn.execute(SQL["release"], [item.id for item in claimed], [item.attempts for item in claimed])


async def read_backlog(conn: Connection) -> Backlog:
    row = await conn.fetchrow(SQL["backlog"])
    assert row is not None
    return Backlog(row["undelivered"], row["oldest"], row["slowest"])


async def list_deliveries(
    conn: Connection, endpoint_id: UUID, *, limit: int, before: int | None, state: State | None
) -> Sequence[asyncpg.Record]:
    """Rows, newest first, below a position."""
    query = SQL["newest" if state is None else f"newest_{state}"]
    return await conn.fetch(query, endpoint_id, before, limit)


async def retry_delivery(
    conn: Connection, endpoint_id: UUID, delivery_id: UUID, now: datetime
) -> DeliveryView | None:
    """Start one delivery anew, delivered or dead; one that is pending stays as it is.

    None = no such delivery.
    """
    await conn.fetchrow(SQL["retry"], delivery_id, endpoint_id, now)
    row = await conn.fetchrow(SQL["by_id"], delivery_id, endpoint_id)
    return None if row is None else delivery_view(row)


async def forget_old(conn: Connection, delivered_before: datetime) -> int:
    """Remove a portion of old rows; how many. Their events stay in the feed and can be replayed."""
    status = await conn.execute(SQL["forget"], delivered_before, FORGET_ROWS)
    return int(status.split()[-1])
