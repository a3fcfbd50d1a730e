"""`scripts/bench`: runs the named benchmarks, or all; exits 0 when all ran, whether goals are met or not."""

import argparse
import importlib
import pkgutil
import sys
import time
from pathlib import Path

import uvloop
from rich.console import Console

import benchmarks
from benchmarks.reporting import Figure, as_json, machine, show

_NOT_BENCHMARKS = {"__main__", "reporting"}


def names() -> list[str]:
    found = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    return [
        name.replace("_", "-") for name in found if name not in _NOT_BENCHMARKS and not name.startswith("_")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; default all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(names()))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(names())}")
    figures: list[Figure] = []
    console = Console()
    console.print(f"Machine: {machine()}")
    for name in arguments.names or names():
        started_s = time.monotonic()
        module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")

        def report(
            figure: str,
            value: float,
            unit: str,
            against: str | None = None,
            against_value: float | None = None,
            ratio: float | None = None,
            goal: str | None = None,
            met: bool | None = None,
            name: str = name,
        ) -> None:
            figures.append(Figure(name, figure, value, unit, against, against_value, ratio, goal, met))

        uvloop.run(module.run(report))
        console.print(f"{name}: ran {time.monotonic() - started_s:.0f} s")
    show(figures, console)
    missed = [f for f in figures if f.met is False]
    for f in missed:
        console.print(f"NOT MET: {f.benchmark}, {f.figure}: goal {f.goal}")
    if arguments.json:
        arguments.json.write_bytes(as_json(figures))
    sys.exit(0)


if __name__ == "__main__":
    main()
