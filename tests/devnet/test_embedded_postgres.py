"""Embedded Postgres: starts in any folder, ends with its starter, and comes back after any death."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import asyncpg
import psycopg
import pytest
import pytest_asyncio

from cryptowatch.db import embedded

pytestmark = pytest.mark.asyncio

_STARTER = """
import asyncio, sys, time
from pathlib import Path
from urllib.parse import unquote
from cryptowatch.db import embedded
print(asyncio.run(embedded.start(Path(sys.argv[1]), fast_unsafe=True)), flush=True)
time.sleep(1000)
"""


@pytest_asyncio.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    """pytest's folders are closed to other users: the hardest place for a server that may not be root."""
    yield tmp_path / "pg"
    await embedded.stop(tmp_path / "pg")


def postmaster_pid(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def start_elsewhere(folder: Path) -> "subprocess.Popen[str]":
    """Another process that starts the folder's server, and has done so when this returns."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", _STARTER, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql://")
    return process


def version_of(program: Path) -> str:
    return subprocess.check_output([program, "--version"], text=True)


async def test_both_drivers_reach_it_over_its_socket_and_no_port(folder: Path) -> None:
    dsn = await embedded.start(folder)
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SHOW listen_addresses") == ""
    assert await connection.fetchval("SHOW server_version_num") >= "180000"
    await connection.close()
    with psycopg.connect(dsn) as blocking:
        assert blocking.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(("fast_unsafe", "fsync"), [(False, "on"), (True, "off")])
async def test_durability_is_given_up_only_on_demand(folder: Path, fast_unsafe: bool, fsync: str) -> None:
    async with embedded.running(folder, fast_unsafe=fast_unsafe) as dsn:
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SHOW fsync") == fsync
        await connection.close()


async def test_it_stops_and_keeps_its_data(folder: Path) -> None:
    async with embedded.running(folder) as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE TABLE kept (n int)")
        await connection.close()
        pid = postmaster_pid(folder)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    async with embedded.running(folder) as dsn:
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0
        await connection.close()


async def test_it_starts_again_after_sigkill(folder: Path) -> None:
    dsn = await embedded.start(folder)
    connection = await asyncpg.connect(dsn)
    os.kill(postmaster_pid(folder), signal.SIGKILL)
    await embedded.stop(folder)
    assert await embedded.start(folder) == dsn
    again = await asyncpg.connect(dsn)
    await again.close()
    connection.terminate()


async def test_a_stale_pid_file_that_names_a_living_stranger_is_no_obstacle(folder: Path) -> None:
    async with embedded.running(folder):
        lines = (folder / "data" / "postmaster.pid").read_text()
    stale = lines.replace(lines.split()[0], str(os.getpid()), 1)
    (folder / "data" / "postmaster.pid").write_text(stale)
    async with embedded.running(folder):
        assert postmaster_pid(folder) != os.getpid()


async def test_it_ends_with_the_process_that_started_it_and_starts_anew(folder: Path) -> None:
    starter = start_elsewhere(folder)
    old = postmaster_pid(folder)
    starter.kill()
    starter.wait()
    # At once, while the old server may still be on its way down.
    async with embedded.running(folder) as dsn:
        assert postmaster_pid(folder) != old
        connection = await asyncpg.connect(dsn)
        await connection.close()


async def test_a_second_process_joins_and_does_not_stop_what_it_did_not_start(folder: Path) -> None:
    starter = start_elsewhere(folder)
    try:
        pid = postmaster_pid(folder)
        async with embedded.running(folder) as dsn:
            assert postmaster_pid(folder) == pid
        connection = await asyncpg.connect(dsn)
        await connection.close()
    finally:
        starter.kill()
        starter.wait()
    deadline_s = time.monotonic() + 20
    while (folder / "data" / "postmaster.pid").exists():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)


async def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / "pg"
    async with embedded.running(deep, fast_unsafe=True) as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.close()
        sockets = Path(unquote(dsn.partition("host=")[2].partition("&")[0]))
    assert not sockets.is_relative_to(tmp_path)
    assert sockets not in set(sockets.parent.iterdir()), "nothing stays behind in the temporary folder"


async def test_a_failed_start_shows_the_log(folder: Path) -> None:
    async with embedded.running(folder, fast_unsafe=True):
        pass
    (folder / "data" / "postgresql.conf").write_text("nonsense = 1\n")
    with pytest.raises(embedded.EmbeddedPostgresError, match="nonsense"):
        await embedded.start(folder)


async def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(embedded.EmbeddedPostgresError, match=r"cryptowatch\[embedded\]"):
        embedded.programs_dir()


async def test_pgbench_is_there() -> None:
    assert "pgbench" in await asyncio.to_thread(version_of, embedded.pgbench())


async def test_every_test_gets_a_database_of_its_own(empty_database: str, postgres_server: str) -> None:
    assert empty_database != postgres_server
    connection = await asyncpg.connect(empty_database)
    assert (await connection.fetchval("SELECT current_database()")).startswith("test_")
    await connection.close()
