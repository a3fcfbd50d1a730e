"""Which depths a deposit must reach, and which deposits a person must look at first. Pure; called by `apply`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from cryptowatch.chains.port import Transfer
from cryptowatch.money import BaseUnits, parse_amount
from cryptowatch.settings.assets import AssetSettings


class Required(msgspec.Struct, frozen=True, cache_hash=True):
    """Confirmations (1 = in the head block) at which the player can play, and at which the money can leave."""

    credit: int
    finalize: int


@dataclass(frozen=True, slots=True)
class AssetPolicy:
    """An asset's deposit rules on one chain, in base units."""

    decimals: int
    minimum: BaseUnits
    #: (largest amount, depths), ascending; the last covers every amount.
    tiers: tuple[tuple[int | None, Required], ...]

    def required(self, amount: int) -> Required:
        for up_to, required in self.tiers:
            if up_to is None or amount <= up_to:
                return required
        raise AssertionError("the last tier covers every amount")

    @property
    def deepest(self) -> int:
        """The finality of the largest deposits: what payouts, and halting, go by."""
        return max(required.finalize for _, required in self.tiers)


def asset_policy(settings: AssetSettings) -> AssetPolicy:
    tiers = tuple(
        (
            None if tier.up_to is None else int(parse_amount(tier.up_to, settings.decimals)),
            Required(tier.credit_confirmations, tier.finalize_confirmations),
        )
        for tier in settings.tiers
    )
    return AssetPolicy(settings.decimals, parse_amount(settings.deposit_min, settings.decimals), tiers)


def asset_policies(assets: Mapping[str, AssetSettings]) -> Mapping[str, AssetPolicy]:
    return {asset: asset_policy(settings) for asset, settings in assets.items()}


def quarantine_reason(
    amount: int, policy: AssetPolicy, account_status: str, *, beyond_limit: bool = False
) -> str | None:
    """Why a new deposit waits for a person, or None. Self-excluded players may still receive what they sent."""
    if amount < policy.minimum:
        return "below_minimum"
    if account_status == "frozen":
        return "account_frozen"
    if beyond_limit:
        return "deposit_limit"
    return None


def total_per_transaction(transfers: Sequence[Transfer]) -> Mapping[tuple[bytes, str], int]:
    """(transaction, asset) -> all that it pays us: what one double spend takes decides the tier, however split."""
    totals: Counter[tuple[bytes, str]] = Counter()
    for transfer in transfers:
        totals[transfer.tx_hash, transfer.asset] += transfer.amount
    return totals
