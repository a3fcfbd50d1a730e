"""A deposit as the API and the events show it (`CONTRACT`: GET /v1/deposits)."""

from datetime import datetime
from uuid import UUID

import msgspec

from cryptowatch.deposits.machine import Deposit, State
from cryptowatch.ids import Kind, show_id
from cryptowatch.money import format_amount


class RequiredView(msgspec.Struct, frozen=True):
    credit: int
    finalize: int


class BlockView(msgspec.Struct, frozen=True):
    height: int
    hash: str


class DepositView(msgspec.Struct, frozen=True):
    id: str
    account_id: str
    chain: str
    asset: str
    amount: str
    tx_hash: str
    position: int
    address: str
    state: State
    confirmations: int
    required: RequiredView
    block: BlockView | None
    quarantine_reason: str | None
    conflict_tx_hash: str | None
    created_at: datetime
    updated_at: datetime


def deposit_view(
    *,
    deposit_id: UUID,
    account_id: UUID,
    chain: str,
    asset: str,
    amount: int,
    decimals: int,
    tx_hash: bytes,
    position: int,
    address: str,
    deposit: Deposit,
    head_height: int,
    conflict: bytes | None,
    created_at: datetime,
    updated_at: datetime,
) -> DepositView:
    """`head_height` is the chain's height as the ledger knows it: confirmations count from there."""
    block = deposit.block
    return DepositView(
        id=show_id(Kind.DEPOSIT, deposit_id),
        account_id=show_id(Kind.ACCOUNT, account_id),
        chain=chain,
        asset=asset,
        amount=format_amount(amount, decimals),
        tx_hash=tx_hash.hex(),
        position=position,
        address=address,
        state=deposit.state,
        confirmations=0 if block is None else max(0, head_height - block.height + 1),
        required=RequiredView(deposit.credit_confirmations, deposit.finalize_confirmations),
        block=None if block is None else BlockView(block.height, block.hash.hex()),
        quarantine_reason=deposit.quarantine,
        conflict_tx_hash=None if conflict is None else conflict.hex(),
        created_at=created_at,
        updated_at=updated_at,
    )
