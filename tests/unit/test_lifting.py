"""How far a line of transactions can be lifted, and when it is not made longer."""

from fractions import Fraction
from uuid import UUID

import pytest

from cryptowatch.sending.family import Family, Member, family_of
from cryptowatch.sending.lifting import (
    Bounds,
    budget_rate,
    fee_of_longer_line,
    fee_to_lift,
    is_within_budget,
)

A, B, C = (UUID(int=number) for number in range(1, 4))
#: The settings' defaults.
BOUNDS = Bounds(cap=300_000, growth_max=50, signer_rate_max=1_000_000, signer_fee_max=5_000_000)


def member(size: int, rate: int, *parents: UUID, first: int | None = None, pays: bool = True) -> Member:
    """Rates in satoshi per virtual byte."""
    first_rate = Fraction(rate if first is None else first)
    return Member(size * rate, size, 0, frozenset(parents), first_rate=first_rate, pays=pays)


def line(*members: Member) -> Family:
    return family_of(dict(zip((A, B, C), members, strict=False)))


def test_a_budget_is_the_mean_of_the_payments_in_a_line() -> None:
    assert budget_rate([member(100, 5)], 50) == 250_000
    assert budget_rate([member(100, 20, first=5)], 50) == 250_000
    assert budget_rate([member(100, 5), member(300, 9)], 50) == 400_000


def test_who_pays_nobody_has_the_budget_of_those_below() -> None:
    assert budget_rate([member(100, 5), member(100, 90, pays=False)], 50) == 250_000
    # They are in a block by now: what is left is its own.
    assert budget_rate([member(100, 90, pays=False)], 2) == 180_000


def test_a_small_one_pays_for_itself_and_for_what_the_large_one_below_lacks() -> None:
    assert fee_to_lift(line(member(4_000, 30)), [A], 100, 40_000) == 4_000 + 40_000
    assert fee_to_lift(line(), [], 100, 40_000) == 4_000


@pytest.mark.parametrize(
    ("below", "size", "rate", "fee"),
    [
        # A payout on a payout, and on two: (300 - 30) * 141 each for those below.
        ([member(141, 30)], 141, 30, 42_300 + 38_070),
        ([member(141, 30), member(141, 30, A)], 141, 30, 42_300 + 2 * 38_070),
        ([member(141, 30), member(141, 30, A), member(141, 30, B)], 141, 30, None),  # 1110 sat/vB
        # A small one on a batch of a hundred, and of ten; and as large a one as the batch.
        ([member(3_300, 30)], 141, 30, None),
        ([member(450, 30)], 141, 30, None),
        ([member(3_300, 30)], 3_300, 30, 3_300 * (300 + 270)),
        # Where fees are low, so is the budget: at 1 sat/vB nothing of it is ever lifted above 50.
        ([member(2_700, 1)], 141, 1, 141 * 50 + 2_700 * 49),
        ([member(2_800, 1)], 141, 1, None),
        # What is mined for the cap as it is need not be lifted.
        ([member(50_000, 300)], 141, 300, 42_300),
    ],
)
def test_a_line_gets_longer_only_where_its_last_may_pay_for_all_of_it(
    below: list[Member], size: int, rate: int, fee: int | None
) -> None:
    last = (A, B, C)[len(below) - 1]
    assert fee_of_longer_line(line(*below), [last], size, Fraction(rate), BOUNDS) == fee


def test_beside_the_signers_rate_its_fee_bounds_a_line() -> None:
    large = line(member(9_000, 30))
    assert fee_of_longer_line(large, [A], 9_000, Fraction(30), BOUNDS) is None
    assert fee_of_longer_line(large, [A], 8_000, Fraction(30), BOUNDS) == 8_000 * 300 + 9_000 * 270


@pytest.mark.parametrize(
    ("first", "rate", "fits"),
    [
        (20, 20, True),
        (20, 4, True),  # 200 for each byte below and 40 for its own: to 190, of 200
        (20, 21, True),
        (20, 0, False),  # to less than a tenth below what the others could have
        (100, 0, True),  # they would not be lifted so far anyway
    ],
)
def test_a_line_is_not_made_longer_by_one_whose_own_budget_would_hold_it_back(
    first: int, rate: int, fits: bool
) -> None:
    bounds = Bounds(300_000, 10, 10_000_000, 5_000_000)
    found = fee_of_longer_line(line(member(1_000, first)), [A], 300, Fraction(rate), bounds)
    assert (found is not None) is fits


def test_alone_a_replacement_costs_at_most_so_many_times_the_first_fee_for_each_byte() -> None:
    family = line(member(100, 20, first=5))
    assert is_within_budget(family, A, 5 * 50 * 100, 100, 50)
    assert not is_within_budget(family, A, 5 * 50 * 100 + 1, 100, 50)
    # Those who join bring their size.
    assert is_within_budget(family, A, 5 * 50 * 130, 130, 50)


def test_what_one_paid_of_a_budget_that_it_shares_another_has_no_more() -> None:
    """Two on one: through either the three can be lifted to fifty times what they bid, not through both."""
    family = line(member(1_000, 5), member(100, 2_000, A, first=5), member(100, 5, A))
    assert budget_rate(list(family.members.values()), 50) == 250_000
    assert is_within_budget(family, C, 250 * 1_200 - 5_000 - 200_000, 100, 50)
    assert not is_within_budget(family, C, 250 * 1_200 - 5_000 - 200_000 + 2, 100, 50)


def test_nor_does_it_spend_the_budget_of_one_beside_it() -> None:
    """What stands on the same, and is far larger."""
    family = line(member(1_000, 5), member(100, 5, A), member(10_000, 5, A))
    to_250 = 250 * 1_100 - 5 * 1_000
    assert is_within_budget(family, B, to_250, 100, 50)
    assert not is_within_budget(family, B, to_250 + 2, 100, 50)


def test_the_last_of_a_line_may_pay_what_its_line_may() -> None:
    """Ten times the size below it at a hundredth of the rate: by its own budget it could not lift them."""
    family = line(member(1_000, 5), member(100, 5, A))
    to_250 = 250 * 1_100 - 5 * 1_000
    assert is_within_budget(family, B, to_250, 100, 50)
    assert not is_within_budget(family, B, to_250 + 2, 100, 50)
    assert to_250 > 5 * 50 * 100
