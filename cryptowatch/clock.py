"""The only place that reads a clock; everything else is handed a `Clock` or a time.

Pure code takes times as values. Loops take a Clock, so that tests can move time.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The wall clock, aware, in UTC: for records that people and other machines read."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never run backwards: for measuring waits, never for records."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
