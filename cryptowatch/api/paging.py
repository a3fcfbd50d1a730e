"""Lists in pages: opaque cursors over the key that the list is sorted by. Used by every list handler.

Keyset pages stay right while rows are added: the next page begins after the last row that was seen.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from cryptowatch.api.calls import Page, PageQuery
from cryptowatch.api.problems import refuse

Row = TypeVar("Row")
Item = TypeVar("Item")

_UUID_BYTES, _POSITION_BYTES = 16, 8


class Paged(Protocol):
    """A query of a list, whatever else it asks."""

    @property
    def cursor(self) -> str | None: ...


def page_size(query: PageQuery, page_size_max: int) -> int:
    return min(query.limit, page_size_max)


def uuid_cursor(query: PageQuery) -> UUID | None:
    """Raises Refused (400 invalid_cursor)."""
    raw = _decode(query.cursor, _UUID_BYTES)
    return None if raw is None else UUID(bytes=raw)


def position_cursor(query: Paged) -> int | None:
    """Raises Refused (400 invalid_cursor)."""
    raw = _decode(query.cursor, _POSITION_BYTES)
    return None if raw is None else int.from_bytes(raw, "big", signed=True)


def page(
    rows: Sequence[Row], limit: int, key: Callable[[Row], UUID | int], view: Callable[[Row], Item]
) -> Page[Item]:
    """Of up to `limit + 1` rows that were read: one more than fits says that there is another page."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page([view(row) for row in shown], encode_cursor(key(shown[-1])) if more else None)


def encode_cursor(key: UUID | int) -> str:
    """Of the last row shown: where the next page goes on."""
    raw = key.bytes if isinstance(key, UUID) else key.to_bytes(_POSITION_BYTES, "big", signed=True)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(cursor: str | None, length: int) -> bytes | None:
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != length:
        raise refuse("invalid_cursor", "use `next_cursor` of the page before as it stands")
    return raw
