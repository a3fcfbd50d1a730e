"""When money moves between hot and cold, and how much: the band as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cryptowatch.money import BaseUnits
from cryptowatch.settings.cold import Band
from cryptowatch.treasury.bands import Bounds, Direction, Marks, Movement, Standing, decide, marks_of

MARKS = Marks(100, 300, 600)
ANY = Bounds(1)


@pytest.mark.parametrize(
    ("confirmed", "final", "queued", "expected"),
    [
        # (what is in blocks, what of it is final, what players wait for)
        (300, 300, 0, None),
        (600, 600, 0, None),  # the high mark itself is within
        (601, 601, 0, ("overflow", 301)),
        (100, 100, 0, None),  # so is the low one
        (99, 99, 0, ("refill", 201)),
        (700, 600, 0, None),  # what a reorg can take is not sent away
        (700, 601, 0, ("overflow", 301)),
        (700, 700, 100, None),  # players come first
        (800, 800, 150, ("overflow", 350)),
        (150, 150, 60, ("refill", 210)),  # and their money is asked for in time
        (150, 0, 0, None),  # what will be final soon need not come from cold
        (0, 0, 0, ("refill", 300)),
        (-50, -50, 0, ("refill", 350)),
    ],
)
def test_what_the_band_asks_for(
    confirmed: int, final: int, queued: int, expected: tuple[str, int] | None
) -> None:
    found = decide(Standing(confirmed, final, queued), MARKS, ANY, is_open=False)
    assert (None if found is None else (found.direction.value, found.amount)) == expected
    assert decide(Standing(confirmed, final, queued), MARKS, ANY, is_open=True) is None


@pytest.mark.parametrize(
    ("bounds", "amount", "expected"),
    [
        (Bounds(1), 0, None),
        (Bounds(0), 0, None),
        (Bounds(5), 4, None),
        (Bounds(5), 5, 5),
        (Bounds(1, most=3), 9, 3),
        (Bounds(4, most=3), 9, None),
        (Bounds(1, most=0), 9, None),
        (Bounds(1, unit=10), 29, 20),
        (Bounds(1, unit=10), 9, None),
        (Bounds(15, unit=10), 19, None),
        (Bounds(1, most=25, unit=10), 99, 20),
    ],
)
def test_one_movement_keeps_its_bounds(bounds: Bounds, amount: int, expected: int | None) -> None:
    assert bounds.fit(amount) == expected


def test_what_the_hot_signer_allows_bounds_only_what_leaves_the_hot_wallet() -> None:
    bounds = Bounds(1, most=10)
    assert decide(Standing(900, 900, 0), MARKS, bounds, is_open=False) == Movement(
        Direction.OVERFLOW, BaseUnits(10)
    )
    assert decide(Standing(0, 0, 0), MARKS, bounds, is_open=False) == Movement(
        Direction.REFILL, BaseUnits(300)
    )


@given(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.integers(0, 5_000),
    st.lists(st.integers(0, 5_000), min_size=3, max_size=3, unique=True),
)
def test_no_movement_is_followed_by_the_opposite_one(
    final: int, fresh: int, queued: int, marks: list[int]
) -> None:
    band = Marks(*sorted(marks))
    before = Standing(final + fresh, final, queued)
    movement = decide(before, band, ANY, is_open=False)
    if movement is None:
        return
    if movement.direction is Direction.OVERFLOW:
        assert movement.amount <= before.spare - band.target
        after = Standing(before.confirmed - movement.amount, before.final - movement.amount, queued)
    else:
        after = Standing(before.confirmed + movement.amount, before.final + movement.amount, queued)
    assert decide(after, band, ANY, is_open=False) is None


@pytest.mark.parametrize(
    ("outflow", "expected"),
    [
        (0, Marks(1, 3, 6)),  # the least that is aimed at, in the same shape
        (-700, Marks(1, 3, 6)),
        (7, Marks(1, 3, 6)),
        (70, Marks(10, 30, 60)),
        (71, Marks(10, 30, 60)),
        (73, Marks(10, 31, 62)),
    ],
)
def test_without_marks_days_of_the_net_outflow_decide(outflow: int, expected: Marks) -> None:
    assert marks_of(Band(target_min="3"), 0, outflow) == expected


def test_marks_of_the_settings_are_base_units() -> None:
    assert marks_of(Band(low="0.1", target="1", high="2.5"), 8) == Marks(10**7, 10**8, 25 * 10**7)


@pytest.mark.parametrize(
    "band",
    [
        {"low": "1", "target": "2"},
        {"low_days": 3},
        {"high_days": 3},
        {"forecast_days": 0},
    ],
)
def test_half_a_band_is_refused(band: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Band.model_validate(band)


@pytest.mark.parametrize(
    "band",
    [
        {"low": "2", "target": "2", "high": "3"},
        {"low": "1", "target": "3", "high": "3"},
        {"low": "1", "target": "2", "high": "3.000000001"},
        {"move_min": "-1", "target_min": "1"},
        {},
    ],
)
def test_a_band_that_is_none_of_the_asset_is_refused(band: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="band"):
        Band.model_validate(band).check(8)
