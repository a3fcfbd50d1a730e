"""Which queued withdrawals may join a transaction that is to be replaced, and their binding to it.

Implements `sending.riders.Riders` for the sender. Keeps P3 (all are bound by compare-and-set in the transaction that
writes the replacement down, or nothing is written) and P10 (no more than a batch holds, nor than the signer signs).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cryptowatch.chains.denied import Denied
from cryptowatch.chains.plans import Plan, Recipient
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.payouts.moves import set_aside, tell
from cryptowatch.payouts.rules import PayoutRules
from cryptowatch.sending.market import Market
from cryptowatch.sending.quotes import PRIORITIES
from cryptowatch.sending.riders import Rider
from cryptowatch.settings.chains import Priority

SQL = load_queries(__package__, "riders.sql")


@dataclass(frozen=True, slots=True)
class QueuedRiders:
    """One chain's."""

    chain: str
    pool: Pool
    clock: Clock
    market: Market
    rules: PayoutRules
    denied: Callable[[], Denied]

    async def waiting(self, lineage_id: UUID, asset: str, priority: Priority) -> Sequence[Rider]:
        """Without those that wait for cheaper fees, and those at whom a person must look first."""
        no_more_urgent = PRIORITIES[PRIORITIES.index(priority) :]
        async with transaction(self.pool) as conn:
            await set_aside(conn, self.chain, self.rules.decimals, self.clock.now())
            aboard = await conn.fetchrow(SQL["aboard"], lineage_id)
            assert aboard is not None, "an aggregate is always one row"
            room = self.rules.batching.count_max - aboard["count"]
            rows = await conn.fetch(SQL["riders"], self.chain, asset, list(no_more_urgent), max(0, room))
        denied, found = self.denied(), []
        most, total = self.rules.amounts_max.get(asset), aboard["amount"]
        for row in rows:
            if denied.covers(self.chain, row["destination"], row["address"]):
                continue  # the queue's own round sets it aside
            if await self.market.wait(row["priority"], row["created_at"]) is not None:
                continue
            total += row["amount"]
            if most is not None and total > most:
                break
            found.append(Rider(row["id"], Recipient(row["destination"], row["amount"]), row["priority"]))
        return found

    async def bind(
        self, conn: Connection, lineage_id: UUID, riders: Sequence[Rider], plan: Plan, now: datetime
    ) -> None:
        ids = [rider.id for rider in riders]
        claimed = await conn.fetch(SQL["claim_riders"], ids)
        if len(claimed) != len(ids):
            raise ConcurrentUpdate("one of them was canceled, or is in another transaction")
        first = len(plan.positions) - len(ids)
        rows = await conn.fetch(
            SQL["bind_riders"], ids, lineage_id, plan.tx_hash, now, list(plan.positions[first:]), first
        )
        await tell(conn, rows, self.rules.decimals, now)
