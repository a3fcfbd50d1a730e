"""The audit log's hashes: fixed for ever, and over everything that an entry says."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cryptowatch.compliance.chain import ORIGIN, Entry, Place, canonical, next_hash

ENTRY = Entry(
    actor="key_1",
    action="POST /v1/x",
    subjects=["acc_1", "wd_2"],
    request_id="req_3",
    body_digest=bytes(32),
    outcome="200 queued",
    created_at=datetime(2026, 11, 23, 4, 5, 6, 7, UTC),
)
PLACE = Place(1, 9)


def test_anybody_can_compute_a_hash() -> None:
    text = (
        '["cryptowatch-audit-1",1,9,"key_1","POST /v1/x",["acc_1","wd_2"],"req_3","'
        + "00" * 32
        + '","200 queued","2026-11-23T04:05:06.000007+00:00"]'
    )
    assert canonical(PLACE, ENTRY).decode() == text
    assert next_hash(ORIGIN, PLACE, ENTRY) == hashlib.sha256(bytes(32) + text.encode()).digest()


@pytest.mark.parametrize(
    "changed",
    [
        replace(ENTRY, actor="key_2"),
        replace(ENTRY, action="POST /v1/y"),
        replace(ENTRY, subjects=["acc_1"]),
        replace(ENTRY, subjects=["acc_1wd_2"]),
        replace(ENTRY, request_id=None),
        replace(ENTRY, body_digest=None),
        replace(ENTRY, outcome="200"),
        replace(ENTRY, created_at=ENTRY.created_at + timedelta(microseconds=1)),
    ],
)
def test_whatever_is_changed_changes_the_hash(changed: Entry) -> None:
    assert next_hash(ORIGIN, PLACE, changed) != next_hash(ORIGIN, PLACE, ENTRY)


def test_place_and_history_count_too() -> None:
    hashes = {
        next_hash(ORIGIN, PLACE, ENTRY),
        next_hash(bytes([1]) * 32, PLACE, ENTRY),
        next_hash(ORIGIN, Place(2, 9), ENTRY),
        next_hash(ORIGIN, Place(1, 8), ENTRY),
    }
    assert len(hashes) == 4


def test_the_same_moment_is_the_same_whatever_its_time_zone() -> None:
    elsewhere = ENTRY.created_at.astimezone(timezone(timedelta(hours=5)))
    assert canonical(PLACE, replace(ENTRY, created_at=elsewhere)) == canonical(PLACE, ENTRY)
