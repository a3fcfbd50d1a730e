"""Finds an anvil to run, or fetches one: the devnet's Ethereum node.

Called by `devnet.network` before it starts nodes. An anvil on PATH wins. Otherwise npm fetches the platform's
package of Foundry; npm's own configuration says from where. The archive must have the hash that stands here,
whatever the registry says; no script of the package is run. The folder in the user's cache appears at once and
complete, and only one process builds it (file lock), however many ask.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptowatch.devnet.cache import cache_dir, locked
from cryptowatch.errors import OperatorError

VERSION = "1.7.1"
PACKAGE = "@foundry-rs/anvil-linux-amd64"
INTEGRITY = "sha512-+XmShybEaxfCrr0OUUZwYEy2OnYZt5pHH9TzBtLv3+VrK0O/ANuNSVEahqNhKHlgX7GRJ59383ofNhxkRWIYTg=="
FETCH_TIMEOUT_S = 480
_MEMBER = "package/bin/anvil"


class AnvilUnavailable(OperatorError):
    """No anvil on PATH and none could be fetched; the message says what to do."""


def find_or_fetch() -> Path:
    """Blocks while fetching (19 MB, once per machine and user). Raises AnvilUnavailable."""
    on_path = shutil.which("anvil")
    if on_path is not None:
        return Path(on_path)
    home = cache_dir() / "anvil"
    program = home / VERSION / "anvil"
    if not program.exists():
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / "lock"):
            if not program.exists():
                _build(home, program)
    return program


def _build(home: Path, program: Path) -> None:
    npm = shutil.which("npm")
    machine = f"{os.uname().sysname} {os.uname().machine}"
    if npm is None or machine != "Linux x86_64":
        raise AnvilUnavailable(
            f"there is no anvil on PATH and it cannot be fetched here ({machine}, npm: {npm}): "
            "install Foundry and put anvil on PATH"
        )
    with TemporaryDirectory(dir=home, prefix="fetch-") as scratch_name:
        scratch = Path(scratch_name)
        archive = _downloaded(npm, scratch)
        _check(archive)
        made = scratch / VERSION
        made.mkdir()
        with tarfile.open(archive) as members:
            content = members.extractfile(_MEMBER)
            assert content is not None, "its hash says that the archive has the program"
            (made / program.name).write_bytes(content.read())
        (made / program.name).chmod(0o755)
        # What a fetch that was broken off left there.
        shutil.rmtree(program.parent, ignore_errors=True)
        made.rename(program.parent)


def _downloaded(npm: str, scratch: Path) -> Path:
    argv = [npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", str(scratch), "--loglevel", "error"]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as expired:
        raise AnvilUnavailable(f"npm gave no answer in {FETCH_TIMEOUT_S} s") from expired
    archives = sorted(scratch.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        raise AnvilUnavailable(
            f"npm failed ({done.returncode}) to fetch {PACKAGE} {VERSION}: put anvil on PATH instead.\n"
            + done.stderr.strip()[-1500:]
        )
    return archives[0]


def _check(archive: Path) -> None:
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise AnvilUnavailable(f"{archive.name} is not the archive that is known: its hash is {found}")
