"""The fee bid of a new transaction and of its replacement. Pure; called by `payouts.worker` and `sending.bump`.

Rates are integer satoshi per 1000 virtual bytes, as nodes count them.
"""

from collections.abc import Iterable

from cryptowatch.chains.port import FeeMarket
from cryptowatch.settings import Fees

SAT_KVB = 1000
RELAY_INCREMENT_SAT_KVB = 1000


def bid_sat_kvb(market: FeeMarket, fees: Fees, priorities: Iterable[str]) -> int:
    """What the most urgent of a batch asks for, within the setting's floor and cap and above the nodes' floor.

    Nodes that know no estimate (young chains) leave the setting's fallback. The nodes' own floor never wins over
    the cap: a market beyond the cap is waited out, and told by `beyond_cap`.
    """
    wanted = max(market_sat_kvb(market, fees, priorities), market.floor, fees.floor_sat_vb * SAT_KVB)
    return min(wanted, fees.cap_sat_vb * SAT_KVB)


def market_sat_kvb(market: FeeMarket, fees: Fees, priorities: Iterable[str]) -> int:
    """The nodes' estimate for the most urgent target, or the setting's fallback."""
    target = min(fees.target_blocks[priority] for priority in priorities)  # type: ignore[index]
    known = [rate for blocks, rate in sorted(market.estimates.items()) if blocks <= target]
    return known[-1] if known else fees.fallback_sat_vb * SAT_KVB


def beyond_cap(market: FeeMarket, fees: Fees) -> bool:
    """Whether not even the cap is relayed by every node now: sending waits."""
    return market.floor > fees.cap_sat_vb * SAT_KVB


def bump_sat_kvb(
    market: FeeMarket, fees: Fees, previous_sat_kvb: int, priorities: Iterable[str]
) -> int | None:
    """The rate of a replacement: what the market asks now, but at least a quarter and one relay increment more.

    None at the cap. A node relays a replacement that pays the old fee plus its increment (1 sat/vB at most by
    default) for each of its own virtual bytes (BIP125 rule 4).
    """
    least = previous_sat_kvb + max(previous_sat_kvb // 4, RELAY_INCREMENT_SAT_KVB)
    raised = max(bid_sat_kvb(market, fees, priorities), least)
    return raised if raised <= fees.cap_sat_vb * SAT_KVB else None
