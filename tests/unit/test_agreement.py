"""P5: what nodes agree on is counted over hashes at one height, and a minority can neither forge nor delay
it.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptowatch.chains.agreement import (
    BlockPoint,
    agreed,
    contradicting,
    highest_possible,
    reference_height,
    why_not_agreed,
)

names = st.sampled_from(["a", "b", "c", "d", "e"])
hashes = st.sampled_from([b"x", b"y", b"z"])


def heads(*heights: int) -> dict[str, BlockPoint]:
    return {str(n): BlockPoint(height, b"h%d" % height) for n, height in enumerate(heights)}


@pytest.mark.parametrize(
    ("voices", "quorum", "expected"),
    [
        ({"a": b"x", "b": b"x", "c": b"y"}, 2, b"x"),
        ({"a": b"x", "b": b"x", "c": b"x"}, 2, b"x"),
        ({"a": b"x", "b": b"y", "c": b"z"}, 2, None),
        ({"a": b"x"}, 2, None),
        ({}, 1, None),
        ({"a": b"x", "b": b"x", "c": b"y", "d": b"y"}, 2, None),
    ],
)
def test_a_hash_is_agreed_when_a_quorum_reports_it_and_no_other_quorum_another(
    voices: dict[str, bytes], quorum: int, expected: bytes | None
) -> None:
    assert agreed(voices, quorum) == expected


@given(st.dictionaries(names, hashes), st.integers(1, 5))
def test_no_hash_is_ever_agreed_by_fewer_than_the_quorum(voices: dict[str, bytes], quorum: int) -> None:
    found = agreed(voices, quorum)
    assert found is None or list(voices.values()).count(found) >= quorum


@given(st.dictionaries(names, hashes, min_size=3, max_size=5), names, hashes)
def test_one_liar_cannot_change_what_a_majority_agrees_on(
    voices: dict[str, bytes], liar: str, lie: bytes
) -> None:
    majority = len(voices) // 2 + 1
    honest = {name: b"x" for name in voices if name != liar}
    if len(honest) >= majority:
        assert agreed({**honest, liar: lie}, majority) == b"x"


@pytest.mark.parametrize(
    ("heights", "quorum", "expected"),
    [((105, 105, 103), 2, 105), ((105, 104, 103), 2, 104), ((9_999_999, 104, 103), 2, 104), ((5,), 2, None)],
)
def test_the_search_begins_where_a_quorum_has_a_block(
    heights: tuple[int, ...], quorum: int, expected: int | None
) -> None:
    assert highest_possible(heads(*heights), quorum) == expected


@pytest.mark.parametrize(
    ("heights", "expected"),
    [((100, 100, 9_999_999), 100), ((100, 100, 90), 100), ((100, 90), 100), ((100,), 100), ((), None)],
)
def test_lag_counts_against_the_upper_median_which_no_single_node_moves(
    heights: tuple[int, ...], expected: int | None
) -> None:
    assert reference_height(heads(*heights)) == expected


def test_a_node_with_another_hash_contradicts_and_one_without_only_lags() -> None:
    assert contradicting({"a": b"x", "b": b"x", "c": b"y"}, b"x") == {"c"}
    assert contradicting({"a": b"x", "b": b"y"}, None) == frozenset()


def test_why_there_is_no_head_is_told_in_numbers() -> None:
    assert why_not_agreed(heads(5), 3, 2) == "1 of 3 nodes answer, 2 must agree"
    assert why_not_agreed(heads(5, 6), 3, 2) == "2 of 3 nodes answer, at most 1 of them agree, 2 must"
