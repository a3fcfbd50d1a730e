"""What the commands of a production load, and what they must not."""

import subprocess
import sys


def after_loading(command: str, expression: str) -> str:
    load = f"from cryptowatch.cli.commands import command_line; command_line({command!r})"
    code = f"import sys; {load}; print({expression})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_no_library_raises_the_recursion_limit_of_the_daemon_or_the_signer() -> None:
    """With a higher one, JSON that is nested without end kills the process: any node could send it."""
    assert after_loading("", "sys.getrecursionlimit()") == "1000"


def test_a_production_does_not_load_what_only_a_private_network_needs() -> None:
    loaded = after_loading("", "[m for m in ('cryptowatch.devnet', 'eth_account') if m in sys.modules]")
    assert loaded == "[]"


def test_a_command_loads_what_it_needs_and_no_other_command() -> None:
    """A daemon that is started again serves the sooner, and a chain of one family loads no other."""
    needless = "('cryptowatch.cli.audit', 'cryptowatch.cli.offline', 'cryptowatch.chains.ethereum.family', 'eth_abi')"
    assert after_loading("run", f"[m for m in {needless} if m in sys.modules]") == "[]"
