"""Finds a bitcoind to run, or fetches one: the devnet's real Bitcoin node.

Called by `devnet.network` before it starts nodes. A bitcoind on PATH wins. Otherwise Debian's package
`bitcoin-knots` (Core-compatible, only in suite sid) is unpacked into a private folder of the user's cache.

Guarantees: nothing of the system changes (apt runs with its own state, status and cache folders); the
mirror is the one the machine's own apt uses and is learned at run time; the archive's signatures are
checked by apt with the machine's Debian archive keys; the folder appears at once and complete (built aside,
then renamed) and only one process builds it (file lock), however many ask.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptowatch.devnet.cache import cache_dir, locked
from cryptowatch.errors import OperatorError

PACKAGE = "bitcoin-knots"
SUITE = "sid"
# Raised when what we unpack or where changes, so that an old cache is not taken for a new one.
LAYOUT = "1"
APT_TIMEOUT_S = 480
DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class BitcoindUnavailable(OperatorError):
    """No bitcoind on PATH and none could be fetched; the message says what to do."""


@dataclass(frozen=True)
class Bitcoind:
    """How to start bitcoind: the words before its options."""

    argv: tuple[str, ...]


def find_or_fetch() -> Bitcoind:
    """Blocks while fetching (27 MB, once per machine and user). Raises BitcoindUnavailable."""
    on_path = shutil.which("bitcoind")
    if on_path is not None:
        return Bitcoind((on_path,))
    home = cache_dir() / PACKAGE
    root = home / f"root-{LAYOUT}"
    if not root.exists():
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / "lock"):
            if not root.exists():
                _build(home, root)
    return _installed(root)


def _installed(root: Path) -> Bitcoind:
    """The package needs newer libraries than the machine may have, so its own loader starts it."""
    loaders = sorted(root.glob("usr/lib/*/ld-linux-*.so.*"))
    program = root / "usr/bin/bitcoind"
    if not loaders or not program.exists():
        raise BitcoindUnavailable(f"{root} is incomplete: remove it and start again")
    return Bitcoind((str(loaders[0]), "--library-path", str(loaders[0].parent), str(program)))


def _build(home: Path, root: Path) -> None:
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise BitcoindUnavailable(
                f"there is no bitcoind on PATH and no {tool} to fetch one with: "
                "install Bitcoin Core or Bitcoin Knots and put bitcoind on PATH"
            )
    with TemporaryDirectory(dir=home, prefix="fetch-") as scratch_name:
        scratch = Path(scratch_name)
        archives = _download(scratch)
        unpacked = scratch / "root"
        for archive in archives:
            _run(["dpkg", "-x", str(archive), str(unpacked)])
        version = _run([*_installed(unpacked).argv, "-version"])
        if "version" not in version:
            raise BitcoindUnavailable(f"the unpacked bitcoind does not run: {version[:200]}")
        unpacked.rename(root)


def _download(scratch: Path) -> list[Path]:
    failures = []
    for mirror in _debian_mirrors():
        apt = _private_apt(scratch, mirror)
        try:
            _run([*apt, "update"])
            _run([*apt, "-y", "--no-install-recommends", "--download-only", "install", PACKAGE])
        except BitcoindUnavailable as failure:
            failures.append(str(failure))
            continue
        return sorted((scratch / "cache/archives").glob("*.deb"))
    raise BitcoindUnavailable(
        "no Debian mirror of this machine's apt configuration gave the package "
        f"{PACKAGE} of suite {SUITE}: put bitcoind on PATH instead.\n" + "\n".join(failures)
    )


def _debian_mirrors() -> list[str]:
    """Roots of the archives that carry this release's main suite, as the machine's apt is set up.

    apt itself reads its configuration (both formats, mirror lists, variables) and prints what it would fetch;
    nothing is fetched here.
    """
    release = {"stable", "testing", "unstable", SUITE, _codename()}
    roots = []
    for uri, suite in re.findall(
        r"'(\S+?)/?dists/([^/'\s]+)/InRelease'", _run(["apt-get", "update", "--print-uris"])
    ):
        if suite in release and uri not in roots:
            roots.append(uri)
    return roots


def _codename() -> str:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    found = [line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME=")]
    return found[0] if found else SUITE


def _private_apt(scratch: Path, mirror: str) -> list[str]:
    """An apt-get that knows one source and touches only `scratch`."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (scratch / folder).mkdir(parents=True, exist_ok=True)
    signed_by = f" [signed-by={DEBIAN_KEYRING}]" if DEBIAN_KEYRING.exists() else ""
    sources = scratch / "sources.list"
    sources.write_text(f"deb{signed_by} {mirror} {SUITE} main\n", encoding="utf-8")
    options = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        # Pins and default releases of the machine must not choose versions here.
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "APT::Default-Release": "",
        "Dir::State::lists": scratch / "lists",
        # With the machine's own status the resolver would leave out libraries that are installed, but too
        # old.
        "Dir::State::status": "/dev/null",
        "Dir::State::extended_states": scratch / "extended_states",
        "Dir::Cache": scratch / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        # Signed as usual, but root's private folder is closed to apt's own user.
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
    }
    return ["apt-get", "-q"] + [word for key, value in options.items() for word in ("-o", f"{key}={value}")]


def _run(argv: list[str]) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=APT_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as expired:
        raise BitcoindUnavailable(f"{argv[0]} gave no answer in {APT_TIMEOUT_S} s") from expired
    if done.returncode != 0:
        raise BitcoindUnavailable(
            f"{Path(argv[0]).name} failed ({done.returncode}): {done.stderr.strip()[-1500:]}"
        )
    return done.stdout
