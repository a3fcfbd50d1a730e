"""Keeps one chain's hot wallet in its bands: begins movements to and from cold, prepares them, and follows them.

One loop of `daemon` per chain that has a cold wallet (role `treasury`). Money leaves to cold through `sending` like a
payout: reserved and committed before it is signed (P4), to an address that the signer derives or lists itself (P9). One
movement of an asset is open at a time, guarded by the database: dying anywhere, or running twice, moves nothing twice.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog

from cryptowatch.chains.connect import ColdWallet
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import FeePolicy, Insufficient, Recipient
from cryptowatch.chains.port import FeeMarket
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ids import derived_id
from cryptowatch.money import BaseUnits
from cryptowatch.sending.accounts import AccountReserver
from cryptowatch.sending.reserve import Halted, NotReady, Order, Reserver
from cryptowatch.sending.worker import is_caught_up
from cryptowatch.settings.cold import Band
from cryptowatch.treasury.bands import Direction, Marks, decide, marks_of
from cryptowatch.treasury.keeping import KeptAsset, RebalanceRules
from cryptowatch.treasury.rebalances import Wanted, begin, bind, cold_recipient, end, follow, follow_contracts
from cryptowatch.treasury.refills import Proposer, store_proposal
from cryptowatch.treasury.wallets import read_wallets

SQL = load_queries(__package__, "rebalances.sql")
log = structlog.get_logger(__name__)

#: A forecast reads days of payouts and deposits: so seldom.
_FORECAST_S = 3600
#: The signer's window of what goes to cold.
_HOUR = timedelta(hours=1)


@dataclass(slots=True)
class Rebalancer:
    """One chain's. `entropy` gives a fresh (id, seed of coin selection); `observe` is told marks, for metrics."""

    chain: str
    cold: ColdWallet
    nodes: NodePool
    pool: Pool
    clock: Clock
    fees: FeePolicy
    reserver: Reserver
    proposer: Proposer
    rules: RebalanceRules
    entropy: Callable[[datetime], tuple[UUID, int]]
    observe: Callable[[str, str, Marks], None]
    #: asset -> (when it was made, the net outflow that it says)
    _forecasts: dict[str, tuple[float, int]] = field(default_factory=dict)
    #: Why each asset's waits, as last logged.
    _said: dict[str, str] = field(default_factory=dict)

    async def step(self) -> int:
        """Follow, begin, prepare; how many movements changed. Safe to repeat after any error."""
        moved = await self._follow()
        async with connection(self.pool) as conn:
            height = await conn.fetchval(SQL["read_height"], self.chain)
        if height is None or not await is_caught_up(self.nodes, height):
            return moved
        if isinstance(self.reserver, AccountReserver) and self.cold.account is not None:
            # What was there before we looked for the first time, by a quorum's word.
            await self.reserver.open([self.cold.account])
        for asset, kept in self.rules.assets.items():
            if kept.band is not None:
                await self._keep(asset, kept, kept.band)
        async with connection(self.pool) as conn:
            requested = await conn.fetch(SQL["requested"], self.chain)
        for row in requested:
            prepare = self._send if row["direction"] == Direction.OVERFLOW else self._ask_cold
            moved += await self._prepare(row, prepare)
        return moved

    async def _follow(self) -> int:
        now, decimals = self.clock.now(), {name: kept.decimals for name, kept in self.rules.assets.items()}
        async with transaction(self.pool) as conn:
            moved = await follow(conn, self.chain, decimals, now)
            moved += await follow_contracts(conn, self.chain, self.rules.finality, decimals, now)
            for row in await conn.fetch(SQL["expired"], self.chain, now):
                ended = await end(conn, row["id"], "expired", "not in time", decimals[row["asset"]], now)
                moved += ended is not None
        return moved

    async def _keep(self, asset: str, kept: KeptAsset, band: Band) -> None:
        """Begin what the band asks for, if anything."""
        now = self.clock.now()
        marks = await self._marks(asset, kept, band, now)
        self.observe(self.chain, asset, marks)
        async with transaction(self.pool) as conn:
            wallets = await read_wallets(conn, self.chain, asset, self.rules.finality)
            rests = await conn.fetchval(SQL["rests"], self.chain, asset, now - self.rules.retry)
            movement = decide(wallets.hot, marks, kept.overflow, is_open=rests)
            if movement is None:
                return
            if movement.direction is Direction.REFILL and wallets.cold <= movement.amount:
                self._wait(asset, f"cold does not cover a refill of {movement.amount} base units")
                return
            wanted = Wanted(self.chain, asset, movement, None, now + self.rules.expires)
            begun = await begin(conn, wanted, self.entropy(now)[0], kept.decimals, now)
        if begun is not None:
            log.info("rebalance begun", chain=self.chain, asset=asset, direction=movement.direction)

    async def _marks(self, asset: str, kept: KeptAsset, band: Band, now: datetime) -> Marks:
        if not band.is_forecast:
            return marks_of(band, kept.decimals)
        made_s, outflow = self._forecasts.get(asset, (-_FORECAST_S, 0))
        if self.clock.monotonic_s() - made_s >= _FORECAST_S or asset not in self._forecasts:
            since = derived_id(now - timedelta(days=band.forecast_days))
            async with connection(self.pool) as conn:
                outflow = await conn.fetchval(SQL["outflow"], self.chain, asset, since)
            self._forecasts[asset] = (self.clock.monotonic_s(), int(outflow))
        return marks_of(band, kept.decimals, int(outflow))

    async def _prepare(
        self, row: asyncpg.Record, prepare: Callable[[asyncpg.Record, FeeMarket], Awaitable[int]]
    ) -> int:
        """Out of `requested`, or it waits."""
        market = await self.nodes.fee_market()
        if self.fees.beyond_cap(market):
            return self._wait(row["asset"], "market beyond the fee cap")
        try:
            done = await prepare(row, market)
        except (Halted, NotReady) as wait:
            return self._wait(row["asset"], str(wait))
        except ConcurrentUpdate:
            return 0  # another one was first; the next round sees what is left
        self._said.pop(row["asset"], None)
        return done

    async def _send(self, row: asyncpg.Record, market: FeeMarket) -> int:
        """To cold: into a transaction of ours."""
        await self.reserver.prepare()
        now = self.clock.now()
        lineage_id, seed = self.entropy(now)
        async with transaction(self.pool) as conn:
            rebalance = await conn.fetchrow(SQL["lock_requested"], row["id"])
            if rebalance is None:
                return 0
            recipient, address = await self._recipient(conn, rebalance, now)
            order = Order(
                asset=rebalance["asset"],
                recipients=[recipient],
                priority="normal",
                bid=self.fees.bid(market, "normal"),
                lineage_id=lineage_id,
                seed=seed,
                kind="overflow",
            )
            planned = await self.reserver.reserve(conn, order, now)
            if isinstance(planned, Insufficient):
                raise NotReady(f"{planned.missing} base units are missing")
            decimals = self.rules.assets[rebalance["asset"]].decimals
            await bind(conn, rebalance, lineage_id, address, ("requested", "proposed"), decimals, now)
        return 1

    async def _ask_cold(self, row: asyncpg.Record, market: FeeMarket) -> int:
        """From cold: something for its owner to sign."""
        now = self.clock.now()
        bid = self.fees.signed_once(market, "normal")
        proposal = await self.proposer.propose(row, bid, self.entropy(now)[1])
        async with transaction(self.pool) as conn:
            rebalance = await conn.fetchrow(SQL["lock_requested"], row["id"])
            if rebalance is None:
                return 0
            await store_proposal(conn, rebalance, proposal, self.rules.assets[row["asset"]].decimals, now)
        log.info("refill asked from cold", chain=self.chain, asset=row["asset"])
        return 1

    async def _recipient(
        self, conn: Connection, rebalance: asyncpg.Record, now: datetime
    ) -> tuple[Recipient, str]:
        """Where it goes, and the address as people see it. Players' money comes first, even where a person asks."""
        wallets = await read_wallets(conn, self.chain, rebalance["asset"], self.rules.finality)
        amount = BaseUnits(rebalance["amount"])
        if amount > wallets.hot.spare:
            raise NotReady("queued payouts need what should go to cold")
        most = self.rules.assets[rebalance["asset"]].overflow.most
        gone = await conn.fetchval(SQL["within_hour"], self.chain, rebalance["asset"], now - _HOUR)
        if most is not None and gone + amount > most:
            # Before it has coins or a nonce: what the signer puts off would hold up payouts behind it.
            raise NotReady("the signer's hour of what goes to cold is full")
        found = await cold_recipient(conn, self.chain, self.cold.account, now)
        if found is None:
            raise NotReady("no cold address is derived ahead yet")
        index = None if self.cold.account is not None else found["key_index"]
        return Recipient(found["destination"], amount, index), found["address"]

    def _wait(self, asset: str, reason: str) -> int:
        """Said once, not in every round."""
        if reason != self._said.get(asset):
            log.warning("rebalance waits", chain=self.chain, asset=asset, reason=reason)
            self._said[asset] = reason
        return 0
