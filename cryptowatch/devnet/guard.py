"""Ends what a killed devnet leaves behind: the last of three ways in which its processes end.

1. In order, by `processes.Supervisor.stop_all`. 2. By the kernel when the devnet is killed (`leash`), which
reaches its children. 3. By this script, which reaches their children too: it reads process groups from
stdin (`+GROUP`, `-GROUP`, one a line) and, when the pipe closes because the devnet is gone, ends the groups
still listed.

Runs as a script, with the standard library only; ignores Ctrl-C, since it must be the last to go.
"""

import os
import signal
import sys
import time
from contextlib import suppress

# Time for Postgres and bitcoind to write their data; what then still runs is killed.
PATIENCE_S = 8


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for last, patience_s in ((signal.SIGTERM, PATIENCE_S), (signal.SIGKILL, 1)):
        for group in groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, last)
        deadline_s = time.monotonic() + patience_s
        while any(_alive(group) for group in groups) and time.monotonic() < deadline_s:
            time.sleep(0.05)


if __name__ == "__main__":
    _main()
