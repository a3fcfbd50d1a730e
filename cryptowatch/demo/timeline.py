"""What the demo tells while it plays, and what it checked."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


class CheckFailed(Exception):
    """The nodes, or the books, say something else than they must."""


@dataclass
class Timeline:
    """Prints one line a happening. `checks` counts what was held against the nodes, per chapter."""

    console: Console
    clock_s: Callable[[], float] = time.monotonic
    started_s: float = field(default_factory=time.monotonic)
    chapters: list[tuple[str, float, int]] = field(default_factory=list)

    def chapter(self, title: str) -> None:
        self.console.print(f"\n[bold]{title}[/bold]")
        self.chapters.append((title, self.clock_s(), 0))

    def tell(self, text: str) -> None:
        self.console.print(f"[dim]{self._now_s():6.1f} s[/dim]    {text}")

    def check(self, holds: bool, text: str) -> None:
        """A claim held against the nodes or the books. Raises CheckFailed when it does not hold."""
        if not holds:
            self.console.print(f"[dim]{self._now_s():6.1f} s[/dim]  [bold red]✗ {text}[/bold red]")
            raise CheckFailed(text)
        self.console.print(f"[dim]{self._now_s():6.1f} s[/dim]  [green]✓[/green] {text}")
        title, started_s, checks = self.chapters[-1]
        self.chapters[-1] = (title, started_s, checks + 1)

    def summary(self, facts: dict[str, str]) -> None:
        table = Table(title="What happened, each line held against the nodes")
        table.add_column("chapter")
        table.add_column("checks", justify="right")
        table.add_column("seconds", justify="right")
        ends_s = [started_s for _, started_s, _ in self.chapters[1:]] + [self.clock_s()]
        for (title, started_s, checks), end_s in zip(self.chapters, ends_s, strict=True):
            table.add_row(title, str(checks), f"{end_s - started_s:.1f}")
        table.add_section()
        for name, value in facts.items():
            table.add_row(name, value, "")
        self.console.print()
        self.console.print(table)

    def _now_s(self) -> float:
        return self.clock_s() - self.started_s
