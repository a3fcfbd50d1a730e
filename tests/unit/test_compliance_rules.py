"""The rules that open cases: each where it sees something, where it does not, and at its exact boundary."""

import pytest

from cryptowatch.compliance.rules import (
    Direction,
    Moved,
    RapidWithdrawal,
    Structuring,
    Velocity,
    asset_rules,
    rapid_withdrawal,
    structuring,
    velocity,
)
from cryptowatch.settings import compliance as settings

#: Three deposits of 900 up to 999.
NEAR = Structuring(threshold=1000, lowest=900, count=3, hours=24)
#: 500 or more of what came, of which less than half was bet.
RAPID = RapidWithdrawal(amount_from=500, played_percent=50, hours=72)


@pytest.mark.parametrize(
    ("deposits", "seen"),
    [
        ([999, 999, 999], True),
        ([900, 950, 999], True),
        ([900, 950, 999, 5, 100_000], True),
        ([999, 999], False),
        ([999, 999, 1000], False),
        ([999, 999, 899], False),
        ([100, 200, 300, 400], False),
        ([5_000, 6_000, 7_000], False),
        ([], False),
    ],
)
def test_structuring_is_several_deposits_each_just_below_the_threshold(
    deposits: list[int], seen: bool
) -> None:
    assert (structuring(NEAR, deposits, 0) is not None) is seen


@pytest.mark.parametrize(
    ("deposited", "withdrawn", "played", "seen"),
    [
        (1000, 1000, 0, True),
        (1000, 1000, 499, True),
        (1000, 500, 0, True),
        (500, 9_000, 0, True),  # what was there before does not hide what just came
        (1000, 1000, 500, False),
        (1000, 1000, 5_000, False),
        (1000, 499, 0, False),
        (499, 9_000, 0, False),
        (0, 9_000, 0, False),
        (1000, 0, 0, False),
    ],
)
def test_money_that_leaves_unplayed_is_seen(deposited: int, withdrawn: int, played: int, seen: bool) -> None:
    assert (rapid_withdrawal(RAPID, deposited, withdrawn, played, 0) is not None) is seen


def test_an_amount_of_nothing_is_never_seen() -> None:
    assert rapid_withdrawal(RapidWithdrawal(0, 50, 1), 0, 0, 0, 0) is None


@pytest.mark.parametrize(
    ("amount", "count", "level", "seen"),
    [
        (1000, 5, 1, False),
        (1001, 1, 1, True),
        (1, 6, 1, True),
        (1001, 6, 2, False),
        (1001, 6, 0, True),
    ],
)
def test_velocity_is_more_than_its_amount_or_its_count_up_to_a_level(
    amount: int, count: int, level: int, seen: bool
) -> None:
    rule = Velocity(Direction.DEPOSITS, 24, 1000, 5, level_max=1)
    assert (velocity(rule, Moved(amount, count), level, 0) is not None) is seen


def test_what_velocity_does_not_bound_is_not_looked_at() -> None:
    only_count = Velocity(Direction.WITHDRAWALS, 24, None, 5, level_max=10)
    assert velocity(only_count, Moved(10**30, 5), 0, 0) is None
    only_amount = Velocity(Direction.WITHDRAWALS, 24, 5, None, level_max=10)
    assert velocity(only_amount, Moved(5, 10**9), 0, 0) is None


def test_settings_become_base_units_and_a_margin_is_never_widened_by_rounding() -> None:
    given = settings.AssetRules(
        structuring=settings.Structuring(threshold="0.00000101", margin_percent=50),
        rapid_withdrawal=settings.RapidWithdrawal(amount_from="1"),
        velocity=(settings.Velocity(direction="deposits", hours=2, amount="0.5"),),
    )
    rules = asset_rules(given, 8)
    assert rules.structuring == Structuring(101, 51, 3, 24)
    assert rules.rapid_withdrawal == RapidWithdrawal(100_000_000, 100, 72)
    assert rules.velocity == [Velocity(Direction.DEPOSITS, 2, 50_000_000, None, 10)]
    assert asset_rules(settings.AssetRules(), 8).structuring is None


def test_a_finding_says_in_whole_units_what_was_compared() -> None:
    assert structuring(NEAR, [999, 998, 997], 2) == {
        "deposits": "3",
        "together": "29.94",
        "threshold": "10.00",
        "count": "3",
        "hours": "24",
    }
