"""`cryptowatch demo`: what `scripts/demo` runs."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from cryptowatch.cli.exits import exit_codes


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave all running until Ctrl-C.")] = False,
) -> None:
    """Play the main job with real transactions on a private network of real nodes."""
    # Only here: what a private network needs is no part of a production's installation, takes a second to load, and
    # changes the interpreter's limits (a test says which).
    from cryptowatch.demo.stage import perform

    with exit_codes():
        try:
            asyncio.run(perform(keep, Console(highlight=False, soft_wrap=True)))
        except KeyboardInterrupt:
            return
