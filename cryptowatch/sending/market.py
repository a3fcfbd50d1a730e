"""Surveys one chain's market of fees, for payouts, replacements and people: one loop of `daemon`, role `send`.

A survey asks the nodes for their estimates and for what waits at them, feeds our own estimator, writes down the level
of fees and the quote that the API shows. No node can move any of it alone (`NodePool.fee_market`, `backlog`). What is
remembered here only makes estimates better: after a restart the estimator has too little history for a while, says
so, and bids go by the nodes' estimates and by what waits. What decides who waits for cheaper fees is read from the
database. Keeps P10: levels are kept for as long as a setting says, one for each slot of time.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec
import structlog

from cryptowatch.chains.backlog import projection
from cryptowatch.chains.forecast import Forecaster
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import FeePolicy
from cryptowatch.chains.port import FeeMarket
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.sending.patience import Patience, Wait, wait_for_cheaper
from cryptowatch.sending.quotes import LEVEL_PRIORITY, PRIORITIES, QuoteTerms, Survey, quote
from cryptowatch.settings.chains import Chain, Priority

SQL = load_queries(__package__, "market.sql")
log = structlog.get_logger(__name__)

SLOT_S = 600
_PROJECTED_BLOCKS = 6
#: An estimate is used until so many surveys in a row have brought nothing new.
_SURVEYS_MISSED_MAX = 5


class MarketObserver(Protocol):
    """Told for metrics after each survey. Rates in the family's unit."""

    def on_market(self, priority: str, market_rate: int) -> None: ...

    def on_estimator(self, is_ready: bool, history_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class MarketRules:
    terms: QuoteTerms
    survey_interval_s: float
    recent_s: int


@dataclass(slots=True)
class Market:
    """One chain's. `step` is the loop; the others may ask at any time."""

    nodes: NodePool
    pool: Pool
    clock: Clock
    fees: FeePolicy
    rules: MarketRules
    forecaster: Forecaster
    observer: MarketObserver
    #: As the last survey found it; empty before.
    surveyed: FeeMarket = field(default_factory=FeeMarket)
    _projection: tuple[int, ...] = ()
    _forecast: Mapping[Priority, int] = field(default_factory=dict)
    #: When the nodes last told what waits at them; None where they cannot.
    _looked_at: datetime | None = None
    _level: int = 0
    _recent: Sequence[int] | None = None

    async def step(self) -> int:
        """One survey; 0, so that the loop waits its interval."""
        await self._look()
        market, now = await self.now(), self.clock.now()
        told = bool(market.floor or market.estimates)
        self.surveyed = market
        self._level = self.fees.market_rate(market, LEVEL_PRIORITY)
        async with transaction(self.pool) as conn:
            chain, since = self.rules.terms.chain, now - timedelta(seconds=self.rules.recent_s)
            if told:
                await conn.execute(SQL["note_level"], chain, _slot(now), self._level)
            await conn.execute(SQL["forget_levels"], chain, since)
            self._recent = [int(row["level"]) for row in await conn.fetch(SQL["recent_levels"], chain, since)]
            if told:
                survey = Survey(now, market, self._recent, self._state(), self.forecaster.history_s)
                document = msgspec.json.encode(quote(self.rules.terms, self.fees, survey)).decode()
                await conn.execute(SQL["store_quote"], chain, now, document)
        for priority in PRIORITIES if told else ():
            self.observer.on_market(priority, self.fees.market_rate(market, priority))
        self.observer.on_estimator(self.forecaster.is_ready, self.forecaster.history_s)
        return 0

    async def now(self) -> FeeMarket:
        """The nodes' estimates and floor as they are, with what the last survey found out about what waits."""
        told = await self.nodes.fee_market()
        missed = timedelta(seconds=self.rules.survey_interval_s * _SURVEYS_MISSED_MAX)
        if self._looked_at is None or self.clock.now() - self._looked_at > missed:
            return told
        return replace(told, projection=self._projection, forecast=self._forecast)

    async def wait(self, priority: str, requested_at: datetime) -> Wait | None:
        """Why a payment of this priority, requested then, waits for cheaper fees; None: it should be sent.

        Before the first survey of this process: surveys, so that a restart sends nothing that waits.
        """
        if self._recent is None:
            await self.step()
        assert self._recent is not None
        age_s = (self.clock.now() - requested_at).total_seconds()
        return wait_for_cheaper(self._level, self._recent, priority, age_s, self.rules.terms.patience)

    async def _look(self) -> None:
        """At what waits, where no block came in between: else what it took would count as having left."""
        before = await self.nodes.agreed_head()
        waiting = await self.nodes.backlog()
        if before is None or waiting is None or await self.nodes.agreed_head() != before:
            return
        self._looked_at = self.clock.now()
        self.forecaster.note(self._looked_at, before.height, waiting)
        self._projection = projection(waiting, _PROJECTED_BLOCKS)
        # In a thread: a far target takes a quarter of a second.
        self._forecast = await asyncio.to_thread(self._estimates)

    def _estimates(self) -> Mapping[Priority, int]:
        """Empty while the estimator has too little history."""
        aims = {priority: self.fees.aim(priority) for priority in PRIORITIES}
        rates = {
            priority: self.forecaster.rate(aim.blocks, aim.miss_cost_percent, aim.floor)
            for priority, aim in aims.items()
        }
        return {priority: rate for priority, rate in rates.items() if rate is not None}

    def _state(self) -> str:
        if self._looked_at is None:
            return "none"
        return "ready" if self.forecaster.is_ready else "gathering"


def _slot(now: datetime) -> datetime:
    return datetime.fromtimestamp(now.timestamp() // SLOT_S * SLOT_S, UTC)


def market_rules(chain: str, settings: Chain) -> MarketRules:
    own, asset = settings.market, settings.asset_settings[settings.asset]
    patience = Patience(
        {priority: float(longest) for priority, longest in own.wait_max_s.items()},
        own.cheap_percent,
        own.tolerance_percent,
        own.recent_s // SLOT_S // 4,
    )
    decimals = asset.decimals - asset.scale
    terms = QuoteTerms(chain, settings.asset, decimals, settings.block_interval_s, patience)
    return MarketRules(terms, own.survey_interval_s, own.recent_s)
