"""Compares what each chain holds with what the books say, again and again; a gap stops payouts first (P7).

One loop of `daemon` (role `treasury`), and `cryptowatch reconcile`. The chain's side are the coins in the blocks that
the quorum agreed on, and what `audit` finds of accounts. Less than the books say by more than the asset's tolerance
stops the payouts of that asset in the transaction that tells of it; they go on by themselves when the difference is
explained: by the chain, or by a person who writes it off. More than they say becomes the house's own once it is final.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import msgspec
import structlog

from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ledger.accounts import ensure_accounts, house
from cryptowatch.ledger.balances import customer_totals, house_balances
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.ledger.postings import post_all
from cryptowatch.ledger.rules import HouseAccount, house_transfer
from cryptowatch.money import BaseUnits, parse_amount
from cryptowatch.settings.chains import Chain
from cryptowatch.treasury.solvency import Position, Surplus, watch_surplus
from cryptowatch.treasury.transit import PLACES

SQL = load_queries(__package__, "reconcile.sql")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReconcileRules:
    """One chain's. `tolerances`: by asset, in base units, how much may be missing before payouts stop."""

    finality: int
    tolerances: Mapping[str, int]


def reconcile_rules(settings: Chain) -> ReconcileRules:
    own = settings.asset_settings
    return ReconcileRules(
        finality=max(tier.finalize_confirmations for tier in own[settings.asset].tiers),
        tolerances={
            name: parse_amount(asset.reconcile_tolerance, asset.decimals) for name, asset in own.items()
        },
    )


