"""What a benchmark reports, and how it is shown and written down."""

import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from os import cpu_count
from typing import Protocol

import msgspec
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured value beside another one. `ratio` is how much better than `against` (or told by `goal`)."""

    benchmark: str
    figure: str
    value: float
    unit: str
    against: str | None
    against_value: float | None
    ratio: float | None
    goal: str | None
    met: bool | None


class Report(Protocol):
    """Handed to each benchmark's `run`."""

    def __call__(
        self,
        figure: str,
        value: float,
        unit: str,
        against: str | None = None,
        against_value: float | None = None,
        ratio: float | None = None,
        goal: str | None = None,
        met: bool | None = None,
    ) -> None: ...


def machine() -> str:
    """The kind of machine, for whoever reads the figures elsewhere."""
    return f"{platform.machine()}, {cpu_count()} cores, Python {platform.python_version()}"


def show(figures: Iterable[Figure], console: Console) -> None:
    table = Table("benchmark", "figure", "value", "against", "ratio", "goal", "met")
    for f in figures:
        against = "" if f.against is None else f"{f.against}: {_number(f.against_value)} {f.unit}"
        met = {None: "", True: "[green]yes[/green]", False: "[bold red]NO[/bold red]"}[f.met]
        table.add_row(
            f.benchmark,
            f.figure,
            f"{_number(f.value)} {f.unit}",
            against,
            "" if f.ratio is None else f"{f.ratio:.2f}",
            f.goal or "",
            met,
        )
    console.print(table)


def as_json(figures: Iterable[Figure]) -> bytes:
    return msgspec.json.format(msgspec.json.encode([asdict(f) | {"machine": machine()} for f in figures]))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
