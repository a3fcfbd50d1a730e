"""Finding anvil: PATH first, then npm's package with the hash that is known, else a clear error."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from cryptowatch.devnet.ethereum import anvil


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "cryptowatch" / "anvil"


def no_anvil(name: str) -> str | None:
    return None if name == "anvil" else f"/somewhere/{name}"


def no_program(name: str) -> None:
    return None


def test_an_anvil_on_path_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    assert anvil.find_or_fetch() == Path("/somewhere/anvil")


def test_without_npm_the_error_says_what_to_do(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", no_program)
    with pytest.raises(anvil.AnvilUnavailable, match="put anvil on PATH"):
        anvil.find_or_fetch()


def test_an_npm_that_fails_is_quoted_and_leaves_nothing(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(argv: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(argv, 1, "", "no route")

    monkeypatch.setattr(shutil, "which", no_anvil)
    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(anvil.AnvilUnavailable, match="no route"):
        anvil.find_or_fetch()
    assert [path.name for path in empty_cache.iterdir()] == ["lock"]


def test_an_archive_with_another_hash_is_refused(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def foreign(argv: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        folder = Path(argv[argv.index("--pack-destination") + 1])
        program = folder / "anvil"
        program.write_text("#!/bin/sh\n")
        with tarfile.open(folder / "package.tgz", "w:gz") as archive:
            archive.add(program, "package/bin/anvil")
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(shutil, "which", no_anvil)
    monkeypatch.setattr(subprocess, "run", foreign)
    with pytest.raises(anvil.AnvilUnavailable, match="not the archive that is known"):
        anvil.find_or_fetch()
    assert [path.name for path in empty_cache.iterdir()] == ["lock"]


def test_what_is_found_runs() -> None:
    """The real thing: fetched at the first time on a machine, the cached one afterwards."""
    done = subprocess.run([anvil.find_or_fetch(), "--version"], capture_output=True, text=True, check=True)
    assert "anvil" in done.stdout.lower()
