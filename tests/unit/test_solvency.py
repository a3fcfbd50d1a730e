"""P7, the pure part: what a chain must hold, given the books."""

from dataclasses import replace

import pytest

from cryptowatch.treasury.solvency import Position

BALANCED = Position(
    chain="bitcoin",
    asset="BTC",
    on_chain=1_000,
    ledger_holdings=1_000,
    uncredited=0,
    unsettled=0,
    unbooked_fees=0,
    liabilities=900,
)


def test_p7_equal_sides_differ_by_nothing() -> None:
    assert BALANCED.difference == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"on_chain": 999}, -1),
        ({"on_chain": 1_001}, 1),
        ({"on_chain": 1_100, "uncredited": 100}, 0),
        ({"on_chain": 1_000, "uncredited": 100}, -100),
        ({"on_chain": 790, "unsettled": 200, "unbooked_fees": 10}, 0),
        ({"on_chain": 790, "unsettled": 200}, -10),
        ({"liabilities": 10**12}, 0),
    ],
)
def test_p7_every_term_explains_its_own_difference_and_no_other(
    change: dict[str, int], expected: int
) -> None:
    assert replace(BALANCED, **change).difference == expected  # type: ignore[arg-type]
