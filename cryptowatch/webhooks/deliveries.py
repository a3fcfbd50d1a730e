"""The queue of deliveries: filled from the event feed, claimed by workers, finished in batches.

Called by `worker` (fan_out, claim, finish) and by the API (list, retry). Nothing is lost: an endpoint's place
in the feed moves in the same transaction as its deliveries are written, and a delivery stays pending until an
outcome is written; a worker that dies leaves a lease that runs out, so each event arrives at least once.
Keeps P10: at most WAITING_MAX deliveries of an endpoint wait here, the rest waits in the feed, as does what no sender
has a place for.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
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
#: Events looked at in one transaction of the fan-out, also where places for fewer are free.
FAN_OUT_LEAST = 128
FORGET_ROWS = 5000


class Claimed(msgspec.Struct, frozen=True):
    """A delivery that is ours to attempt until its lease runs out. `attempts` counts this one."""

    id: UUID
    endpoint_id: UUID
    attempts: int
    url: str
    message_id: str
    body: bytes
    secrets: Sequence[str]
    leased_until: datetime


class Finished(msgspec.Struct, frozen=True):
    delivery: Claimed
    attempt: Attempt
    verdict: Verdict


class Taken(msgspec.Struct, frozen=True):
    """What one transaction of the fan-out did: how many events it looked at, and what of them is ours to attempt."""

    looked_at: int
    claimed: Sequence[Claimed]


NOTHING = Taken(0, ())


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


class Backlog(msgspec.Struct, frozen=True):
    """For metrics. `oldest`: since when something waits, here or in the feed. `slowest` is the feed position of the
    enabled endpoint that is furthest behind."""

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


async def endpoints_behind(conn: Connection, head: int, now: datetime) -> Sequence[UUID]:
    return [row["id"] for row in await conn.fetch(SQL["behind"], head, now)]


async def fan_out(conn: Connection, endpoint_id: UUID, places: int, lease_s: float, now: datetime) -> Taken:
    """Take the next events of the feed into one endpoint's queue, and claim as many as `places`. In a transaction.

    Nothing is looked at when nothing is left, another worker is at it, or too many deliveries wait already.
    """
    endpoint = await conn.fetchrow(SQL["lock_endpoint"], endpoint_id, now)
    if endpoint is None:
        return NOTHING
    waiting = await conn.fetchval(SQL["waiting"], endpoint_id, WAITING_MAX)
    room = min(max(places, FAN_OUT_LEAST), WAITING_MAX - waiting)
    events = await read_events(conn, endpoint["position"], room) if room > 0 else []
    if not events:
        return NOTHING
    shown, types = show_id(Kind.ENDPOINT, endpoint_id), endpoint["event_types"]
    wanted = {event.position: event for event in events if wants(types, shown, event)}
    claimed: list[Claimed] = []
    if wanted:
        until = now + timedelta(seconds=lease_s)
        rows = await conn.fetch(
            SQL["enqueue"],
            endpoint_id,
            list(wanted),
            [event.id for event in wanted.values()],
            [event.entity_kind for event in wanted.values()],
            [event.entity_id for event in wanted.values()],
            _first_in_line(wanted.values(), places),
            now,
            until,
        )
        secrets = _secrets(endpoint["secret"], endpoint["previous_secret"])
        claimed = [
            Claimed(
                id_, endpoint_id, attempts, endpoint["url"], event_id(event.id), _body(event), secrets, until
            )
            for position, id_, attempts in rows
            if attempts and (event := wanted[position])
        ]
    await conn.execute(SQL["advance"], endpoint_id, events[-1].position)
    return Taken(len(events), claimed)


def _first_in_line(events: Iterable[Event], places: int) -> list[bool]:
    """Which may be attempted at once: the first of each entity, as far as the places reach."""
    entities: set[tuple[str, str]] = set()
    first = []
    for event in events:
        entity = (event.entity_kind, event.entity_id)
        first.append(len(entities) < places and entity not in entities)
        entities.add(entity)
    return first


async def ready_endpoints(conn: Connection, now: datetime) -> Sequence[UUID]:
    return [row["id"] for row in await conn.fetch(SQL["ready_endpoints"], now)]


async def claim(
    conn: Connection, places: Mapping[UUID, int], lease_s: float, now: datetime
) -> Sequence[Claimed]:
    """Take due deliveries, for each endpoint at most as many as it has places. One statement."""
    until = now + timedelta(seconds=lease_s)
    rows = await conn.fetch(SQL["claim"], list(places), list(places.values()), now, until)
    return [_claimed(row, until) for row in rows]


def _claimed(row: asyncpg.Record, until: datetime) -> Claimed:
    id_, endpoint_id, attempts, url, secret, previous_secret, *told = row
    event = Event(*told)
    secrets = _secrets(secret, previous_secret)
    return Claimed(id_, endpoint_id, attempts, url, event_id(event.id), _body(event), secrets, until)


def _secrets(secret: str, previous_secret: str | None) -> Sequence[str]:
    return (secret,) if previous_secret is None else (secret, previous_secret)


def _body(event: Event) -> bytes:
    return msgspec.json.encode(event_view(event))


async def arrive(conn: Connection, arrived: Sequence[Finished], now: datetime) -> None:
    """Write the outcomes of attempts that succeeded, and that their endpoints answer. One statement.

    In a transaction with others, after `hold_endpoints`.
    """
    ordered = sorted(arrived, key=_of_outcome)
    await conn.execute(
        SQL["arrived"],
        [item.delivery.id for item in ordered],
        [item.delivery.attempts for item in ordered],
        [_status(item.attempt) for item in ordered],
        list({item.delivery.endpoint_id for item in ordered}),
        now,
    )


async def hold_endpoints(conn: Connection, outcomes: Sequence[Finished]) -> None:
    """In a transaction, before anything of their deliveries is written."""
    await conn.execute(SQL["hold_endpoints"], list({item.delivery.endpoint_id for item in outcomes}))


async def finish(
    conn: Connection, failed: Sequence[Finished], answering: Set[UUID], failing_max: timedelta, now: datetime
) -> int:
    """Write the outcomes of attempts that did not succeed, and what they say about their endpoints, which are held.

    `answering`: the endpoints to which others succeeded in the same time. Answers how many endpoints were disabled for
    failing longer than `failing_max`.
    """
    await _write_failures(conn, sorted(failed, key=_of_outcome), now)
    failures: dict[UUID, list[Verdict]] = {}
    for item in failed:
        failures.setdefault(item.delivery.endpoint_id, []).append(item.verdict)
    given_up = 0
    for endpoint_id, verdicts in sorted(failures.items()):
        if any(verdict.disable for verdict in verdicts):
            await disable_endpoint(conn, endpoint_id, f"it answered {GONE} Gone", now)
            continue
        wait_s = max(verdict.pause_s for verdict in verdicts)
        if endpoint_id not in answering:
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


async def _write_failures(conn: Connection, ordered: Sequence[Finished], now: datetime) -> None:
    await conn.execute(
        SQL["failed_attempts"],
        [item.delivery.id for item in ordered],
        [item.delivery.attempts for item in ordered],
        [item.verdict.state for item in ordered],
        [now + timedelta(seconds=item.verdict.wait_s) for item in ordered],
        [_status(item.attempt) for item in ordered],
        [None if isinstance(item.attempt, Answered) else item.attempt.problem for item in ordered],
        now,
    )


def _order(delivery: Claimed) -> tuple[UUID, int]:
    """Rows are written in this order, so that two workers do not wait for each other. Of two attempts of one delivery,
    the first of which lost its lease, the second counts."""
    return delivery.id, -delivery.attempts


def _of_outcome(item: Finished) -> tuple[UUID, int]:
    return _order(item.delivery)


def _status(attempt: Attempt) -> int | None:
    return attempt.status if isinstance(attempt, Answered) else None


async def release(conn: Connection, claimed: Sequence[Claimed]) -> None:
    """Give back what was claimed and not attempted, so that another worker need not wait for the lease."""
    ordered = sorted(claimed, key=_order)
    await conn.execute(SQL["release"], [item.id for item in ordered], [item.attempts for item in ordered])


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
