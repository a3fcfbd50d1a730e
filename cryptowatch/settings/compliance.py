"""The settings of compliance: what rules look for, and what a case does. Amounts are whole units of their asset."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cryptowatch.money import InvalidAmount, parse_amount
from cryptowatch.settings.sections import Count, Seconds, Section
from cryptowatch.settings.withdrawals import Limit

Hours = Annotated[int, Field(ge=1, le=8784)]
#: note: people are told. hold: the account's withdrawals wait, too. freeze: the account is frozen.
Action = Literal["note", "hold", "freeze"]


class Structuring(Section):
    """So many deposits within a window, each a little below an amount from which somebody would look."""

    threshold: str
    #: How far below it a deposit counts, in percent of it.
    margin_percent: Annotated[int, Field(ge=1, le=99)] = 10
    count: Annotated[int, Field(ge=2, le=1000)] = 3
    hours: Hours = 24


class RapidWithdrawal(Section):
    """Money taken out soon after it came, of which hardly any was played."""

    #: What is taken out, of what came, within the window.
    amount_from: str
    #: Less than this share of what came was bet.
    played_percent: Annotated[int, Field(ge=1, le=10_000)] = 100
    hours: Hours = 72


class Velocity(Limit):
    """More than so much, or so many, within any so many hours."""

    direction: Literal["deposits", "withdrawals"]
    #: It is asked of accounts whose KYC level is at most this.
    level_max: Annotated[int, Field(ge=0, le=10)] = 10


class AssetRules(Section):
    structuring: Structuring | None = None
    rapid_withdrawal: RapidWithdrawal | None = None
    velocity: tuple[Velocity, ...] = ()

    def amounts(self) -> Iterator[tuple[str, str]]:
        """(key, text) of every amount, to be checked with the asset's decimals."""
        if self.structuring is not None:
            yield "structuring.threshold", self.structuring.threshold
        if self.rapid_withdrawal is not None:
            yield "rapid_withdrawal.amount_from", self.rapid_withdrawal.amount_from
        for number, limit in enumerate(self.velocity):
            if limit.amount is not None:
                yield f"velocity[{number}].amount", limit.amount


class Actions(Section):
    """What a case of each rule does until it is cleared."""

    structuring: Action = "note"
    rapid_withdrawal: Action = "hold"
    velocity: Action = "note"
    denied_source: Action = "hold"
    screening: Action = "note"
    screened_source: Action = "hold"


class Screening(Section):
    """Whom withdrawals to strangers' addresses are shown before they are queued; nobody where there is no URL."""

    url: str | None = None
    #: Signs what is asked, as webhooks are signed.
    secret_file: Path | None = None
    timeout_s: Seconds = 5
    #: What holds where no answer comes.
    default: Literal["pass", "review", "refuse"] = "review"
    #: Whether it is asked about the addresses that deposits came from, too, and what holds without an answer then.
    deposits: bool = False
    deposits_default: Literal["pass", "review", "refuse"] = "review"
    #: How long it is asked again about a deposit before that holds; 0: it is asked once.
    deposits_patience_s: Annotated[float, Field(ge=0, le=7 * 86_400)] = 3600
    at_once: Annotated[Count, Field(le=256)] = 8
    response_bytes_max: Count = 16_384
    allow_private_addresses: bool = False


class Compliance(Section):
    interval_s: Seconds = 0.5
    #: Positions of the event feed that are looked at in one transaction.
    events_max: Annotated[Count, Field(le=10_000)] = 500
    #: Whether nodes are asked where deposits came from, and for how many at once.
    sources: bool = True
    sources_at_once: Annotated[Count, Field(le=64)] = 4
    #: Addresses that are kept of one deposit.
    sources_max: Annotated[Count, Field(le=1000)] = 50
    actions: Actions = Actions()
    screening: Screening = Screening()
    assets: Mapping[str, AssetRules] = {}

    def check(self, decimals: Mapping[str, int]) -> None:
        """Raises ValueError with the key.

        For an asset that no chain has, an amount that it cannot express, and screening of what nobody asks for.
        """
        if self.screening.deposits and not self.sources:
            raise ValueError("compliance.screening.deposits: needs compliance.sources")
        for asset, rules in self.assets.items():
            if asset not in decimals:
                raise ValueError(f"compliance.assets.{asset}: no chain has this asset")
            for key, text in rules.amounts():
                try:
                    parse_amount(text, decimals[asset])
                except InvalidAmount as problem:
                    raise ValueError(f"compliance.assets.{asset}.{key}: {problem}") from problem
