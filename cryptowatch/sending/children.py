"""Pays for a transaction of ours that cannot be replaced, by one that spends its change (child pays for parent).

Called by `worker`, for chains whose money is coins. A replacement must pay for all that it evicts (BIP125 rule 3), so
where payees have spent what they got, before a block holds it, a child may cost less; and what has too little change
cannot be replaced at all. A child brings change to a fresh address of the wallet, for a fee with which both are mined
for the wanted rate. Keeps P3: the parent stays as it is while nodes have the child (`unconfirmed`), and the child is
raised by replacements with its very inputs.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog

from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import Bid, Insufficient, Plan
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.sending.coins import CoinReserver
from cryptowatch.sending.family import Family
from cryptowatch.sending.lifting import fee_of_longer_line
from cryptowatch.sending.reserve import Halted, NotReady

SQL = load_queries(__package__, "unconfirmed.sql")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Children:
    """One chain's. `entropy` gives a fresh lineage's id."""

    chain: str
    nodes: NodePool
    pool: Pool
    clock: Clock
    reserver: CoinReserver
    entropy: Callable[[datetime], tuple[UUID, int]]

    @property
    def cap(self) -> int:
        """The rate beyond which nothing of ours is mined, in satoshi per 1000 virtual bytes."""
        return self.reserver.rules.bounds.cap

    def lifts(self, family: Family, of: UUID, plan: Plan) -> bool:
        """Whether what it stands on could be lifted through this replacement as far as ever."""
        member, reach = family.members[of], self.reserver.planner.reach(plan)
        if not member.parents:
            return True
        bounds = self.reserver.rules.bounds
        fee = fee_of_longer_line(family, member.parents, reach.size, member.first_rate, bounds)
        return fee is not None and fee <= reach.fee

    async def least_fee(self, plan: Plan, replaces: bytes) -> int:
        """From which on nodes take the plan in place of an attempt: more than this pays, with all that spend of it.

        As most nodes say: one that lies about it changes nothing.
        """
        return self.reserver.planner.cover(plan, await self.nodes.evicted_fees(replaces))

    async def pays_for(self, parents: Collection[asyncpg.Record], bid: Bid, family: Family) -> bool:
        """Whether a child of one of these was made, and the parent and all below it will be mined for the bid.

        `family`: by which it was decided that one is needed.
        """
        for parent in parents:
            try:
                if await self._made(parent, bid, family):
                    return True
            except NotReady:
                continue
            except (Halted, ConcurrentUpdate):
                return False  # another one was first; the next round sees what is left
        return False

    async def _made(self, parent: asyncpg.Record, bid: Bid, family: Family) -> bool:
        now = self.clock.now()
        lineage_id, _ = self.entropy(now)
        subject = f"{parent['lineage_id'].hex}:{parent['number']}"
        async with transaction(self.pool) as conn:
            if await conn.fetchval(SQL["was_refused"], self.chain, subject):
                return False  # the signer would refuse it again
            known = family.children.get(parent["lineage_id"], ())
            plan = await self.reserver.lift(conn, parent, known, bid, lineage_id, subject, now)
            if isinstance(plan, Insufficient):
                raise NotReady("no change to spend, or too little")
        log.info(
            "child pays for parent",
            chain=self.chain,
            tx_hash=parent["tx_hash"].hex(),
            fee_base_units=plan.fee,
        )
        return True
