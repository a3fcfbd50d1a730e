"""What an agent earns: shares of its players' revenue and turnover, by product. Pure.

Used by `commission`, and by the API, which reads and shows plans. A plan never changes; an agent gets another one from
the next period on.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

#: A rate is in basis points: 10,000 are the whole.
WHOLE_BP: Final = 10_000
#: The rate of products that have none of their own.
ANY: Final = "*"

RateBp = Annotated[int, Meta(ge=0, le=WHOLE_BP)]
#: By the platform's word for the product, or `*`.
Rates = Annotated[
    dict[Annotated[str, Meta(pattern=r"^[^\x00]*$", max_length=40)], RateBp], Meta(max_length=100)
]


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Both kinds of rates together are a hybrid plan.

    `revenue_share`: of net gaming revenue: bets without refunds, wins and bonuses. `turnover`: of bets without refunds.
    `carry_over`: a period in which players won more than they lost lowers what the next ones bring; else it is
    forgotten. Refunds of an earlier period's bets are never forgotten.
    """

    revenue_share: Rates = {}
    turnover: Rates = {}
    carry_over: bool = True


class Period(StrEnum):
    DAY = "day"
    WEEK = "week"  # begins on Monday
    MONTH = "month"


def rate(rates: Mapping[str, int], product: str) -> int:
    return rates.get(product, rates.get(ANY, 0))


def capped(plan: Plan, above: Plan) -> Plan:
    """The plan, with no rate above the one that the agent above has: what it cannot earn it cannot pass on."""
    products = {*plan.revenue_share, *plan.turnover, *above.revenue_share, *above.turnover, ANY}

    def lower(rates: Mapping[str, int], most: Mapping[str, int]) -> dict[str, int]:
        return {product: min(rate(rates, product), rate(most, product)) for product in products}

    return Plan(
        lower(plan.revenue_share, above.revenue_share),
        lower(plan.turnover, above.turnover),
        plan.carry_over,
    )


def exceeding(plan: Plan, above: Plan) -> Sequence[str]:
    """The products for which a plan would promise more than the agent above earns."""
    products = sorted({*plan.revenue_share, *plan.turnover, *above.revenue_share, *above.turnover})
    return [
        product
        for product in products
        if rate(plan.revenue_share, product) > rate(above.revenue_share, product)
        or rate(plan.turnover, product) > rate(above.turnover, product)
    ]


def begin_of(period: Period, day: date) -> date:
    """The first day of the period that a day is in."""
    match period:
        case Period.DAY:
            return day
        case Period.WEEK:
            return day - timedelta(days=day.weekday())
        case Period.MONTH:
            return day.replace(day=1)


def next_begin(period: Period, day: date) -> date:
    """The first day of the period after it."""
    match period:
        case Period.DAY:
            return day + timedelta(days=1)
        case Period.WEEK:
            return begin_of(period, day) + timedelta(days=7)
        case Period.MONTH:
            return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
