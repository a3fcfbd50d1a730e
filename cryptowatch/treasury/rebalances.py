"""Movements between hot and cold as rows: begun, bound to a transaction, followed to an end; one event per change (P8).

Called by `rebalancer`, `refills` and the API inside their transactions. Every change is a compare-and-set, and the
ledger's postings go with it (`transit`):

    requested -> proposed -> signed -> broadcast -> finalized
        an overflow is proposed with its transaction, a refill with what cold has to sign
    proposed -> finalized: a refill out of a contract, of whose transaction we learn from its block
    requested, proposed (a refill) -> canceled | expired;  with a transaction, until it is final -> failed
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.money import format_amount
from cryptowatch.treasury.bands import Direction, Movement
from cryptowatch.treasury.transit import COLD, HOT, IN_TRANSIT, move, way

SQL = load_queries(__package__, "rebalances.sql")

State = Literal["requested", "proposed", "signed", "broadcast", "finalized", "failed", "canceled", "expired"]
#: Each step that a transaction's life can bring, in the order in which they are looked for.
_STEPS: Sequence[tuple[State, State]] = (
    ("proposed", "failed"),
    ("proposed", "signed"),
    ("signed", "failed"),
    ("signed", "broadcast"),
    ("broadcast", "failed"),
    ("broadcast", "finalized"),
)


class RebalanceView(msgspec.Struct, frozen=True):
    """As the API and the events show it. `requested_by` is null where the wallet's band asked for it."""

    id: str
    chain: str
    asset: str
    direction: Direction
    amount: str
    state: State
    reason: str | None
    requested_by: str | None
    #: Where it goes to.
    address: str | None
    transaction_id: str | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime


