"""Has the signer sign what is planned, and keeps its bytes; gives up what it refuses before anything was signed.

Part of `worker`'s round. Keeps P3: a lineage of which nothing was ever signed cannot confirm, so that what it reserved
is free again; storing a signature and giving up lock its row, so that only one of them happens.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog

from cryptowatch.chains.plans import Plan, Planner
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import SignerRefused, SignerWaits
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import append_events
from cryptowatch.sending.accounts import free_nonces_of
from cryptowatch.sending.coins import free_coins_of
from cryptowatch.sending.track import TransactionView, transaction_event
from cryptowatch.signing.families import Sign, SignedTransaction

SQL = load_queries(__package__, "send.sql")
log = structlog.get_logger(__name__)

_SIGNED_A_STEP_MAX = 50


class SigningObserver(Protocol):
    """Told for metrics."""

    def on_signing(self, refused: bool) -> None: ...


@dataclass(slots=True)
class Signatures:
    """One chain's."""

    chain: str
    pool: Pool
    clock: Clock
    planner: Planner
    sign: Sign
    observer: SigningObserver
    #: (kind, asset) of transactions whose hour is full: said once, not in every round.
    waits: set[tuple[str, str | None]] = field(default_factory=set)

    async def step(self) -> int:
        """Sign what was planned; how many. Raises SignerUnavailable."""
        async with connection(self.pool) as conn:
            rows = await conn.fetch(SQL["unsigned_attempts"], self.chain, _SIGNED_A_STEP_MAX)
        signed = 0
        # Each asset has an hour of its own, and what goes to cold another one: one that is full holds up no other.
        full: set[tuple[str, str | None]] = set()
        for row in rows:
            hour = (row["kind"], row["asset"])
            if hour in full:
                continue
            plan = self.planner.read(row["plan"].encode())
            try:
                new = await self.signed(plan, row["lineage_id"])
            except SignerWaits as wait:
                if hour not in self.waits:
                    log.warning(
                        "signer waits",
                        chain=self.chain,
                        kind=row["kind"],
                        asset=row["asset"],
                        reason=str(wait),
                    )
                full.add(hour)
                continue
            except SignerRefused as refusal:
                await self._give_up(row["lineage_id"], str(refusal))
                continue
            async with transaction(self.pool) as conn:
                if await conn.fetchrow(SQL["lock_open_lineage"], row["lineage_id"]) is not None:
                    await conn.execute(
                        SQL["store_signed"], row["lineage_id"], row["number"], new.raw, new.tx_hash
                    )
            signed += 1
        self.waits = full
        return signed

    async def signed(self, plan: Plan, lineage_id: UUID) -> SignedTransaction:
        try:
            signed = await self.sign(plan, show_id(Kind.TRANSACTION, lineage_id))
        except SignerWaits:
            raise  # no refusal: the same will be signed later
        except SignerRefused:
            self.observer.on_signing(refused=True)
            raise
        self.observer.on_signing(refused=False)
        return signed

    async def _give_up(self, lineage_id: UUID, reason: str) -> None:
        log.error("signer refused", chain=self.chain, reason=reason)
        async with transaction(self.pool) as conn:
            await give_up(conn, self.chain, lineage_id, f"signer_refused: {reason}", self.clock.now())


async def give_up(conn: Connection, chain: str, lineage_id: UUID, reason: str, now: datetime) -> bool:
    """A lineage of which nothing was ever signed cannot confirm: its coins and payouts are free again.

    Whether it is one. Whoever has it signed just now keeps no bytes of it: `store_signed` locks its row as well.
    """
    if await conn.fetchrow(SQL["lock_open_lineage"], lineage_id) is None:
        return False
    if await conn.fetchval(SQL["any_signed"], lineage_id):
        return False
    version = await conn.fetchval(SQL["give_up"], lineage_id, reason, now)
    await free_coins_of(conn, [lineage_id])
    await free_nonces_of(conn, [lineage_id])
    # Nothing of it was ever signed: planned again, the very same transaction may be a new lineage's.
    await conn.execute(SQL["forget_unsigned"], lineage_id)
    view = TransactionView(show_id(Kind.TRANSACTION, lineage_id), chain, "dead", None)
    await append_events(conn, [transaction_event("dead", lineage_id, version, view, now)])
    return True
