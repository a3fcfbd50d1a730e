"""How many parts change is split into: what payouts need until the next block, within the settings."""

import pytest

from cryptowatch.sending.change import ChangeRules, change_parts, coins_wanted

RULES = ChangeRules(coins_min=4, coins_max=50, outputs_max=5, amount_min=100_000, block_interval_s=600)


@pytest.mark.parametrize(
    ("payouts", "wanted"),
    [(0, 4), (12, 4), (13, 5), (30, 10), (150, 50), (5_000, 50)],
)
def test_a_wallet_wants_twice_the_coins_that_a_block_uses_within_its_bounds(
    payouts: int, wanted: int
) -> None:
    assert coins_wanted(payouts, RULES) == wanted


@pytest.mark.parametrize(
    ("wanted", "free", "coming", "outputs_left", "parts"),
    [
        (4, 1, 0, 400, 4),  # the only coin is spent: all of them come out of it
        (4, 3, 0, 400, 2),
        (4, 5, 0, 400, 1),  # there are enough without it
        (4, 1, 3, 400, 1),  # the next block brings them
        (50, 10, 0, 400, 5),  # no more than one transaction may make
        (50, 10, 0, 2, 2),  # nor than the signer signs
        (50, 10, 0, 0, 1),
        (4, 0, 0, 400, 5),  # of coins too small to count
    ],
)
def test_change_makes_up_for_the_coins_that_are_missing(
    wanted: int, free: int, coming: int, outputs_left: int, parts: int
) -> None:
    assert change_parts(wanted, free, coming, outputs_left, RULES) == parts
