"""What looks like laundering: pure functions of what an account did within a window, in base units.

Called by `watch`, which gathers the facts. A rule says what it compared, or None: nothing is to be seen. It flags, and
a person decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptowatch.money import format_amount, parse_amount
from cryptowatch.settings.compliance import AssetRules

_PERCENT = 100


class Rule(StrEnum):
    STRUCTURING = "structuring"
    RAPID_WITHDRAWAL = "rapid_withdrawal"
    VELOCITY = "velocity"
    DENIED_SOURCE = "denied_source"
    SCREENING = "screening"
    SCREENED_SOURCE = "screened_source"


class Direction(StrEnum):
    DEPOSITS = "deposits"
    WITHDRAWALS = "withdrawals"


@dataclass(frozen=True, slots=True)
class Structuring:
    """At least `count` deposits of `lowest` or more, and each below `threshold`."""

    threshold: int
    lowest: int
    count: int
    hours: int


@dataclass(frozen=True, slots=True)
class RapidWithdrawal:
    amount_from: int
    played_percent: int
    hours: int


@dataclass(frozen=True, slots=True)
class Velocity:
    """More than `amount`, or more than `count`; None does not bound. For KYC levels up to `level_max`."""

    direction: Direction
    hours: int
    amount: int | None
    count: int | None
    level_max: int


@dataclass(frozen=True, slots=True)
class Rules:
    """Of one asset."""

    decimals: int
    structuring: Structuring | None = None
    rapid_withdrawal: RapidWithdrawal | None = None
    velocity: Sequence[Velocity] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """What came, or what was asked for, within a window."""

    amount: int
    count: int


#: What a rule compared, as people read it.
Compared = dict[str, str]


def asset_rules(settings: AssetRules, decimals: int) -> Rules:
    structuring = rapid = None
    if (own := settings.structuring) is not None:
        threshold = parse_amount(own.threshold, decimals)
        # Rounded up: never more than the margin counts.
        lowest = -(-threshold * (_PERCENT - own.margin_percent) // _PERCENT)
        structuring = Structuring(threshold, lowest, own.count, own.hours)
    if (soon := settings.rapid_withdrawal) is not None:
        rapid = RapidWithdrawal(parse_amount(soon.amount_from, decimals), soon.played_percent, soon.hours)
    velocity = [
        Velocity(
            Direction(one.direction),
            one.hours,
            None if one.amount is None else parse_amount(one.amount, decimals),
            one.count,
            one.level_max,
        )
        for one in settings.velocity
    ]
    return Rules(decimals, structuring, rapid, velocity)


def structuring(rule: Structuring, deposits: Sequence[int], decimals: int) -> Compared | None:
    """`deposits`: each one's amount, within the window."""
    near = [amount for amount in deposits if rule.lowest <= amount < rule.threshold]
    if len(near) < rule.count:
        return None
    return {
        "deposits": str(len(near)),
        "together": format_amount(sum(near), decimals),
        "threshold": format_amount(rule.threshold, decimals),
        "count": str(rule.count),
        "hours": str(rule.hours),
    }


def rapid_withdrawal(
    rule: RapidWithdrawal, deposited: int, withdrawn: int, played: int, decimals: int
) -> Compared | None:
    """Of what came within the window: how much of it is taken out again, and how much was bet since."""
    out = min(deposited, withdrawn)
    if out <= 0 or out < rule.amount_from or played * _PERCENT >= deposited * rule.played_percent:
        return None
    return {
        "deposited": format_amount(deposited, decimals),
        "withdrawn": format_amount(withdrawn, decimals),
        "played": format_amount(played, decimals),
        "played_percent": str(rule.played_percent),
        "hours": str(rule.hours),
    }


def velocity(rule: Velocity, moved: Moved, kyc_level: int, decimals: int) -> Compared | None:
    if kyc_level > rule.level_max:
        return None
    too_much = rule.amount is not None and moved.amount > rule.amount
    too_many = rule.count is not None and moved.count > rule.count
    if not too_much and not too_many:
        return None
    compared = {
        "direction": str(rule.direction),
        "amount": format_amount(moved.amount, decimals),
        "count": str(moved.count),
        "hours": str(rule.hours),
        "kyc_level": str(kyc_level),
    }
    if rule.amount is not None:
        compared["amount_max"] = format_amount(rule.amount, decimals)
    if rule.count is not None:
        compared["count_max"] = str(rule.count)
    return compared
