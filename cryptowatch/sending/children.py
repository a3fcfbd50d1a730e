"""Pays for a transaction of ours that cannot be replaced, by one that spends its change (child pays for parent).

Called by `worker`, for chains whose money is coins. A replacement must pay for all that it evicts, so what a payee has
spent before a block holds it is not replaced (BIP125 rule 3); nor can one be that has too little change. A child brings
change to a fresh address of the wallet, for a fee with which both are mined for the wanted rate. Keeps P3: the parent
stays as it is from then on (`unconfirmed`), and the child is raised by replacements with its very inputs.
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
from cryptowatch.sending.reserve import Halted, NotReady

SQL = load_queries(__package__, "unconfirmed.sql")
log = structlog.get_logger(__name__)

#: Rates are satoshi per so many virtual bytes.
_SAT_KVB = 1000


@dataclass(frozen=True, slots=True)
class Children:
    """One chain's. `entropy` gives a fresh lineage's id."""

    chain: str
    nodes: NodePool
    pool: Pool
    clock: Clock
    reserver: CoinReserver
    entropy: Callable[[datetime], tuple[UUID, int]]

    def affords(self, row: asyncpg.Record, bid: Bid, growth_max: int) -> bool:
        """Whether a lineage's budget, in its first attempt's fees, allows the rate, whoever pays for it."""
        return bool(bid.rate * row["first_size"] <= _SAT_KVB * row["first_fee"] * growth_max)

    async def is_built_on(self, plan: Plan) -> bool:
        """Whether a payee has spent what it pays, as any node says: who lies makes us pay for a child instead."""
        assert plan.tx_hash is not None
        paid = [plan.tx_hash + place.to_bytes(4, "big") for place in plan.positions]
        return bool(await self.nodes.spenders(paid))

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
