"""The settings of assets: amounts, depths of deposits, and of tokens their contracts. Frozen, typed."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from cryptowatch.money import InvalidAmount, parse_amount
from cryptowatch.settings.cold import Band
from cryptowatch.settings.sections import EthereumAddress, Section


class Tier(Section):
    """Depths for deposits up to an amount (whole units; the last tier has none). 1 = in the head block."""

    up_to: str | None = None
    credit_confirmations: Annotated[int, Field(ge=1, le=1000)]
    finalize_confirmations: Annotated[int, Field(ge=1, le=10_000)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.finalize_confirmations < self.credit_confirmations:
            raise ValueError("finalize_confirmations is below credit_confirmations")
        return self


class AssetSettings(Section):
    decimals: Annotated[int, Field(ge=0, le=36)] = 8
    deposit_min: str = "0"
    withdrawal_min: str
    withdrawal_max: str
    #: What the player pays for a withdrawal on top of its amount; goes to the house.
    withdrawal_fee: str = "0"
    #: How much less than the books say the chain may hold before payouts of the asset stop.
    reconcile_tolerance: str = "0"
    tiers: tuple[Tier, ...]
    #: What the hot wallet should hold of it; none: it is left as it is.
    band: Band | None = None

    @property
    def scale(self) -> int:
        """Powers of ten between the chain's units and the ledger's."""
        return 0

    @field_validator("tiers")
    @classmethod
    def _ascending(cls, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        if not tiers or tiers[-1].up_to is not None:
            raise ValueError("the last tier must have no up_to, so that it covers every amount")
        if any(tier.up_to is None for tier in tiers[:-1]):
            raise ValueError("only the last tier may go without up_to")
        return tiers

    @model_validator(mode="after")
    def _amounts(self) -> Self:
        named = {
            key: getattr(self, key)
            for key in (
                "deposit_min",
                "withdrawal_min",
                "withdrawal_max",
                "withdrawal_fee",
                "reconcile_tolerance",
            )
        }
        named |= {
            f"tiers[{n}].up_to": tier.up_to for n, tier in enumerate(self.tiers) if tier.up_to is not None
        }
        values = {}
        for key, text in named.items():
            try:
                values[key] = parse_amount(text, self.decimals)
            except InvalidAmount as problem:
                raise ValueError(f"{key}: {problem}") from problem
        if self.band is not None:
            self.band.check(self.decimals)
        steps = [values[key] for key in named if key.startswith("tiers")]
        if steps != sorted(set(steps)):
            raise ValueError("tiers: up_to must ascend")
        if not 0 < values["withdrawal_min"] <= values["withdrawal_max"]:
            raise ValueError("withdrawal_min must be above 0 and at most withdrawal_max")
        return self


class TokenSettings(AssetSettings):
    """An asset of a chain of accounts: its own coin, or a token at a contract."""

    decimals: Annotated[int, Field(ge=0, le=36)] = 18
    #: The token's contract; none for the chain's own coin.
    contract: EthereumAddress | None = None
    #: What the contract counts in, where that is less than `decimals`, which is the ledger's on every chain.
    chain_decimals: Annotated[int, Field(ge=0, le=36)] | None = None
    #: Less than this on a deposit address is left there: sweeping it costs more than it is worth.
    sweep_min: str = "0"

    @property
    def scale(self) -> int:
        """Powers of ten between the contract's units and the ledger's."""
        return 0 if self.chain_decimals is None else self.decimals - self.chain_decimals

    @model_validator(mode="after")
    def _whole_units(self) -> Self:
        if self.scale < 0:
            raise ValueError(
                "chain_decimals: more than decimals, so that parts of deposits would be lost: raise decimals"
            )
        for key in ("withdrawal_min", "withdrawal_max", "sweep_min"):
            try:
                parse_amount(getattr(self, key), self.decimals - self.scale)
            except InvalidAmount as problem:
                raise ValueError(f"{key}: {problem}") from problem
        return self
