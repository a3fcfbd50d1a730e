"""Writes down a new transaction of ours, inside the caller's database transaction.

Called by `payouts.worker` and `treasury`. Keeps P3 and P4: what the transaction uses, its plan and whatever the caller
binds to its lineage are committed before anything is signed; nothing is chosen anew for a lineage afterwards. What can
be reserved differs: `coins`, or `accounts` with their nonces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

import asyncpg

from cryptowatch.chains.plans import Bid, Insufficient, Plan, Recipient
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.settings.chains import Priority

SQL = load_queries(__package__, "reserve.sql")


class Halted(Exception):
    """The chain's payouts are stopped (P6), or one asset's (P7)."""


class NotReady(Exception):
    """Something of ours is missing that comes by itself: a change address, a sending account with gas."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a new lineage shall pay. `priority` is the most urgent of the recipients'."""

    asset: str
    recipients: Sequence[Recipient]
    priority: Priority
    bid: Bid
    lineage_id: UUID
    #: The randomness of whatever may be arbitrary.
    seed: int
    #: Overflow goes to the cold wallet.
    kind: Literal["payout", "overflow"] = "payout"


class Reserver(Protocol):
    """One chain's. Which kind it is decides `daemon`."""

    @property
    def spends_unconfirmed(self) -> bool:
        """Whether payouts may use what no block holds yet."""
        ...

    async def prepare(self) -> None:
        """Before a round: what needs the network, and so must be outside of every database transaction."""
        ...

    async def reserve(self, conn: Connection, order: Order, now: datetime) -> Plan | Insufficient:
        """Reserve what the order needs and write its lineage and first attempt down.

        Raises Halted, NotReady, ConcurrentUpdate: then, and with Insufficient, the caller rolls back.
        """
        ...

    async def reserve_more(
        self, conn: Connection, lineage_id: UUID, old: Plan, new: Plan
    ) -> Insufficient | None:
        """What a replacement can take beyond what it replaces, before it is signed. None: it is reserved."""
        ...


async def sending_height(conn: Connection, chain: str, pays: str | None) -> int:
    """The chain's height, locked against a halt or stop until the transaction ends. Raises Halted.

    `pays`: the asset that leaves the wallet; None for what stays within it, which no asset's stop concerns.
    """
    row = await conn.fetchrow(SQL["chain_for_sending"], chain)
    if row is None or row["halted"] is not None:
        raise Halted(f"payouts on {chain} are halted: {row['halted'] if row else 'never started'}")
    if pays in row["stopped_assets"]:
        raise Halted(f"payouts of {pays} on {chain} are stopped: less is there than the books say")
    return int(row["height"])


async def insert_lineage(
    conn: Connection,
    chain: str,
    lineage_id: UUID,
    kind: str,
    priority: Priority,
    now: datetime,
    *,
    subject: str | None = None,
    pays: str | None = None,
) -> None:
    """`kind`: payout or overflow (of the asset that it `pays`), or what moves money within the hot wallet only: sweep,
    refill, void, setup, child (with its subject), consolidation; or cold_refill, which brings it there."""
    await conn.execute(SQL["insert_lineage"], lineage_id, chain, kind, priority, now, subject, pays)


async def insert_attempt(
    conn: Connection,
    chain: str,
    lineage_id: UUID,
    number: int,
    plan: Plan,
    signed: tuple[bytes, bytes] | None,
    height: int,
    now: datetime,
) -> None:
    """`signed`: (transaction's hash, bytes) where it is signed already."""
    tx_hash, raw = (plan.tx_hash, None) if signed is None else signed
    try:
        await conn.execute(
            SQL["insert_attempt"],
            lineage_id,
            number,
            chain,
            tx_hash,
            plan.to_json().decode(),
            raw,
            plan.fee,
            plan.size,
            list(plan.positions),
            height,
            now,
        )
        await conn.executemany(
            SQL["insert_change"],
            [
                (chain, coin.resource, coin.amount, coin.destination, lineage_id, number)
                for coin in plan.coins_back
            ],
        )
    except asyncpg.UniqueViolationError as problem:
        raise ConcurrentUpdate("this very transaction is another lineage's") from problem
