"""A clock that tests move: the machine's time plus what was added, so that waits of days take none."""

from datetime import datetime, timedelta

from cryptowatch.clock import SystemClock


class MovingClock(SystemClock):
    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self._ahead

    def move(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)
