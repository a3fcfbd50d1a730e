"""The settings of cold wallets, and of the band in which a hot wallet is kept. Frozen, typed.

The daemon reads where overflow goes to; what the signer lets out to cold wallets stands in its own policy.
"""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from cryptowatch.money import InvalidAmount, parse_amount
from cryptowatch.settings.sections import Count, EthereumAddress, Section


class ColdCoins(Section):
    """A cold wallet of coins (BIP84), by its public side: overflow goes to a fresh address of it each time."""

    xpub: str
    #: Addresses of each branch that are watched before they are needed.
    addresses_ahead: Annotated[int, Field(ge=20, le=10_000)] = 100
    #: Of the master key, by which a device that signs knows its own; zeros where it does not ask.
    master_fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")] = "00000000"


class ColdAccounts(Section):
    """Cold accounts. The last one receives; the others are watched. New ones are added at the end."""

    accounts: Annotated[tuple[EthereumAddress, ...], Field(min_length=1, max_length=100)]


class ColdCoinsPolicy(Section):
    """What the signer lets out to the cold wallet, beside what it lets out to others."""

    #: The signer derives from it where coins may go to; it takes nobody's word for that.
    xpub: str
    #: Whole units within any hour, without fees: these count as what leaves the wallet.
    hourly_amount_max: str


class ColdAccountsPolicy(Section):
    """The same for a chain of accounts."""

    accounts: Annotated[tuple[EthereumAddress, ...], Field(min_length=1, max_length=100)]
    #: By asset; one that is missing never goes there.
    hourly_amounts_max: Mapping[str, str]


class Band(Section):
    """What of an asset the hot wallet should hold, in whole units; or in days of net outflow, where none is given."""

    #: Below it money is asked from cold.
    low: str | None = None
    #: What either way aims at.
    target: str | None = None
    #: Above it money goes to cold.
    high: str | None = None
    #: Without the three above: the mean net outflow of so many days, times so many days each.
    forecast_days: Annotated[int, Field(gt=0, le=365)] = 7
    low_days: Count = 1
    target_days: Count = 3
    high_days: Count = 6
    #: The least that such a forecast aims at.
    target_min: str = "0"
    #: Less than this is not moved.
    move_min: str = "0"

    @property
    def is_forecast(self) -> bool:
        return self.target is None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = [self.low, self.target, self.high]
        if None in given and any(mark is not None for mark in given):
            raise ValueError("low, target and high must be given together, or none of them")
        if not self.low_days < self.target_days < self.high_days:
            raise ValueError("low_days < target_days < high_days must hold")
        return self

    def check(self, decimals: int) -> None:
        """Raises ValueError for what is no amount of the asset, or not in order."""
        values = {}
        for key in ("low", "target", "high", "target_min", "move_min"):
            text = getattr(self, key)
            try:
                values[key] = parse_amount(text or "0", decimals)
            except InvalidAmount as problem:
                raise ValueError(f"band.{key}: {problem}") from problem
        if self.is_forecast and not values["target_min"]:
            raise ValueError(
                "band.target_min: is needed where days decide: on quiet days all would go to cold"
            )
        if not self.is_forecast and not values["low"] < values["target"] < values["high"]:
            raise ValueError("band: low < target < high must hold")
