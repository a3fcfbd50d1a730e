"""What people do to a withdrawal that is there: approve, reject or cancel it.

Called by the API inside its own transaction, which also stores the answer under the request's idempotency key.
A withdrawal waits in review for as many people as its decision asks, each with another key than the requester's and
the others'; it never expires, as a person must say what becomes of the player's money. What may have changed meanwhile,
the account's standing, debt and cases and the deny list, is asked again by the last approval.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from cryptowatch.chains.denied import Denied
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.payouts.machine import Event
from cryptowatch.payouts.moves import move
from cryptowatch.payouts.policy import Refusal
from cryptowatch.payouts.view import WithdrawalView, withdrawal_view

SQL = load_queries(__package__, "reviews.sql")


@dataclass(frozen=True, slots=True)
class Person:
    """Who decides, by their API key, and why."""

    key: str
    reason: str | None


async def decide(
    conn: Connection,
    withdrawal_id: UUID,
    event: Event,
    *,
    by: Person,
    denied: Denied,
    decimals: int,
    now: datetime,
) -> WithdrawalView | Refusal | None:
    """APPROVE, REJECT or CANCEL. None = no such withdrawal. After a Refusal the caller writes nothing."""
    row = await conn.fetchrow(SQL["lock_withdrawal"], withdrawal_id)
    if row is None:
        return None
    approver = None
    if event is Event.APPROVE and row["state"] == "in_review":
        if refusal := _against(row, by, denied):
            return refusal
        event, approver = _approval(row), by.key
        await conn.execute(SQL["approve"], withdrawal_id, row["review"], by.key, by.reason, now)
    moved = await move(conn, row, event, decimals, now, reason=by.reason, approved_by=approver)
    if moved is None:
        return Refusal("wrong_state", f"a withdrawal that is {row['state']} cannot do this")
    return withdrawal_view(moved, decimals)


def _against(row: asyncpg.Record, by: Person, denied: Denied) -> Refusal | None:
    """The withdrawal stays where it is."""
    if row["requested_by"] == by.key:
        return Refusal("approver_is_requester", "the key that requested a withdrawal cannot approve it")
    if by.key in row["approved_by"]:
        return Refusal("already_approved", "this key approved it already: another one must, too")
    if row["account_status"] == "frozen":
        return Refusal("account_frozen", "the account is frozen: reject it, or unfreeze the account first")
    if row["under_review"]:
        return Refusal("account_under_review", "a case about the account must be decided first, or reject it")
    if row["screening"] in ("pending", "refuse"):
        return Refusal(
            "screening_pending", f"the screening's verdict is {row['screening']}: wait, or reject it"
        )
    if row["in_debt"]:
        return Refusal("account_in_debt", "the account owes more than it has: reject it, or wait")
    if denied.covers(row["chain"], row["destination"], row["address"]):
        return Refusal("address_denied", "the address is on the deny list")
    return None


def _approval(row: asyncpg.Record) -> Event:
    """What one more approval does."""
    if len(row["approved_by"]) + 1 < max(1, row["approvals_needed"]):
        return Event.ENDORSE
    return Event.APPROVE if row["recipient"] is None else Event.PAY_INSIDE
