"""How far catching up after downtime is: a bar for a person at a terminal, a line now and then in a log.

Used by `instruments`, one for each chain. Short gaps are not worth a word.
"""

import sys
from dataclasses import dataclass, field

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cryptowatch.clock import Clock

log = structlog.get_logger(__name__)

#: Fewer blocks than this are no catching up.
BEHIND_MIN = 10
_LINE_INTERVAL_S = 5.0


@dataclass
class CatchUp:
    """`told_s` is when a line was written last; None when nothing is being caught up with."""

    chain: str
    clock: Clock
    terminal: bool = field(default_factory=lambda: sys.stderr.isatty())
    _done: int = 0
    _told_s: float | None = None
    _bar: Progress | None = None
    _task: TaskID | None = None

    def applied(self, blocks_to_go: int) -> None:
        """After each block."""
        if self._told_s is None and blocks_to_go < BEHIND_MIN:
            return
        now_s = self.clock.monotonic_s()
        if self._told_s is None:
            self._begin(blocks_to_go + 1)
            self._told_s = now_s - _LINE_INTERVAL_S
        self._done += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, total=self._done + blocks_to_go)
        elif now_s - self._told_s >= _LINE_INTERVAL_S or blocks_to_go == 0:
            log.info("catching up", chain=self.chain, blocks_done=self._done, blocks_to_go=blocks_to_go)
            self._told_s = now_s
        if blocks_to_go == 0:
            self._end()

    def _begin(self, total: int) -> None:
        self._done = 0
        if self.terminal:
            self._bar = Progress(
                TextColumn(f"catching up with {self.chain}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("blocks", total=total)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._task, self._told_s = None, None, None
