"""Halting and resuming a chain's payouts, and the chain's own events. Keeps P6 and P7.

A halted chain plans, signs and sends nothing (`reserve.sending_height`, `worker`) until a person resumes it. Called by
`deposits` (a reorg below finality, a stranger using our coins), by `treasury` (a gap) and by the operators' command.
"""

from datetime import datetime

import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.events import NewEvent, append_events

SQL = load_queries(__package__, "halts.sql")


async def halt(conn: Connection, chain: str, reason: str, now: datetime) -> bool:
    """Stop the chain's payouts and say so once; False when it was halted already."""
    row = await conn.fetchrow(SQL["halt"], chain, reason, now)
    if row is None:
        return False
    await tell_chain(conn, chain, "halted", row["version"], {"height": row["height"], "reason": reason}, now)
    return True


async def resume(conn: Connection, chain: str, accept_reorg: bool, now: datetime) -> bool:
    """A person's word that payouts may go on, and with `accept_reorg` that final deposits may be undone, once."""
    row = await conn.fetchrow(SQL["resume"], chain, now, accept_reorg)
    if row is None:
        return False
    data = {"height": row["height"], "accept_reorg": accept_reorg}
    await tell_chain(conn, chain, "resumed", row["version"], data, now)
    return True


async def forget_acceptance(conn: Connection, chain: str) -> None:
    """The reorg that a person accepted did not come to pass: a later one must be accepted anew."""
    await conn.execute(SQL["forget_acceptance"], chain)


async def tell_chain(
    conn: Connection,
    chain: str,
    kind: str,
    version: int,
    data: dict[str, object],
    now: datetime,
) -> None:
    """One event of the chain itself; `version` is what its row counts."""
    await append_events(
        conn,
        [
            NewEvent(
                type=f"chain.{kind}",
                entity_kind="chain",
                entity_id=chain,
                entity_version=version,
                account_id=None,
                data=msgspec.json.encode({"chain": chain, **data}).decode(),
                created_at=now,
            )
        ],
    )
