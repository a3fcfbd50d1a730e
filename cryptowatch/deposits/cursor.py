"""Where we are on a chain, and what it tells of itself: reorgs, nodes quarantined and recovered.

Used by `watcher` and by the operators' commands.
"""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.port import BlockRef
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.sending.halts import tell_chain

SQL = load_queries(__package__, "cursor.sql")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last block that was applied, whether payouts are halted and why, and how many blocks were rescanned ever."""

    block: BlockPoint
    halted: str | None
    reorg_accepted: bool
    rescans: int
    #: Up to which block the nodes called the chain final; None where depth alone decides.
    final_height: int | None = None


async def read_cursor(conn: Connection, chain: str, *, lock: bool = False) -> Cursor | None:
    """None before the chain's first start. `lock`: no block, rewind, release or rescan until the transaction ends."""
    row = await conn.fetchrow(SQL["lock_chain" if lock else "read_chain"], chain)
    if row is None:
        return None
    return Cursor(
        BlockPoint(row["height"], row["hash"]),
        row["halted"],
        row["reorg_accepted_at"] is not None,
        row["rescans"],
        row["final_height"],
    )


async def start_cursor(conn: Connection, chain: str, asset: str, block: BlockRef, now: datetime) -> None:
    """Begin after this block: the next one is the first that is looked at. A second daemon's start changes nothing."""
    if await conn.execute(SQL["start_chain"], chain, asset, block.height, block.hash, now) != "INSERT 0 1":
        return
    await conn.execute(SQL["insert_block"], chain, block.height, block.hash, block.prev_hash, block.time)


async def block_at(conn: Connection, chain: str, height: int) -> BlockRef | None:
    """The block that we applied at this height, while it is kept."""
    row = await conn.fetchrow(SQL["block_at"], chain, height)
    return None if row is None else BlockRef(row["height"], row["hash"], row["prev_hash"], row["time"])


async def tell_reorg(conn: Connection, chain: str, head: BlockPoint, fork_height: int, now: datetime) -> None:
    """Inside the rewind's transaction. Uses up a person's acceptance."""
    version = await conn.fetchval(SQL["reorged"], chain)
    await tell_chain(
        conn,
        chain,
        "reorged",
        version,
        {
            "height": head.height,
            "hash": head.hash.hex(),
            "fork_height": fork_height,
            "depth": head.height - fork_height,
        },
        now,
    )


async def tell_node(
    conn: Connection, chain: str, name: str, state: str, problem: str | None, now: datetime
) -> None:
    """`node.quarantined` or `node.recovered`; a second daemon that sees the same adds nothing."""
    version = await conn.fetchval(SQL["node_changed"], chain, name, state, now)
    if version is not None:
        event = NewEvent(
            type=f"node.{state}",
            entity_kind="node",
            entity_id=f"{chain}/{name}",
            entity_version=version,
            account_id=None,
            created_at=now,
            data=msgspec.json.encode({"chain": chain, "node": name, "problem": problem}).decode(),
        )
        await append_events(conn, [event])
