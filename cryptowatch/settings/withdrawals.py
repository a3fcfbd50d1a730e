"""The settings of the withdrawal policy: limits, approvals, lists. Amounts are whole units of their asset."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from cryptowatch.money import InvalidAmount, parse_amount
from cryptowatch.settings.sections import Count, Seconds, Section

#: `wager_times` has so many digits after the point at most.
WAGER_DECIMALS = 3


class Limit(Section):
    """At most so much, or so many, within any so many hours."""

    hours: Annotated[int, Field(ge=1, le=8784)]
    amount: str | None = None
    count: Count | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.amount is None and self.count is None:
            raise ValueError("amount or count: one of them must be there")
        return self


class LevelLimit(Limit):
    """Binds accounts whose KYC level is at most this."""

    level_max: Annotated[int, Field(ge=0, le=10)]


class AssetPolicy(Section):
    #: From this amount on a person must approve; from the second on two.
    approval_from: str | None = None
    second_approval_from: str | None = None
    #: From this amount on, what leaves on a chain carries who sends and who receives it.
    travel_rule_from: str | None = None
    #: So many times what was deposited must have been bet.
    wager_times: str = "0"
    #: Of each account that has none of its own.
    account_limits: tuple[Limit, ...] = ()
    kyc_limits: tuple[LevelLimit, ...] = ()
    #: Of all accounts together, as far as it leaves on the chain.
    global_limits: tuple[Limit, ...] = ()

    @field_validator("wager_times")
    @classmethod
    def _a_number(cls, text: str) -> str:
        try:
            parse_amount(text, WAGER_DECIMALS)
        except InvalidAmount as problem:
            raise ValueError(f"a decimal with at most {WAGER_DECIMALS} digits after the point") from problem
        return text

    def amounts(self) -> Iterator[tuple[str, str]]:
        """(key, text) of every amount, to be checked with the asset's decimals."""
        for key in ("approval_from", "second_approval_from", "travel_rule_from"):
            if (text := getattr(self, key)) is not None:
                yield key, text
        for key in ("account_limits", "kyc_limits", "global_limits"):
            for number, limit in enumerate(getattr(self, key)):
                if limit.amount is not None:
                    yield f"{key}[{number}].amount", limit.amount


class Withdrawals(Section):
    #: One address a line that is never paid; read again when it changes.
    deny_list: Path | None = None
    deny_list_interval_s: Seconds = 5
    #: An address that an account allows can be used so much later.
    allow_list_cooling_off_s: Annotated[float, Field(ge=0, le=2_678_400)] = 86_400
    allowed_addresses_max: Annotated[int, Field(gt=0, le=1000)] = 50
    assets: Mapping[str, AssetPolicy] = {}

    def check(self, decimals: Mapping[str, int]) -> None:
        """Raises ValueError with the key for an asset that no chain has, and for an amount that it cannot express."""
        for asset, policy in self.assets.items():
            if asset not in decimals:
                raise ValueError(f"withdrawals.assets.{asset}: no chain has this asset")
            values = {}
            for key, text in policy.amounts():
                try:
                    values[key] = parse_amount(text, decimals[asset])
                except InvalidAmount as problem:
                    raise ValueError(f"withdrawals.assets.{asset}.{key}: {problem}") from problem
            second = values.get("second_approval_from")
            if second is not None and not 0 < values.get("approval_from", second + 1) <= second:
                raise ValueError(
                    f"withdrawals.assets.{asset}.second_approval_from: needs an approval_from that is not above it"
                )
