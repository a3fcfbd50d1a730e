"""Compares what each chain holds with what the books say, again and again; a gap stops payouts first (P7).

One loop of `daemon` (role `treasury`), and `cryptowatch reconcile`. The chain's side are the coins in the blocks that
the quorum agreed on. Missing money halts the chain's payouts in the transaction that tells of it; a person resumes
them. Money too many is shown, and stops nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec
import structlog

from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.balances import customer_totals, house_balances
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.sending.halts import halt
from cryptowatch.treasury.solvency import Position
from cryptowatch.treasury.transit import PLACES

SQL = load_queries(__package__, "reconcile.sql")
log = structlog.get_logger(__name__)


async def read_positions(conn: Connection) -> list[Position]:
    """Every chain's position. The connection must not be in a transaction: one snapshot of its own is taken."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        rows = await conn.fetch(SQL["positions"])
        house = {(balance.role, balance.asset): balance.base_units for balance in await house_balances(conn)}
        owed = {totals.asset: totals.owed for totals in await customer_totals(conn)}
    return [
        Position(
            chain=row["chain"],
            asset=row["asset"],
            on_chain=row["on_chain"],
            ledger_holdings=-sum(house.get((f"{place}:{row['chain']}", row["asset"]), 0) for place in PLACES),
            uncredited=row["uncredited"],
            unsettled=row["unsettled"],
            unbooked_fees=row["unbooked_fees"],
            liabilities=owed.get(row["asset"], 0),
        )
        for row in rows
    ]


@dataclass(slots=True)
class Reconciler:
    """`observe` is told each position, for metrics."""

    pool: Pool
    clock: Clock
    observe: Callable[[Position], None]

    async def step(self) -> int:
        """One check of every chain; 0, so that the loop waits its interval."""
        async with connection(self.pool) as conn:
            positions = await read_positions(conn)
        for position in positions:
            self.observe(position)
            async with transaction(self.pool) as conn:
                await record_finding(conn, position, self.clock.now())
        return 0


async def record_finding(conn: Connection, position: Position, now: datetime) -> None:
    """Tell of a finding that is new, and halt payouts when money is missing. Idempotent."""
    state = "mismatch" if position.difference < 0 else "balanced"
    version = await conn.fetchval(
        SQL["found"], position.chain, position.asset, state, position.difference, now
    )
    if version is None:
        await conn.execute(SQL["checked"], position.chain, position.asset, position.difference, now)
        return
    if state == "mismatch":
        reason = f"{-position.difference} base units of {position.asset} are missing on the chain"
        await halt(conn, position.chain, reason, now)
        log.critical(
            "reconciliation mismatch",
            chain=position.chain,
            asset=position.asset,
            missing_base_units=-position.difference,
        )
    data = {
        "chain": position.chain,
        "asset": position.asset,
        "state": state,
        "on_chain_base_units": str(position.on_chain),
        "expected_base_units": str(position.expected),
        "difference_base_units": str(position.difference),
    }
    await append_events(
        conn,
        [
            NewEvent(
                type=f"reconciliation.{state}",
                entity_kind="reconciliation",
                entity_id=f"{position.chain}/{position.asset}",
                entity_version=version,
                account_id=None,
                data=msgspec.json.encode(data).decode(),
                created_at=now,
            )
        ],
    )
