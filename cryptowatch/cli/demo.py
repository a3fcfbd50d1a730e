"""`cryptowatch demo`: what `scripts/demo` runs."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from cryptowatch.cli.exits import exit_codes
from cryptowatch.demo.stage import perform


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave all running until Ctrl-C.")] = False,
) -> None:
    """Play the main job with real transactions on a private network of real nodes."""
    with exit_codes():
        try:
            asyncio.run(perform(keep, Console(highlight=False, soft_wrap=True)))
        except KeyboardInterrupt:
            return
