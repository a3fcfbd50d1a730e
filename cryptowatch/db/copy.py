"""Many rows into a table at once, by Postgres' COPY in its binary format: the fastest way in.

Called where a full block writes tens of thousands of rows. A row is the concatenation of its fields, each made by the
function of its column's type; Postgres refuses one of another length. Rows are asked for while Postgres works on the
ones before, so that both go on at the same time.

The format is that of the manual's page on COPY; the fields are those that the types' own send functions give.
"""

import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.loops import parts

NULL: Final = b"\xff\xff\xff\xff"
_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_ROWS_A_CHUNK: Final = 500
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LENGTH: Final = struct.Struct(">i").pack
#: Of most values: a hash, a script, an id.
_LENGTHS: Final = [_LENGTH(length) for length in range(128)]
_INTEGER: Final = struct.Struct(">ii").pack
_BIGINT: Final = struct.Struct(">iq").pack
_UUID_LENGTH: Final = _LENGTH(16)
#: By the number of digits of 10,000, of which 256 bits have at most 20.
_NUMERIC: Final = [struct.Struct(f">ihhhh{count}h").pack for count in range(21)]
_NUMERIC_1, _NUMERIC_2 = _NUMERIC[1:3]


def octets(value: bytes | None) -> bytes:
    """For `bytea`."""
    if value is None:
        return NULL
    length = len(value)
    return (_LENGTHS[length] if length < 128 else _LENGTH(length)) + value


def text(value: str | None) -> bytes:
    """For `text` and `json`."""
    return NULL if value is None else octets(value.encode())


def integer(value: int | None) -> bytes:
    return NULL if value is None else _INTEGER(4, value)


def bigint(value: int | None) -> bytes:
    return NULL if value is None else _BIGINT(8, value)


def uuid(value: UUID | None) -> bytes:
    return NULL if value is None else _UUID_LENGTH + value.bytes


def timestamp(value: datetime) -> bytes:
    """For `timestamptz`: microseconds since 2000."""
    return bigint((value - _EPOCH) // _MICROSECOND)


def amount(value: int) -> bytes:
    """For `numeric`, a whole number that is not negative: digits of 10,000, the highest first."""
    if 0 < value < 10_000:
        return _NUMERIC_1(10, 1, 0, 0, 0, value)
    if 10_000 <= value < 100_000_000:
        return _NUMERIC_2(12, 2, 1, 0, 0, *divmod(value, 10_000))
    digits: list[int] = []
    rest = value
    while rest:
        rest, digit = divmod(rest, 10_000)
        digits.append(digit)
    digits.reverse()
    count = len(digits)
    return _NUMERIC[count](8 + 2 * count, count, count - 1, 0, 0, *digits)


async def copy_rows(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[bytes]
) -> None:
    """Append rows, each with a field for every column. Raises what an INSERT would."""

    async def chunks() -> AsyncIterator[bytes]:
        for part in parts(rows, _ROWS_A_CHUNK):
            yield joined(columns, part)

    await copy_chunks(connection, table, columns, chunks())


def joined(columns: Sequence[str], rows: Iterable[bytes]) -> bytes:
    """Rows as `copy_chunks` takes them."""
    fields = len(columns).to_bytes(2, "big")
    return fields + fields.join(rows)


async def copy_chunks(
    connection: Connection, table: str, columns: Sequence[str], chunks: AsyncIterator[bytes]
) -> None:
    """`copy_rows` for rows that are joined already. Nothing is begun before the first chunk, nor without one."""

    async def source(first: bytes) -> AsyncIterator[bytes]:
        yield _HEADER
        yield first
        async for chunk in chunks:
            yield chunk
        yield _END

    first = await anext(chunks, None)
    if first is not None:
        await connection.copy_to_table(table, columns=columns, source=source(first), format="binary")
