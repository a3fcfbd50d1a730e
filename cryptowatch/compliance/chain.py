"""The audit log's chain of hashes, as pure functions: anybody can compute it anew with SHA-256 and JSON.

Called by `audit`. An entry's hash is SHA-256 over the hash before it (32 zero bytes before the first) and the entry's
canonical bytes: a JSON array without spaces, in UTF-8.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

FORMAT = "cryptowatch-audit-1"
ORIGIN = bytes(32)


@dataclass(frozen=True, slots=True)
class Entry:
    """One action. `subjects` are the ids that it was about; `outcome` is what became of it, in a few words."""

    actor: str
    action: str
    subjects: Sequence[str]
    request_id: str | None
    body_digest: bytes | None
    outcome: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry stands: its own id, and its position in the chain."""

    position: int
    entry_id: int


def canonical(place: Place, entry: Entry) -> bytes:
    return msgspec.json.encode(
        [
            FORMAT,
            place.position,
            place.entry_id,
            entry.actor,
            entry.action,
            list(entry.subjects),
            entry.request_id,
            None if entry.body_digest is None else entry.body_digest.hex(),
            entry.outcome,
            entry.created_at.astimezone(UTC).isoformat(timespec="microseconds"),
        ]
    )


def next_hash(before: bytes, place: Place, entry: Entry) -> bytes:
    return hashlib.sha256(before + canonical(place, entry)).digest()
