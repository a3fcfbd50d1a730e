"""Ids as the API shows them: a prefix that names the kind, and the row's UUIDv7 in hex. Opaque to users."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import count
from uuid import UUID

# What rows come with: a `UUID` that is made, and shown, in a quarter of the time.
from asyncpg.pgproto.pgproto import UUID as RowId

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    ACCOUNT = "acc"
    DEPOSIT = "dep"
    WITHDRAWAL = "wd"
    TRANSACTION = "tx"
    ENDPOINT = "we"
    DELIVERY = "whd"
    API_KEY = "key"
    TRANSFER = "tr"
    REBALANCE = "rb"
    ALLOWED_ADDRESS = "aa"
    PLAN = "cp"
    AGENT = "ag"
    STATEMENT = "cs"
    PROGRAMME = "rp"
    REFERRAL = "ref"
    REWARD = "rw"
    CASE = "case"
    NOTE = "note"


def show_id(kind: Kind, value: UUID) -> str:
    return kind + "_" + value.hex


#: An account's id comes again with each of its bets.
@lru_cache(maxsize=16_384)
def read_id(kind: Kind, text: str) -> UUID | None:
    """None when the text is not an id of this kind: such a thing does not exist."""
    prefix, _, digits = text.partition("_")
    if prefix != kind or len(digits) != 32 or not digits.isascii():
        return None
    try:
        value = UUID(hex=digits)
    except ValueError:
        return None
    return value if value.hex == digits else None


def earliest_id(now: datetime) -> UUID:
    """Below every id of that millisecond and later ones: what an index by id is read from."""
    return UUID(int=_microseconds(now) // 1000 << 80)


def derived_id(now: datetime, *facts: bytes) -> UUID:
    """A UUIDv7 (RFC 9562) of a time and of facts instead of randomness: the same facts at the same time, the same id.

    Time first keeps index inserts local and lists in the order of what happened: the microseconds follow the
    milliseconds, in twelve bits (section 6.2, method 3). Uniqueness rests on the facts (which a unique constraint
    guards too).
    """
    return RowId(_derived(now, facts))


def show_derived_id(kind: Kind, now: datetime, *facts: bytes) -> str:
    """`show_id` of `derived_id`, for many in a row."""
    return f"{kind.value}_{_derived(now, facts)}"


def _derived(now: datetime, facts: tuple[bytes, ...]) -> str:
    digest = hashlib.sha256(b"\x00".join(facts)).hexdigest()
    return f"{_head(now)}{_VARIANT[digest[0]]}{digest[1:16]}"


#: The two bits that RFC 9562 wants before the last 62: `10`.
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


@lru_cache(maxsize=16)
def _head(now: datetime) -> str:
    milliseconds, microseconds = divmod(_microseconds(now), 1000)
    fraction = (microseconds << 12) // 1000
    return f"{milliseconds:012x}7{fraction:03x}"


def derived_ids(now: datetime, *facts: bytes) -> Iterator[UUID]:
    """UUIDv7s of a time, a count and facts, ascending: rows written in their order fill indexes from left to right.

    The count has 32 bits (RFC 9562, section 6.2, method 1), so that no two of one call are the same, whatever an
    attacker chose the facts to be; 42 bits of the facts' digest keep two calls of one millisecond apart.
    """
    tail = int.from_bytes(hashlib.sha256(b"\x00".join(facts)).digest()[:6], "big") & ((1 << 42) - 1)
    head = _microseconds(now) // 1000 << 80 | 0x7 << 76 | 0x2 << 62
    for number in count():
        yield RowId((head | number >> 20 << 64 | (number & 0xF_FFFF) << 42 | tail).to_bytes(16, "big"))


def _microseconds(now: datetime) -> int:
    """Since 1970."""
    return (now - _EPOCH) // timedelta(microseconds=1)
