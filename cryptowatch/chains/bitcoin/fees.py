"""Bitcoin's fee bids, of new transactions and of their replacements. Pure; called by `payouts` and `sending`.

Rates are integer satoshi per 1000 virtual bytes, as nodes count them.
"""

from dataclasses import dataclass

from cryptowatch.chains.plans import Aim, Bid, Offer, RateUnit
from cryptowatch.chains.port import FeeMarket
from cryptowatch.settings.chains import BitcoinFeeSettings, Priority

SAT_KVB = 1000
RELAY_INCREMENT_SAT_KVB = 1000
#: One input, a recipient and the change, all of them P2WPKH.
_PAYMENT_VB = 141


@dataclass(frozen=True, slots=True)
class BitcoinFees:
    """Implements `plans.FeePolicy`."""

    settings: BitcoinFeeSettings
    bump_after_blocks: int = 3

    @property
    def unit(self) -> RateUnit:
        return RateUnit("sat/vB", 3)

    def aim(self, priority: Priority) -> Aim:
        own = self.settings
        return Aim(own.target_blocks[priority], own.miss_cost_percent[priority], own.floor_sat_vb * SAT_KVB)

    def payment_fee(self, bid: Bid) -> int:
        """Rounded up, as satoshi are whole."""
        return -(-bid.rate * _PAYMENT_VB // SAT_KVB)

    def bid(self, market: FeeMarket, priority: Priority) -> Bid:
        """Within the setting's floor and cap and above the nodes' floor.

        The nodes' own floor never wins over the cap: a market beyond the cap is waited out, see `beyond_cap`.
        """
        return Bid(min(self.market_rate(market, priority), self._cap))

    def signed_once(self, market: FeeMarket, priority: Priority) -> Bid:
        """The same bid: all of it is paid, whatever the market comes to ask."""
        return self.bid(market, priority)

    def raised(self, market: FeeMarket, plan: Offer, priority: Priority) -> Bid | None:
        """What the market asks now, but at least a quarter and one relay increment more. None at the cap.

        A node relays a replacement that pays the old fee plus its increment (1 sat/vB at most by default) for each of
        its own virtual bytes (BIP125 rule 4).
        """
        raised = max(self.bid(market, priority).rate, _least_raise(_paid(plan)))
        return Bid(raised) if raised <= self._cap else None

    def market_rate(self, market: FeeMarket, priority: Priority) -> int:
        """Our own estimate where there is one; it knows what waits and what joins, nodes look back at blocks.

        Until it has watched long enough: the nodes' estimate for the target, or the setting's fallback where they know
        none (young chains), but no less than gets in if nothing joined what waits now. Never below the floors.
        """
        floor = max(market.floor, self.settings.floor_sat_vb * SAT_KVB)
        if priority in market.forecast:
            return max(market.forecast[priority], floor)
        target = self.settings.target_blocks[priority]
        known = [rate for blocks, rate in sorted(market.estimates.items()) if blocks <= target]
        told = known[-1] if known else self.settings.fallback_sat_vb * SAT_KVB
        return max([told, floor, *market.projection[:target][-1:]])

    def beyond_cap(self, market: FeeMarket) -> bool:
        """Whether not even the cap is relayed by every node now."""
        return market.floor > self._cap

    def patience_blocks(self, priority: Priority) -> int:
        return max(self.bump_after_blocks, self.settings.target_blocks[priority])

    def is_stuck(self, market: FeeMarket, plan: Offer, priority: Priority, waited_blocks: int) -> bool:
        """By age and market: before its patience ends, when the market asks so much more that a raise is worth it.

        After that always, but for one that pays what our own estimate asks for: it is given its patience once more, and
        then the blocks that did not take it know better.
        """
        patience = self.patience_blocks(priority)
        paid, asked = _paid(plan), min(self.market_rate(market, priority), self._cap)
        if waited_blocks < patience:
            return waited_blocks >= self.bump_after_blocks and asked >= _least_raise(paid)
        return waited_blocks >= 2 * patience or priority not in market.forecast or paid < asked

    @property
    def _cap(self) -> int:
        return self.settings.cap_sat_vb * SAT_KVB


def _paid(plan: Offer) -> int:
    return plan.fee * SAT_KVB // plan.size


def _least_raise(rate: int) -> int:
    return rate + max(rate // 4, RELAY_INCREMENT_SAT_KVB)
