"""`cryptowatch reconcile`: what each chain holds against the books, now."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cryptowatch.cli.exits import exit_codes
from cryptowatch.daemon import open_database
from cryptowatch.db.pool import connection
from cryptowatch.settings import Settings, load_settings
from cryptowatch.treasury.reconcile import read_positions
from cryptowatch.treasury.solvency import Position


def reconcile(
    config: Annotated[Path, typer.Option("--config", help="The settings' TOML file.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Compare chain and ledger in one snapshot; exit code 1 when money is missing."""
    with exit_codes():
        positions = asyncio.run(_read(load_settings(config)))
    if as_json:
        print(
            json.dumps([asdict(p) | {"expected": p.expected, "difference": p.difference} for p in positions])
        )
    else:
        table = Table("chain", "asset", "on chain", "expected", "difference", "owed to players")
        for p in positions:
            table.add_row(
                p.chain, p.asset, str(p.on_chain), str(p.expected), str(p.difference), str(p.liabilities)
            )
        Console().print(table)
        print("amounts in base units")
    if any(p.difference < 0 for p in positions):
        raise typer.Exit(1)


async def _read(settings: Settings) -> list[Position]:
    async with open_database(settings) as pool, connection(pool) as conn:
        return await read_positions(conn)