def rebalance_view(row: asyncpg.Record, decimals: int) -> RebalanceView:
    """`row`: a row of `rebalance`."""
    return RebalanceView(
        id=show_id(Kind.REBALANCE, row["id"]),
        chain=row["chain"],
        asset=row["asset"],
        direction=Direction(row["direction"]),
        amount=format_amount(row["amount"], decimals),
        state=row["state"],
        reason=row["reason"],
        requested_by=row["requested_by"],
        address=row["address"],
        transaction_id=None if row["lineage_id"] is None else show_id(Kind.TRANSACTION, row["lineage_id"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        expires_at=row["expires_at"],
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """A movement of one chain's asset. `requested_by`: None where the band asks."""

    chain: str
    asset: str
    movement: Movement
    requested_by: str | None
    expires_at: datetime


async def begin(
    conn: Connection, wanted: Wanted, rebalance_id: UUID, decimals: int, now: datetime
) -> RebalanceView | None:
    """None: one is open already, whoever began it."""
    row = await conn.fetchrow(
        SQL["begin"],
        rebalance_id,
        wanted.chain,
        wanted.asset,
        wanted.movement.direction,
        wanted.movement.amount,
        wanted.requested_by,
        now,
        wanted.expires_at,
    )
    return None if row is None else await _tell(conn, row, decimals, now)


async def bind(
    conn: Connection,
    rebalance: asyncpg.Record,
    lineage_id: UUID,
    address: str | None,
    states: tuple[State, State],
    decimals: int,
    now: datetime,
) -> RebalanceView:
    """Its transaction is written down in the same database transaction; from now on the money is on its way.

    `rebalance` is locked by the caller; `states`: (before, after).
    """
    row = await conn.fetchrow(SQL["bind"], rebalance["id"], states[1], lineage_id, address, now, states[0])
    assert row is not None, "its row is locked"
    source, _ = way(Direction(row["direction"]))
    await _move(conn, row, "out", (source, IN_TRANSIT), now)
    return await _tell(conn, row, decimals, now)


async def propose(
    conn: Connection,
    rebalance: asyncpg.Record,
    plan: str | None,
    artefact: str,
    address: str,
    decimals: int,
    now: datetime,
) -> RebalanceView:
    """What the cold wallet is to sign is ready. `rebalance` is locked by the caller."""
    row = await conn.fetchrow(SQL["propose"], rebalance["id"], plan, artefact, address, now)
    assert row is not None, "its row is locked"
    return await _tell(conn, row, decimals, now)


async def end(
    conn: Connection,
    rebalance_id: UUID,
    state: Literal["canceled", "expired"],
    reason: str | None,
    decimals: int,
    now: datetime,
) -> RebalanceView | None:
    """One that has no transaction ends. None: it has one, or has ended."""
    row = await conn.fetchrow(SQL["end"], rebalance_id, state, reason, now, ["requested", "proposed"])
    return None if row is None else await _tell(conn, row, decimals, now)


async def follow(conn: Connection, chain: str, decimals: Mapping[str, int], now: datetime) -> int:
    """As far as their transactions have come; how many steps. Safe to repeat, and to run twice."""
    steps = 0
    for before, after in _STEPS:
        for row in await conn.fetch(SQL["follow"], chain, before, after, now):
            source, target = way(Direction(row["direction"]))
            if after == "finalized":
                await _move(conn, row, "in", (IN_TRANSIT, target), now)
                await _charge(conn, row, now)
            elif after == "failed":
                await _move(conn, row, "back", (IN_TRANSIT, source), now)
                await _charge(conn, row, now)
            await _tell(conn, row, decimals[row["asset"]], now)
            steps += 1
    return steps


async def follow_contracts(
    conn: Connection, chain: str, finality: int, decimals: Mapping[str, int], now: datetime
) -> int:
    """Refills out of contracts, whose owners make the transaction: ended by a block that holds it for good."""
    rows = await conn.fetch(SQL["seen_for_good"], chain, finality, now)
    for row in rows:
        await _move(conn, row, "in", (COLD, HOT), now)
        await _tell(conn, row, decimals[row["asset"]], now)
    return len(rows)


async def _move(
    conn: Connection, row: asyncpg.Record, key: str, places: tuple[str, str], now: datetime
) -> None:
    await move(
        conn,
        row["chain"],
        row["asset"],
        key=key,
        rebalance_id=row["id"],
        places=places,
        amount=row["amount"],
        now=now,
    )


async def _charge(conn: Connection, row: asyncpg.Record, now: datetime) -> None:
    """A refill's network fee came out of cold; `sending` books every fee on the hot wallet."""
    if row["direction"] != Direction.REFILL:
        return
    paid = await conn.fetchrow(SQL["fee_of"], row["lineage_id"])
    if paid is None:
        return  # it never came into a block
    await move(
        conn,
        row["chain"],
        paid["asset"],
        key="fee",
        rebalance_id=row["id"],
        places=(COLD, HOT),
        amount=paid["fee"],
        now=now,
    )


async def _tell(conn: Connection, row: asyncpg.Record, decimals: int, now: datetime) -> RebalanceView:
    view = rebalance_view(row, decimals)
    await append_events(
        conn,
        [
            NewEvent(
                type=f"rebalance.{row['state']}",
                entity_kind="rebalance",
                entity_id=view.id,
                entity_version=row["version"],
                account_id=None,
                data=msgspec.json.encode(view).decode(),
                created_at=now,
            )
        ],
    )
    return view


async def read_rebalance(conn: Connection, rebalance_id: UUID) -> asyncpg.Record | None:
    """A row for `rebalance_view`."""
    return await conn.fetchrow(SQL["by_id"], rebalance_id)


async def list_rebalances(
    conn: Connection, *, chain: str | None, state: State | None, limit: int, before: UUID | None
) -> Sequence[asyncpg.Record]:
    """Rows for `rebalance_view`, newest first."""
    return await conn.fetch(SQL["newest"], before, limit, chain, state)


async def cold_recipient(
    conn: Connection, chain: str, account: bytes | None, now: datetime
) -> asyncpg.Record | None:
    """The cold account, or a cold wallet of coins' next fresh address, taken. None: it is not in the tables yet."""
    if account is not None:
        return await conn.fetchrow(SQL["cold_account"], chain, account)
    return await conn.fetchrow(SQL["cold_address"], chain, now)
