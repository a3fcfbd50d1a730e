"""Ethereum's fee bids (EIP-1559), of new transactions and of their replacements. Pure.

Rates are wei per gas. The market's floor is the next block's base fee, its estimates are tips.
"""

from dataclasses import dataclass
from decimal import Decimal

from cryptowatch.chains.ethereum.payments import EthereumPlan
from cryptowatch.chains.plans import Aim, Bid, Offer, RateUnit
from cryptowatch.chains.port import FeeMarket
from cryptowatch.settings.chains import EthereumFeeSettings, Priority

#: What a transfer of the chain's own coin to a plain account takes (Yellow Paper, appendix G).
_PAYMENT_GAS = 21_000
#: A bid outlasts the base fee's steepest way up over so many blocks, the next one included.
_COVERED_BLOCKS = 6
_WEI_GWEI = 10**9


@dataclass(frozen=True, slots=True)
class EthereumFees:
    """Implements `plans.FeePolicy`."""

    settings: EthereumFeeSettings
    bump_after_blocks: int = 3

    @property
    def unit(self) -> RateUnit:
        return RateUnit("gwei", 9)

    def aim(self, priority: Priority) -> Aim:
        """What the base fee can do at most is known: for a target that a bid covers, only the tip is a guess."""
        return Aim(self.settings.target_blocks[priority])

    def payment_fee(self, bid: Bid) -> int:
        return bid.rate * _PAYMENT_GAS

    def bid(self, market: FeeMarket, priority: Priority) -> Bid:
        """What the base fee can come to be in the next blocks, and the tip, within the cap.

        By the settings no first tip is beyond the cap; a market whose base fee alone is, is waited out. What the base
        fee does not come to be is not paid.
        """
        tip = self._tip(market, priority)
        return Bid(min(highest_base_fee(market.floor, _COVERED_BLOCKS) + tip, self._cap), tip)

    def signed_once(self, market: FeeMarket, priority: Priority) -> Bid:
        """At the cap: of it only the base fee of its block is paid, and the tip, which is the market's."""
        return Bid(self._cap, self._tip(market, priority))

    def raised(self, market: FeeMarket, plan: Offer, priority: Priority) -> Bid | None:
        """What the market asks now, but both parts by an eighth more at least. None at the cap.

        Nodes take a replacement for 10 % more on both (geth, PriceBump); an eighth is what the base fee can rise. So a
        tip may come to be above its own cap, which is for first bids: else the base fee could not be followed.
        """
        assert isinstance(plan, EthereumPlan)
        old, wanted = plan.transaction, self.bid(market, priority)
        tip = max(wanted.tip, _an_eighth_more(old.tip))
        rate = max(wanted.rate, _an_eighth_more(old.max_fee), tip)
        return Bid(rate, tip) if rate <= self._cap else None

    def market_rate(self, market: FeeMarket, priority: Priority) -> int:
        """What the next block takes."""
        return market.floor + self._tip(market, priority)

    def beyond_cap(self, market: FeeMarket) -> bool:
        """Whether not even the cap is included in the next block."""
        return market.floor > self._cap

    def patience_blocks(self, priority: Priority) -> int:
        return max(self.bump_after_blocks, self.settings.target_blocks[priority])

    def is_stuck(self, market: FeeMarket, plan: Offer, priority: Priority, waited_blocks: int) -> bool:
        """At its patience's end, or before when the next block's base fee leaves nothing of the bid for a tip."""
        assert isinstance(plan, EthereumPlan)
        if waited_blocks >= self.patience_blocks(priority):
            return True
        least = market.floor + _wei(self.settings.tip_floor_gwei)
        return waited_blocks >= self.bump_after_blocks and plan.transaction.max_fee < least

    def _tip(self, market: FeeMarket, priority: Priority) -> int:
        target = self.settings.target_blocks[priority]
        known = [tip for blocks, tip in sorted(market.estimates.items()) if blocks <= target]
        wanted = known[-1] if known else _wei(self.settings.tip_fallback_gwei)
        return min(max(wanted, _wei(self.settings.tip_floor_gwei)), _wei(self.settings.tip_cap_gwei))

    @property
    def _cap(self) -> int:
        return _wei(self.settings.cap_gwei)


def highest_base_fee(base_fee: int, blocks: int) -> int:
    """The most that the base fee can be in the last of so many blocks, when each before it is full (EIP-1559).

    `base_fee` is that of the first of them, the next block, which is known. Each full one adds an eighth, or 1.
    """
    for _ in range(blocks - 1):
        base_fee += max(base_fee // 8, 1)
    return base_fee


def _an_eighth_more(rate: int) -> int:
    """At least one more: nothing is a replacement that offers the same."""
    return rate + max(1, -(-rate // 8))


def _wei(gwei: Decimal) -> int:
    return int(gwei * _WEI_GWEI)
