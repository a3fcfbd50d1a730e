"""Referrals and rewards as the API and the events show them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg
import msgspec

from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent
from cryptowatch.money import format_amount
from cryptowatch.referrals.machine import State

Row: TypeAlias = asyncpg.Record | Mapping[str, Any]


class ReferralView(msgspec.Struct, frozen=True):
    """`state`: pending until the programme's act is done, then qualified.

    `referrers`: by level, the direct one first.
    """

    id: str
    account_id: str
    referrer_id: str
    referrers: list[str]
    code: str
    programme_id: str | None
    terms_version: int | None
    state: str
    deposit_id: str | None
    circular: bool
    attributed_at: datetime
    updated_at: datetime


class RewardView(msgspec.Struct, frozen=True):
    """What `referrer_id` earns by the referral of `account_id`.

    `findings`: what spoke against it when it was last looked at. `decided_by`: the key of the person who decided.
    """

    id: str
    referrer_id: str
    account_id: str
    level: int
    programme_id: str
    terms_version: int
    deposit_id: str | None
    asset: str
    amount: str
    state: State
    findings: list[str]
    reason: str | None
    decided_by: str | None
    due_at: datetime
    created_at: datetime
    updated_at: datetime


def referral_view(row: Row) -> ReferralView:
    programme_id, deposit_id = row["programme_id"], row["deposit_id"]
    return ReferralView(
        id=show_id(Kind.REFERRAL, row["account_id"]),
        account_id=show_id(Kind.ACCOUNT, row["account_id"]),
        referrer_id=show_id(Kind.ACCOUNT, row["referrer_id"]),
        referrers=[show_id(Kind.ACCOUNT, ancestor) for ancestor in row["ancestors"]],
        code=row["code"],
        programme_id=None if programme_id is None else show_id(Kind.PROGRAMME, programme_id),
        terms_version=row["terms_version"],
        state=row["state"],
        deposit_id=None if deposit_id is None else show_id(Kind.DEPOSIT, deposit_id),
        circular=row["circular"],
        attributed_at=row["attributed_at"],
        updated_at=row["updated_at"],
    )


def referral_event(row: Row, what: str, version: int, now: datetime) -> NewEvent:
    view = referral_view(row)
    return NewEvent(
        type=f"referral.{what}",
        entity_kind="referral",
        entity_id=view.id,
        entity_version=version,
        account_id=row["account_id"],
        data=msgspec.json.encode(view).decode(),
        created_at=now,
    )


def decimals_of(row: Row, decimals: Mapping[str, int]) -> int:
    """Of a reward's asset, as its terms keep it; else those of the settings.

    Where nobody knows them any more amounts are shown in base units: better a long number than none.
    """
    own: int | None = row["decimals"]
    return decimals.get(row["asset"], 0) if own is None else own


def reward_view(row: Row, decimals: int) -> RewardView:
    deposit_id = row["deposit_id"]
    return RewardView(
        id=show_id(Kind.REWARD, row["id"]),
        referrer_id=show_id(Kind.ACCOUNT, row["referrer_id"]),
        account_id=show_id(Kind.ACCOUNT, row["account_id"]),
        level=row["level"],
        programme_id=show_id(Kind.PROGRAMME, row["programme_id"]),
        terms_version=row["terms_version"],
        deposit_id=None if deposit_id is None else show_id(Kind.DEPOSIT, deposit_id),
        asset=row["asset"],
        amount=format_amount(row["amount"], decimals),
        state=State(row["state"]),
        findings=list(row["findings"]),
        reason=row["reason"],
        decided_by=row["decided_by"],
        due_at=row["due_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


#: What a reward's new state is told as.
_TOLD = {State.PAID: "rewarded"}


def reward_event(row: Row, decimals: int, now: datetime, what: str | None = None) -> NewEvent:
    """Told to the referrer. `what`: when the state does not say it."""
    view = reward_view(row, decimals)
    return NewEvent(
        type=f"referral.{what or _TOLD.get(view.state, view.state)}",
        entity_kind="referral_reward",
        entity_id=view.id,
        entity_version=row["version"],
        account_id=row["referrer_id"],
        data=msgspec.json.encode(view).decode(),
        created_at=now,
    )
