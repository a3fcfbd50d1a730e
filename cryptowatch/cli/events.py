"""`cryptowatch events tail`: the event log as it grows, for people and for pipes."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from cryptowatch.cli.exits import exit_codes
from cryptowatch.clock import SystemClock
from cryptowatch.db.pool import connection
from cryptowatch.ledger.events import Event, feed_head, read_events
from cryptowatch.plant import open_database
from cryptowatch.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="The event log.")

_PAGE = 500
_POLL_S = 0.5


@app.callback()
def _events() -> None:
    """A group, though it has one command yet."""


@app.command()
def tail(
    config: Annotated[Path, typer.Option("--config", help="The settings' TOML file.")],
    after: Annotated[
        int | None, typer.Option("--after", min=0, help="Begin after this sequence number.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for more.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print events, the last 20 first, then new ones until Ctrl-C."""
    with exit_codes():
        try:
            asyncio.run(_tail(load_settings(config), after, follow, as_json))
        except KeyboardInterrupt:
            return


async def _tail(settings: Settings, after: int | None, follow: bool, as_json: bool) -> None:
    clock = SystemClock()
    async with open_database(settings) as pool:
        async with connection(pool) as conn:
            position = max(0, await feed_head(conn) - 20) if after is None else after
        while True:
            async with connection(pool) as conn:
                events = await read_events(conn, position, _PAGE)
            for event in events:
                print(_line(event, as_json), flush=True)
                position = event.position
            if not events and not follow:
                return
            if not events:
                await clock.sleep(_POLL_S)


def _line(event: Event, as_json: bool) -> str:
    if as_json:
        return json.dumps(
            {
                "sequence": event.position,
                "type": event.type,
                "created_at": event.created_at.isoformat(),
                "entity": {"kind": event.entity_kind, "id": event.entity_id, "version": event.entity_version},
                "data": json.loads(event.data),
            }
        )
    return f"{event.position:>8}  {event.created_at:%H:%M:%S}  {event.type:<24} {event.entity_id}"
