"""Limits that players set themselves on what they deposit, lose and bet. Pure.

Called by `play` for each bet, by `players` when limits change, and by deposits. Periods are those of the calendar in
UTC: what was played is kept by day (`play_day`), so no limit adds up postings.

A limit names an asset, or none: then it covers all of them together, in the reference currency, by the rates that the
platform told last. What tightens a limit holds at once; what loosens or removes one waits (`settings.accounts`), so
that nobody raises it in the heat of a moment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cryptowatch.money import BaseUnits, parse_amount

#: Amounts and rates in the reference currency are kept in 10^-12 of it.
REFERENCE_DECIMALS: Final = 12


class LimitKind(StrEnum):
    DEPOSIT = "deposit"  # what arrives
    LOSS = "loss"  # bets without what came back of them; a bonus is not counted
    WAGER = "wager"  # bets without refunds


class Period(StrEnum):
    DAY = "day"
    WEEK = "week"  # begins on Monday
    MONTH = "month"


class PlayLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `amount` in each period: whole units of the asset, or of the reference currency without one."""

    kind: LimitKind
    period: Period
    amount: Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,77})(\.[0-9]{1,78})?$", max_length=157)]
    asset: Annotated[str, Meta(pattern=r"^[^\x00]*$", max_length=40)] | None = None

    @property
    def of(self) -> tuple[LimitKind, Period, str | None]:
        """Of each of these an account has one at most."""
        return (self.kind, self.period, self.asset)


@dataclass(frozen=True, slots=True)
class Rates:
    """`rates`: 10^-12 of the reference currency for one whole unit, of the assets whose rate is recent."""

    decimals: Mapping[str, int]
    rates: Mapping[str, int]

    def value(self, asset: str, amount: int) -> int | None:
        """An amount in 10^-12 of the reference currency, rounded down; None without a rate."""
        rate = self.rates.get(asset)
        return None if rate is None else amount * rate // int(10 ** self.decimals[asset])


@dataclass(frozen=True, slots=True)
class Played:
    """What one account did on one day with one asset, in base units."""

    day: date
    asset: str
    bet: int = 0
    win: int = 0
    refund: int = 0
    deposited: int = 0

    def used(self, kind: LimitKind) -> int:
        """May be negative: more was won than lost."""
        match kind:
            case LimitKind.DEPOSIT:
                return self.deposited
            case LimitKind.LOSS:
                return self.bet - self.win - self.refund
            case LimitKind.WAGER:
                return self.bet - self.refund


@dataclass(frozen=True, slots=True)
class Reached:
    """Why more would be too much. `limit` None: a rate that is needed is not known."""

    limit: PlayLimit | None
    detail: str


def begin_of(period: Period, today: date) -> date:
    """The period's first day."""
    match period:
        case Period.DAY:
            return today
        case Period.WEEK:
            return today - timedelta(days=today.weekday())
        case Period.MONTH:
            return today.replace(day=1)


def earliest(limits: Sequence[PlayLimit], today: date) -> date:
    """The first day that any of the limits looks at."""
    return min((begin_of(limit.period, today) for limit in limits), default=today)


def reached(
    limits: Sequence[PlayLimit],
    kind: LimitKind,
    asset: str,
    amount: BaseUnits,
    played: Sequence[Played],
    rates: Rates,
    today: date,
) -> Reached | None:
    """The first limit that `amount` more, bet or deposited today, would go beyond. Exactly up to it is allowed.

    A bet counts as lost until it is won, so it must fit into a loss limit as a whole.
    """
    for limit in limits:
        if limit.kind is not kind or limit.asset not in (None, asset):
            continue
        begin = begin_of(limit.period, today)
        window = [one for one in played if one.day >= begin and limit.asset in (None, one.asset)]
        parts = [(one.asset, one.used(kind)) for one in window] + [(asset, int(amount))]
        if limit.asset is None:
            values = [rates.value(of, part) for of, part in parts if part]
            if None in values:
                return Reached(None, "an asset's rate is not known, which a limit needs")
            total = sum(value for value in values if value is not None)
            most = parse_amount(limit.amount, REFERENCE_DECIMALS)
        else:
            total = sum(part for _, part in parts)
            most = parse_amount(limit.amount, rates.decimals[asset])
        if total > most:
            unit = limit.asset or "reference currency"
            return Reached(limit, f"the player's {kind} limit per {limit.period} is {limit.amount} {unit}")
    return None


def tightened(
    now: Sequence[PlayLimit], wanted: Sequence[PlayLimit], decimals: Mapping[str, int]
) -> list[PlayLimit]:
    """What holds until `wanted` may: of each limit the tighter one, as far as both or one of them have it."""

    def size(limit: PlayLimit) -> int:
        return parse_amount(
            limit.amount, REFERENCE_DECIMALS if limit.asset is None else decimals[limit.asset]
        )

    found = {limit.of: limit for limit in now}
    for limit in wanted:
        other = found.get(limit.of)
        found[limit.of] = limit if other is None or size(limit) < size(other) else other
    return [found[key] for key in sorted(found, key=lambda key: (key[0], key[1], key[2] or ""))]
