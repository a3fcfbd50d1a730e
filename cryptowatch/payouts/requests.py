"""What people and machines may do to a withdrawal: request it, approve, reject or cancel it.

Called by the API inside its own transaction, which also stores the answer under the request's idempotency key.
Keeps P2 (the hold has the withdrawal's id in its key), P6 (a hold takes final money only) and P8.
Expected refusals are values: `Refusal.code` is stable and part of the API.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.chains.port import InvalidAddress
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.payouts.bookkeeping import hold, release
from cryptowatch.payouts.machine import Effect, Event, State, advance
from cryptowatch.payouts.policy import WithdrawalPolicy, refusal_code
from cryptowatch.payouts.view import WithdrawalView, withdrawal_view

SQL = load_queries(__package__, "requests.sql")


@dataclass(frozen=True, slots=True)
class Refusal:
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is well formed. `destination` is the address as the chain's own bytes."""

    account_id: UUID
    chain: str
    asset: str
    amount: int
    address: str
    destination: bytes | InvalidAddress
    priority: str
    memo: str | None
    #: The API key that asks: another one must approve.
    requested_by: str


async def request_withdrawal(
    conn: Connection,
    request: Request,
    policy: WithdrawalPolicy,
    account_status: str,
    withdrawal_id: UUID,
    now: datetime,
) -> WithdrawalView | Refusal:
    """Validate, hold the money, queue; all in the caller's transaction. After a Refusal the caller writes nothing."""
    refused = refusal_code(request.amount, request.destination, account_status, policy)
    if refused is not None:
        return Refusal(*refused)
    assert isinstance(request.destination, bytes)
    held = await hold(
        conn, request.account_id, request.asset, withdrawal_id, request.amount + policy.fee, now
    )
    if not held:
        return Refusal(
            "insufficient_withdrawable", "the withdrawable balance does not cover the amount and its fee"
        )
    row = await conn.fetchrow(
        SQL["insert_withdrawal"],
        withdrawal_id,
        request.account_id,
        request.chain,
        request.asset,
        request.amount,
        policy.fee,
        request.address,
        request.destination,
        request.priority,
        request.memo,
        State.REQUESTED,
        request.requested_by,
        now,
    )
    assert row is not None
    await tell(conn, row, policy.decimals, now)
    passed = await move(conn, row, Event.PASS, policy.decimals, now)
    assert passed is not None
    return withdrawal_view(passed, policy.decimals)


async def decide(
    conn: Connection,
    withdrawal_id: UUID,
    event: Event,
    *,
    decided_by: str,
    reason: str | None,
    decimals: int,
    now: datetime,
) -> WithdrawalView | Refusal | None:
    """APPROVE, REJECT or CANCEL. None = no such withdrawal. Approval needs another key than the requester's."""
    row = await conn.fetchrow(SQL["lock_withdrawal"], withdrawal_id)
    if row is None:
        return None
    if event is Event.APPROVE and row["requested_by"] == decided_by:
        return Refusal("approver_is_requester", "the key that requested a withdrawal cannot approve it")
    moved = await move(conn, row, event, decimals, now, reason=reason)
    if moved is None:
        return Refusal("wrong_state", f"a withdrawal that is {row['state']} cannot do this")
    return withdrawal_view(moved, decimals)


async def move(
    conn: Connection,
    row: asyncpg.Record,
    event: Event,
    decimals: int,
    now: datetime,
    *,
    reason: str | None = None,
) -> asyncpg.Record | None:
    """One transition of a locked row with its ledger effect and its event; None when it does not apply."""
    step = advance(State(row["state"]), event)
    if step is None:
        return None
    state, effect = step
    moved = await conn.fetchrow(
        SQL["move_withdrawal"], row["id"], row["state"], row["version"], state, reason, now
    )
    if moved is None:
        return None
    if effect is Effect.RELEASE:
        await release(conn, row["account_id"], row["asset"], row["id"], row["amount"] + row["fee"], now)
    await tell(conn, moved, decimals, now)
    return moved


async def tell(conn: Connection, row: asyncpg.Record, decimals: int, now: datetime) -> None:
    """The event of the state that the row is in now."""
    view = withdrawal_view(row, decimals)
    await append_events(
        conn,
        [
            NewEvent(
                type=f"withdrawal.{view.state}",
                entity_kind="withdrawal",
                entity_id=show_id(Kind.WITHDRAWAL, row["id"]),
                entity_version=row["version"],
                account_id=row["account_id"],
                data=msgspec.json.encode(view).decode(),
                created_at=now,
            )
        ],
    )
