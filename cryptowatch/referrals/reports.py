"""What there is to see: one account's standing, rewards, the best referrers, what a programme costs. By index alone.

Called by the API. Counts follow the feed, within a second when the role `referrals` runs; money is exact.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.money import format_amount
from cryptowatch.referrals.machine import State
from cryptowatch.referrals.view import ReferralView, referral_view

SQL = load_queries(__package__, "reports.sql")


class LevelView(msgspec.Struct, frozen=True):
    """Accounts that many steps below. `conversion_ppm`: how many of a million of them qualified."""

    level: int
    referred: int
    qualified: int
    conversion_ppm: int


class EarnedView(msgspec.Struct, frozen=True):
    """`open`: held, or flagged."""

    asset: str
    open: str
    paid: str


class SummaryView(msgspec.Struct, frozen=True):
    """`referral`: how the account itself was referred."""

    account_id: str
    referral: ReferralView | None
    levels: list[LevelView]
    earned: list[EarnedView]


class ReferrerView(msgspec.Struct, frozen=True):
    """Of the accounts that it referred itself, under all programmes."""

    account_id: str
    referred: int
    qualified: int


class LeaderView(msgspec.Struct, frozen=True):
    account_id: str
    open: str
    paid: str


class CostView(msgspec.Struct, frozen=True):
    """Of an asset, over all referrers of the programme; what was reversed is not in it."""

    asset: str
    referrers: int
    open: str
    paid: str


@dataclass(frozen=True, slots=True)
class Filter:
    """What is None is not asked."""

    referrer_id: UUID | None
    state: State | None


async def summary(conn: Connection, account_id: UUID, decimals: Mapping[str, int]) -> SummaryView:
    referral = await conn.fetchrow(SQL["referral"], account_id)
    levels = await conn.fetch(SQL["levels"], account_id)
    earned = await conn.fetch(SQL["earned"], account_id)
    known = await _shown_by(conn, [row["asset"] for row in earned], decimals)
    return SummaryView(
        account_id=show_id(Kind.ACCOUNT, account_id),
        referral=None if referral is None else referral_view(referral),
        levels=[LevelView(*row) for row in levels],
        earned=[
            EarnedView(asset, format_amount(opened, known[asset]), format_amount(paid, known[asset]))
            for asset, opened, paid in earned
        ],
    )


async def list_referrals(
    conn: Connection, referrer_id: UUID, *, limit: int, before: UUID | None
) -> Sequence[asyncpg.Record]:
    """Whom an account referred itself."""
    return await conn.fetch(SQL["referrals"], referrer_id, before, limit)


async def read_reward(conn: Connection, reward_id: UUID) -> asyncpg.Record | None:
    return await conn.fetchrow(SQL["reward"], reward_id)


async def list_rewards(
    conn: Connection, wanted: Filter, *, limit: int, before: UUID | None
) -> Sequence[asyncpg.Record]:
    if wanted.referrer_id is not None:
        return await conn.fetch(SQL["rewards_by_referrer"], before, limit, wanted.state, wanted.referrer_id)
    if wanted.state is not None:
        return await conn.fetch(SQL["rewards_by_state"], before, limit, wanted.state)
    return await conn.fetch(SQL["rewards_newest"], before, limit)


async def leaderboard(
    conn: Connection, programme_id: UUID, asset: str, decimals: int, limit: int
) -> list[LeaderView]:
    rows = await conn.fetch(SQL["best_paid"], programme_id, asset, limit)
    return [
        LeaderView(
            show_id(Kind.ACCOUNT, row["referrer_id"]),
            format_amount(row["open"], decimals),
            format_amount(row["paid"], decimals),
        )
        for row in rows
    ]


async def best_referrers(conn: Connection, limit: int) -> list[ReferrerView]:
    """Most accounts that qualified first; who has none is not among them."""
    rows = await conn.fetch(SQL["best_referrers"], limit)
    return [
        ReferrerView(show_id(Kind.ACCOUNT, row["referrer_id"]), row["referred"], row["qualified"])
        for row in rows
    ]


async def programme_cost(conn: Connection, programme_id: UUID, decimals: Mapping[str, int]) -> list[CostView]:
    rows = await conn.fetch(SQL["cost"], programme_id)
    known = await _shown_by(conn, [row["asset"] for row in rows], decimals)
    return [
        CostView(
            row["asset"],
            row["referrers"],
            format_amount(row["open"], known[row["asset"]]),
            format_amount(row["paid"], known[row["asset"]]),
        )
        for row in rows
    ]


async def known_decimals(conn: Connection, asset: str, decimals: Mapping[str, int]) -> int | None:
    """Of an asset of the settings, or of one that terms name; None: nobody knows it."""
    own = decimals.get(asset)
    kept: int | None = await conn.fetchval(SQL["decimals"], asset) if own is None else own
    return kept


async def _shown_by(
    conn: Connection, assets: Iterable[str], decimals: Mapping[str, int]
) -> Mapping[str, int]:
    """Each asset's decimals. Else 0, as `view.decimals_of`."""
    return {asset: await known_decimals(conn, asset, decimals) or 0 for asset in assets}
