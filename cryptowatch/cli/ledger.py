"""`cryptowatch verify-ledger`: checks every promise of the ledger; mounted by `cli/__init__`.

Reads only, from one snapshot, while everything runs. Exit codes: 0 all holds, 1 something does not.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cryptowatch.db import embedded
from cryptowatch.db.pool import connection, open_pool
from cryptowatch.ledger.verify import Report, verify
from cryptowatch.settings import load_settings


def verify_ledger(
    config: Annotated[Path, typer.Option("--config", help="The settings file.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, no progress.")] = False,
    findings_max: Annotated[int, typer.Option("--findings-max", min=1, help="List at most so many.")] = 1000,
) -> None:
    """Replay the whole ledger and event log against the rules, and tell what does not agree."""
    dsn = load_settings(config).database.dsn
    report = asyncio.run(_verify(dsn, findings_max, show_progress=not as_json))
    if as_json:
        typer.echo(json.dumps({"sound": report.sound, **asdict(report)} | {"findings": _findings(report)}))
    else:
        _show(report)
    if not report.sound:
        raise typer.Exit(1)


async def _verify(dsn: str, findings_max: int, *, show_progress: bool) -> Report:
    bar = Progress(
        TextColumn("postings"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not show_progress,
    )
    async with (
        _reachable(dsn) as url,
        open_pool(url, application_name="cryptowatch-verify", size_max=1) as pool,
    ):
        with bar:
            task = bar.add_task("postings", total=None)

            def advance(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            async with connection(pool) as conn:
                return await verify(conn, progress=advance, findings_max=findings_max)


@asynccontextmanager
async def _reachable(dsn: str) -> AsyncIterator[str]:
    if dsn.startswith("embedded:"):
        async with embedded.running(Path(dsn.removeprefix("embedded:"))) as url:
            yield url
    else:
        yield dsn


def _findings(report: Report) -> list[dict[str, str]]:
    return [finding._asdict() for finding in report.findings]


def _show(report: Report) -> None:
    console = Console(highlight=False)
    read = f"{report.postings} postings, {report.accounts} accounts, {report.events} events"
    if report.sound:
        console.print(f"[green]sound[/green]: {read}")
        return
    table = Table("invariant", "where", "what", title=f"{report.count} findings in {read}")
    for finding in report.findings:
        table.add_row(*finding)
    console.print(table)
    if report.count > len(report.findings):
        console.print(f"… and {report.count - len(report.findings)} more")
