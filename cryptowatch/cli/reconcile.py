"""`cryptowatch reconcile`: what each chain holds against the books, now; and a person's word on what is lost."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cryptowatch.cli.exits import exit_codes
from cryptowatch.cli.operators import note_command
from cryptowatch.clock import SystemClock
from cryptowatch.db.pool import connection, transaction
from cryptowatch.errors import OperatorError, SettingsError
from cryptowatch.money import InvalidAmount, format_amount, parse_amount
from cryptowatch.plant import open_database
from cryptowatch.settings import Settings, load_settings
from cryptowatch.treasury.reconcile import read_positions, write_off
from cryptowatch.treasury.solvency import Position


def reconcile(
    config: Annotated[Path, typer.Option("--config", help="The settings' TOML file.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    lost: Annotated[
        str | None,
        typer.Option(
            "--write-off",
            metavar="CHAIN/ASSET",
            help="Book what is missing as the house's loss, so that payouts of the asset go on.",
        ),
    ] = None,
    amount: Annotated[
        str | None, typer.Option("--amount", help="With --write-off: what is missing, in whole units.")
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="With --write-off: for the books.")] = None,
) -> None:
    """Compare chain and ledger in one snapshot; exit code 1 when money is missing."""
    with exit_codes():
        settings = load_settings(config)
        if lost is not None:
            asyncio.run(_write_off(settings, lost, amount, reason))
        positions = asyncio.run(_read(settings))
    if as_json:
        print(
            json.dumps([asdict(p) | {"expected": p.expected, "difference": p.difference} for p in positions])
        )
    else:
        _show(positions)
    if any(p.difference < 0 for p in positions):
        raise typer.Exit(1)


def _show(positions: list[Position]) -> None:
    table = Table("chain", "asset", "on chain", "unseen losses", "expected", "difference", "owed to players")
    for p in positions:
        shown = (p.on_chain, p.unseen_losses, p.expected, p.difference, p.liabilities)
        table.add_row(p.chain, p.asset, *map(str, shown))
    Console().print(table)
    print("amounts in base units")


async def _read(settings: Settings) -> list[Position]:
    async with open_database(settings) as pool, connection(pool) as conn:
        return await read_positions(conn)


async def _write_off(settings: Settings, which: str, amount: str | None, reason: str | None) -> None:
    """The amount must be said, and be right: nobody writes off what was never looked at."""
    chain, _, asset = which.partition("/")
    if chain not in settings.chains or asset not in settings.chains[chain].asset_settings:
        raise SettingsError("--write-off", f"no asset {which!r} in the settings: say CHAIN/ASSET")
    if not amount or not reason:
        raise SettingsError("--write-off", "needs --amount and --reason")
    decimals = settings.chains[chain].asset_settings[asset].decimals
    try:
        said = parse_amount(amount, decimals)
    except InvalidAmount as problem:
        raise SettingsError("--amount", str(problem)) from problem
    async with open_database(settings) as pool:
        async with connection(pool) as conn:
            positions = await read_positions(conn)
        found = [p for p in positions if (p.chain, p.asset) == (chain, asset)]
        missing = -found[0].difference if found else 0
        if missing <= 0 or missing != said:
            there = format_amount(max(0, missing), decimals)
            raise OperatorError(f"{there} {asset} is missing on {chain}, not {amount}: nothing was booked")
        async with transaction(pool) as conn:
            await write_off(conn, found[0], reason, SystemClock().now())
            await note_command(conn, "reconcile --write-off", which, outcome=f"{amount}: {reason}")
    print(f"{amount} {asset} on {chain}: booked as the house's loss")
