"""From a request for money to a decided withdrawal: facts, policy, hold, row, events, in one transaction.

Called by the API inside its own transaction, which also stores the answers under the requests' idempotency keys.
Requests that come at once may share a transaction: each has its own outcome, and one alone is a group of one.
Keeps P2 (a hold has the withdrawal's id in its key), P6 (a hold takes final money only) and P8.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.events import append_events
from cryptowatch.payouts.bookkeeping import Hold, hold_all, pay_inside
from cryptowatch.payouts.denied import Denied
from cryptowatch.payouts.facts import Asked, Found, gather
from cryptowatch.payouts.machine import Event, State, advance
from cryptowatch.payouts.moves import payment_of, received_event, withdrawal_event
from cryptowatch.payouts.policy import (
    Decision,
    Facts,
    Owner,
    Refusal,
    Used,
    Verdict,
    WithdrawalPolicy,
    decide,
)
from cryptowatch.payouts.view import WithdrawalView, withdrawal_view

SQL = load_queries(__package__, "requests.sql")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is well formed. `destination` is the address as the chain's own bytes."""

    withdrawal_id: UUID
    account_id: UUID
    chain: str
    asset: str
    amount: int
    address: str
    destination: bytes
    priority: str
    memo: str | None
    #: The API key that asks: another one must approve.
    requested_by: str
    policy: WithdrawalPolicy


@dataclass(frozen=True, slots=True)
class _Accepted:
    request: Request
    decision: Decision
    found: Found

    @property
    def event(self) -> Event:
        if self.decision.approvals:
            return Event.REVIEW
        return Event.PASS if self.found.recipient is None else Event.PAY_INSIDE

    @property
    def state(self) -> State:
        step = advance(State.REQUESTED, self.event)
        assert step is not None
        return step[0]

    @property
    def reason(self) -> str | None:
        """Why people are asked."""
        reviewed = [one.rule for one in self.decision.findings if one.verdict is Verdict.REVIEW]
        return ", ".join(reviewed) or None


async def request_withdrawals(
    conn: Connection, requests: Sequence[Request], denied: Denied, now: datetime
) -> list[WithdrawalView | Refusal]:
    """Decide, hold the money, and queue, review or pay; in order. No account may stand there twice.

    Nothing is written for what is refused.
    """
    asked = [
        Asked(
            one.account_id,
            one.chain,
            one.asset,
            one.destination,
            denied.covers(one.chain, one.destination, one.address),
            one.policy,
        )
        for one in requests
    ]
    outcomes, taken = list[_Accepted | Refusal](), dict[str, Used]()
    for request, found in zip(requests, await gather(conn, asked, now), strict=True):
        if found is None:
            outcomes.append(Refusal("unknown_account", "no such account"))
            continue
        decision = decide(request.amount, _after(found.facts, taken.get(request.asset)), request.policy, now)
        if decision.refusal is not None:
            outcomes.append(decision.refusal)
            continue
        outcomes.append(_Accepted(request, decision, found))
        if found.recipient is None:
            before = taken.get(request.asset, Used(0, 0))
            taken[request.asset] = Used(before.amount + request.amount, before.count + 1)
    views = await _write(conn, [one for one in outcomes if isinstance(one, _Accepted)], now)
    return [one if isinstance(one, Refusal) else views[one.request.withdrawal_id] for one in outcomes]


def _after(facts: Facts, taken: Used | None) -> Facts:
    """What others of the same group were just given counts for everybody's limits."""
    if taken is None or not facts.used_by_all:
        return facts
    together = {
        hours: Used(used.amount + taken.amount, used.count + taken.count)
        for hours, used in facts.used_by_all.items()
    }
    return replace(facts, used_by_all=together)


async def _write(
    conn: Connection, accepted: Sequence[_Accepted], now: datetime
) -> dict[UUID, WithdrawalView]:
    """By the withdrawals' ids."""
    if not accepted:
        return {}
    holds = [
        Hold(one.request.withdrawal_id, one.found.player, one.request.amount + one.decision.fee)
        for one in accepted
    ]
    await hold_all(conn, holds, now)
    inserted = await conn.fetch(SQL["insert_withdrawals"], *_columns(accepted), now)
    rows = {row["id"]: row for row in inserted}
    await pay_inside(conn, [payment_of(row) for row in inserted if row["state"] == State.FINALIZED], now)
    events = []
    for one in accepted:
        row, decimals = rows[one.request.withdrawal_id], one.request.policy.decimals
        events.append(withdrawal_event(_as_requested(row), decimals, now))
        events.append(withdrawal_event(row, decimals, now))
        if row["state"] == State.FINALIZED:
            events.append(received_event(row, decimals, now))
    await append_events(conn, events)
    return {
        one.request.withdrawal_id: withdrawal_view(
            rows[one.request.withdrawal_id], one.request.policy.decimals
        )
        for one in accepted
    }


def _as_requested(row: asyncpg.Record) -> Mapping[str, Any]:
    """The row in the first state of its life, which no statement wrote."""
    return {**row, "state": State.REQUESTED, "version": 1, "queued_at": None, "reason": None}


def _columns(accepted: Sequence[_Accepted]) -> tuple[list[Any], ...]:
    rows = [
        (
            one.request.withdrawal_id,
            one.request.account_id,
            one.request.chain,
            one.request.asset,
            one.request.amount,
            one.decision.fee,
            one.request.address,
            one.request.destination,
            one.request.priority,
            one.request.memo,
            one.state,
            one.reason,
            one.request.requested_by,
            msgspec.json.encode(one.decision.findings).decode(),
            one.decision.approvals,
            one.found.recipient if one.found.facts.owner is Owner.PLAYER else None,
        )
        for one in accepted
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))
