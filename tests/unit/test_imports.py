"""What the commands of a production load, and what they must not."""

import subprocess
import sys


def after_import(module: str, expression: str) -> str:
    code = f"import sys, {module}; print({expression})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_no_library_raises_the_recursion_limit_of_the_daemon_or_the_signer() -> None:
    """With a higher one, JSON that is nested without end kills the process: any node could send it."""
    assert after_import("cryptowatch.cli.commands", "sys.getrecursionlimit()") == "1000"


def test_a_production_does_not_load_what_only_a_private_network_needs() -> None:
    loaded = after_import(
        "cryptowatch.cli.commands", "[m for m in ('cryptowatch.devnet', 'eth_account') if m in sys.modules]"
    )
    assert loaded == "[]"
