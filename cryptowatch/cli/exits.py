"""How every command ends: one clear line on stderr, and the exit code that the contract names."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from cryptowatch.errors import CryptowatchError, SettingsError


@contextmanager
def exit_codes() -> Iterator[None]:
    """1 for what failed, 2 for wrong settings; anything that is not ours keeps its traceback."""
    try:
        yield
    except SettingsError as problem:
        print(f"cryptowatch: {problem}", file=sys.stderr)
        raise typer.Exit(2) from problem
    except CryptowatchError as problem:
        print(f"cryptowatch: {problem}", file=sys.stderr)
        raise typer.Exit(1) from problem
    except ExceptionGroup as group:
        ours, others = group.split(CryptowatchError)
        if ours is None or others is not None:
            raise
        first: BaseException = ours
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        print(f"cryptowatch: {first}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(first, SettingsError) else 1) from group
