"""What a chain's hot and cold wallet hold of an asset. Called by `rebalancer` and by the API. Reads only."""

from dataclasses import dataclass
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.treasury.bands import Standing

SQL = load_queries(__package__, "wallets.sql")


@dataclass(frozen=True, slots=True)
class Wallets:
    """Of one asset, in base units, all of one snapshot."""

    hot: Standing
    in_transit: int
    cold: int
    open_rebalance: UUID | None


async def read_wallets(conn: Connection, chain: str, asset: str, finality: int) -> Wallets:
    """`finality`: the depth from which on nothing is undone. Nothing at all while the chain was never started."""
    row = await conn.fetchrow(SQL["standing"], chain, asset, finality)
    assert row is not None, "sums have one row"
    return Wallets(
        Standing(row["confirmed"], row["final"], row["queued"]),
        row["in_transit"],
        row["cold"],
        row["open_rebalance"],
    )
