"""How long-running parts run."""

import asyncio
import gc
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.loops import run_forever

STEPS = 500


class EndingClock:
    """Ends the loop at its last sleep."""

    def __init__(self) -> None:
        self.sleeps = 0
        self.slept_s: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic_s(self) -> float:
        return float(self.sleeps)

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        self.slept_s.append(seconds)
        if self.sleeps == STEPS:
            raise asyncio.CancelledError


async def test_steps_leave_nothing_to_the_garbage_collector() -> None:
    """While it is at work it holds up everything else in the process, as whoever asks the API."""

    async def step() -> int:
        return 0

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(asyncio.CancelledError):
            await run_forever("loop", step, interval_s=1, clock=EndingClock())
        assert gc.collect() < STEPS
    finally:
        gc.enable()


async def test_whoever_works_again_says_so_and_waits_but_shortly_after_its_next_failure() -> None:
    clock, steps, told = EndingClock(), 0, list[str | None]()

    async def step() -> int:
        """Works after nine failures, again and again."""
        nonlocal steps
        steps += 1
        if steps % 10:
            raise ConcurrentUpdate("says the test")
        return 0

    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await run_forever(
            "loop", step, interval_s=60, clock=clock, observe_failure=lambda name, error: told.append(error)
        )
    runs = [clock.slept_s[first : first + 9] for first in range(0, STEPS - 10, 10)]
    assert max(waits[0] for waits in runs) <= 0.1 < max(waits[-1] for waits in runs) <= 3
    assert clock.slept_s[9:STEPS:10] == [60] * (STEPS // 10)
    assert [log["event"] for log in logs] == ["waiting", "works again"] * (len(logs) // 2)
    assert told.count(None) == len(logs) // 2 == STEPS // 10
