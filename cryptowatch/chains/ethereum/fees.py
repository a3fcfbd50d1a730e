"""Ethereum's fee bids (EIP-1559), of new transactions and of their replacements. Pure.

Rates are wei per gas. The market's floor is the next block's base fee, its estimates are tips.
"""

from dataclasses import dataclass
from decimal import Decimal

from cryptowatch.chains.ethereum.payments import EthereumPlan
from cryptowatch.chains.plans import Bid, Plan
from cryptowatch.chains.port import FeeMarket
from cryptowatch.settings.chains import EthereumFeeSettings, Priority

#: The base fee rises by an eighth a block at most: twice covers the next five full ones.
_HEADROOM = 2
_WEI_GWEI = 10**9


@dataclass(frozen=True, slots=True)
class EthereumFees:
    """Implements `plans.FeePolicy`."""

    settings: EthereumFeeSettings
    bump_after_blocks: int = 3

    def bid(self, market: FeeMarket, priority: Priority) -> Bid:
        """Twice the base fee and the tip, within the cap, which by the settings no first tip is beyond.

        A market whose base fee alone is beyond the cap is waited out.
        """
        tip = self._tip(market, priority)
        return Bid(min(_HEADROOM * market.floor + tip, self._cap), tip)

    def raised(self, market: FeeMarket, plan: Plan, priority: Priority) -> Bid | None:
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

    def _tip(self, market: FeeMarket, priority: Priority) -> int:
        target = self.settings.target_blocks[priority]
        known = [tip for blocks, tip in sorted(market.estimates.items()) if blocks <= target]
        wanted = known[-1] if known else _wei(self.settings.tip_fallback_gwei)
        return min(max(wanted, _wei(self.settings.tip_floor_gwei)), _wei(self.settings.tip_cap_gwei))

    @property
    def _cap(self) -> int:
        return _wei(self.settings.cap_gwei)


def _an_eighth_more(rate: int) -> int:
    """At least one more: nothing is a replacement that offers the same."""
    return rate + max(1, -(-rate // 8))


def _wei(gwei: Decimal) -> int:
    return int(gwei * _WEI_GWEI)
