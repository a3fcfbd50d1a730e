"""Finding bitcoind: PATH first, then Debian's package in a private folder, else a clear error."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from cryptowatch.devnet import bitcoind

_PLANNED = """\
'http://mirror.example/debian/dists/bookworm/InRelease' mirror.example_debian_dists_bookworm_InRelease 0
'http://mirror.example/debian/dists/bookworm-updates/InRelease' x 0
'http://mirror.example/debian-security/dists/bookworm-security/InRelease' x 0
'https://vendor.example/apt/dists/nodistro/InRelease' x 0
'http://other.example/debian/dists/stable/InRelease' x 0
"""


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "cryptowatch" / bitcoind.PACKAGE


def no_program(name: str) -> None:
    return None


def test_a_bitcoind_on_path_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    assert bitcoind.find_or_fetch() == bitcoind.Bitcoind(("/somewhere/bitcoind",))


def test_without_apt_the_error_says_what_to_do(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", no_program)
    with pytest.raises(bitcoind.BitcoindUnavailable, match="put bitcoind on PATH"):
        bitcoind.find_or_fetch()


def test_only_mirrors_of_this_release_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitcoind, "_run", lambda argv: _PLANNED)
    monkeypatch.setattr(bitcoind, "_codename", lambda: "bookworm")
    assert bitcoind._debian_mirrors() == ["http://mirror.example/debian", "http://other.example/debian"]


def test_a_mirror_that_fails_leaves_nothing_behind_and_the_next_is_asked(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []

    def run(argv: list[str]) -> str:
        asked.append(argv)
        if "--print-uris" in argv:
            return _PLANNED
        raise bitcoind.BitcoindUnavailable("signatures could not be verified")

    monkeypatch.setattr(bitcoind, "_run", run)
    monkeypatch.setattr(bitcoind, "_codename", lambda: "bookworm")
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "bitcoind" else f"/bin/{name}")
    with pytest.raises(bitcoind.BitcoindUnavailable, match="could not be verified"):
        bitcoind.find_or_fetch()
    assert len(asked) == 3
    assert [path.name for path in empty_cache.iterdir()] == ["lock"]


def test_apt_is_told_to_touch_nothing_of_the_system_and_to_check_signatures(tmp_path: Path) -> None:
    argv = bitcoind._private_apt(tmp_path, "http://mirror.example/debian")
    options = dict(word.split("=", 1) for word in argv if "=" in word)
    for key in ("Dir::State::lists", "Dir::Cache", "Dir::Etc::sourcelist", "Dir::State::extended_states"):
        assert Path(options[key]).is_relative_to(tmp_path)
    assert options["Dir::State::status"] == "/dev/null"
    assert not any("AllowUnauthenticated" in word or "trusted=yes" in word for word in argv)
    assert "trusted=yes" not in (tmp_path / "sources.list").read_text()
