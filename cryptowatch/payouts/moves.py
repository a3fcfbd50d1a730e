"""One withdrawal's step by its machine: the row, the ledger's work, the event, in the caller's transaction (P8).

Called by `reviews`; `requests` and `worker` tell by it too. Each step is a compare-and-set on state and version.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.money import format_amount
from cryptowatch.payouts.bookkeeping import Payment, pay_inside, release
from cryptowatch.payouts.machine import Effect, Event, State, advance
from cryptowatch.payouts.view import ReceivedView, Row, WithdrawalView, withdrawal_view

SQL = load_queries(__package__, "moves.sql")


async def move(
    conn: Connection,
    row: asyncpg.Record,
    event: Event,
    decimals: int,
    now: datetime,
    *,
    reason: str | None = None,
    approved_by: str | None = None,
) -> asyncpg.Record | None:
    """One transition of a locked row with its ledger effect and its events; None when it does not apply."""
    step = advance(State(row["state"]), event)
    if step is None:
        return None
    state, effect = step
    moved = await conn.fetchrow(
        SQL["move_withdrawal"], row["id"], row["state"], row["version"], state, reason, now, approved_by
    )
    if moved is None:
        return None
    if effect is Effect.RELEASE:
        await release(conn, row["account_id"], row["asset"], row["id"], row["amount"] + row["fee"], now)
    if effect is Effect.PAY_INSIDE:
        await pay_inside(conn, [payment_of(moved)], now)
    kind = "approved" if event is Event.ENDORSE else state
    told = [withdrawal_event(moved, decimals, now, kind)]
    if effect is Effect.PAY_INSIDE:
        told.append(received_event(moved, decimals, now))
    await append_events(conn, told)
    return moved


def payment_of(row: Row) -> Payment:
    """Of a withdrawal that is paid in the ledger."""
    return Payment(row["id"], row["account_id"], row["recipient"], row["asset"], row["amount"])


def withdrawal_event(row: Row, decimals: int, now: datetime, kind: str | None = None) -> NewEvent:
    """Of the state that the row is in, unless the kind says more."""
    return event_of(row, row["version"], withdrawal_view(row, decimals), now, kind)


def event_of(
    row: Row, version: int, view: WithdrawalView, now: datetime, kind: str | None = None
) -> NewEvent:
    return NewEvent(
        type=f"withdrawal.{kind or view.state}",
        entity_kind="withdrawal",
        entity_id=view.id,
        entity_version=version,
        account_id=row["account_id"],
        data=msgspec.json.encode(view).decode(),
        created_at=now,
    )


def received_event(row: Row, decimals: int, now: datetime) -> NewEvent:
    """What the recipient hears of a withdrawal that is paid in the ledger."""
    view = ReceivedView(
        id=show_id(Kind.TRANSFER, row["id"]),
        account_id=show_id(Kind.ACCOUNT, row["recipient"]),
        asset=row["asset"],
        chain=row["chain"],
        address=row["address"],
        amount=format_amount(row["amount"], decimals),
        withdrawal_id=show_id(Kind.WITHDRAWAL, row["id"]),
        created_at=now,
    )
    return NewEvent(
        type="transfer.received",
        entity_kind="transfer",
        entity_id=view.id,
        entity_version=1,
        account_id=row["recipient"],
        data=msgspec.json.encode(view).decode(),
        created_at=now,
    )


async def set_aside(conn: Connection, chain: str, decimals: Mapping[str, int], now: datetime) -> int:
    """A person looks first at what was queued before its account was frozen, held, or fell into debt; how many."""
    step = advance(State.QUEUED, Event.REVIEW)
    assert step is not None
    rows = await conn.fetch(SQL["set_aside"], chain, step[0], now)
    await tell(conn, rows, decimals, now)
    return len(rows)


async def tell(
    conn: Connection, rows: Iterable[asyncpg.Record], decimals: Mapping[str, int], now: datetime
) -> None:
    """The events of the states that rows are in now."""
    await append_events(conn, [withdrawal_event(row, decimals[row["asset"]], now) for row in rows])
