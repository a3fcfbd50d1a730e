"""How far the fees of our transactions that stand on one another can be raised, and at whose cost. Pure.

Called by `coins`, before a line gets longer, and by `worker`, when it is raised. A line is raised through its last one
alone: that one's replacement pays for what the packages below it lack, so that the small last one of a large line soon
meets bounds that are those of one transaction. Rates are satoshi per 1000 virtual bytes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from uuid import UUID

from cryptowatch.sending.family import Family, Member

_VB = 1000
#: A fee is not raised for less than a quarter more.
_AS_FAR_PERCENT = 80


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of every fee. `cap`: of what a line is mined for; `growth_max`: of its budget, in its first attempts' fees.

    The signer's two are of one transaction, the second one in satoshi.
    """

    cap: int
    growth_max: int
    signer_rate_max: int
    signer_fee_max: int


def budget_rate(line: Collection[Member], growth_max: int) -> Fraction:
    """What the payments of a line may cost together, as the rate of all of it: what pays nobody has the others'."""
    payers = [member for member in line if member.pays] or line
    size = sum(member.size for member in payers)
    return growth_max * _VB * sum(member.first_rate * member.size for member in payers) / Fraction(size)


def budget_of(family: Family, of: UUID, growth_max: int) -> Fraction:
    """That of a transaction with all that it stands on."""
    return budget_rate([family.members[one] for one in family.ancestors([of])], growth_max)


def fee_to_lift(family: Family, parents: Collection[UUID], size: int, rate: int | Fraction) -> Fraction:
    """Satoshi by which a transaction of this size has itself mined for the rate, and all that it stands on."""
    return Fraction(rate * size, _VB) + family.shortfall(parents, rate)


def is_within_budget(family: Family, of: UUID, fee: int, size: int, growth_max: int) -> bool:
    """Whether a replacement of it may cost so much, by what the payments of its line may cost.

    And those of all that pay for parts of that line, together: of several that stand on one, each could lift it.
    """
    rate, parents = budget_of(family, of, growth_max), family.members[of].parents
    related = [family.members[one] for one in family.related(of)]
    others = [member for member in related if member is not family.members[of]]
    all_of_it = sum(member.size for member in others) + size
    most = Fraction(budget_rate(related, growth_max) * all_of_it, _VB) - sum(member.fee for member in others)
    # Who pays for others pays what they lack by a rate that is rounded up, and then by a fee that is.
    rounding = 1 + Fraction(size, _VB) if others else 0
    return fee <= min(fee_to_lift(family, parents, size, rate), most) + rounding


def fee_of_longer_line(
    family: Family, parents: Collection[UUID], size: int, first_rate: Fraction, bounds: Bounds
) -> Fraction | None:
    """What the smallest replacement of a new transaction on these would cost at most, to lift all that it stands on.

    That is to the cap, or as far as the line's budget goes. None where one transaction may not pay so much, or the line
    could not be lifted as far as it can without the new one. `size`: of that replacement; `first_rate`: satoshi per
    virtual byte of the new one.
    """
    below = [family.members[one] for one in family.ancestors(parents)]
    new = Member(0, size, 0, first_rate=first_rate)
    before = min(Fraction(bounds.cap), budget_rate(below, bounds.growth_max))
    after = min(Fraction(bounds.cap), budget_rate([*below, new], bounds.growth_max))
    fee = fee_to_lift(family, parents, size, after)
    most = min(Fraction(bounds.signer_rate_max * size, _VB), Fraction(bounds.signer_fee_max))
    return fee if fee <= most and 100 * after >= _AS_FAR_PERCENT * before else None
