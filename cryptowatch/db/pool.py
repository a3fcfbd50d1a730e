"""The connection pool and the one way to open a transaction.

The daemon and the commands open a pool; everything below is handed a pool or a connection.
Amounts (`numeric`) come and go as exact Python integers: a fraction or a float is refused, never rounded.

`ROLLED_BACK` and `OUTCOME_UNKNOWN` are the one list of what may go wrong outside our own logic:

    ConcurrentUpdate      serialization failure, deadlock: rolled back for certain, run it anew
    DatabaseUnavailable   Postgres or the way to it broke: the outcome is unknown. Ask again under the same
                          idempotency key; never assume that nothing happened.

A backend that dies in the middle of a query makes asyncpg raise InternalClientError or InterfaceError rather
than a connection error, so every failure that does not come from a living Postgres counts as outcome unknown.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from cryptowatch.clock import Clock, SystemClock
from cryptowatch.errors import ConcurrentUpdate, DatabaseUnavailable

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:  # generic in the stubs only
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection | PoolConnectionProxy

ROLLED_BACK: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)
OUTCOME_UNKNOWN: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,  # a primary that was demoted under us
    asyncpg.InternalClientError,
    OSError,  # includes ConnectionError and the TimeoutError of asyncpg's command_timeout
    EOFError,
)

#: Whose arrays some statement takes or gives.
_ELEMENTS: Final = (
    *("bigint", "boolean", "bytea", "date", "integer", "json", "numeric", "smallint", "text", "timestamptz"),
    "uuid",
)
#: Below it a plan by the square takes a second or two; and from there on a look at a whole table is worth it.
_VERY_MANY: Final = 5_000
_WHOLE_TABLES: Final = "SET LOCAL enable_nestloop = off; SET LOCAL plan_cache_mode = force_custom_plan"
_AS_USUAL: Final = "RESET enable_nestloop; RESET plan_cache_mode"
_BEGIN_BY_KEYS: Final = "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan"


@asynccontextmanager
async def open_pool(
    dsn: str,
    *,
    application_name: str,
    size_max: int,
    size_min: int = 1,
    statement_timeout_s: float = 30,
    lock_timeout_s: float = 10,
    idle_in_transaction_timeout_s: float = 60,
    connect_timeout_s: float = 10,
) -> AsyncIterator[Pool]:
    """A pool of `size_min` to `size_max` connections, closed on exit; waiters beyond that queue.

    Raises DatabaseUnavailable when Postgres cannot be reached.
    """
    settings = {
        "application_name": application_name,
        "statement_timeout": _milliseconds(statement_timeout_s),
        "lock_timeout": _milliseconds(lock_timeout_s),
        "idle_in_transaction_session_timeout": _milliseconds(idle_in_transaction_timeout_s),
        # The ledger's queries are many and short: compiling them, or sharing them out, costs more than it gives.
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
        # A full block's postings are sorted and kept while they are made: in memory, not by the disk.
        "work_mem": "32MB",
    }
    try:
        pool = await asyncpg.create_pool(
            dsn,
            min_size=size_min,
            max_size=size_max,
            init=prepare_connection,
            reset=_keep_session,
            max_queries=10_000_000,
            server_settings=settings,
            timeout=connect_timeout_s,
            command_timeout=statement_timeout_s + connect_timeout_s,
        )
    except OUTCOME_UNKNOWN as error:
        raise _unknown(error) from error
    try:
        yield pool
    finally:
        await pool.close()


async def prepare_connection(connection: Connection) -> None:
    """What every connection needs once: amounts as exact integers. For pools and for lone connections."""
    await connection.set_type_codec(
        "numeric", schema="pg_catalog", encoder=encode_amount, decoder=int, format="text"
    )
    # The driver asks the catalog about each array's type when a connection meets it first: ten questions of 5 ms each
    # for whoever comes first to a new connection. About all at once it is one.
    await connection.prepare(f"SELECT {', '.join(f'NULL::{name}[]' for name in _ELEMENTS)}")


async def _keep_session(_: Connection) -> None:
    # asyncpg rolls an open transaction back by itself before this. Its default then resets the whole session,
    # one round trip after each use; nothing here leaves anything in a session (no LISTEN, no session lock).
    return


def encode_amount(value: Any) -> str:
    """Raises TypeError for all but `int`: a float or Decimal would be a silent rounding elsewhere."""
    if type(value) is not int:
        raise TypeError(f"an amount is an int of base units, not {type(value).__name__}")
    return str(value)


@asynccontextmanager
async def transaction(
    pool: Pool,
    *,
    observe_seconds: Callable[[float], None] | None = None,
    clock: Clock = SystemClock(),  # noqa: B008 - stateless
) -> AsyncIterator[Connection]:
    """A READ COMMITTED transaction: commits when the block ends, rolls back when it raises.

    `observe_seconds` hears how long it was open, in every case. No network call belongs inside (P4).
    Raises ConcurrentUpdate or DatabaseUnavailable (see the module), and whatever the block raises.
    """
    async with connection(pool) as acquired:
        started_s = clock.monotonic_s()
        try:
            async with acquired.transaction():
                yield acquired
        finally:
            if observe_seconds is not None:
                observe_seconds(clock.monotonic_s() - started_s)


@asynccontextmanager
async def transaction_by_keys(pool: Pool) -> AsyncIterator[Connection]:
    """As `transaction`, for what goes by keys alone, however many: each statement is planned once for all values.

    Planning anew costs as much as running it. Not for what is ordered and limited: a plan for all values does not know
    how little is wanted. No transaction within it.
    """
    async with connection(pool) as acquired:
        await acquired.execute(_BEGIN_BY_KEYS)
        try:
            yield acquired
        except BaseException:
            await acquired.execute("ROLLBACK")
            raise
        await acquired.execute("COMMIT")


@asynccontextmanager
async def joining_whole_tables(conn: Connection, rows: int) -> AsyncIterator[None]:
    """For a statement within a transaction that joins so many given rows with tables that may be new.

    Postgres plans for what it last saw of a table, or keeps an old plan. With few rows in it then, a join row by row is
    the best, and takes time by the square when there are many now. So for very many such joins are not to be had.
    """
    if rows < _VERY_MANY:
        yield
        return
    await conn.execute(_WHOLE_TABLES)
    yield
    await conn.execute(_AS_USUAL)


@asynccontextmanager
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    """A connection without a transaction (each statement alone), under the same named errors."""
    try:
        acquired = await pool.acquire()
        try:
            yield acquired
        except asyncpg.InterfaceError as error:
            if _is_lost(acquired):
                raise _unknown(error) from error
            raise
        finally:
            await pool.release(acquired)
    except ROLLED_BACK as error:
        raise ConcurrentUpdate(str(error)) from error
    except OUTCOME_UNKNOWN as error:
        raise _unknown(error) from error


def _unknown(error: BaseException) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"{type(error).__name__}: {error}")


def _is_lost(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool took it back, because it broke
        return True


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
