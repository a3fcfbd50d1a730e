"""Ids made of facts: as UUIDv7 asks, ascending, and never two of the same."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import hypothesis.strategies as st
from hypothesis import given

from cryptowatch.ids import derived_id, derived_ids

NOW = datetime(2026, 11, 22, 12, 0, 0, 123_000, tzinfo=UTC)
MILLISECONDS = int(NOW.timestamp() * 1000)


@given(st.binary(), st.binary())
def test_ids_of_one_call_ascend_and_tell_their_time(one: bytes, other: bytes) -> None:
    ids = list(islice(derived_ids(NOW, one, other), 1_100))
    assert ids == sorted(set(ids))
    assert {(id_.version, id_.variant, id_.int >> 80) for id_ in ids} == {
        (7, "specified in RFC 4122", MILLISECONDS)
    }


def test_the_count_goes_on_beyond_the_bits_that_stand_together() -> None:
    ids = list(islice(derived_ids(NOW, b"block"), (1 << 20) - 1, (1 << 20) + 1))
    assert ids[0] < ids[1]
    assert ids[1].version == 7


def test_the_same_facts_at_the_same_time_give_the_same_ids_and_others_give_others() -> None:
    first = next(derived_ids(NOW, b"block"))
    assert first == next(derived_ids(NOW, b"block"))
    assert first != next(derived_ids(NOW, b"other block"))
    assert first < next(derived_ids(NOW + timedelta(milliseconds=1), b"block"))
    assert derived_id(NOW, b"block") not in set(islice(derived_ids(NOW, b"block"), 100))


@given(st.lists(st.integers(0, 10_000), min_size=2, unique=True), st.data())
def test_ids_of_single_things_sort_by_their_microsecond(offsets: list[int], data: st.DataObject) -> None:
    times = [NOW + timedelta(microseconds=offset) for offset in sorted(offsets)]
    ids = [derived_id(time, data.draw(st.binary())) for time in times]
    assert ids == sorted(ids)
    assert {(id_.version, id_.variant) for id_ in ids} == {(7, "specified in RFC 4122")}
    assert [id_.int >> 80 for id_ in ids] == [int(time.timestamp() * 1_000_000) // 1000 for time in times]
