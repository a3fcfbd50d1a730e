"""How long-running parts run."""

import asyncio
import gc
from datetime import UTC, datetime

import pytest

from cryptowatch.loops import run_forever

STEPS = 500


class EndingClock:
    """Ends the loop at its last sleep."""

    def __init__(self) -> None:
        self.sleeps = 0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic_s(self) -> float:
        return float(self.sleeps)

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
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