async def read_positions(conn: Connection) -> list[Position]:
    """Every chain's position. The connection must not be in a transaction: one snapshot of its own is taken."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        rows = await conn.fetch(SQL["positions"])
        house_has = {
            (balance.role, balance.asset): balance.base_units for balance in await house_balances(conn)
        }
        owed = {totals.asset: totals.owed for totals in await customer_totals(conn)}
    return [
        Position(
            chain=row["chain"],
            asset=row["asset"],
            height=row["height"],
            tagged_final_height=row["final_height"],
            on_chain=row["on_chain"],
            unseen_losses=row["unseen_losses"],
            unseen_gains=row["unseen_gains"],
            ledger_holdings=-sum(
                house_has.get((f"{place}:{row['chain']}", row["asset"]), 0) for place in PLACES
            ),
            uncredited=row["uncredited"],
            unsettled=row["unsettled"],
            unbooked_fees=row["unbooked_fees"],
            liabilities=owed.get(row["asset"], 0),
            in_flight=row["in_flight"],
            bookings=row["bookings"],
            version=row["version"],
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class LastFinding:
    """Of the last check. `since`: when the state became what it is."""

    chain: str
    asset: str
    state: str
    stopped: bool
    since: datetime | None
    checked_at: datetime


async def read_findings(conn: Connection) -> list[LastFinding]:
    """Of every chain and asset that was ever checked."""
    return [LastFinding(**dict(row)) for row in await conn.fetch(SQL["last_findings"])]


@dataclass(slots=True)
class Reconciler:
    """`rules`: by chain. `observe` is told each position, for metrics."""

    pool: Pool
    clock: Clock
    rules: Mapping[str, ReconcileRules]
    observe: Callable[[Position], None]

    async def step(self) -> int:
        """One check of every chain; 0, so that the loop waits its interval."""
        async with connection(self.pool) as conn:
            positions = await read_positions(conn)
        for position in positions:
            # A chain that was taken out of the settings is followed by nobody, and so compared by nobody.
            if rules := self.rules.get(position.chain):
                self.observe(position)
                async with transaction(self.pool) as conn:
                    await record_finding(conn, position, rules, self.clock.now())
        return 0


async def record_finding(conn: Connection, position: Position, rules: ReconcileRules, now: datetime) -> None:
    """Tell of a finding that is new, stop or let go the asset's payouts, book what became the house's. Idempotent."""
    chain, asset = position.chain, position.asset
    known = await _lock(conn, chain, asset)
    if known["version"] != position.version:
        return  # looked at before what somebody else found or booked: the next look sees it
    is_short = position.difference < -rules.tolerances.get(asset, 0)
    before = None if known["surplus"] is None else Surplus(known["surplus"], known["surplus_height"])
    watched, own = watch_surplus(before, position, rules.finality)
    state = "mismatch" if is_short else "balanced"
    is_new = known["version"] == 0 or state != known["state"]
    is_worse = is_short and position.difference < known["difference"]
    version = known["version"] + (is_new or is_worse)
    await conn.execute(
        SQL["checked"],
        chain,
        asset,
        state,
        position.difference,
        version,
        now,
        now if is_new else known["since"],
        None if watched is None else watched.amount,
        None if watched is None else watched.height,
    )
    await conn.execute(SQL["stop" if is_short else "release"], chain, asset)
    if own:
        version += 1
        await _book(conn, position, f"house_funds:{chain}", own, "came to the wallet by itself", version, now)
    elif is_new or is_worse:
        _log(position, state)
        await _tell(conn, state, position, version, _told(position, state), now)


async def write_off(conn: Connection, position: Position, reason: str, now: datetime) -> int:
    """A person's word that what is missing is lost, at the house's cost; how much, in base units.

    In the caller's transaction, with a position read before it. Raises ConcurrentUpdate when something was booked
    since; ValueError when nothing is missing.
    """
    if position.difference >= 0:
        raise ValueError(f"nothing of {position.asset} is missing on {position.chain}")
    known = await _lock(conn, position.chain, position.asset)
    if known["bookings"] != position.bookings:
        raise ConcurrentUpdate("something was booked meanwhile: look again")
    lost = -position.difference
    await _book(conn, position, f"losses:{position.chain}", -lost, reason, known["version"] + 1, now)
    return lost


async def _lock(conn: Connection, chain: str, asset: str) -> asyncpg.Record:
    await conn.execute(SQL["open"], chain, asset)
    row = await conn.fetchrow(SQL["lock"], chain, asset)
    assert row is not None
    return row


async def _book(
    conn: Connection,
    position: Position,
    role: str,
    amount: int,
    reason: str,
    version: int,
    now: datetime,
) -> None:
    """From custody to the house's account, or (below zero) back; once, by the number of bookings."""
    chain, asset = position.chain, position.asset
    number = await conn.fetchval(SQL["count_booking"], chain, asset, version)
    other, custody = await ensure_accounts(conn, [house(role, asset), house(f"custody:{chain}", asset)])
    source, target = (custody, other) if amount > 0 else (other, custody)
    posting = house_transfer(
        f"reconciliation:{chain}:{asset}:{number}",
        HouseAccount(source),
        HouseAccount(target),
        BaseUnits(abs(amount)),
        reference=reason,
    )
    await post_all(conn, [posting], now)
    log.warning("reconciliation booked", chain=chain, asset=asset, account=role, base_units=str(amount))
    data = {
        "chain": chain,
        "asset": asset,
        "account": role,
        "base_units": str(amount),
        "reason": reason,
    }
    await _tell(conn, "booked", position, version, data, now)


def _log(position: Position, state: str) -> None:
    where = {"chain": position.chain, "asset": position.asset}
    if state == "mismatch":
        log.critical("reconciliation mismatch", **where, missing_base_units=-position.difference)
    else:
        log.info("reconciliation balanced", **where)


def _told(position: Position, state: str) -> dict[str, str]:
    return {
        "chain": position.chain,
        "asset": position.asset,
        "state": state,
        "on_chain_base_units": str(position.on_chain),
        "unseen_losses_base_units": str(position.unseen_losses),
        "expected_base_units": str(position.expected),
        "difference_base_units": str(position.difference),
    }


async def _tell(
    conn: Connection, kind: str, position: Position, version: int, data: Mapping[str, str], now: datetime
) -> None:
    await append_events(
        conn,
        [
            NewEvent(
                type=f"reconciliation.{kind}",
                entity_kind="reconciliation",
                entity_id=f"{position.chain}/{position.asset}",
                entity_version=version,
                account_id=None,
                data=msgspec.json.encode(data).decode(),
                created_at=now,
            )
        ],
    )
