"""What assets are worth in the reference currency, as the platform last said. For limits across assets, not for money.

Called by the API (which writes) and by `play` (which reads).
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from cryptowatch.accounts.limits import REFERENCE_DECIMALS
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.money import format_amount

SQL = load_queries(__package__, "rates.sql")


class RateView(msgspec.Struct, frozen=True):
    """`rate`: what one whole unit of the asset is worth in the reference currency."""

    asset: str
    rate: str
    updated_at: datetime


async def write_rates(conn: Connection, rates: Mapping[str, int], now: datetime) -> None:
    """10^-12 of the reference currency for one whole unit. What was said later stands."""
    ordered = sorted(rates)
    await conn.execute(SQL["write"], ordered, [rates[asset] for asset in ordered], now)


async def read_rates(conn: Connection, since: datetime) -> dict[str, int]:
    """Those that were told since then."""
    return {row["asset"]: int(row["rate"]) for row in await conn.fetch(SQL["read"], since)}


async def list_rates(conn: Connection) -> list[RateView]:
    """All, by asset."""
    return [
        RateView(row["asset"], format_amount(int(row["rate"]), REFERENCE_DECIMALS), row["updated_at"])
        for row in await conn.fetch(SQL["read"], None)
    ]
