"""From a request for money to a decided withdrawal: facts, policy, hold, row, events, in one transaction.

Called by the API inside its own transaction, which also stores the answers under the requests' idempotency keys.
Requests that come at once may share a transaction: each has its own outcome, and one alone is a group of one.
Keeps P2 (a hold has the withdrawal's id in its key), P6 (a hold takes final money only) and P8.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from cryptowatch.chains.denied import Denied
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.payouts.bookkeeping import Hold, Payment, hold_all, pay_inside
from cryptowatch.payouts.facts import Asked, Found, gather
from cryptowatch.payouts.machine import Event, State, advance
from cryptowatch.payouts.moves import event_of, payment_of, received_event
from cryptowatch.payouts.policy import (
    Decision,
    Facts,
    Refusal,
    Used,
    Verdict,
    WithdrawalPolicy,
    decide,
)
from cryptowatch.payouts.view import WithdrawalView, withdrawal_view

SQL = load_queries(__package__, "requests.sql")


class Request(msgspec.Struct, frozen=True):
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
    #: JSON that nobody reads but people with the scope; never part of an event.
    travel_rule: str | None = None


class _Accepted(msgspec.Struct, frozen=True):
    """`state` is the second of its life, `findings` the decision as it is stored, `reason` why people are asked."""

    request: Request
    decision: Decision
    found: Found
    state: State
    findings: str
    reason: str | None

    def row(self, now: datetime) -> Mapping[str, Any]:
        """As `insert_withdrawals` writes it."""
        request, decision = self.request, self.decision
        return {
            "id": request.withdrawal_id,
            "account_id": request.account_id,
            "asset": request.asset,
            "chain": request.chain,
            "amount": request.amount,
            "fee": decision.fee,
            "address": request.address,
            "priority": request.priority,
            "memo": request.memo,
            "state": self.state,
            "reason": self.reason,
            "decision": self.findings,
            "approvals_needed": decision.approvals,
            "approved_by": (),
            "recipient": self.found.recipient,
            "lineage_id": None,
            "tx_hash": None,
            "position": None,
            "requested_by": request.requested_by,
            "created_at": now,
            "queued_at": now if self.state is State.QUEUED else None,
            "updated_at": now,
        }


def _accepted(request: Request, decision: Decision, found: Found) -> _Accepted:
    event = Event.PASS if found.recipient is None else Event.PAY_INSIDE
    step = advance(State.REQUESTED, Event.REVIEW if decision.approvals else event)
    assert step is not None
    findings = msgspec.json.encode(decision.findings).decode()
    reviewed = [one.rule for one in decision.findings if one.verdict is Verdict.REVIEW]
    return _Accepted(request, decision, found, step[0], findings, ", ".join(reviewed) or None)


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
        facts = msgspec.structs.replace(found.facts, travel_rule=request.travel_rule is not None)
        decision = decide(request.amount, _after(facts, taken.get(request.asset)), request.policy, now)
        if decision.refusal is not None:
            outcomes.append(decision.refusal)
            continue
        outcomes.append(_accepted(request, decision, found))
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
    return msgspec.structs.replace(facts, used_by_all=together)


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
    columns = zip(*map(_columns, accepted), strict=True)
    await conn.execute(SQL["insert_withdrawals"], *map(list, columns), now)
    carried = {r.withdrawal_id: r.travel_rule for r in (one.request for one in accepted) if r.travel_rule}
    if carried:
        await conn.execute(SQL["insert_travel_rules"], list(carried), list(carried.values()), now)
    views, events = dict[UUID, WithdrawalView](), list[NewEvent]()
    payments = list[Payment]()
    for one in accepted:
        row, decimals = one.row(now), one.request.policy.decimals
        view = withdrawal_view(row, decimals, one.decision.findings)
        views[one.request.withdrawal_id] = view
        # The first state of its life, which no statement wrote.
        first = msgspec.structs.replace(view, state=State.REQUESTED, queued_at=None, reason=None)
        events += [event_of(row, 1, first, now), event_of(row, 2, view, now)]
        if one.state is State.FINALIZED:
            payments.append(payment_of(row))
            events.append(received_event(row, decimals, now))
    await pay_inside(conn, payments, now)
    await append_events(conn, events)
    return views


def _columns(one: _Accepted) -> tuple[Any, ...]:
    request, decision = one.request, one.decision
    return (
        request.withdrawal_id,
        request.account_id,
        request.chain,
        request.asset,
        request.amount,
        decision.fee,
        request.address,
        request.destination,
        request.priority,
        request.memo,
        one.state,
        one.reason,
        request.requested_by,
        one.findings,
        decision.approvals,
        one.found.recipient,
    )
