"""A withdrawal as the API and the events show it (`CONTRACT`: GET /v1/withdrawals)."""

from datetime import datetime

import asyncpg
import msgspec

from cryptowatch.ids import Kind, show_id
from cryptowatch.money import format_amount
from cryptowatch.payouts.machine import State


class WithdrawalView(msgspec.Struct, frozen=True):
    id: str
    account_id: str
    asset: str
    chain: str
    amount: str
    fee: str
    address: str
    priority: str
    memo: str | None
    state: State
    reason: str | None
    transaction_id: str | None
    tx_hash: str | None
    position: int | None
    requested_by: str
    created_at: datetime
    queued_at: datetime | None
    updated_at: datetime


def withdrawal_view(row: asyncpg.Record, decimals: int) -> WithdrawalView:
    """`row`: a row of `withdrawal`."""
    return WithdrawalView(
        id=show_id(Kind.WITHDRAWAL, row["id"]),
        account_id=show_id(Kind.ACCOUNT, row["account_id"]),
        asset=row["asset"],
        chain=row["chain"],
        amount=format_amount(row["amount"], decimals),
        fee=format_amount(row["fee"], decimals),
        address=row["address"],
        priority=row["priority"],
        memo=row["memo"],
        state=State(row["state"]),
        reason=row["reason"],
        transaction_id=None if row["lineage_id"] is None else show_id(Kind.TRANSACTION, row["lineage_id"]),
        tx_hash=None if row["tx_hash"] is None else row["tx_hash"].hex(),
        position=row["position"],
        requested_by=row["requested_by"],
        created_at=row["created_at"],
        queued_at=row["queued_at"],
        updated_at=row["updated_at"],
    )
