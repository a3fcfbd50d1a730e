"""A person lets a quarantined deposit go on; called by the API inside its own transaction."""

from datetime import datetime
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.bookkeeping import write_changes
from cryptowatch.deposits.machine import HeadMoved, Release, State
from cryptowatch.deposits.records import moved_by, read_record
from cryptowatch.deposits.rules import ChainRules

SQL = load_queries(__package__, "release.sql")


async def release_deposit(
    conn: Connection,
    deposit_id: UUID,
    rules: ChainRules,
    now: datetime,
) -> State | None:
    """The state it went on to: credited at once when it is deep enough by now. None: it is not in quarantine.

    Locks the chain's cursor before the deposit, as the watcher does, so that no block comes in between.
    """
    head = await conn.fetchrow(SQL["lock_head"], rules.chain)
    row = await conn.fetchrow(SQL["lock_deposit"], deposit_id, rules.chain)
    if head is None or row is None or row["state"] != State.QUARANTINED:
        return None
    record = read_record(row, rules.assets[row["asset"]].decimals)
    moved = moved_by(record, [Release(), HeadMoved(head["height"], head["final_height"])])
    await write_changes(conn, rules.chain, [moved], head["height"], now)
    return moved.deposit.state
