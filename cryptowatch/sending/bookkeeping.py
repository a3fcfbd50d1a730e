"""The ledger's side of our own transactions: the network's fee, paid by the house, booked when it is final.

Called by `track` inside a block's transaction.
"""

from collections.abc import Sequence
from datetime import datetime

from cryptowatch.db.pool import Connection
from cryptowatch.ledger.accounts import ensure_accounts, house
from cryptowatch.ledger.postings import post_all
from cryptowatch.ledger.rules import HouseAccount, house_transfer
from cryptowatch.money import BaseUnits


async def post_network_fees(
    conn: Connection,
    chain: str,
    asset: str,
    fees: Sequence[tuple[bytes, int]],
    now: datetime,
) -> None:
    """(transaction, fee in base units) of each that became final. Idempotent by the transaction's hash."""
    if not fees:
        return
    expense, custody = await ensure_accounts(
        conn, [house(f"network_fees:{chain}", asset), house(f"custody:{chain}", asset)]
    )
    await post_all(
        conn,
        [
            house_transfer(
                f"tx:{chain}:{tx_hash.hex()}:fee",
                HouseAccount(expense),
                HouseAccount(custody),
                BaseUnits(fee),
            )
            for tx_hash, fee in fees
        ],
        now,
    )
