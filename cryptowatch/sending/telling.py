"""What is told of our transactions on their way: events, once each (P8), and the log. Part of `worker`'s round."""

from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import structlog

from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import append_events
from cryptowatch.sending.track import TransactionView, transaction_event

SQL = load_queries(__package__, "send.sql")
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Telling:
    """One chain's. `said`: of each transaction, so that the log has it once and not in every round."""

    chain: str
    pool: Pool
    clock: Clock
    said: dict[bytes, str] = field(default_factory=dict)

    async def event(
        self,
        conn: Connection,
        kind: str,
        lineage_id: UUID,
        version: int,
        tx_hash: bytes,
        reason: str | None = None,
    ) -> None:
        """`transaction.KIND`, in the caller's transaction."""
        shown = show_id(Kind.TRANSACTION, lineage_id)
        view = TransactionView(shown, self.chain, "open", tx_hash.hex(), reason=reason)
        await append_events(conn, [transaction_event(kind, lineage_id, version, view, self.clock.now())])

    async def stuck(self, row: asyncpg.Record, problem: str, *, is_late: bool) -> None:
        """Why it is not raised. Later than its target it is a person's matter: then an event, once until it moves."""
        if self.said.get(row["tx_hash"]) != problem:
            log.warning(problem, chain=self.chain, tx_hash=row["tx_hash"].hex())
            self.said[row["tx_hash"]] = problem
        if row["stuck"] is None and is_late:
            async with transaction(self.pool) as conn:
                version = await conn.fetchval(
                    SQL["note_stuck"], row["lineage_id"], problem, self.clock.now(), row["attempts"]
                )
                if version is not None:
                    await self.event(conn, "stuck", row["lineage_id"], version, row["tx_hash"], problem)

    async def unstuck(self, row: asyncpg.Record) -> None:
        """Another one pays for it now."""
        if row["stuck"] is None:
            return
        async with transaction(self.pool) as conn:
            version = await conn.fetchval(SQL["clear_stuck"], row["lineage_id"], self.clock.now())
            if version is not None:
                await self.event(conn, "stuck", row["lineage_id"], version, row["tx_hash"])
