"""What an attempt's outcome means: pure, each rule with its negative."""

from datetime import UTC, datetime

import pytest

from cryptowatch.settings import Webhooks
from cryptowatch.webhooks.machine import (
    Answered,
    State,
    Unanswered,
    Verdict,
    judge,
    parse_retry_after,
    pause_s,
    shares,
)

SCHEDULE = (5.0, 60.0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert judge(Answered(status), 1, SCHEDULE, 0.5) == Verdict(State.DELIVERED)


@pytest.mark.parametrize(
    "status", [199, 300, 301, 302, 304, 307, 308, 400, 401, 404, 409, 418, 429, 500, 502, 503]
)
def test_anything_else_is_tried_again(status: int) -> None:
    assert judge(Answered(status), 1, SCHEDULE, 0.0) == Verdict(State.PENDING, wait_s=5)


def test_each_attempt_waits_longer_and_after_the_last_it_is_dead() -> None:
    waits = [judge(Unanswered("no"), attempts, SCHEDULE, 0.0) for attempts in (1, 2, 3)]
    assert waits == [Verdict(State.PENDING, 5), Verdict(State.PENDING, 60), Verdict(State.DEAD)]


def test_jitter_only_lengthens_a_wait_by_a_fifth_at_most() -> None:
    assert judge(Unanswered("no"), 1, SCHEDULE, 0.999).wait_s == pytest.approx(5.999)
    assert judge(Unanswered("no"), 1, SCHEDULE, 0.0).wait_s == 5


def test_gone_disables_and_the_delivery_waits() -> None:
    verdict = judge(Answered(410), 1, SCHEDULE, 0.0)
    assert (verdict.state, verdict.disable) == (State.PENDING, True)
    assert not judge(Answered(404), 1, SCHEDULE, 0.0).disable


@pytest.mark.parametrize(
    ("status", "asked_s", "wait_s", "pause"),
    [
        (429, 30.0, 30, 30),
        (503, 30.0, 30, 30),
        (429, 1.0, 5, 1),
        (429, None, 5, 0),
        (500, 30.0, 5, 0),
        (503, 1e9, 86_400, 86_400),
        (429, -5.0, 5, 0),
    ],
)
def test_who_says_when_is_not_asked_earlier(
    status: int, asked_s: float | None, wait_s: float, pause: float
) -> None:
    verdict = judge(Answered(status, asked_s), 1, SCHEDULE, 0.0)
    assert (verdict.wait_s, verdict.pause_s) == (wait_s, pause)


def test_the_default_schedule_is_the_standards() -> None:
    schedule = Webhooks().schedule_s
    assert schedule[0] == 5
    assert sum(schedule) > 3 * 86_400


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("30", 30.0),
        (" 7 ", 7.0),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("9" * 400, 86_400.0),
        ("Thu, 01 Jan 2026 00:01:00", None),
        ("\u0663", None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


def test_an_endpoint_is_left_alone_after_some_failures_in_a_row_and_never_for_long() -> None:
    assert [pause_s(failures) for failures in (1, 2, 3, 4, 5, 100)] == [0, 0, 1, 2, 4, 60]


@pytest.mark.parametrize(
    ("wanted", "running", "each_max", "given"),
    [
        (4, [0, 0], 3, [2, 2]),
        (4, [0], 3, [3]),
        (4, [3, 0], 3, [0, 3]),
        (1, [2, 1], 3, [0, 1]),
        (0, [0], 3, [0]),
        (9, [], 3, []),
    ],
)
def test_places_go_to_whoever_has_least(
    wanted: int, running: list[int], each_max: int, given: list[int]
) -> None:
    assert shares(wanted, running, each_max) == given
