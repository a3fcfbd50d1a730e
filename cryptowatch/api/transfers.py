"""`/v1/transfers`: the games' side of the ledger.

One transfer is one posting, keyed by its Idempotency-Key (P2).
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from cryptowatch.accounts.players import Player, Status, read_player
from cryptowatch.api.accounts import BalanceView, balance_view, parse_or_refuse
from cryptowatch.api.calls import TEXT, Call, Id, NoQuery, Reply, Text, body_id
from cryptowatch.api.problems import Problem, refuse
from cryptowatch.db.pool import Connection
from cryptowatch.ids import Kind, derived_id, show_id
from cryptowatch.ledger.accounts import ensure_accounts, house, player
from cryptowatch.ledger.postings import post
from cryptowatch.ledger.rules import CustomerAccount, HouseAccount, Posting, customer_posting
from cryptowatch.ledger.rules import Kind as PostingKind
from cryptowatch.ledger.rules import Status as PostingStatus
from cryptowatch.money import BaseUnits


class TransferKind(StrEnum):
    BET = "bet"
    WIN = "win"
    REFUND = "refund"
    BONUS = "bonus"
    ADJUSTMENT = "adjustment"  # a person's correction; a negative amount takes


#: kind -> (posting, the house's side)
_POSTINGS = {
    TransferKind.BET: (PostingKind.BET, "game"),
    TransferKind.WIN: (PostingKind.WIN, "game"),
    TransferKind.REFUND: (PostingKind.REFUND, "game"),
    TransferKind.BONUS: (PostingKind.BONUS, "bonus"),
    TransferKind.ADJUSTMENT: (PostingKind.ADJUSTMENT_CREDIT, "adjustment"),
}

SignedAmount = Annotated[str, Meta(pattern=r"^-?(0|[1-9][0-9]{0,77})(\.[0-9]{1,78})?$", max_length=158)]


class TransferRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`reference`: the platform's own word for what caused it (a round, a ticket). Shown in the statement."""

    account_id: Id
    asset: Text
    amount: SignedAmount
    kind: TransferKind
    reference: Annotated[str, Meta(pattern=TEXT, max_length=200)] | None = None


class TransferView(msgspec.Struct, frozen=True):
    """`balance` is the account's just after this transfer."""

    id: str
    account_id: str
    asset: str
    amount: str
    kind: TransferKind
    reference: str | None
    balance: BalanceView
    created_at: datetime


async def create_transfer(call: Call[NoQuery, TransferRequest], conn: Connection) -> Reply | Problem:
    """A frozen or self-excluded player cannot bet.

    What was bet before can still be won, refunded, corrected.
    """
    wanted = call.body
    decimals = call.services.decimals.get(wanted.asset)
    if decimals is None:
        raise refuse("unknown_asset", "no such asset")
    kind, role, amount = _posting(wanted, decimals)
    account_id = body_id(Kind.ACCOUNT, wanted.account_id, "unknown_account")
    found = await read_player(conn, account_id)
    if found is None:
        raise refuse("unknown_account", "no such account")
    if refused := _standing(found, wanted.kind):
        return refused
    own, other = await ensure_accounts(conn, [player(account_id, wanted.asset), house(role, wanted.asset)])
    posting = customer_posting(
        kind,
        f"api:{call.effect}",
        CustomerAccount(own),
        HouseAccount(other),
        amount,
        reference=wanted.reference,
    )
    return await _posted(call, conn, posting, decimals)


async def _posted(
    call: Call[NoQuery, TransferRequest], conn: Connection, posting: Posting, decimals: int
) -> Reply | Problem:
    posted = await post(conn, posting, call.now)
    if posted.status is PostingStatus.INSUFFICIENT_FUNDS:
        return Problem("insufficient_funds", "the playable balance does not cover the amount")
    if posted.status is PostingStatus.CONFLICT:
        # Only when the stored answer was forgotten: the ledger's key outlives it.
        raise refuse("idempotency_key_reused", "use a new key for a new request")
    assert posted.done
    assert posted.balance is not None
    wanted = call.body
    return Reply(
        TransferView(
            id=show_id(Kind.TRANSFER, derived_id(call.now, posting.key.encode())),
            account_id=wanted.account_id,
            asset=wanted.asset,
            amount=wanted.amount,
            kind=wanted.kind,
            reference=wanted.reference,
            balance=balance_view(wanted.asset, posted.balance, decimals),
            created_at=call.now,
        )
    )


def _posting(wanted: TransferRequest, decimals: int) -> tuple[PostingKind, str, BaseUnits]:
    """Raises Refused for an amount that cannot be posted."""
    kind, role = _POSTINGS[wanted.kind]
    text = wanted.amount
    if text.startswith("-"):
        if wanted.kind is not TransferKind.ADJUSTMENT:
            raise refuse("invalid_amount", "only an adjustment may be negative")
        kind, text = PostingKind.ADJUSTMENT_DEBIT, text[1:]
    return kind, role, read_amount(text, decimals)


def read_amount(text: str, decimals: int) -> BaseUnits:
    """Raises Refused (422 invalid_amount) for zero, too many decimals, or more than 256 bits."""
    amount = parse_or_refuse(text, decimals)
    if amount == 0:
        raise refuse("invalid_amount", "the amount is zero")
    return amount


def _standing(found: Player, kind: TransferKind) -> Problem | None:
    if kind is TransferKind.BET and found.status is not Status.ACTIVE:
        return Problem("account_not_active", f"the account is {found.status}")
    return None
