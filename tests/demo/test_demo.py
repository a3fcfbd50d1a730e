"""The README's first command, as a newcomer runs it."""

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_plays_to_its_end_and_every_check_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cryptowatch", "demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "What happened, each line held against the nodes" in done.stdout
    assert "✗" not in done.stdout
