"""Processes come back after SIGKILL, and end with the devnet, however it ends."""

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from cryptowatch.devnet.client import Net
from cryptowatch.devnet.processes import ProcessFailed, Program, Supervisor
from cryptowatch.errors import OperatorError
from cryptowatch.leash import leashed

pytestmark = pytest.mark.asyncio

# A devnet in small: a supervisor with a child that has a child of its own, and nobody who waits for them.
_DOOMED = """
import asyncio, sys
from pathlib import Path
from cryptowatch.devnet.processes import Program, Supervisor
from cryptowatch.leash import leashed

async def main(folder):
    async with Supervisor() as supervisor:
        script = f"sleep 1000 & echo $! > {folder}/grandchild; echo $$ > {folder}/child; wait"
        await supervisor.run(Program("child", tuple(leashed(["sh", "-c", script])), folder / "log"))
        await asyncio.sleep(1000)

asyncio.run(main(Path(sys.argv[1])))
"""


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def start_doomed(folder: Path) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen([sys.executable, "-c", _DOOMED, str(folder)], env=environment)


async def until(condition: object, timeout_s: float = 20) -> None:
    assert callable(condition)
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_children_and_grandchildren_end_with_a_killed_devnet(
    tmp_path: Path, end: signal.Signals
) -> None:
    doomed = start_doomed(tmp_path)
    files = [tmp_path / "child", tmp_path / "grandchild"]
    await until(lambda: all(file.exists() and file.read_text().strip() for file in files))
    pids = [int(file.read_text()) for file in files]
    assert all(is_alive(pid) for pid in pids)
    doomed.send_signal(end)
    await asyncio.to_thread(doomed.wait)
    await until(lambda: not any(is_alive(pid) for pid in pids))


async def test_leaving_the_supervisor_ends_what_it_started(tmp_path: Path) -> None:
    async with Supervisor() as supervisor:
        await supervisor.run(Program("sleeper", tuple(leashed(["sleep", "1000"])), tmp_path / "log"))
        [row] = supervisor.listing()
        pid = row["pid"]
        assert isinstance(pid, int)
        assert is_alive(pid)
    assert not is_alive(pid)


async def test_a_killed_process_can_be_started_again(tmp_path: Path) -> None:
    async with Supervisor() as supervisor:
        await supervisor.run(Program("sleeper", tuple(leashed(["sleep", "1000"])), tmp_path / "log"))
        await supervisor.kill("sleeper")
        assert not supervisor.is_running("sleeper")
        await supervisor.start("sleeper")
        assert supervisor.is_running("sleeper")
        assert supervisor.listing()[0]["starts"] == 2


async def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    async with Supervisor() as supervisor:
        script = "echo something is missing; exit 3"
        with pytest.raises(ProcessFailed, match=r"exit code 3[\s\S]*something is missing"):
            await supervisor.run(
                Program("failing", tuple(leashed(["sh", "-c", script])), tmp_path / "log", ready=_never)
            )
        with pytest.raises(ProcessFailed, match="cannot run"):
            await supervisor.run(
                Program("absent", tuple(leashed(["/nowhere/program"])), tmp_path / "log", ready=_never)
            )


async def test_a_program_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    async with Supervisor() as supervisor:
        argv = tuple(leashed(["sleep", "1000"]))
        with pytest.raises(ProcessFailed, match="not ready"):
            await supervisor.run(Program("slow", argv, tmp_path / "log", ready=_never, ready_timeout_s=0.2))
        assert not supervisor.is_running("slow")


async def _never() -> bool:
    return False


async def test_an_unknown_process_is_refused(net: Net) -> None:
    with pytest.raises(OperatorError, match="there are: postgres"):
        await net.kill("bitcoin:9")


async def test_a_killed_node_comes_back_with_its_chain_and_its_mempool(net: Net) -> None:
    pending = await net.send(str(await net.bitcoin[0].rpc("getnewaddress")), "0.1")
    await asyncio.sleep(0.5)
    assert pending in await net.bitcoin[1].rpc("getrawmempool")
    await net.kill("bitcoin:1")
    rows = {row["process"]: row for row in await net.processes()}
    assert not rows["bitcoin:1"]["running"]
    assert rows["bitcoin:1"]["exit_code"] == -signal.SIGKILL
    with pytest.raises(ConnectionError):
        await net.bitcoin[1].rpc("getblockcount")
    await net.start("bitcoin:1")
    assert pending in await net.bitcoin[1].rpc("getrawmempool")
    assert await net.bitcoin[1].rpc("getbestblockhash") == await net.bitcoin[0].rpc("getbestblockhash")


@pytest.mark.parametrize("down", ["bitcoin:0", "bitcoin:2"])
async def test_a_node_that_slept_through_a_reorg_follows_and_forgets(net: Net, down: str) -> None:
    wallet = net.bitcoin[0].rpc
    dropped, kept = [await net.send(str(await wallet("getnewaddress")), "0.1") for _ in range(2)]
    await net.mine()
    await net.kill(down)
    await net.reorg(1, drop=[dropped])
    await net.mine()
    await net.start(down)
    assert len({str(await node.rpc("getbestblockhash")) for node in net.bitcoin}) == 1
    await net.mine()
    for node in net.bitcoin:
        assert (await node.rpc("getrawtransaction", kept, True))["confirmations"] == 4
        assert dropped not in await node.rpc("getrawmempool")
    assert (await wallet("gettransaction", dropped))["confirmations"] <= 0


async def test_a_dead_node_does_not_answer_through_its_proxy_either(net: Net) -> None:
    await net.kill("bitcoin:1")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        await net.bitcoin[1].proxied("getblockcount")


async def test_postgres_comes_back_after_sigkill_with_what_was_committed(net: Net) -> None:
    connection = await asyncpg.connect(net.postgres_dsn)
    await connection.execute(
        "DROP TABLE IF EXISTS kept; CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)"
    )
    await net.kill("postgres")
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await asyncpg.connect(net.postgres_dsn)
    await net.start("postgres")
    connection = await asyncpg.connect(net.postgres_dsn)
    assert await connection.fetchval("SELECT n FROM kept") == 7
    await connection.close()
