"""Brings the schema up to date: plain SQL files `migrations/NNNN-name.sql`, applied by yoyo in their order.

Called by `cryptowatch migrate` and, when `database.migrate` is set, by every daemon that starts. Each file
runs in one transaction. Safe when several daemons start at once: a Postgres advisory lock, held by the very
session that runs the SQL, lets one in at a time. That lock ends with the session, whatever killed it, so a
row left behind in yoyo's own lock table is known to be stale and is cleared.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any, Final

import psycopg
from yoyo import read_migrations
from yoyo.backends import get_backend_class
from yoyo.connections import parse_uri
from yoyo.migrations import default_migration_table

from cryptowatch.errors import DatabaseUnavailable

#: "cryptowa" in ASCII: one lock number of this program for migrations, the same in every version of it.
ADVISORY_LOCK: Final = 0x63727970746F7761

_DRIVER: Final = "postgresql+psycopg"
_FILENAME: Final = re.compile(r"[0-9]{4}-[a-z0-9-]+\.sql")


def migrate(dsn: str) -> list[str]:
    """Apply what is missing; the names applied by this call, in order. Blocks: from asyncio, use a thread.

    Waits without limit for another process's migration. Raises DatabaseUnavailable when Postgres is away;
    an error in a migration passes as psycopg's, with nothing of that file applied.
    """
    with _migrations() as migrations, _exclusive_backend(dsn) as backend:
        missing = list(backend.to_apply(migrations))
        for migration in missing:
            _apply(backend, migration)
        return [migration.id for migration in missing]


def pending(dsn: str) -> list[str]:
    """The names that `migrate` would apply now, in order. Changes nothing, waits for nobody."""
    with _reachable(), psycopg.connect(dsn, autocommit=True) as connection:
        applied: set[str] = set()
        if connection.execute("SELECT to_regclass(%s)", [default_migration_table]).fetchone() != (None,):
            rows = connection.execute("SELECT migration_id FROM _yoyo_migration").fetchall()
            applied = {row[0] for row in rows}
    return [name for name in _names() if name not in applied]


def _names() -> list[str]:
    folder = files(__package__).joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    for name in names:
        if not _FILENAME.fullmatch(name):
            raise ValueError(f"migration {name!r} is not named NNNN-name.sql")
    return [name.removesuffix(".sql") for name in names]


@contextmanager
def _migrations() -> Iterator[Any]:
    _names()
    with as_file(files(__package__).joinpath("migrations")) as folder:
        yield read_migrations(str(folder))


def _apply(backend: Any, migration: Any) -> None:
    # yoyo's own apply_one commits the SQL first and the mark after it, on another connection: a kill between
    # the two would leave a migration that is applied, unmarked, and fails forever. Here both commit together.
    migration.load()
    if not migration.use_transactions:
        raise ValueError(f"migration {migration.id} must be transactional")
    with backend.transaction():
        migration.process_steps(backend, "apply")
        backend.mark_one(migration)


@contextmanager
def _exclusive_backend(dsn: str) -> Iterator[Any]:
    scheme, _, rest = dsn.partition("://")
    if scheme not in ("postgres", "postgresql"):
        raise ValueError(f"a DSN starts with postgresql://, not {scheme}://")
    uri = parse_uri(f"{_DRIVER}://{rest}")
    with _reachable():
        backend = get_backend_class(_DRIVER)(uri, default_migration_table)
    with backend:
        backend.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})")
        backend.init_database()
        backend.break_lock()
        yield backend


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(str(error).strip()) from error
