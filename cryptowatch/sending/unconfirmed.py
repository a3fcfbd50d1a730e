"""Our change that no block holds: who may spend it, and the record of who does (chains whose money is coins).

Called inside others' database transactions. Keeps P3: while a transaction of ours spends the change of an attempt, that
attempt is not replaced, for the replacement would be the end of both payments' one common fate; whoever reserves change
and whoever replaces hold the parent's row and look again. What becomes of a child whose parent lost, `track` says.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from fractions import Fraction
from uuid import UUID

import asyncpg

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.sending.family import Family, Member, family_of

SQL = load_queries(__package__, "unconfirmed.sql")


async def read_family(conn: Connection, chain: str) -> Family:
    """All open transactions of the chain, in one snapshot if the caller's transaction is one."""
    rows = await conn.fetch(SQL["open_members"], chain)
    parents, strangers, replaced = defaultdict[UUID, set[UUID]](set), set[UUID](), set[UUID]()
    for row in await conn.fetch(SQL["unconfirmed_inputs"], chain):
        if row["parent"] is None:
            strangers.add(row["child"])
        elif row["replaced"]:
            replaced.add(row["child"])
        else:
            parents[row["child"]].add(row["parent"])
    known = {row["id"] for row in rows}
    return family_of(
        {
            row["id"]: Member(
                int(row["fee"]),
                row["size"],
                row["planned_height"],
                frozenset(parents[row["id"]] & known),
                row["firm"] and row["id"] not in strangers | replaced and parents[row["id"]] <= known,
                row["lost"] or row["id"] in replaced,
                Fraction(int(row["first_fee"]), row["first_size"]),
                row["pays"],
                row["signed"],
                row["taken"],
                row["held"],
                row["lifts"],
            )
            for row in rows
        }
    )


async def pending_change(
    conn: Connection, chain: str, lineage_ids: Collection[UUID], count_max: int
) -> Sequence[asyncpg.Record]:
    """What of these transactions' change nobody uses yet, as rows of coins."""
    return await conn.fetch(SQL["pending_change"], chain, list(lineage_ids), count_max)


async def reserve_change(
    conn: Connection, chain: str, resources: Collection[bytes], lineage_id: UUID
) -> None:
    """Raises ConcurrentUpdate when one of them is taken, or its parent is being replaced."""
    parents = [row["lineage_id"] for row in await conn.fetch(SQL["parents_of"], chain, list(resources))]
    await lock_parents(conn, parents)
    status = await conn.execute(SQL["reserve_change"], chain, list(resources), lineage_id)
    if int(status.split()[-1]) != len(resources):
        raise ConcurrentUpdate("another sender used this change first")


async def lock_parents(conn: Connection, lineage_ids: Collection[UUID]) -> None:
    """Until the caller's transaction ends none of them is replaced. Raises ConcurrentUpdate when one is just now."""
    locked = await conn.fetch(SQL["lock_parents"], list(lineage_ids))
    if len(locked) != len(lineage_ids):
        raise ConcurrentUpdate("another sender replaces this transaction, or a block took it")


async def children_of(conn: Connection, lineage_id: UUID, number: int) -> set[UUID]:
    """Transactions of ours that spend the attempt's change. Hold the lineage's row when it matters."""
    return {row["child"] for row in await conn.fetch(SQL["children_of"], lineage_id, number)}
