"""What bounds one chain's batches, from the settings: made by the composition root, used by `worker` and `riders`."""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptowatch.money import parse_amount
from cryptowatch.settings import Settings
from cryptowatch.settings.chains import Batching


@dataclass(frozen=True, slots=True)
class PayoutRules:
    batching: Batching
    #: asset -> decimals
    decimals: Mapping[str, int]
    #: asset -> what the signer allows one transaction to pay, in base units, where this process knows.
    amounts_max: Mapping[str, int]


def payout_rules(settings: Settings, chain: str) -> PayoutRules:
    """The chain's, and where the signer would refuse a larger batch whole, the signer's."""
    own, policy = settings.chains[chain], settings.signer.policy.get(chain)
    decimals = {asset: asset_settings.decimals for asset, asset_settings in own.asset_settings.items()}
    if policy is None:
        return PayoutRules(own.batching, decimals, {})
    count_max = min(own.batching.count_max, policy.payments_max)
    amounts_max = {
        asset: parse_amount(text, decimals[asset])
        for asset, text in policy.amounts_max(own.asset).items()
        if asset in decimals
    }
    return PayoutRules(own.batching.model_copy(update={"count_max": count_max}), decimals, amounts_max)
