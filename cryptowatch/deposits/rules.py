"""What applying a block needs to know of its chain, as the settings say it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptowatch.deposits.machine import HeadMoved
from cryptowatch.deposits.policy import AssetPolicy, asset_policies
from cryptowatch.settings.chains import Chain

#: Blocks kept beyond the deepest reorg that is followed, to tell a deep reorg from nodes of another chain.
_BLOCKS_SPARE = 50


@dataclass(frozen=True, slots=True)
class ChainRules:
    """What applying a block needs to know of its chain. `finality` is the depth at which nothing is undone."""

    chain: str
    #: What the network's fees are paid in.
    asset: str
    assets: Mapping[str, AssetPolicy]
    finality: int
    blocks_kept: int
    #: Whether what is final is also up to the nodes (Ethereum's finalized tag).
    tagged: bool = False

    def final_height(self, head: HeadMoved) -> int:
        """Up to here nothing is undone any more."""
        by_depth = head.height - self.finality + 1
        return by_depth if head.final_height is None else min(by_depth, head.final_height)


def chain_rules(chain: str, settings: Chain) -> ChainRules:
    assets = asset_policies(settings.asset_settings)
    finality = assets[settings.asset].deepest
    return ChainRules(
        chain,
        settings.asset,
        assets,
        finality,
        blocks_kept=max(settings.reorg_depth_max, finality) + _BLOCKS_SPARE,
        tagged=settings.is_tagged,
    )
