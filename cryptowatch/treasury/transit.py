"""The ledger's side of money between hot and cold: what is on its way has an account of its own (P7).

Called by `rebalances` inside its transactions. What a chain holds for the house is in three accounts, each minus what
is there: `custody:CHAIN` (hot), `in_transit:CHAIN` and `cold:CHAIN`. Their sum changes by network fees only, so that it
equals the chain at every block, whichever block the transaction is in. Keys are made of the rebalance: each step is
booked once.
"""

from datetime import datetime
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.ledger.accounts import ensure_accounts, house
from cryptowatch.ledger.postings import post_all
from cryptowatch.ledger.rules import HouseAccount, house_transfer
from cryptowatch.money import BaseUnits
from cryptowatch.treasury.bands import Direction

#: Where a chain's money is, as the ledger's roles name it.
PLACES = HOT, IN_TRANSIT, COLD = "custody", "in_transit", "cold"


def way(direction: Direction) -> tuple[str, str]:
    """(where it leaves, where it arrives)"""
    return (HOT, COLD) if direction is Direction.OVERFLOW else (COLD, HOT)


async def move(
    conn: Connection,
    chain: str,
    asset: str,
    *,
    key: str,
    rebalance_id: UUID,
    places: tuple[str, str],
    amount: int,
    now: datetime,
) -> None:
    """`places`: (from, to). Holdings are negative balances, so that value goes the other way. Idempotent by the key."""
    here, there = await ensure_accounts(conn, [house(f"{place}:{chain}", asset) for place in places])
    await post_all(
        conn,
        [
            house_transfer(
                f"rebalance:{rebalance_id.hex}:{key}",
                HouseAccount(there),
                HouseAccount(here),
                BaseUnits(amount),
            )
        ],
        now,
    )
