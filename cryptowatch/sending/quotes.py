"""What a payment would bid now, how long it should take, and the facts behind it: as operators and platforms see it.

Pure. Made by `sending.market` at each survey and kept in the database, so that any process can show it
(`GET /v1/fees`). Rates are decimal strings in the unit that the quote names, fees in whole units of the asset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from cryptowatch.chains.plans import FeePolicy
from cryptowatch.chains.port import FeeMarket
from cryptowatch.money import format_amount
from cryptowatch.sending.patience import Patience, Wait, percentile, wait_for_cheaper
from cryptowatch.settings.chains import Priority

PRIORITIES: tuple[Priority, ...] = ("urgent", "normal", "economy")
#: What "the level of fees" is, here and in the history: what the most patient pay.
LEVEL_PRIORITY: Priority = "economy"


class PriorityQuote(msgspec.Struct, frozen=True):
    """`rate`: what is offered. `market_rate`: what the market asks. `fee`: of one payment of the chain's own coin, at
    most. `expected_blocks` and `expected_s`: until it is in a block, once it is sent. `waits`: why a withdrawal
    requested now would first wait for cheaper fees, null when it would not; `wait_max_s`: and how long at most.
    """

    priority: str
    rate: str
    market_rate: str
    fee: str
    expected_blocks: int
    expected_s: float
    waits: str | None
    wait_max_s: float


class RecentLevels(msgspec.Struct, frozen=True):
    """The levels of the time that says what is cheap: `cheap` is the one that is taken at once."""

    samples: int
    lowest: str
    cheap: str
    median: str
    highest: str


class FeeQuote(msgspec.Struct, frozen=True):
    """`floor`: below it nothing is relayed or included. `node_estimates`: block target -> rate (of chains with a base
    fee the tip alone). `projection`: for each of the next blocks the lowest rate that would get in if nothing joined.
    `estimator`: `ready`, `gathering` while it has too little history, `none` where there is no pool to look at.
    `beyond_cap`: nothing is sent now, as fees are beyond the settings' cap.
    """

    chain: str
    asset: str
    rate_unit: str
    quoted_at: datetime
    priorities: list[PriorityQuote]
    floor: str
    beyond_cap: bool
    node_estimates: dict[str, str]
    projection: list[str]
    estimator: str
    estimator_history_s: int
    recent: RecentLevels | None


@dataclass(frozen=True, slots=True)
class QuoteTerms:
    """What of a chain's settings a quote needs."""

    chain: str
    asset: str
    #: Of the asset.
    decimals: int
    block_interval_s: float
    patience: Patience


@dataclass(frozen=True, slots=True)
class Survey:
    """What one survey found. `recent`: levels, newest first."""

    at: datetime
    market: FeeMarket
    recent: Sequence[int]
    estimator: str
    estimator_history_s: float


def quote(terms: QuoteTerms, fees: FeePolicy, survey: Survey) -> FeeQuote:
    def show(rate: int) -> str:
        return format_amount(rate, fees.unit.decimals)

    market, recent = survey.market, survey.recent
    cheap = percentile(recent, terms.patience.cheap_percent) if recent else 0
    levels = (min(recent), cheap, percentile(recent, 50), max(recent)) if recent else ()
    return FeeQuote(
        chain=terms.chain,
        asset=terms.asset,
        rate_unit=fees.unit.name,
        quoted_at=survey.at,
        priorities=[_of_priority(priority, terms, fees, survey) for priority in PRIORITIES],
        floor=show(market.floor),
        beyond_cap=fees.beyond_cap(market),
        node_estimates={str(target): show(rate) for target, rate in sorted(market.estimates.items())},
        projection=[show(rate) for rate in market.projection],
        estimator=survey.estimator,
        estimator_history_s=int(survey.estimator_history_s),
        recent=RecentLevels(len(recent), *map(show, levels)) if recent else None,
    )


def reason(wait: Wait, fees: FeePolicy) -> str:
    """For people."""
    unit, level, acceptable = fees.unit, wait.level, wait.acceptable
    shown: Mapping[str, str] = {
        name: format_amount(rate, unit.decimals) for name, rate in (("now", level), ("at", acceptable))
    }
    return (
        f"fees are at {shown['now']} {unit.name}, and it leaves at {shown['at']} or less, "
        f"or in {int(wait.seconds_left)} s at the latest"
    )


def _of_priority(priority: Priority, terms: QuoteTerms, fees: FeePolicy, survey: Survey) -> PriorityQuote:
    bid, aim = fees.bid(survey.market, priority), fees.aim(priority)
    level = fees.market_rate(survey.market, LEVEL_PRIORITY)
    wait = wait_for_cheaper(level, survey.recent, priority, 0, terms.patience)
    return PriorityQuote(
        priority=priority,
        rate=format_amount(bid.rate, fees.unit.decimals),
        market_rate=format_amount(fees.market_rate(survey.market, priority), fees.unit.decimals),
        fee=format_amount(fees.payment_fee(bid), terms.decimals),
        expected_blocks=aim.blocks,
        expected_s=aim.blocks * terms.block_interval_s,
        waits=None if wait is None else reason(wait, fees),
        wait_max_s=terms.patience.wait_max_s.get(priority, 0),
    )
