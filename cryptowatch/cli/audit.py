"""`cryptowatch audit verify|head`: whether the log of what people and keys did is what was written."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cryptowatch.cli.exits import exit_codes
from cryptowatch.compliance.audit import Head, Report, read_head, verify
from cryptowatch.db.pool import connection
from cryptowatch.errors import SettingsError
from cryptowatch.plant import open_database
from cryptowatch.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="The log of what people and keys did.")

ConfigOption = Annotated[Path, typer.Option("--config", help="The settings' TOML file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]

_ANCHOR = re.compile(r"([1-9][0-9]{0,18}):([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What `verify --json` prints."""

    sound: bool
    position: int
    hash: str
    waiting: int
    broken_at: int | None
    problem: str | None


@app.command("verify")
def check(
    config: ConfigOption,
    anchors: Annotated[
        list[str] | None,
        typer.Option("--anchor", metavar="POSITION:HASH", help="A head that was kept elsewhere; any number."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the whole chain anew; exit code 1, and the first entry, when it does not hold."""
    with exit_codes():
        kept = dict(map(_anchor, anchors or ()))
        report = asyncio.run(_verify(load_settings(config), kept, show=not as_json))
    broken = report.broken
    if as_json:
        verdict = _Verdict(
            broken is None,
            report.head.position,
            report.head.hash.hex(),
            report.waiting,
            None if broken is None else broken.position,
            None if broken is None else broken.problem,
        )
        print(msgspec.json.encode(verdict).decode())
    elif broken is None:
        print(f"sound: {report.head.position} entries, {report.waiting} not yet sealed")
    else:
        print(f"broken at {broken.position}: {broken.problem}")
    if broken is not None:
        raise typer.Exit(1)


@app.command("head")
def show_head(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Print position and hash of the last sealed entry: keep it where nobody with access to the database can write."""
    with exit_codes():
        head = asyncio.run(_head(load_settings(config)))
    if as_json:
        print(msgspec.json.encode({"position": head.position, "hash": head.hash.hex()}).decode())
    else:
        print(f"{head.position}:{head.hash.hex()}")


def _anchor(text: str) -> tuple[int, bytes]:
    found = _ANCHOR.fullmatch(text)
    if found is None:
        raise SettingsError("--anchor", f"{text!r} is not what `audit head` prints: POSITION:HASH")
    return int(found[1]), bytes.fromhex(found[2])


async def _verify(settings: Settings, anchors: dict[int, bytes], *, show: bool) -> Report:
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.completed} entries"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not show,
    )
    with bar:
        task = bar.add_task("entries", total=None)
        async with (
            open_database(settings) as pool,
            connection(pool) as conn,
            conn.transaction(isolation="repeatable_read", readonly=True),
        ):
            return await verify(conn, anchors, lambda done: bar.update(task, completed=done))


async def _head(settings: Settings) -> Head:
    async with open_database(settings) as pool, connection(pool) as conn:
        return await read_head(conn)
