"""Replays history against the rules, one account at a time, and tells what does not agree. Pure.

Called by `verify`, which streams the rows. It shares no code with the SQL that posts: it follows rules.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from cryptowatch.ledger.rules import EFFECTS, Balance, Kind


class Invariant(StrEnum):
    """What must always hold; a finding names one of these."""

    CONSERVATION = "conservation"  # P1: per asset, all balances sum to zero
    BALANCE = "balance"  # an account's row is what its history says
    HISTORY = "history"  # versions 1, 2, 3 …; each posting's result follows from the one before
    FLOOR = "floor"  # no posting took more than was there
    RESOLUTION = "resolution"  # each hold and each credit is used up at most once, whole (P2, P3)
    ENTRY = "entry"  # a posting's accounts and asset fit its kind
    HOUSE_BALANCE = "house_balance"  # roll-up and deltas together are what history says
    EVENT_VERSIONS = "event_versions"  # P8: versions 1, 2, 3 … per entity
    EVENT_FEED = "event_feed"  # positions 1, 2, 3 …; every event has one or waits for one
    GUARD = "guard"  # the triggers, indexes and constraints that keep all this are in force


class Finding(NamedTuple):
    invariant: Invariant
    subject: str
    detail: str


class Entry(NamedTuple):
    """One row of history, as verify.sql reads it."""

    customer: int | None
    id: int
    version: int | None
    key: str
    kind: str
    from_account: int | None
    to_account: int | None
    asset: str
    amount: int
    resolves: int | None
    total_after: int | None
    unfinalized_after: int | None
    held_after: int | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A customer's row as it stands."""

    version: int
    balance: Balance


#: Kinds that a later posting may resolve; replay remembers those that are still open.
_RESOLVABLE = frozenset(kind for effect in EFFECTS.values() for kind in effect.resolves)


class AccountReplay:
    """The history of one customer's account, in the order of its ids."""

    def __init__(self, account_id: int, asset: str, houses: Mapping[int, str]) -> None:
        self._id = account_id
        self._asset = asset
        self._houses = houses
        self._version = 0
        self._balance = Balance()
        self._open: dict[int, tuple[Kind, int]] = {}

    def add(self, entry: Entry) -> Iterator[Finding]:
        """Take the next posting; what is wrong with it. Goes on from what the posting itself recorded, so
        that one fault is told once."""
        try:
            kind = Kind(entry.kind)
        except ValueError:
            yield Finding(Invariant.ENTRY, _name(entry), f"unknown kind {entry.kind}")
            return
        yield from self._check_sides(entry, kind)
        yield from self._check_resolution(entry, kind)
        if not self._balance.allows(kind, entry.amount):
            yield Finding(Invariant.FLOOR, _name(entry), f"{kind} of {entry.amount} from {self._balance}")
        recorded = Balance(entry.total_after or 0, entry.unfinalized_after or 0, entry.held_after or 0)
        expected = self._balance.after(kind, entry.amount)
        if recorded != expected or entry.version != self._version + 1:
            detail = f"version {entry.version}, {recorded} follows {self._version}, {self._balance}"
            yield Finding(Invariant.HISTORY, _name(entry), detail)
        self._balance = recorded
        self._version = entry.version or self._version + 1

    def finish(self, stored: Stored) -> Iterator[Finding]:
        """The account's row against the end of its history."""
        subject = f"account {self._id}"
        if (stored.version, stored.balance) != (self._version, self._balance):
            detail = (
                f"row: version {stored.version}, {stored.balance}; history: {self._version}, {self._balance}"
            )
            yield Finding(Invariant.BALANCE, subject, detail)
        held = sum(amount for kind, amount in self._open.values() if kind is Kind.HOLD)
        credited = sum(amount for kind, amount in self._open.values() if kind is Kind.DEPOSIT_CREDIT)
        if (self._balance.held, self._balance.unfinalized) != (held, credited):
            detail = f"open holds {held}, open credits {credited}, but {self._balance}"
            yield Finding(Invariant.RESOLUTION, subject, detail)

    def _check_sides(self, entry: Entry, kind: Kind) -> Iterator[Finding]:
        match EFFECTS[kind].total:
            case 1:
                house, fits = entry.from_account, entry.to_account == self._id
            case -1:
                house, fits = entry.to_account, entry.from_account == self._id
            case _:
                house, fits = None, entry.from_account is None and entry.to_account is None
        if kind is Kind.HOUSE_TRANSFER or not fits or entry.asset != self._asset:
            yield Finding(Invariant.ENTRY, _name(entry), f"{kind} does not fit account {self._id}")
        elif EFFECTS[kind].total and self._houses.get(house or 0) != self._asset:
            yield Finding(Invariant.ENTRY, _name(entry), f"{house} is no house account of {self._asset}")

    def _check_resolution(self, entry: Entry, kind: Kind) -> Iterator[Finding]:
        if kind in _RESOLVABLE:
            self._open[entry.id] = (kind, entry.amount)
        resolvable = EFFECTS[kind].resolves
        if not resolvable and entry.resolves is None:
            return
        opened = self._open.pop(entry.resolves, None) if entry.resolves is not None else None
        if opened is None or opened[0] not in resolvable or opened[1] != entry.amount:
            yield Finding(
                Invariant.RESOLUTION,
                _name(entry),
                f"{kind} of {entry.amount} resolves {opened or 'nothing open'}",
            )


def check_house_transfer(entry: Entry, houses: Mapping[int, str]) -> Iterator[Finding]:
    """A posting without a customer: between two house accounts of its asset."""
    sides = (entry.from_account, entry.to_account)
    assets = {houses.get(side or 0) for side in sides}
    if entry.kind != Kind.HOUSE_TRANSFER or sides[0] == sides[1] or assets != {entry.asset}:
        yield Finding(Invariant.ENTRY, _name(entry), f"{entry.kind} between {sides[0]} and {sides[1]}")


def _name(entry: Entry) -> str:
    return f"posting {entry.id} ({entry.key})"
