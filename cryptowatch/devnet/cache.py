"""The user's cache folder, where node programs that the machine lacks are kept. Used by `bitcoind` and `anvil`."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """The user's cache folder for cryptowatch (`XDG_CACHE_HOME`, else `~/.cache`)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "cryptowatch"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; blocks."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
