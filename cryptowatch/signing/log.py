"""The signer's memory: an append-only file of all signatures given, chained line to line by hash.

Called by `signing.service` and by `wallet verify-log`. Keeps P9: a restart does not empty the hourly limit,
because a line is on the disk before its signature leaves the process. A changed, removed or inserted line
breaks the chain and stops the signer. What a chain alone cannot show (its newest lines removed, or all of it
written anew) shows by comparing it with a head hash kept elsewhere: `status` reports the head for that.

A line is `SHA256(previous hash, JSON) JSON`. An incomplete last line is what a crash during writing leaves:
its signature never left, so it is cut off.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import msgspec

from cryptowatch.errors import OperatorError
from cryptowatch.signing.policy import Signing

_GENESIS = bytes(32)
#: More than the longest line: 500 inputs of about 90 characters.
_LINE_BYTES_MAX = 1_048_576
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Signing)


class LogTampered(OperatorError):
    """The log's chain is broken. The signer does not start; a person must find out why."""


class LogInUse(OperatorError):
    """Another signer has the log open."""


class SigningLog:
    """The open log. One process at a time; a context manager."""

    def __init__(self, path: Path, each: Callable[[Signing], None]) -> None:
        """Open or create, verify from the first line, and hand every entry to `each` in order.

        Raises LogTampered, LogInUse, or OSError.
        """
        created = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as problem:
                raise LogInUse(f"{path}: another signer is using it") from problem
            if created:
                _sync_directory(path)
            self._head, self.entries, whole_bytes = read_log(path, each)
            if whole_bytes != os.fstat(self._file).st_size:
                os.ftruncate(self._file, whole_bytes)
                os.fsync(self._file)
        except BaseException:
            os.close(self._file)
            raise

    @property
    def head(self) -> str:
        """The last line's hash; it stands for the whole log."""
        return self._head.hex()

    def append(self, signing: Signing) -> None:
        """On the disk when this returns. An OSError leaves the file's end unknown: the process must end."""
        document = _ENCODER.encode(signing)
        head = hashlib.sha256(self._head + document).digest()
        line = head.hex().encode() + b" " + document + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError("the log took only a part of a line")
        os.fsync(self._file)
        self._head = head
        self.entries += 1

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> "SigningLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
    ) -> None:
        self.close()


def read_log(path: Path, each: Callable[[Signing], None]) -> tuple[bytes, int, int]:
    """Verify the chain: (head, entries, bytes of the whole lines). Raises LogTampered or OSError."""
    head, entries, whole_bytes = _GENESIS, 0, 0
    with path.open("rb") as lines:
        while line := lines.readline(_LINE_BYTES_MAX):
            if not line.endswith(b"\n"):
                if len(line) == _LINE_BYTES_MAX:
                    raise LogTampered(f"{path}: line {entries + 1} is too long")
                break
            claimed, _, document = line[:-1].partition(b" ")
            head = hashlib.sha256(head + document).digest()
            if claimed != head.hex().encode():
                raise LogTampered(f"{path}: line {entries + 1} does not follow from the lines before it")
            try:
                each(_DECODER.decode(document))
            except msgspec.DecodeError as problem:
                raise LogTampered(f"{path}: line {entries + 1} is not an entry") from problem
            entries += 1
            whole_bytes += len(line)
    return head, entries, whole_bytes


def _sync_directory(path: Path) -> None:
    """Make the file's name durable: without it a crash could lose the new file whole."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
