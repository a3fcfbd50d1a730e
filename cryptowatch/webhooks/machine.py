"""What one attempt's outcome means for its delivery and its endpoint, as pure functions.

    pending - 2xx -> delivered
    pending - anything else -> pending, at the schedule's next step; after the last step -> dead
    delivered | dead - replay -> pending

Called by `worker`, and by `deliveries` as it writes outcomes. Only 2xx is success; a redirect is a failure.
410 means that nobody wants to hear any more: the endpoint is disabled and its deliveries wait for a person.
429 and 503 may say when to come back, and are not asked earlier. Keeps P10: attempts, waits and pauses are
all bounded.
"""

from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from heapq import heapify, heappop, heapreplace

import msgspec

GONE = 410
_MAY_SAY_WHEN = frozenset({429, 503})
#: What an answer may make us wait at most.
RETRY_AFTER_MAX_S = 86_400.0
#: Waits are lengthened by up to this share, so that deliveries that failed together do not return together.
JITTER_SHARE = 0.2
#: Rounds in a row that fail before an endpoint is left alone for a while, and the longest such while.
FAILURES_BEFORE_PAUSE = 3
PAUSE_MAX_S = 60.0


class State(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Answered(msgspec.Struct, frozen=True):
    """The endpoint answered; `retry_after_s` is what its Retry-After header asks for."""

    status: int
    retry_after_s: float | None = None


class Unanswered(msgspec.Struct, frozen=True):
    """No answer: refused, unreachable, too late, or an address that must not be called."""

    problem: str


Attempt = Answered | Unanswered


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of the delivery; `pause_s` and `disable` are about the endpoint as a whole."""

    state: State
    wait_s: float = 0.0
    pause_s: float = 0.0
    disable: bool = False


def judge(attempt: Attempt, attempts: int, schedule_s: Sequence[float], jitter: float) -> Verdict:
    """The verdict after the delivery's `attempts`-th attempt (1 = the first).

    `jitter` is drawn from [0, 1).
    """
    asked_s = 0.0
    if isinstance(attempt, Answered):
        if 200 <= attempt.status < 300:
            return Verdict(State.DELIVERED)
        if attempt.status == GONE:
            return Verdict(State.PENDING, disable=True)
        if attempt.status in _MAY_SAY_WHEN and attempt.retry_after_s is not None:
            asked_s = min(max(attempt.retry_after_s, 0.0), RETRY_AFTER_MAX_S)
    if attempts > len(schedule_s):
        return Verdict(State.DEAD, pause_s=asked_s)
    wait_s = schedule_s[attempts - 1] * (1 + JITTER_SHARE * jitter)
    return Verdict(State.PENDING, wait_s=max(wait_s, asked_s), pause_s=asked_s)


def pause_s(failures: int) -> float:
    """How long an endpoint is left alone after so many rounds in a row without a single success."""
    if failures < FAILURES_BEFORE_PAUSE:
        return 0.0
    return min(PAUSE_MAX_S, 2.0 ** min(failures - FAILURES_BEFORE_PAUSE, 16))


def parse_retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds from now, from either form that HTTP allows; None when absent or neither."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_MAX_S)
    try:
        then = parsedate_to_datetime(text)
        return max(0.0, (then - now).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


def shares(wanted: int, running: Sequence[int], each_max: int) -> Sequence[int]:
    """How many of `wanted` free places each endpoint gets, given how many it uses already.

    The least busy first.

    One at a time to whoever has least: a slow endpoint with all its places full leaves the rest to the
    others.
    """
    given = [0] * len(running)
    least = [(used, index) for index, used in enumerate(running) if used < each_max]
    heapify(least)
    for _ in range(wanted):
        if not least:
            break
        used, index = least[0]
        given[index] += 1
        if used + 1 < each_max:
            heapreplace(least, (used + 1, index))
        else:
            heappop(least)
    return given
