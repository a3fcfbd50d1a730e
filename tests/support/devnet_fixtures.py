"""Fixtures on real parts: one Postgres and one devnet per test worker, each started at first use.

Isolation: every test has a database of its own. The chain is shared by the tests of a worker, so they take
the height as they find it and use fresh addresses; after each test faults are cleared and killed processes
started again.
"""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from cryptowatch.db import embedded
from cryptowatch.db.migrate import migrate
from cryptowatch.devnet.client import Net, connect
from cryptowatch.leash import leashed

START_TIMEOUT_S = 180
#: A worker's databases and chains have taken a tenth of it.
MEMORY_MIN_BYTES = 8 << 30


def database_dsn(server_dsn: str, name: str) -> str:
    """The DSN of another database of the same server."""
    head, _, tail = server_dsn.partition("/postgres?")
    return f"{head}/{name}?{tail}"


def _memory() -> str | None:
    """Where files are kept in memory, if there is enough: a database for each test costs a tenth there.

    What is written there outlives every process that is killed; power failures are not tested anyway.
    """
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_MIN_BYTES:
        return str(memory)
    return None


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    """A folder of this worker, which Postgres' user may enter and whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="cw-", dir=_memory()))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(short_dir: Path) -> Iterator[str]:
    """DSN of the worker's Postgres (no durability: do not kill it)."""
    folder = short_dir / "postgres"
    yield asyncio.run(embedded.start(folder, fast_unsafe=True))
    asyncio.run(embedded.stop(folder))


@pytest.fixture(scope="session")
def migrated_template(postgres_server: str) -> str:
    """A database with the current schema, to be copied."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
    migrate(database_dsn(postgres_server, "migrated"))
    return "migrated"


@pytest.fixture
def database(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """DSN of a fresh database with the current schema, dropped after the test."""
    yield from _copied(postgres_server, migrated_template)


@pytest.fixture
def empty_database(postgres_server: str) -> Iterator[str]:
    """DSN of a fresh database without any schema, dropped after the test."""
    yield from _copied(postgres_server, "template1")


def _copied(server: str, template: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        yield database_dsn(server, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def devnet_folder(short_dir: Path) -> Iterator[Path]:
    """Folder of the worker's running devnet: a process of its own, so any event loop can use it."""
    yield from _running(short_dir / "devnet")


@pytest.fixture(scope="session")
def evm_devnet_folder(short_dir: Path) -> Iterator[Path]:
    """Folder of another devnet of the worker's, with two Ethereum chains: only who asks for it waits for it."""
    yield from _running(short_dir / "evm-devnet", "bitcoin=1", "ethereum=3", "bsc=1")


def _running(folder: Path, *node_counts: str) -> Iterator[Path]:
    folder.mkdir()
    command = leashed([sys.executable, "-m", "cryptowatch.devnet.foreground", str(folder), *node_counts])
    log = folder / "devnet.log"
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not (folder / "devnet.json").exists():
        if process.poll() is not None or time.monotonic() > deadline_s:
            process.kill()
            pytest.fail(f"the devnet did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.05)
    yield folder
    process.terminate()
    process.wait(60)


@pytest_asyncio.fixture
async def net(devnet_folder: Path) -> AsyncIterator[Net]:
    """The worker's devnet, all processes running and without faults before and after the test."""
    found = connect(devnet_folder)
    yield found
    await _restored(found)


@pytest_asyncio.fixture
async def evm_net(evm_devnet_folder: Path) -> AsyncIterator[Net]:
    """The same with Ethereum: `ethereum` of three nodes, on one branch after the test, and `bsc` of one."""
    found = connect(evm_devnet_folder)
    yield found
    await _restored(found)
    await found.heal("ethereum")


async def _restored(found: Net) -> None:
    await found.clear_faults()
    for process in await found.processes():
        if not process["running"]:
            await found.start(process["process"])
