"""Tasks that share a database take turns, one statement at a time, in whatever order a test chooses.

Used by `simulation`: with it several daemons interleave inside their steps and the same seed gives the same order. A
task waits before every statement, COMMIT included, and where the test says so (`Turns.wait`); who is let go runs until
it waits again, ends, or waits for another one's lock. A statement itself can be held after it has taken its snapshot
and before it looks at any row: then it goes by what was, as one does whose server is busy.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

import asyncpg

from cryptowatch.db.pool import Connection, Pool, prepare_connection

#: After so long it is worth asking Postgres whether a statement waits for a lock.
_LOOK_AFTER_S = 0.0015
_DEADLOCK_S = 0.1
#: As in the daemon, but for deadlocks, which are found sooner.
_SETTINGS = {
    "statement_timeout": "30000",
    "lock_timeout": "10000",
    "deadlock_timeout": str(int(_DEADLOCK_S * 1000)),
    "jit": "off",
    # Each statement is run a few times only: planned once, it takes half as long.
    "plan_cache_mode": "force_generic_plan",
    "work_mem": "32MB",
}
_STATEMENTS = ("execute", "executemany", "fetch", "fetchrow", "fetchval", "copy_to_table")
_ENDS = ("COMMIT", "ROLLBACK")
#: What locks rows: until it ends, where there is no transaction around it.
_LOCKING = re.compile(r"\b(INSERT|UPDATE|DELETE|SHARE)\b")
#: What daemons write in competition.
_HELD_TABLES = ("withdrawal", "lineage", "attempt", "coin", "chain", "nonce", "address")
_HOLDING = """
CREATE FUNCTION held_for_a_while() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_lock_shared(pg_backend_pid());
    PERFORM pg_advisory_unlock_shared(pg_backend_pid());
    RETURN NULL;
END $$;
"""
_HOLD = (
    "CREATE TRIGGER held_for_a_while BEFORE INSERT OR UPDATE OR DELETE ON {} "
    "FOR EACH STATEMENT EXECUTE FUNCTION held_for_a_while()"
)
_WAIT_FOR_LOCKS = (
    "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1::integer[]) AND wait_event_type = 'Lock'"
)
_TERMINATE = """
SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
WHERE application_name = $1 AND datname = current_database()
"""

_own: "ContextVar[Task | None]" = ContextVar("own", default=None)


class Task:
    """One thing after the other, in turns. `backend`: by which it runs, or is about to run, a statement."""

    def __init__(self, turns: "Turns", name: str) -> None:
        self.turns, self.name = turns, name
        self.running: asyncio.Task[int] | None = None
        self.turn: asyncio.Future[None] | None = None
        self.backend: int | None = None
        self.about = ""
        #: Whether the statement writes: others can be held in no middle.
        self.writes = False
        #: It waits for a lock, as far as was looked.
        self.locked = False
        #: It takes no more turns: nothing that it does from now on reaches the database.
        self.dead = False
        #: The answer to its next COMMIT is lost on the way.
        self.loses_answer = False

    @property
    def is_idle(self) -> bool:
        return self.running is None

    @property
    def waits(self) -> bool:
        """For its turn."""
        return self.turn is not None and not self.turn.done()

    @property
    def is_busy(self) -> bool:
        return self.running is not None and not self.running.done() and not self.waits and not self.locked

    def start(self, step: Callable[[], Awaitable[int]]) -> None:
        async def run() -> int:
            _own.set(self)
            return await step()

        self.running = asyncio.create_task(run(), name=self.name)
        self.running.add_done_callback(lambda _: self.turns.moved.set())

    def go(self) -> None:
        """Its turn."""
        assert self.turn is not None
        self.turn.set_result(None)

    async def wait(self, about: str, backend: int | None = None, *, writes: bool = False) -> None:
        if self.dead:
            return
        self.backend, self.about, self.writes, self.locked = backend, about, writes, False
        self.turn = asyncio.get_running_loop().create_future()
        self.turns.moved.set()
        await self.turn


class Turns:
    """`control`: a connection that no task uses."""

    def __init__(self, control: Connection) -> None:
        self.control = control
        self.tasks: list[Task] = []
        self.moved = asyncio.Event()

    async def prepare(self) -> None:
        """From now on statements can be held."""
        await self.control.execute(_HOLDING)
        for table in _HELD_TABLES:
            await self.control.execute(_HOLD.format(table))

    @staticmethod
    async def wait(about: str) -> None:
        """Of whichever task calls it."""
        own = _own.get()
        if own is not None:
            await own.wait(about)

    async def settle(self) -> None:
        """Until no task runs: each waits for its turn or a lock, or has ended."""
        while busy := [task for task in self.tasks if task.is_busy]:
            self.moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AFTER_S):
                    await self.moved.wait()
                continue
            backends = [task.backend for task in busy if task.backend is not None]
            if len(backends) == len(busy) and await self.control.fetchval(_WAIT_FOR_LOCKS, backends) == len(
                busy
            ):
                for task in busy:
                    task.locked = True

    async def pass_time(self) -> None:
        """All wait for each other's locks: Postgres ends one of them."""
        await asyncio.sleep(_DEADLOCK_S)
        self.look_again()
        await self.settle()

    def look_again(self) -> None:
        """Locks were let go of: who waits for one may run."""
        for task in self.tasks:
            task.locked = False

    async def hold(self, task: Task) -> bool:
        """Its turn, but its statement is held in the middle; False where it is none that can be, and it just ran."""
        assert task.backend is not None
        await self.control.execute("SELECT pg_advisory_lock($1)", task.backend)
        backend = task.backend
        task.go()
        await self.settle()
        if task.locked and task.backend == backend:
            return True
        await self.release(backend)
        return False

    async def release(self, backend: int) -> None:
        await self.control.execute("SELECT pg_advisory_unlock($1)", backend)
        self.look_again()
        await self.settle()

    async def kill(self, tasks: Collection[Task], application_name: str) -> None:
        """At once: their connections are gone before they can do anything more."""
        await self.control.execute(_TERMINATE, application_name)
        running = []
        for task in tasks:
            task.dead = True
            if task.running is not None:
                task.running.cancel()
                running.append(task.running)
        await asyncio.gather(*running, return_exceptions=True)
        for task in tasks:
            task.running, task.turn, task.dead = None, None, False
        self.look_again()
        await self.settle()

    async def stop(self) -> None:
        """Whatever runs."""
        running = [task.running for task in self.tasks if task.running is not None]
        for task in self.tasks:
            task.dead = True
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def drop(self, task: Task) -> None:
        """The connection of its next statement breaks."""
        await self.control.execute("SELECT pg_terminate_backend($1, 1000)", task.backend)
        self.look_again()


