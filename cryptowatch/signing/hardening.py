"""Keeps the signer's memory from reaching the disk or another process, as far as the system allows.

Called by `cli.signer` before any secret is read. Best effort: says what worked, refuses nothing. Backs P9.
"""

import ctypes
import resource

_PR_SET_DUMPABLE = 4
_MCL_CURRENT_AND_FUTURE = 3


def harden_process() -> tuple[str, ...]:
    """No core dumps, no ptrace by the same user, no swap. Returns the names of what worked."""
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    done = ["no_core_dumps"]
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0:
        done.append("not_dumpable")
    # Under a limit, locking future pages would make a later allocation fail: only an unlimited lock is safe.
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    if unlimited and libc.mlockall(_MCL_CURRENT_AND_FUTURE) == 0:
        done.append("memory_locked")
    return tuple(done)
