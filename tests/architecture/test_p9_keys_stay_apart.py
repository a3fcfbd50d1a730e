"""P9: what the signer's process loads, and what it does not."""

import subprocess
import sys

_SCRIPT = """
import sys
sys.argv = ["cryptowatch", *{arguments!r}]
from cryptowatch.cli import main
try:
    main()
except SystemExit:
    pass
print("LOADED", *[name for name in ("asyncpg", "psycopg", "aiohttp", "cryptowatch.daemon") if name in sys.modules])
"""


def _loaded(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(arguments=list(arguments))],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("LOADED"))
    return set(line.split()[1:])


def test_p9_the_signers_process_loads_no_database_no_web_server_and_no_daemon() -> None:
    assert _loaded("signer", "--help") == set()


def test_other_commands_load_them_so_the_test_above_can_fail() -> None:
    assert {"asyncpg", "aiohttp", "cryptowatch.daemon"} <= _loaded("version")
