"""`cryptowatch run` and `cryptowatch migrate`."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from cryptowatch.cli.exits import exit_codes
from cryptowatch.daemon import ROLES
from cryptowatch.daemon import run as run_daemon
from cryptowatch.errors import SettingsError
from cryptowatch.plant import open_database
from cryptowatch.settings import Settings, load_settings
from cryptowatch.telemetry.logs import configure_logs

ConfigOption = Annotated[Path, typer.Option("--config", help="The settings' TOML file.")]


def run(
    config: ConfigOption,
    roles: Annotated[str, typer.Option("--roles", help=f"Comma-separated: {', '.join(ROLES)}.")] = ",".join(
        ROLES
    ),
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    with exit_codes():
        wanted = [role.strip() for role in roles.split(",") if role.strip()]
        unknown = sorted(set(wanted) - set(ROLES))
        if unknown or not wanted:
            raise SettingsError(
                "--roles", f"unknown: {', '.join(unknown) or '(none given)'}; known: {', '.join(ROLES)}"
            )
        settings = load_settings(config)
        configure_logs(settings.telemetry)
        uvloop.run(_until_told(settings, wanted))


async def _until_told(settings: Settings, roles: list[str]) -> None:
    """SIGTERM and SIGINT end the daemon in order: what is under way is rolled back or goes on at the next start."""
    task = asyncio.ensure_future(run_daemon(settings, roles))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def migrate(config: ConfigOption) -> None:
    """Bring the database's schema up to date; safe while daemons run and when several migrate at once."""
    with exit_codes():
        settings = load_settings(config)
        forced = settings.model_copy(
            update={"database": settings.database.model_copy(update={"migrate": True})}
        )
        asyncio.run(_migrate(forced))


async def _migrate(settings: Settings) -> None:
    async with open_database(settings):
        print("the schema is up to date")
