"""When money moves between hot and cold, and how much: a band with hysteresis. Pure; called by `rebalancer`.

Below the low mark money is asked from cold, above the high one it goes there; either way aims at the target between
them, so that one movement is not followed by the opposite one. What players were promised is never sent to cold.
"""

from dataclasses import dataclass
from enum import StrEnum

from cryptowatch.money import BaseUnits, parse_amount
from cryptowatch.settings.cold import Band


class Direction(StrEnum):
    #: Hot to cold.
    OVERFLOW = "overflow"
    #: Cold to hot.
    REFILL = "refill"


@dataclass(frozen=True, slots=True)
class Marks:
    """In base units; low <= target <= high."""

    low: int
    target: int
    high: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One asset's hot wallet, in base units, all of one snapshot."""

    #: In blocks, less what open transactions of ours take out of it.
    confirmed: int
    #: The part of it that no reorg takes back.
    final: int
    #: Withdrawals that no transaction carries yet.
    queued: int

    @property
    def spare(self) -> int:
        """What could go to cold without a player waiting for it."""
        return self.final - self.queued


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one movement. `unit`: what the chain can express is a multiple of it."""

    least: int
    most: int | None = None
    unit: int = 1

    def fit(self, amount: int) -> BaseUnits | None:
        """The most of it that may be moved at once; None where that is too little."""
        fitting = amount if self.most is None else min(amount, self.most)
        fitting -= fitting % self.unit
        return BaseUnits(fitting) if fitting >= max(self.least, 1) else None


@dataclass(frozen=True, slots=True)
class Movement:
    direction: Direction
    amount: BaseUnits


def decide(standing: Standing, marks: Marks, bounds: Bounds, *, is_open: bool) -> Movement | None:
    """What to begin now. `is_open`: one is on its way, and what it brings or takes is not seen yet."""
    if is_open:
        return None
    left = standing.confirmed - standing.queued
    if standing.spare > marks.high:
        amount = bounds.fit(standing.spare - marks.target)
        return None if amount is None else Movement(Direction.OVERFLOW, amount)
    if left < marks.low:
        # What cold gives is not bounded by the hot signer.
        amount = Bounds(bounds.least, unit=bounds.unit).fit(marks.target - left)
        return None if amount is None else Movement(Direction.REFILL, amount)
    return None


def marks_of(band: Band, decimals: int, outflow: int = 0) -> Marks:
    """The settings' own marks, or days of the net outflow of `band.forecast_days`."""
    if band.low is not None and band.target is not None and band.high is not None:
        return Marks(*(parse_amount(text, decimals) for text in (band.low, band.target, band.high)))
    days = band.target_days
    target = max(parse_amount(band.target_min, decimals), max(outflow, 0) * days // band.forecast_days)
    return Marks(target * band.low_days // days, target, target * band.high_days // days)
