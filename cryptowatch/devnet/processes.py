"""Starts, watches, kills and stops the devnet's processes, by name for people and by pid for the kernel.

Used by `devnet.network` for Postgres, the nodes, the signer and the daemon alike. Guarantees: whatever was
started ends when the devnet does: in order and in reverse when asked, else by `leash` and `guard`.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptowatch.devnet import guard
from cryptowatch.errors import OperatorError

_POLL_S = 0.02


class ProcessFailed(OperatorError):
    """A process did not become ready; the message ends with its log's last lines."""


class UnknownProcess(OperatorError):
    pass


async def _at_once() -> bool:
    return True


async def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Program:
    """How to run one process. `argv` is already leashed (see `cryptowatch.leash`)."""

    name: str
    argv: tuple[str, ...]
    log: Path
    #: Asked again and again after the start until it says yes.
    ready: Callable[[], Awaitable[bool]] = _at_once
    #: Waits until nothing of an earlier run is in the way.
    before_start: Callable[[], Awaitable[None]] = _nothing
    #: A chance to save what a real machine would have on disk by then.
    before_kill: Callable[[], Awaitable[None]] = _nothing
    #: None: the devnet's own.
    environment: Mapping[str, str] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    ready_timeout_s: float = 60
    stop_timeout_s: float = 30


@dataclass
class _Entry:
    program: Program
    process: "subprocess.Popen[bytes] | None" = None
    starts: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.poll() is None else None


class Supervisor:
    """An async context: leaving it stops everything. Use it from one event loop, in a thread that stays."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._guard: subprocess.Popen[str] | None = None

    async def __aenter__(self) -> Self:
        self._guard = _spawn_guard()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_all()
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            await asyncio.to_thread(self._guard.wait)

    async def run(self, program: Program) -> None:
        """Add a program and start it. Raises ProcessFailed."""
        if program.name in self._entries:
            raise OperatorError(f"there already is a process {program.name}")
        self._entries[program.name] = _Entry(program)
        await self.start(program.name)

    async def start(self, name: str) -> None:
        """Start a process that was killed or stopped, and wait until it is ready. No effect when it runs."""
        entry = self._entry(name)
        async with entry.lock:
            if entry.pid is not None:
                return
            await entry.program.before_start()
            process = _spawn(entry.program)
            entry.process, entry.starts = process, entry.starts + 1
            self._tell_guard("+", process.pid)
            await self._until_ready(entry.program, process)

    async def kill(self, name: str) -> None:
        """SIGKILL, as a crash would be: it finishes nothing. No effect when it does not run."""
        entry = self._entry(name)
        async with entry.lock:
            if entry.process is None or entry.pid is None:
                return
            await entry.program.before_kill()
            entry.process.kill()
            await self._reaped(entry.process)

    async def stop(self, name: str) -> None:
        """Ask it to end, wait, and insist when it takes too long."""
        entry = self._entry(name)
        async with entry.lock:
            if entry.process is None or entry.pid is None:
                return
            entry.process.send_signal(entry.program.stop_signal)
            if not await _exited(entry.process, entry.program.stop_timeout_s):
                entry.process.kill()
            await self._reaped(entry.process)

    async def stop_all(self) -> None:
        """In reverse order of the first start; the nodes, which do not need one another, at the same time."""
        for group in reversed(_neighbours(list(self._entries))):
            await asyncio.gather(*(self.stop(name) for name in group))

    def is_running(self, name: str) -> bool:
        return self._entry(name).pid is not None

    def listing(self) -> list[dict[str, object]]:
        """One row per process; pid is None when it does not run, exit_code None while it does."""
        rows: list[dict[str, object]] = []
        for name, entry in self._entries.items():
            code = entry.process.poll() if entry.process is not None else None
            row = {"process": name, "running": entry.pid is not None, "pid": entry.pid, "exit_code": code}
            rows.append({**row, "starts": entry.starts, "log": str(entry.program.log)})
        return rows

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise UnknownProcess(f"no process {name}; there are: {', '.join(self._entries)}")
        return self._entries[name]

    async def _until_ready(self, program: Program, process: "subprocess.Popen[bytes]") -> None:
        deadline_s = time.monotonic() + program.ready_timeout_s
        while True:
            if process.poll() is not None:
                await self._reaped(process)
                raise ProcessFailed(
                    f"{program.name} ended with exit code {process.returncode}:\n{_tail(program.log)}"
                )
            if await program.ready():
                return
            if time.monotonic() > deadline_s:
                process.kill()
                await self._reaped(process)
                raise ProcessFailed(
                    f"{program.name} was not ready after {program.ready_timeout_s:g} s:\n{_tail(program.log)}"
                )
            await asyncio.sleep(_POLL_S)

    async def _reaped(self, process: "subprocess.Popen[bytes]") -> None:
        await _exited(process, None)
        self._tell_guard("-", process.pid)

    def _tell_guard(self, sign: str, group: int) -> None:
        if self._guard is not None and self._guard.stdin is not None and self._guard.poll() is None:
            self._guard.stdin.write(f"{sign}{group}\n")
            self._guard.stdin.flush()


def _spawn(program: Program) -> "subprocess.Popen[bytes]":
    environment = None if program.environment is None else dict(program.environment)
    with program.log.open("ab") as log:
        return subprocess.Popen(
            program.argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _spawn_guard() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-I", "-S", os.path.abspath(guard.__file__)],
        stdin=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


async def _exited(process: "subprocess.Popen[bytes]", timeout_s: float | None) -> bool:
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    while process.poll() is None:
        if deadline_s is not None and time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _neighbours(names: list[str]) -> list[list[str]]:
    """Consecutive names of one kind (`bitcoin:0`, `bitcoin:1` …) together."""
    groups: list[list[str]] = []
    for name in names:
        if groups and ":" in name and groups[-1][0].split(":")[0] == name.split(":")[0]:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join([f"({log})", *log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]])