def _in_turn(name: str) -> Callable[..., Awaitable[Any]]:
    plain = getattr(asyncpg.Connection, name)

    async def statement(self: Connection, *args: Any, **options: Any) -> Any:
        task = _own.get()
        if task is None:
            return await plain(self, *args, **options)
        text = str(args[0])
        ends, writes = text.startswith(_ENDS), _LOCKING.search(text) is not None
        await task.wait(purpose(text), None if self.is_closed() else self.get_server_pid(), writes=writes)
        lets_go = ends or (writes and not self.is_in_transaction())
        try:
            done = await plain(self, *args, **options)
        finally:
            if lets_go:
                task.turns.look_again()
        if task.loses_answer and ends and args[0].startswith("COMMIT"):
            task.loses_answer = False
            self.terminate()
            raise asyncpg.ConnectionDoesNotExistError("the answer to COMMIT was lost")
        return done

    return statement


def purpose(statement: str) -> str:
    """The first line of a named query says it."""
    return statement.split("\n")[0].removeprefix("-- ")[:60]


async def _reset(self: Connection) -> None:
    """Between two uses: what is left open is rolled back, which is no part of the task any more."""
    token = _own.set(None)
    try:
        await _PLAIN_RESET(self)
    finally:
        _own.reset(token)


_PLAIN_RESET: Callable[[Connection], Awaitable[None]] = vars(asyncpg.Connection)["_reset"]
#: asyncpg's, whose statements wait for the task's turn. Made at run time: what it overrides is overloaded.
_TurnConnection: type[Any] = type(
    "TurnConnection",
    (asyncpg.Connection,),
    {"_reset": _reset, **{name: _in_turn(name) for name in _STATEMENTS}},
)


@asynccontextmanager
async def open_pool_in_turns(dsn: str, *, application_name: str, size_max: int) -> AsyncIterator[Pool]:
    """A daemon's pool. What no `Task` does passes through it as through any other."""

    async def keep_session(_: object) -> None:
        return

    pool = await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size_max,
        init=prepare_connection,
        reset=keep_session,
        connection_class=_TurnConnection,
        server_settings={**_SETTINGS, "application_name": application_name},
    )
    try:
        yield pool
    finally:
        pool.terminate()
