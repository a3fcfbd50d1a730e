"""The command line. Found by `pyproject.toml` as `main`; the commands are listed in `commands`.

Exit codes: 0 done, 1 failed (one clear line on stderr), 2 wrong usage or settings (names the setting).
"""

import sys


def main() -> None:
    """Runs the command that the arguments name.

    The signer's process gets a command line of its own: the code of database, web server and nodes is not even loaded
    where the keys are (P9). That is why this function imports.
    """
    if sys.argv[1:2] == ["signer"]:
        from cryptowatch.cli.signer import app
    else:
        from cryptowatch.cli.commands import command_line

        app = command_line(*sys.argv[1:2])
    app()
