"""The deny list's file: read again when it changes, and never lost by a broken one."""

from itertools import groupby
from pathlib import Path

import pytest

from cryptowatch.chains.denied import DenyListFile
from cryptowatch.chains.port import InvalidAddress
from cryptowatch.errors import SettingsError


def read(text: str) -> bytes | InvalidAddress:
    return text.encode() if text.startswith("good") else InvalidAddress("not good")


async def test_a_changed_file_is_read_and_a_broken_one_leaves_the_last_good_list(tmp_path: Path) -> None:
    path, seen = tmp_path / "denied.txt", list[tuple[bool, int]]()
    path.write_text("good1\n")
    file = DenyListFile(path, {"chain": read}, lambda good, lines: seen.append((good, lines)))
    file.load()

    def listed(address: str) -> bool:
        return file.current.covers("chain", address.encode(), address)

    assert (listed("good1"), listed("good2")) == (True, False)
    for content in (b"good1\ngood2\n", b"good2\nunknown good3\n", b"\xff\xfe", b"good2\n"):
        path.write_bytes(content)
        await file.step()
        await file.step()
    assert (listed("good1"), listed("good2"), listed("good3")) == (False, True, False)
    path.unlink()
    await file.step()
    assert listed("good2")
    path.write_text("good1\n")
    await file.step()
    await file.step()
    assert (listed("good1"), listed("good2")) == (True, False)
    told = [one for one, _ in groupby(seen)]
    assert told == [(True, 1), (True, 2), (False, 2), (True, 1), (False, 1), (True, 1)]


async def test_a_file_that_is_being_written_is_read_once_it_stays_as_it_is(tmp_path: Path) -> None:
    """Half of a list reads as well as a whole one, and would let the other half be paid."""
    path = tmp_path / "denied.txt"
    path.write_text("good1\ngood2\n")
    file = DenyListFile(path, {"chain": read})
    file.load()
    for content in ("", "good1\n", "good1\ngood2\ngood3\n"):
        path.write_text(content)
        await file.step()
        assert file.current.lines == 2
    await file.step()
    assert file.current.lines == 3


@pytest.mark.parametrize("content", [None, "unknown good1\n"], ids=["missing", "broken"])
def test_without_a_first_good_list_nothing_begins(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "denied.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=r"withdrawals\.deny_list"):
        DenyListFile(path, {"chain": read}).load()


def test_without_a_file_nobody_is_denied() -> None:
    seen = list[tuple[bool, int]]()
    file = DenyListFile(None, {"chain": read}, lambda good, lines: seen.append((good, lines)))
    file.load()
    assert not file.current.covers("chain", b"good1", "good1")
    assert seen == [(True, 0)]
