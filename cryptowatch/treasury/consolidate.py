"""Merges small coins while fees are low, so that payouts need few inputs when they are high (chains of coins).

One loop of `daemon` per such chain (role `send`). A consolidation pays nobody: its one output is change, and it goes
through `sending` like a payout (P3, P4). It takes the smallest coins, full batches of them, and never so much that what
is left could not pay the queue. It is in no hurry: it takes the cheapest hours of the day, and its fee is never raised.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from cryptowatch.chains.plans import Bid, FeePolicy, Insufficient
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.sending.coins import CoinReserver
from cryptowatch.sending.market import Market
from cryptowatch.sending.reserve import Halted, NotReady
from cryptowatch.sending.worker import is_caught_up
from cryptowatch.settings.chains import BitcoinSettings
from cryptowatch.settings.signer import CoinPolicy, SignerPolicy

SQL = load_queries(__package__, "consolidate.sql")
log = structlog.get_logger(__name__)

_SAT_KVB = 1000
#: What the signer refused keeps its place so long: each try uses up a change address.
_REFUSED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ConsolidationRules:
    """`rate_max`: in the family's unit; above it coins stay as they are."""

    coins_max: int
    inputs: int
    in_flight_max: int
    rate_max: int
    interval_s: float


def consolidation_rules(settings: BitcoinSettings, policy: SignerPolicy | None) -> ConsolidationRules:
    """`policy`: the signer's for the chain, where this process knows it; it would refuse a larger transaction whole."""
    own = settings.wallet.consolidation
    inputs = min(own.inputs, policy.inputs_max) if isinstance(policy, CoinPolicy) else own.inputs
    rate = settings.fees.long_term_sat_vb if own.rate_max_sat_vb is None else own.rate_max_sat_vb
    return ConsolidationRules(own.coins_max, inputs, own.in_flight_max, rate * _SAT_KVB, own.interval_s)


@dataclass(slots=True)
class Consolidator:
    """One chain's. `entropy` gives a fresh lineage's id."""

    chain: str
    pool: Pool
    clock: Clock
    fees: FeePolicy
    market: Market
    reserver: CoinReserver
    rules: ConsolidationRules
    entropy: Callable[[datetime], tuple[UUID, int]]
    _said: str | None = None

    async def step(self) -> int:
        """One look, and at most one transaction; how many were made. Safe to repeat after any error."""
        market = await self.market.now()
        bid = self.fees.bid(market, "economy")
        least = self.reserver.planner.worth_spending(bid)
        async with connection(self.pool) as conn:
            room = await conn.fetchrow(
                SQL["room"],
                self.chain,
                self.reserver.rules.confirmations_min,
                least,
                self.clock.now() - _REFUSED,
            )
        if room is None or room["in_flight"] >= self.rules.in_flight_max:
            return 0
        if room["coins"] < self.rules.coins_max + self.rules.inputs:
            return 0
        if not await is_caught_up(self.market.nodes, room["height"]):
            return 0
        if bid.rate > self.rules.rate_max or self.fees.beyond_cap(market):
            return self._wait("fees are above the rate at which coins are merged")
        # As one that was asked for just now: it takes the cheapest hours only, and grows no less patient.
        if await self.market.wait("economy", self.clock.now()) is not None:
            return self._wait("fees were lower at other times of the day")
        return await self._consolidate(bid, least, room["spare"])

    async def _consolidate(self, bid: Bid, least: int, spare: int) -> int:
        now = self.clock.now()
        lineage_id, _ = self.entropy(now)
        try:
            async with transaction(self.pool) as conn:
                done = await self.reserver.consolidate(
                    conn, self.rules.inputs, bid, least, spare, lineage_id, now
                )
                if isinstance(done, Insufficient):
                    raise NotReady("queued payouts need the coins")
        except (Halted, NotReady) as wait:
            return self._wait(str(wait))
        except ConcurrentUpdate:
            return 0  # another sender was first; the next look sees what is left
        self._said = None
        log.info("consolidation", chain=self.chain, inputs=len(done.resources), fee_base_units=done.fee)
        return 1

    def _wait(self, reason: str) -> int:
        """Said once, not in every round."""
        if reason != self._said:
            log.info("consolidation waits", chain=self.chain, reason=reason)
            self._said = reason
        return 0
