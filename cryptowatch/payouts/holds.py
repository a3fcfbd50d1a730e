"""Withdrawals that waited for a case about their account, or for a screening's verdict, go on by themselves, or end.

Called by `worker` in each step. What else may have changed meanwhile is asked as at any withdrawal in the queue: the
account's standing and debt here and by `moves.set_aside`, the deny list here and in the transaction that would send.
"""

from collections.abc import Mapping
from datetime import datetime

from cryptowatch.chains.denied import Denied
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.payouts.machine import Event
from cryptowatch.payouts.moves import move

SQL = load_queries(__package__, "holds.sql")

_AT_ONCE = 100


async def let_go(
    conn: Connection, chain: str, denied: Denied, decimals: Mapping[str, int], now: datetime
) -> int:
    """How many went on, or were rejected."""
    gone = 0
    for row in await conn.fetch(SQL["refused"], chain, _AT_ONCE):
        rejected = await move(
            conn, row, Event.REJECT, decimals[row["asset"]], now, reason="screening_refused"
        )
        gone += rejected is not None
    for row in await conn.fetch(SQL["released"], chain, _AT_ONCE):
        inside = row["recipient"] is not None
        if inside and denied.covers(chain, row["destination"], row["address"]):
            continue
        event = Event.PAY_INSIDE if inside else Event.APPROVE
        gone += await move(conn, row, event, decimals[row["asset"]], now) is not None
    return gone
