"""From the settings to what is kept of each asset, and what one movement to cold may be. For the API and `daemon`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from cryptowatch.money import parse_amount
from cryptowatch.settings import Settings
from cryptowatch.settings.cold import Band
from cryptowatch.treasury.bands import Bounds


@dataclass(frozen=True, slots=True)
class KeptAsset:
    """One asset of the chain. `overflow.least`: what nodes relay, and the settings find worth moving."""

    decimals: int
    overflow: Bounds
    band: Band | None


@dataclass(frozen=True, slots=True)
class RebalanceRules:
    """Of a chain with a cold wallet."""

    assets: Mapping[str, KeptAsset]
    #: The depth from which on nothing is undone.
    finality: int
    #: How long what came to nothing is left alone, and how long a movement waits before it has a transaction.
    retry: timedelta
    expires: timedelta


def rebalance_rules(settings: Settings, chain: str) -> RebalanceRules:
    """What the signer would never sign is never begun, where this process knows the signer's policy."""
    own, policy = settings.chains[chain], settings.signer.policy.get(chain)
    allowed = None if policy is None else policy.cold_amounts_max(own.asset)
    kept = {}
    for name, asset in own.asset_settings.items():
        decimals, band = asset.decimals, asset.band
        least = max(
            parse_amount(asset.withdrawal_min, decimals),
            parse_amount(band.move_min if band else "0", decimals),
        )
        most = None if allowed is None else parse_amount(allowed.get(name, "0"), decimals)
        kept[name] = KeptAsset(decimals, Bounds(least, most, 10**asset.scale), band)
    return RebalanceRules(
        kept,
        max(tier.finalize_confirmations for tier in own.asset_settings[own.asset].tiers),
        timedelta(seconds=settings.treasury.rebalance_retry_s),
        timedelta(seconds=settings.treasury.rebalance_expires_s),
    )
