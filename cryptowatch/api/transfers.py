"""`/v1/transfers`: the games' side of the ledger, one by one or in batches, and the rounds that they make up.

One transfer is one posting (P2), keyed by its Idempotency-Key; in a batch by each transfer's own `key`, which is one of
the same kind: what was sent alone may be sent again in a batch, and has its effect once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cryptowatch.accounts.play import (
    Made,
    PlayRules,
    Refusal,
    Transfer,
    TransferKind,
    make_transfers,
    read_round,
)
from cryptowatch.api.accounts import BalanceView, balance_view, parse_or_refuse
from cryptowatch.api.calls import (
    Amount,
    Call,
    NoQuery,
    Reply,
    Together,
    body_id,
    not_found,
)
from cryptowatch.api.idempotency import KEY_LENGTH_MAX, Stored, effects_of, fingerprint, look_up_all
from cryptowatch.api.problems import Problem, Refused, refuse
from cryptowatch.api.services import Services
from cryptowatch.db.pool import Connection
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ids import Kind, show_derived_id, show_id
from cryptowatch.money import BaseUnits, format_amount

PATH = "/v1/transfers"
#: What an answer about a round shows at most.
ROUND_ENTRIES_MAX = 1000
#: Transfers in one batch; more take no less time each.
BATCH_MAX = 1000

SignedAmount = Annotated[str, Meta(pattern=r"^-?(0|[1-9][0-9]{0,77})(\.[0-9]{1,78})?$", max_length=158)]
Product = Annotated[str, Meta(max_length=40)]
Round = Annotated[str, Meta(min_length=1, max_length=200)]


class TransferRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """`reference`: the platform's own word for what caused it (a ticket), shown in the statement.

    `product`: what was played (`slots`, `sports`), by which turnover and commissions are kept apart. `round`: the
    game's round, whose bets and wins `GET /v1/rounds/{round}` lists.
    """

    account_id: Annotated[str, Meta(max_length=64)]
    asset: Annotated[str, Meta(max_length=200)]
    amount: SignedAmount
    kind: TransferKind
    reference: Annotated[str, Meta(max_length=200)] | None = None
    product: Product = ""
    round: Round | None = None


class KeyedTransfer(TransferRequest, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """`key`: as an Idempotency-Key, of this transfer alone."""

    key: Annotated[str, Meta(pattern=r"^[ -~]+$", min_length=1, max_length=KEY_LENGTH_MAX)]


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    transfers: Annotated[list[KeyedTransfer], Meta(min_length=1, max_length=BATCH_MAX)]


class TransferView(msgspec.Struct, frozen=True, gc=False):
    """`balance` is the account's just after this transfer."""

    id: str
    account_id: str
    asset: str
    amount: str
    kind: TransferKind
    reference: str | None
    product: str
    round: str | None
    balance: BalanceView
    created_at: datetime


class BatchProblem(msgspec.Struct, frozen=True):
    """As in the answer to one transfer."""

    code: str
    detail: str


class BatchOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one transfer. `exists`: it was made before, and is shown as it was then."""

    key: str
    status: Literal["created", "exists", "refused"]
    transfer: TransferView | None = None
    problem: BatchProblem | None = None


class BatchView(msgspec.Struct, frozen=True):
    """In the order asked."""

    outcomes: list[BatchOutcome]


class RoundEntryView(msgspec.Struct, frozen=True):
    account_id: str
    product: str
    asset: str
    kind: TransferKind
    amount: str
    created_at: datetime


class RoundView(msgspec.Struct, frozen=True):
    """What was moved in a round, oldest first: the first thousand."""

    round: str
    entries: list[RoundEntryView]


async def create_transfers(
    calls: Sequence[Call[NoQuery, TransferRequest]], conn: Connection
) -> Sequence[Reply | Problem | Refused]:
    """Those that came at once, each with its own answer."""
    services, now = calls[0].services, calls[0].now
    read = [_read_or_refuse(call) for call in calls]
    wanted = [one for one in read if isinstance(one, Transfer)]
    made = iter(await make_transfers(conn, wanted, _rules(services), now))
    return [
        _answer(call, one, next(made)) if isinstance(one, Transfer) else one
        for call, one in zip(calls, read, strict=True)
    ]


def _read_or_refuse(call: Call[NoQuery, TransferRequest]) -> Transfer | Refused:
    try:
        return _read(call.body, call.services, f"api:{call.effect}")
    except Refused as refused:
        return refused


#: Any number of them may share a transaction.
CREATE = Together("create_transfer", create_transfers, None)


def _answer(
    call: Call[NoQuery, TransferRequest], one: Transfer, made: Made | Refusal
) -> Reply | Problem | Refused:
    if isinstance(made, Made):
        return Reply(_view(call.body, one, made, call.services))
    if made.code in ("unknown_account", "idempotency_key_reused"):
        return refuse(made.code, made.detail)
    return Problem(made.code, made.detail)


async def create_transfer_batch(call: Call[NoQuery, BatchRequest], conn: Connection) -> Reply | Problem:
    """Each transfer stands for itself: one that is refused leaves the others standing.

    Raises ConcurrentUpdate when a request of its own under one of the keys was refused meanwhile.
    """
    transfers, services = call.body.transfers, call.services
    answers = await _answers_alone(call, conn)
    effect = effects_of(call.caller.id)
    read = [
        _refusal_alone(answers.get(place)) or _read_or_refusal(asked, services, f"api:{effect(asked.key)}")
        for place, asked in enumerate(transfers)
    ]
    wanted = [one for one in read if isinstance(one, Transfer)]
    made = iter(await make_transfers(conn, wanted, _rules(services), call.now))
    # A request of its own decides while it holds the balance that the batch has waited for: what it was refused by is
    # committed by now, or it comes after the batch and finds the transfer made.
    late = await _answers_alone(call, conn)
    if any(_refusal_alone(answer) for place, answer in late.items() if place not in answers):
        raise ConcurrentUpdate("a transfer was refused alone meanwhile")
    outcomes = [
        _outcome(asked, one, next(made), services) if isinstance(one, Transfer) else _refused(asked.key, one)
        for asked, one in zip(transfers, read, strict=True)
    ]
    return Reply(BatchView(outcomes))


async def _answers_alone(
    call: Call[NoQuery, BatchRequest], conn: Connection
) -> Mapping[int, Stored | Problem]:
    """What requests of their own under the transfers' keys were answered, by place."""
    transfers = call.body.transfers
    keys = [one.key for one in transfers]
    return await look_up_all(conn, call.caller.id, keys, lambda n: _fingerprint_alone(transfers[n]))


