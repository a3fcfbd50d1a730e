"""`cryptowatch keys create|list|revoke`: who may call the API. No call of the API makes keys."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from cryptowatch.api import keys
from cryptowatch.api.keys import KeyView, Scope
from cryptowatch.api.rates import Rate
from cryptowatch.cli.exits import exit_codes
from cryptowatch.cli.operators import note_command
from cryptowatch.clock import SystemClock
from cryptowatch.db.pool import connection, transaction
from cryptowatch.errors import OperatorError
from cryptowatch.ids import Kind, derived_id, read_id
from cryptowatch.plant import open_database
from cryptowatch.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="The API's keys.")

ConfigOption = Annotated[Path, typer.Option("--config", help="The settings' TOML file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command("create")
def create(
    config: ConfigOption,
    name: Annotated[str, typer.Option("--name", help="What it is for, such as `casino backend`.")],
    scopes: Annotated[
        list[Scope], typer.Option("--scope", help="What it may do; say it once for each scope.")
    ],
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=3650, help="It expires after so many.")
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option("--rate", min=1, max=100_000, help="Requests a second, instead of the setting."),
    ] = None,
    burst: Annotated[
        int | None, typer.Option("--burst", min=1, max=1_000_000, help="Requests at once; twice the rate.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once, now: only its digest is stored."""
    with exit_codes():
        if not 1 <= len(name) <= 100 or "\x00" in name:
            raise OperatorError("a key's name has 1 to 100 characters")
        if rate is None and burst is not None:
            raise OperatorError("--burst goes with --rate")
        own = None if rate is None else Rate(rate, burst or 2 * rate)
        key, view = asyncio.run(_create(load_settings(config), name, scopes, days, own))
    if as_json:
        print(msgspec.json.encode({"key": key, **msgspec.to_builtins(view)}).decode())
        return
    print(f"{view.id} may: {', '.join(view.scopes)}\nStore it now, it is never shown again:\n{key}")


@app.command("list")
def show(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Every key, newest first, also those that ended."""
    with exit_codes():
        found = asyncio.run(_list(load_settings(config)))
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    # Ids are copied from here: whole, on as many lines as they need.
    table = Table(
        Column("id", overflow="fold"),
        "name",
        "ends with",
        "scopes",
        "rate",
        "created",
        "expires",
        "revoked",
        "last used",
    )
    for view in found:
        times = (view.created_at, view.expires_at, view.revoked_at, view.last_used_at)
        shown = ["" if time is None else time.strftime("%Y-%m-%d %H:%M") for time in times]
        table.add_row(view.id, view.name, view.hint, " ".join(view.scopes), _rate(view), *shown)
    Console().print(table)


def _rate(view: KeyView) -> str:
    return "" if view.rate_per_s is None else f"{view.rate_per_s}/s"


@app.command("revoke")
def revoke(
    config: ConfigOption,
    key_id: Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.")],
    as_json: JsonOption = False,
) -> None:
    """End a key, from the next request on."""
    with exit_codes():
        view = asyncio.run(_revoke(load_settings(config), key_id))
    print(msgspec.json.encode(view).decode() if as_json else f"{view.id} ({view.name}) is revoked")


async def _create(
    settings: Settings, name: str, scopes: list[Scope], days: int | None, rate: Rate | None
) -> tuple[str, KeyView]:
    now = SystemClock().now()
    async with open_database(settings) as pool, transaction(pool) as conn:
        made = await keys.create_key(
            conn,
            derived_id(now, os.urandom(16)),
            os.urandom(keys.SECRET_BYTES),
            name=name,
            scopes=set(scopes),
            expires_at=None if days is None else now + timedelta(days=days),
            now=now,
            rate=rate,
        )
        await note_command(conn, "keys create", made[1].id, outcome=" ".join(made[1].scopes))
        return made


async def _list(settings: Settings) -> list[KeyView]:
    async with open_database(settings) as pool, connection(pool) as conn:
        return list(await keys.list_keys(conn))


async def _revoke(settings: Settings, shown_id: str) -> KeyView:
    key_id = read_id(Kind.API_KEY, shown_id)
    async with open_database(settings) as pool, transaction(pool) as conn:
        view = None if key_id is None else await keys.revoke_key(conn, key_id, SystemClock().now())
        if view is not None:
            await note_command(conn, "keys revoke", view.id)
    if view is None:
        raise OperatorError(f"there is no key {shown_id}")
    return view
