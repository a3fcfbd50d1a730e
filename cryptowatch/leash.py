"""Starts child processes that cannot outlive their parent, and that may be less than root.

`db.embedded` starts Postgres with it, `devnet` everything else. `leashed(argv)` gives the command line of a
small launcher (this file, run as a script) that asks the kernel to signal it when the parent is gone
(PR_SET_PDEATHSIG), drops root if asked, and then becomes the program: same pid, no process in between.

The kernel watches the parent *thread*: start children from one that lives as long as they shall, such as
the main thread. A wish is lost when a program gains rights at its start (setuid); the programs here do not.

As a script it must need nothing but the standard library: it runs isolated, without site-packages.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def leashed(
    argv: Sequence[str],
    *,
    death_signal: signal.Signals = signal.SIGKILL,
    user_id: int | None = None,
    group_id: int | None = None,
    pass_closed_folders: bool = False,
) -> list[str]:
    """The command line that runs `argv` so that it gets `death_signal` when the calling process ends.

    `user_id`/`group_id`: become this user first (needs root). `pass_closed_folders` keeps, of all root's
    rights, the one to pass folders that the user could not enter, such as a home folder on the way to the
    data.
    """
    options = [str(os.getpid()), str(int(death_signal)), str(-1 if user_id is None else user_id)]
    options += [str(-1 if group_id is None else group_id), str(int(pass_closed_folders))]
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), *options, "--", *argv]


def _prctl(option: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *padded) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def _become(user_id: int, group_id: int, pass_closed_folders: bool) -> None:
    _prctl(_PR_SET_KEEPCAPS, int(pass_closed_folders))
    os.setgroups([])
    os.setresgid(group_id, group_id, group_id)
    os.setresuid(user_id, user_id, user_id)
    if pass_closed_folders:
        _keep_only(_CAP_DAC_OVERRIDE)


def _keep_only(capability: int) -> None:
    """Narrow the rights kept over setresuid to one, and let it live through exec (ambient)."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    mask = 1 << capability
    # Two sets of (effective, permitted, inheritable); the second is for capabilities above 31.
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(ctypes.byref(Header(_CAPABILITY_VERSION_3, 0)), data) != 0:
        raise OSError(
            ctypes.get_errno(), "capset failed: the right to pass closed folders is not ours to keep"
        )
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def _main(arguments: list[str]) -> None:
    parent_pid, death_signal, user_id, group_id, pass_closed_folders = (int(word) for word in arguments[:5])
    program = arguments[6:]
    if user_id != -1:
        _become(user_id, group_id, bool(pass_closed_folders))
    # After the change of user, which would clear the wish.
    _prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent_pid:
        sys.exit(f"the parent {parent_pid} was gone before {program[0]} started")
    # Python ignores it; a program that expects the default must find the default.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(program[0], program)  # noqa: S606 - becoming the program is the point
    except OSError as problem:
        sys.exit(f"cannot run {program[0]}: {problem.strerror}")


if __name__ == "__main__":
    _main(sys.argv[1:])
