"""`/v1/withdrawals`: request, list, approve, reject, cancel. What is allowed is decided in `payouts`."""

from collections.abc import Sequence
from typing import Annotated, Literal

import asyncpg
import msgspec
from msgspec import Meta

from cryptowatch.api.calls import (
    TEXT,
    Amount,
    Call,
    Id,
    NoQuery,
    Page,
    PageQuery,
    Reply,
    Text,
    Together,
    body_id,
    not_found,
)
from cryptowatch.api.paging import page, page_size, uuid_cursor
from cryptowatch.api.problems import Problem, Refused, refuse
from cryptowatch.api.transfers import read_amount
from cryptowatch.db.pool import Connection
from cryptowatch.ids import Kind
from cryptowatch.payouts.destination import read_destination
from cryptowatch.payouts.listing import Filter, list_withdrawals, read_withdrawal
from cryptowatch.payouts.machine import Event, State
from cryptowatch.payouts.policy import Refusal
from cryptowatch.payouts.requests import Request, request_withdrawals
from cryptowatch.payouts.reviews import Person, decide
from cryptowatch.payouts.travel import TravelRule, read_travel_rule
from cryptowatch.payouts.view import WithdrawalView, withdrawal_view

WithdrawalPage = Page[WithdrawalView]


class WithdrawalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`amount` is what arrives; the fee is taken from the account on top of it."""

    account_id: Id
    asset: Text
    chain: Text
    amount: Amount
    address: Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=200)]
    priority: Literal["economy", "normal", "urgent"] = "normal"
    memo: Annotated[str, Meta(pattern=TEXT, max_length=200)] | None = None
    #: Stored apart, and shown to the scope `compliance` alone.
    travel_rule: TravelRule | None = None


class WithdrawalsQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    account_id: Id | None = None
    state: State | None = None
    chain: Text | None = None


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why, for the record: shown as the withdrawal's `reason`."""

    reason: Annotated[str, Meta(pattern=TEXT, max_length=500)] | None = None


async def create_withdrawals(
    calls: Sequence[Call[NoQuery, WithdrawalRequest]], conn: Connection
) -> Sequence[Reply | Problem | Refused]:
    """Those that came at once, each with its own answer."""
    read = [_read(call) for call in calls]
    requests = [one for one in read if isinstance(one, Request)]
    services, now = calls[0].services, calls[0].now
    answers = iter(await request_withdrawals(conn, requests, services.denied(), now))
    return [_answer(next(answers)) if isinstance(one, Request) else one for one in read]


def _answer(answer: WithdrawalView | Refusal) -> Reply | Problem | Refused:
    if not isinstance(answer, Refusal):
        return Reply(answer)
    if answer.code == "unknown_account":
        return refuse(answer.code, answer.detail)
    return Problem(answer.code, answer.detail)


def _read(call: Call[NoQuery, WithdrawalRequest]) -> Request | Problem | Refused:
    try:
        request = _request(call)
    except Refused as refused:
        return refused
    return Problem(request.code, request.detail) if isinstance(request, Refusal) else request


def _request(call: Call[NoQuery, WithdrawalRequest]) -> Request | Refusal:
    """Raises Refused for what never began: a chain, an asset, an amount that there cannot be."""
    wanted, services = call.body, call.services
    if wanted.chain not in services.settings.chains:
        raise refuse("unknown_chain", "no such chain")
    policy = services.withdrawal_policies.get((wanted.chain, wanted.asset))
    if policy is None:
        raise refuse("unknown_asset", "the chain has no such asset")
    amount = read_amount(wanted.amount, policy.decimals)
    account_id = body_id(Kind.ACCOUNT, wanted.account_id, "unknown_account")
    destination = read_destination(wanted.address, wanted.chain, services.read_address)
    if isinstance(destination, Refusal):
        return destination
    return Request(
        withdrawal_id=services.new_id(call.now),
        account_id=account_id,
        chain=wanted.chain,
        asset=wanted.asset,
        amount=amount,
        address=wanted.address,
        destination=destination,
        priority=wanted.priority,
        memo=wanted.memo,
        requested_by=call.caller.shown_id,
        policy=policy,
        travel_rule=None if wanted.travel_rule is None else msgspec.json.encode(wanted.travel_rule).decode(),
    )


#: One account at a time: its requests must see each other.
CREATE = Together("create_withdrawal", create_withdrawals, lambda body: str(body.account_id))


async def list_all_withdrawals(call: Call[WithdrawalsQuery, None], conn: Connection) -> Reply | Problem:
    query, decimals = call.query, call.services.decimals
    limit = page_size(query, call.services.settings.api.page_size_max)
    account_id = None
    if query.account_id is not None:
        account_id = body_id(Kind.ACCOUNT, query.account_id, "invalid_request")
    wanted = Filter(account_id, query.state, query.chain)
    rows = await list_withdrawals(conn, wanted, limit=limit + 1, before=uuid_cursor(query))
    return Reply(
        page(rows, limit, lambda row: row["id"], lambda row: withdrawal_view(row, decimals[row["asset"]]))
    )


async def get_withdrawal(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    row = await _withdrawal(call, conn)
    return Reply(withdrawal_view(row, call.services.decimals[row["asset"]]))


async def get_travel_rule(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    found = await read_travel_rule(conn, call.path_id(Kind.WITHDRAWAL))
    if found is None:
        raise not_found()
    return Reply(found)


async def approve_withdrawal(call: Call[NoQuery, Decision], conn: Connection) -> Reply | Problem:
    return await _decide(call, conn, Event.APPROVE)


async def reject_withdrawal(call: Call[NoQuery, Decision], conn: Connection) -> Reply | Problem:
    return await _decide(call, conn, Event.REJECT)


async def cancel_withdrawal(call: Call[NoQuery, Decision], conn: Connection) -> Reply | Problem:
    return await _decide(call, conn, Event.CANCEL)


async def _withdrawal(call: Call[NoQuery, object], conn: Connection) -> asyncpg.Record:
    row = await read_withdrawal(conn, call.path_id(Kind.WITHDRAWAL))
    if row is None:
        raise not_found()
    return row


async def _decide(call: Call[NoQuery, Decision], conn: Connection, event: Event) -> Reply | Problem:
    row = await _withdrawal(call, conn)
    answer = await decide(
        conn,
        row["id"],
        event,
        by=Person(call.caller.shown_id, call.body.reason),
        denied=call.services.denied(),
        decimals=call.services.decimals[row["asset"]],
        now=call.now,
    )
    if answer is None:
        raise not_found()
    return Problem(answer.code, answer.detail) if isinstance(answer, Refusal) else Reply(answer)