def _fingerprint_alone(asked: KeyedTransfer) -> bytes:
    """As of a request of its own under its key."""
    fields = {name: getattr(asked, name) for name in TransferRequest.__struct_fields__}
    return fingerprint("POST", PATH, TransferRequest(**fields))


def _read_or_refusal(asked: KeyedTransfer, services: Services, key: str) -> Transfer | Refusal:
    try:
        return _read(asked, services, key)
    except Refused as refused:
        return Refusal(refused.problem.code, refused.problem.detail)


def _refusal_alone(answer: Stored | Problem | None) -> Refusal | None:
    """`answer`: of a request of its own. What that was refused by for good stays refused: it is told so again."""
    if isinstance(answer, Problem):
        return Refusal(answer.code, answer.detail)
    if answer is None or answer.status < HTTPStatus.BAD_REQUEST:
        return None
    told = msgspec.json.decode(answer.body, type=BatchProblem)
    return Refusal(told.code, told.detail)


def _outcome(asked: KeyedTransfer, one: Transfer, made: Made | Refusal, services: Services) -> BatchOutcome:
    if isinstance(made, Refusal):
        return _refused(asked.key, made)
    status: Literal["created", "exists"] = "created" if made.created else "exists"
    return BatchOutcome(asked.key, status, transfer=_view(asked, one, made, services))


def _refused(key: str, refusal: Refusal) -> BatchOutcome:
    return BatchOutcome(key, "refused", problem=BatchProblem(refusal.code, refusal.detail))


async def get_round(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    name, decimals = call.path["round"], call.services.decimals
    entries = [] if "\x00" in name else await read_round(conn, name, ROUND_ENTRIES_MAX)
    if not entries:
        raise not_found()
    shown = [
        RoundEntryView(
            account_id=show_id(Kind.ACCOUNT, entry.account_id),
            product=entry.product,
            asset=entry.asset,
            kind=entry.kind,
            amount=format_amount(entry.amount, decimals[entry.asset]),
            created_at=entry.created_at,
        )
        for entry in entries
    ]
    return Reply(RoundView(name, shown))


def _rules(services: Services) -> PlayRules:
    return PlayRules(services.decimals, services.settings.accounts.rate_max_age_s)


def _read(wanted: TransferRequest, services: Services, key: str) -> Transfer:
    """Raises Refused for what cannot be posted, whoever asks."""
    decimals = services.decimals.get(wanted.asset)
    if decimals is None:
        raise refuse("unknown_asset", "no such asset")
    text = wanted.amount.removeprefix("-")
    takes = text != wanted.amount
    if takes and wanted.kind is not TransferKind.ADJUSTMENT:
        raise refuse("invalid_amount", "only an adjustment may be negative")
    return Transfer(
        key=key,
        account_id=body_id(Kind.ACCOUNT, wanted.account_id, "unknown_account"),
        asset=wanted.asset,
        kind=wanted.kind,
        amount=read_amount(text, decimals),
        takes=takes,
        product=wanted.product,
        round=wanted.round,
        reference=wanted.reference,
    )


def _view(wanted: TransferRequest, one: Transfer, made: Made, services: Services) -> TransferView:
    return TransferView(
        id=show_derived_id(Kind.TRANSFER, made.created_at, one.key.encode()),
        account_id=wanted.account_id,
        asset=wanted.asset,
        amount=wanted.amount,
        kind=wanted.kind,
        reference=wanted.reference,
        product=wanted.product,
        round=wanted.round,
        balance=balance_view(wanted.asset, made.balance, services.decimals[wanted.asset]),
        created_at=made.created_at,
    )


def read_amount(text: Amount, decimals: int) -> BaseUnits:
    """Raises Refused (422 invalid_amount) for zero, too many decimals, or more than 256 bits."""
    amount = parse_or_refuse(text, decimals)
    if amount == 0:
        raise refuse("invalid_amount", "the amount is zero")
    return amount
