"""Payouts that wait and join a transaction which is to be replaced anyway, where that is cheaper than one of their own.

Called by `worker`; `payouts` implements `Riders`. Keeps P3: the replacement has all inputs of what it replaces, and
whoever joins is bound to the lineage. Should a block take an older attempt, which does not pay them, they wait until
that is final (`track` makes the others void then) and are made again only after it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import asyncpg

from cryptowatch.chains.plans import Bid, CoinPlanner, FeePolicy, Insufficient, Plan, Recipient
from cryptowatch.chains.port import FeeMarket
from cryptowatch.db.pool import Connection
from cryptowatch.settings.chains import Priority

#: What is left of the change in fees of the new attempt: a fee is raised from the change alone (0012), and those who
#: were there first must not get stuck because others joined.
_FEES_LEFT = 4


@dataclass(frozen=True, slots=True)
class Rider:
    """A payout that waits."""

    id: UUID
    recipient: Recipient
    priority: Priority


class Riders(Protocol):
    """One chain's payouts that wait."""

    async def waiting(self, lineage_id: UUID, asset: str, priority: Priority) -> Sequence[Rider]:
        """Whom the lineage could pay as well, whose turn it is first; none of them more urgent than it is."""
        ...

    async def bind(
        self, conn: Connection, lineage_id: UUID, riders: Sequence[Rider], plan: Plan, now: datetime
    ) -> None:
        """All of them, as the last recipients of the plan. Raises ConcurrentUpdate: then the caller rolls back."""
        ...


@dataclass(frozen=True, slots=True)
class Joining:
    """One chain's."""

    planner: CoinPlanner
    fees: FeePolicy
    riders: Riders

    async def join(
        self, row: asyncpg.Record, old: Plan, alone: Plan, bid: Bid, market: FeeMarket
    ) -> tuple[Plan, Sequence[Rider]] | None:
        """A replacement of `old` that pays waiting ones, too, in place of `alone`; None where nobody should join.

        `row`: the attempt that is replaced. Nothing is written.
        """
        if row["kind"] != "payout":
            return None
        spare = _coming_back(alone) - _FEES_LEFT * alone.fee
        chosen: list[Rider] = []
        for rider in await self.riders.waiting(row["lineage_id"], row["asset"], row["priority"]):
            if rider.recipient.amount < spare:
                chosen.append(rider)
                spare -= rider.recipient.amount
        if not chosen:
            return None
        recipients = [rider.recipient for rider in chosen]
        joint = await asyncio.to_thread(self.planner.join, old, bid, recipients)
        if isinstance(joint, Insufficient) or _coming_back(joint) < _FEES_LEFT * joint.fee:
            return None
        own = min(
            self.planner.fee_alone(recipients, self.fees.bid(market, priority))
            for priority in {rider.priority for rider in chosen}
        )
        return (joint, chosen) if joint.fee - alone.fee <= own else None


def _coming_back(plan: Plan) -> int:
    return sum(coin.amount for coin in plan.coins_back)
