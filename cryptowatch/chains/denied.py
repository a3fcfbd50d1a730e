"""Addresses that are never paid: the operator's file, read again whenever it changes.

    # a comment
    bc1q…            on every chain that reads it
    ethereum 0x…     on that chain only

Asked by payouts (requests, approvals, and the very transaction that would send) and by compliance, about where deposits
came from. A file that cannot be read,
or has a line that fits nowhere, changes nothing: the last good list stays, and log and metric say so until it is
mended. One that changes is read at the first look that finds it as the look before did.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from cryptowatch.chains.port import InvalidAddress, ReadAddresses
from cryptowatch.errors import SettingsError

log = structlog.get_logger(__name__)

#: Told after each look at the file: whether it is good, and how many lines the list in use has.
Observe = Callable[[bool, int], None]

#: What tells one content of a file from another: time, size and inode.
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Denied:
    """`texts` are in one case: what no chain of ours reads is still known by its text."""

    destinations: frozenset[tuple[str, bytes]] = frozenset()
    texts: frozenset[str] = frozenset()
    lines: int = 0

    def covers(self, chain: str, destination: bytes, text: str) -> bool:
        return (chain, destination) in self.destinations or text.casefold() in self.texts


class BrokenDenyList(ValueError):
    """Names the line and what is wrong with it."""


def parse_denied(text: str, readers: ReadAddresses) -> Denied:
    """Raises BrokenDenyList for an unknown chain, an address that the named chain does not read, or more words."""
    destinations, texts, lines = set[tuple[str, bytes]](), set[str](), 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        lines += 1
        match words:
            case [address]:
                found = [(chain, read(address)) for chain, read in readers.items()]
                known = [(chain, got) for chain, got in found if not isinstance(got, InvalidAddress)]
                destinations.update(known)
                if not known:
                    texts.add(address.casefold())
            case [chain, address] if chain in readers:
                got = readers[chain](address)
                if isinstance(got, InvalidAddress):
                    raise BrokenDenyList(f"line {number}: {got.reason}")
                destinations.add((chain, got))
            case [chain, _]:
                raise BrokenDenyList(f"line {number}: there is no chain {chain!r}")
            case _:
                raise BrokenDenyList(f"line {number}: more than a chain and an address")
    return Denied(frozenset(destinations), frozenset(texts), lines)


@dataclass(slots=True)
class DenyListFile:
    """The list in use is `current`. `load` before the first use; `step` is a loop of `daemon`."""

    path: Path | None
    readers: ReadAddresses
    observe: Observe = lambda good, lines: None
    current: Denied = field(default_factory=Denied)
    _stamp: _Stamp | None = None
    #: At the last look: what changed since may be half written.
    _seen: _Stamp | None = None
    _problem: str | None = None

    def load(self) -> None:
        """Raises SettingsError: nothing is paid before there is a good list."""
        self._look(settled=True)
        if self._problem is not None:
            raise SettingsError("withdrawals.deny_list", self._problem)

    async def step(self) -> int:
        """In a thread: reading a long list takes a while."""
        await asyncio.to_thread(self._look)
        return 0

    def _look(self, *, settled: bool = False) -> None:
        """`settled`: it is read even where it is not as it was at the last look."""
        if self.path is None:
            self.observe(True, 0)
            return
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            settled, self._seen = settled or stamp == self._seen, stamp
            if not settled:
                self.observe(self._problem is None, self.current.lines)
                return
            if stamp != self._stamp or self._problem is not None:
                self.current = parse_denied(self.path.read_text(encoding="utf-8"), self.readers)
                self._stamp = stamp
                log.info("deny list read", lines=self.current.lines)
            problem = None
        except OSError as error:
            problem = f"cannot read {self.path}: {error.strerror}"
        except ValueError as error:
            # The file's encoding, or BrokenDenyList.
            problem = f"{self.path}: {error}"
        if problem is not None and problem != self._problem:
            log.error("deny list broken: the last good one is in use", problem=problem)
        self._problem = problem
        self.observe(problem is None, self.current.lines)
