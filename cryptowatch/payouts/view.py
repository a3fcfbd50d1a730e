"""A withdrawal as the API and the events show it (`CONTRACT`: GET /v1/withdrawals)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg
import msgspec

from cryptowatch.ids import Kind, show_id
from cryptowatch.money import format_amount
from cryptowatch.payouts.machine import State
from cryptowatch.payouts.policy import Finding


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
    #: What each rule of the policy found when it was asked for.
    decision: list[Finding]
    #: How many people must approve, and the keys of those who did in this review, or the last one.
    approvals_needed: int
    approved_by: list[str]
    #: The player of this platform whom the address belongs to: paid in the ledger. Null: paid on the chain.
    recipient_account_id: str | None
    transaction_id: str | None
    tx_hash: str | None
    position: int | None
    requested_by: str
    created_at: datetime
    queued_at: datetime | None
    updated_at: datetime


class ReceivedView(msgspec.Struct, frozen=True):
    """A withdrawal that was paid in the ledger, as its recipient sees it (event `transfer.received`)."""

    id: str
    account_id: str
    asset: str
    chain: str
    address: str
    amount: str
    withdrawal_id: str
    created_at: datetime


_read_findings = msgspec.json.Decoder(list[Finding]).decode


#: A row of `withdrawal`, or what will be one.
Row: TypeAlias = asyncpg.Record | Mapping[str, Any]


def withdrawal_view(row: Row, decimals: int, findings: Sequence[Finding] | None = None) -> WithdrawalView:
    """`findings`: the row's `decision`, where it was read already."""
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
        decision=_read_findings(row["decision"]) if findings is None else list(findings),
        approvals_needed=row["approvals_needed"],
        approved_by=list(row["approved_by"]),
        recipient_account_id=None if row["recipient"] is None else show_id(Kind.ACCOUNT, row["recipient"]),
        transaction_id=None if row["lineage_id"] is None else show_id(Kind.TRANSACTION, row["lineage_id"]),
        tx_hash=None if row["tx_hash"] is None else row["tx_hash"].hex(),
        position=row["position"],
        requested_by=row["requested_by"],
        created_at=row["created_at"],
        queued_at=row["queued_at"],
        updated_at=row["updated_at"],
    )
