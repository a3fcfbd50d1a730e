"""Reserve coins and write down a new transaction, inside the caller's database transaction.

Called by `payouts.worker` (and `treasury` later). Keeps P3 and P4: coins, plan and id are committed, together with
whatever the caller binds to the lineage, before anything is signed; nothing is chosen anew for a lineage afterwards.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from cryptowatch.chains.plans import Coin, Insufficient, Plan, Planner, Recipient
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.money import BaseUnits

SQL = load_queries(__package__, "coins.sql")


@dataclass(frozen=True, slots=True)
class CoinRules:
    """What of a wallet may be spent. `change_scheme`: 84 or 86. `considered_max` bounds one selection's work (P10)."""

    confirmations_min: int
    change_scheme: int
    considered_max: int = 20_000


class Halted(Exception):
    """The chain's payouts are stopped (P6)."""


class NoChangeAddress(Exception):
    """None is derived ahead yet: the watcher's process derives them; try again soon."""


@dataclass(frozen=True, slots=True)
class Reserved:
    lineage_id: UUID
    plan: Plan


async def reserve(
    conn: Connection,
    chain: str,
    planner: Planner,
    rules: CoinRules,
    recipients: Sequence[Recipient],
    priority: str,
    fee_rate: int,
    lineage_id: UUID,
    seed: int,
    now: datetime,
) -> Reserved | Insufficient:
    """Choose coins for the recipients and commit to them. Raises Halted, NoChangeAddress, ConcurrentUpdate.

    `priority` is the most urgent of the recipients'. `seed` is the randomness of coin selection.
    An Insufficient has written nothing but the taking of a change address.
    """
    height = await sending_height(conn, chain)
    coins = await free_coins(conn, chain, height, rules)
    change = await conn.fetchrow(SQL["take_change_address"], chain, rules.change_scheme, now)
    if change is None:
        raise NoChangeAddress
    template = Coin(
        b"", BaseUnits(0), change["destination"], (change["scheme"], change["branch"], change["key_index"])
    )
    plan = await asyncio.to_thread(planner.plan, coins, recipients, template, fee_rate, seed)
    if isinstance(plan, Insufficient):
        return plan
    await conn.execute(SQL["insert_lineage"], lineage_id, chain, priority, now)
    await reserve_coins(conn, chain, plan.resources, lineage_id)
    await insert_attempt(conn, chain, lineage_id, 1, plan, None, height, now)
    return Reserved(lineage_id, plan)


async def sending_height(conn: Connection, chain: str) -> int:
    """The chain's height, locked against a halt until the transaction ends. Raises Halted."""
    row = await conn.fetchrow(SQL["chain_for_sending"], chain)
    if row is None or row["halted"] is not None:
        raise Halted(f"payouts on {chain} are halted: {row['halted'] if row else 'never started'}")
    return int(row["height"])


async def free_coins(conn: Connection, chain: str, height: int, rules: CoinRules) -> list[Coin]:
    rows = await conn.fetch(
        SQL["free_coins"], chain, height - rules.confirmations_min + 1, rules.considered_max, height
    )
    return [
        Coin(
            row["resource"],
            row["amount"],
            row["destination"],
            (row["scheme"], row["branch"], row["key_index"]),
        )
        for row in rows
    ]


async def reserve_coins(conn: Connection, chain: str, resources: Sequence[bytes], lineage_id: UUID) -> None:
    status = await conn.execute(SQL["reserve"], chain, list(resources), lineage_id)
    if int(status.split()[-1]) != len(resources):
        raise ConcurrentUpdate("another sender reserved one of these coins first")


async def insert_attempt(
    conn: Connection,
    chain: str,
    lineage_id: UUID,
    number: int,
    plan: Plan,
    raw: bytes | None,
    height: int,
    now: datetime,
) -> None:
    try:
        await conn.execute(
            SQL["insert_attempt"],
            lineage_id,
            number,
            chain,
            plan.tx_hash,
            plan.to_json().decode(),
            raw,
            plan.fee,
            plan.vsize,
            list(plan.positions),
            height,
            now,
        )
    except asyncpg.UniqueViolationError as problem:
        raise ConcurrentUpdate("this very transaction is another lineage's") from problem
