"""P9: the signer's memory survives restarts, and shows when somebody changed it."""

import os
from pathlib import Path

import pytest

from cryptowatch.signing.log import Entry, LogInUse, LogTampered, SigningLog, read_log
from cryptowatch.signing.policy import Signing

ENTRIES = [
    Signing("btc", 1_000 + n, f"L{n}", f"{n:064x}", {f"{n:064x}:0": 50_000}, 20_000, 20_000) for n in range(4)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with four entries."""
    path = tmp_path / "signer.log"
    with SigningLog(path, lambda _: None) as log:
        for entry in ENTRIES:
            log.append(entry)
    return path


def read(path: Path) -> list[Entry]:
    entries: list[Entry] = []
    with SigningLog(path, entries.append) as log:
        assert log.entries == len(entries)
    return entries


def test_a_restart_reads_back_every_entry_in_order(path: Path) -> None:
    assert read(path) == ENTRIES


def test_the_log_is_for_its_user_only(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_appending_after_a_restart_continues_the_chain(path: Path) -> None:
    with SigningLog(path, lambda _: None) as log:
        log.append(ENTRIES[0])
        head = log.head
    assert read(path) == [*ENTRIES, ENTRIES[0]]
    assert read_log(path, lambda _: None)[0].hex() == head


@pytest.mark.parametrize("line", range(4))
def test_a_changed_line_is_found(path: Path, line: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"charged":20000', b'"charged":10000')
    path.write_bytes(b"".join(lines))
    with pytest.raises(LogTampered, match=f"line {line + 1} "):
        read(path)


@pytest.mark.parametrize("line", range(3))
def test_a_removed_line_is_found(path: Path, line: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[line]
    path.write_bytes(b"".join(lines))
    with pytest.raises(LogTampered, match=f"line {line + 1} "):
        read(path)


def test_removed_newest_lines_show_by_the_head_only(path: Path) -> None:
    before = read_log(path, lambda _: None)[0]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert read_log(path, lambda _: None)[0] != before


def test_an_inserted_and_a_swapped_line_are_found(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    for changed in ([lines[0], *lines], [lines[1], lines[0], *lines[2:]]):
        path.write_bytes(b"".join(changed))
        with pytest.raises(LogTampered):
            read(path)


def test_a_line_cut_short_by_a_crash_is_cut_off_and_the_log_goes_on(path: Path) -> None:
    whole = path.read_bytes()
    for kept in (1, 70, 100):
        path.write_bytes(whole + whole.splitlines(keepends=True)[0][:kept])
        assert read(path) == ENTRIES
        assert path.read_bytes() == whole


def test_a_second_signer_cannot_open_the_log(path: Path) -> None:
    with SigningLog(path, lambda _: None), pytest.raises(LogInUse):
        SigningLog(path, lambda _: None)
    assert read(path) == ENTRIES


def test_an_entry_is_on_the_disk_before_append_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_bytes()))
    with SigningLog(path, lambda _: None) as log:
        log.append(ENTRIES[0])
    assert synced[-1].count(b"\n") == 5
