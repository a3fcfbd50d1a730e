"""`cryptowatch liabilities …`: what the house owes, as a published total in which every owner finds the own balance."""

import asyncio
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cryptowatch.cli.exits import exit_codes
from cryptowatch.cli.operators import note_command
from cryptowatch.clock import SystemClock
from cryptowatch.db.pool import connection
from cryptowatch.money import format_amount
from cryptowatch.plant import open_database
from cryptowatch.settings import Settings, load_settings
from cryptowatch.treasury import statements
from cryptowatch.treasury.liabilities import Leaf
from cryptowatch.treasury.statements import PUBLISHED, Proof, Published

app = typer.Typer(no_args_is_help=True, help="Proofs of what the house owes its players.")

_FOLDER = typer.Option("--dir", help="The export's folder.")


@app.command("export")
def export(
    config: Annotated[Path, typer.Option("--config", help="The settings' TOML file.")],
    folder: Annotated[Path, _FOLDER],
) -> None:
    """Write all balances of one moment into a new folder. Publish `liabilities.json`; keep the leaves private."""
    with exit_codes():
        settings = load_settings(config)
        published = statements.export(folder, *asyncio.run(_read(settings)))
    table = Table("asset", "owed", "owners", "root")
    decimals = _decimals(settings)
    for total in published.totals:
        shown = format_amount(int(total.base_units), decimals.get(total.asset, 0))
        table.add_row(total.asset, shown, str(total.owners), total.root or "")
    Console().print(table)


@app.command("prove")
def prove(
    folder: Annotated[Path, _FOLDER],
    account: Annotated[str, typer.Option("--account", help="The account's id, acc_…")],
    asset: Annotated[str, typer.Option("--asset")],
) -> None:
    """Print one owner's proof as JSON: for that owner only."""
    with exit_codes():
        proof = statements.prove(folder, asset, account)
    print(msgspec.json.format(msgspec.json.encode(proof)).decode())


@app.command("verify")
def verify(
    proof: Annotated[Path, typer.Option("--proof", help="The owner's proof.")],
    published: Annotated[Path, typer.Option("--published", help=f"The published {PUBLISHED}.")],
) -> None:
    """Check that a balance is part of the published total. Needs no settings and no database; exit code 1 if not."""
    with exit_codes():
        own, all_of_it = statements.read(proof, Proof), statements.read(published, Published)
        statements.verify(own, all_of_it)
    print(f"{own.base_units} base units of {own.asset} owed to {own.owner} are part of the published total")


async def _read(settings: Settings) -> tuple[dict[str, list[Leaf]], datetime]:
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.completed} balances"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    async with open_database(settings) as pool, connection(pool) as conn:
        with bar:
            task = bar.add_task("balances", total=None)
            async with conn.transaction(isolation="repeatable_read", readonly=True):
                assets, taken_at = sorted(_decimals(settings)), SystemClock().now()
                leaves = await statements.read_owed(conn, assets, os.urandom, lambda: bar.advance(task))
        # Before anything is written: whoever has the leaves sees what every player has.
        async with conn.transaction():
            await note_command(conn, "liabilities export", *assets)
    return leaves, taken_at


def _decimals(settings: Settings) -> dict[str, int]:
    return {
        name: asset.decimals
        for chain in settings.chains.values()
        for name, asset in chain.asset_settings.items()
    }
