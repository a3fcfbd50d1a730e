"""P7, the pure part: what a chain must hold, given the books."""

from dataclasses import replace

import pytest

from cryptowatch.treasury.solvency import Position, Surplus, watch_surplus

FINALITY = 6

BALANCED = Position(
    chain="bitcoin",
    asset="BTC",
    height=100,
    tagged_final_height=None,
    unseen_losses=0,
    unseen_gains=0,
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
        ({"unseen_losses": 7}, -7),
        # One account's gain does not make up for another one's loss.
        ({"unseen_losses": 7, "unseen_gains": 7}, -7),
        ({"unseen_gains": 7}, 0),
    ],
)
def test_p7_every_term_explains_its_own_difference_and_no_other(
    change: dict[str, int], expected: int
) -> None:
    assert replace(BALANCED, **change).difference == expected  # type: ignore[arg-type]


def look(height: int, surplus: int, tagged: int | None = None) -> Position:
    return replace(BALANCED, height=height, on_chain=1_000 + surplus, tagged_final_height=tagged)


def test_what_came_unasked_is_the_houses_once_its_block_is_final() -> None:
    watched, own = watch_surplus(None, look(100, 5), FINALITY)
    assert (watched, own) == (Surplus(5, 100), 0)
    watched, own = watch_surplus(watched, look(104, 5), FINALITY)
    assert (watched, own) == (Surplus(5, 100), 0)
    assert watch_surplus(watched, look(105, 5), FINALITY) == (None, 5)


def test_only_what_was_there_in_every_look_is_the_houses() -> None:
    watched, _ = watch_surplus(None, look(100, 5), FINALITY)
    watched, _ = watch_surplus(watched, look(102, 3), FINALITY)
    assert watch_surplus(watched, look(105, 9), FINALITY) == (None, 3)


@pytest.mark.parametrize("surplus", [0, -4])
def test_a_surplus_that_went_away_is_forgotten(surplus: int) -> None:
    assert watch_surplus(Surplus(5, 100), look(103, surplus), FINALITY) == (None, 0)


def test_a_surplus_is_watched_anew_when_the_chain_went_back_behind_it() -> None:
    assert watch_surplus(Surplus(5, 100), look(99, 5), FINALITY) == (Surplus(5, 99), 0)


@pytest.mark.parametrize(("tagged", "booked"), [(99, 0), (100, 5)])
def test_where_nodes_say_what_is_final_both_must_hold(tagged: int, booked: int) -> None:
    assert watch_surplus(Surplus(5, 100), look(120, 5, tagged), FINALITY)[1] == booked
