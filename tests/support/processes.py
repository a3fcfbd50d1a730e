"""Daemons and signers as processes of their own, which tests may kill with SIGKILL and start again at once.

Python's fork server imports the program once; each start is a fork of it, and takes a tenth of a second
instead of two. What runs is `cryptowatch run` and `cryptowatch signer` as a user would start them, with
shorter pauses between rounds. A process ends with the test worker that started it, whatever happens to that.
"""

import ctypes
import multiprocessing
import os
import signal
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_PR_SET_PDEATHSIG = 1
#: Between rounds of the loops that have no setting for it, and at most between tries while something is away.
INTERVAL_S, BACKOFF_MAX_S = 0.1, 0.5

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["cryptowatch.cli.daemon", "cryptowatch.cli.signer", __name__])


def start_daemon(settings_file: Path, log: Path, roles: str | None = None) -> ForkServerProcess:
    process = _context.Process(target=_daemon, args=(settings_file, log, roles), daemon=True)
    process.start()
    return process


def start_signer(settings_file: Path, log: Path) -> ForkServerProcess:
    process = _context.Process(target=_signer, args=(settings_file, log), daemon=True)
    process.start()
    return process


def kill(process: ForkServerProcess) -> None:
    """SIGKILL: it finishes nothing. Returns when it is gone."""
    process.kill()
    process.join()


def _daemon(settings_file: Path, log: Path, roles: str | None) -> None:
    from cryptowatch import daemon, desk, loops
    from cryptowatch.cli.daemon import run

    _become_a_process(log)
    desk._SENDING_INTERVAL_S = INTERVAL_S
    loops._BACKOFF_MAX_S = BACKOFF_MAX_S
    run(settings_file, roles or ",".join(daemon.ROLES))


def _signer(settings_file: Path, log: Path) -> None:
    from cryptowatch.cli.signer import run_signer

    _become_a_process(log)
    run_signer(settings_file)


def _become_a_process(log: Path) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
