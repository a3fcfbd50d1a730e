"""Takes a transaction that the cold wallet signed as one of ours: from here on it is sent and tracked like any other.

Called by `treasury.refills` inside the transaction of a request. Keeps P3 and P4: what it uses is reserved, and its
bytes are committed, before any node sees them.
"""

from datetime import datetime
from uuid import UUID

from cryptowatch.chains.plans import Coin, Plan
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.sending.coins import reserve_coins
from cryptowatch.sending.reserve import insert_attempt, insert_lineage, sending_height

COINS, ACCOUNTS = load_queries(__package__, "coins.sql"), load_queries(__package__, "accounts.sql")

_NONCE_BYTES = 8
#: One refill is signed by a person, on a device: few inputs, the largest first.
_COINS_MAX = 50


async def adopt(
    conn: Connection,
    chain: str,
    lineage_id: UUID,
    plan: Plan,
    signed: tuple[bytes, bytes],
    now: datetime,
    *,
    coins: bool,
) -> None:
    """`signed`: (hash, bytes). Raises Halted, and ConcurrentUpdate when something it uses is taken: roll back then."""
    height = await sending_height(conn, chain, None)
    await insert_lineage(conn, chain, lineage_id, "cold_refill", "normal", now)
    if coins:
        await reserve_coins(conn, chain, plan.resources, lineage_id)
    else:
        for resource in plan.resources:
            account, nonce = resource[:-_NONCE_BYTES], int.from_bytes(resource[-_NONCE_BYTES:], "big")
            taken = await conn.execute(ACCOUNTS["take_nonce"], chain, account, nonce, lineage_id)
            if taken != "INSERT 0 1":
                raise ConcurrentUpdate("the cold account has used this nonce")
    await insert_attempt(conn, chain, lineage_id, 1, plan, signed, height, now)


async def cold_coins(conn: Connection, chain: str, height: int) -> list[tuple[Coin, int]]:
    """What the cold wallet could spend, each with the height of its block; the largest first, so many as one signs."""
    rows = await conn.fetch(COINS["cold_coins"], chain, _COINS_MAX, height)
    return [
        (
            Coin(
                row["resource"],
                row["amount"],
                row["destination"],
                (row["scheme"], row["branch"], row["key_index"]),
            ),
            row["height"],
        )
        for row in rows
    ]
