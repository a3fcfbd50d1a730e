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
from cryptowatch.signing.account_policy import AccountSigning
from cryptowatch.signing.policy import Signing

Entry = Signing | AccountSigning

_GENESIS = bytes(32)
#: An input takes about 80 bytes of a line.
_LINE_BYTES_MAX = 16_777_216
_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


class LogTampered(OperatorError):
    """The log's chain is broken. The signer does not start; a person must find out why."""


class LogUnavailable(OperatorError):
    """The file cannot be read or written. After a failed append its end is unknown: the process must end."""


class LogInUse(OperatorError):
    """Another signer has the log open."""


class SigningLog:
    """The open log. One process at a time; a context manager."""

    def __init__(self, path: Path, each: Callable[[Entry], None]) -> None:
        """Open or create, verify from the first line, and hand every entry to `each` in order.

        Raises LogTampered, LogInUse or LogUnavailable.
        """
        created = not path.exists()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise LogUnavailable(f"cannot open {path}: {problem.strerror}") from problem
        try:
            _lock(self._file, path)
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

    def append(self, signing: Entry) -> None:
        """On the disk when this returns. Raises LogUnavailable, after which the process must end."""
        document = _ENCODER.encode(signing)
        head = hashlib.sha256(self._head + document).digest()
        line = head.hex().encode() + b" " + document + b"\n"
        if len(line) > _LINE_BYTES_MAX:
            raise LogUnavailable("the signer's log would not read back so long an entry")
        try:
            written_bytes = os.write(self._file, line)
            os.fsync(self._file)
        except OSError as problem:
            raise LogUnavailable(f"cannot write the signer's log: {problem.strerror}") from problem
        if written_bytes != len(line):
            raise LogUnavailable("the signer's log took only a part of a line")
        self._head = head
        self.entries += 1

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> "SigningLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_log(path: Path, each: Callable[[Entry], None]) -> tuple[bytes, int, int]:
    """Verify the chain: (head, entries, bytes of the whole lines). Raises LogTampered or LogUnavailable."""
    head, entries, whole_bytes = _GENESIS, 0, 0
    try:
        stream = path.open("rb")
    except OSError as problem:
        raise LogUnavailable(f"cannot read {path}: {problem.strerror}") from problem
    with stream as lines:
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


def _lock(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        raise LogInUse(f"{path}: another signer is using it") from problem


def _sync_directory(path: Path) -> None:
    """Make the file's name durable: without it a crash could lose the new file whole."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
