"""Many rows into a table at once, by Postgres' COPY in its text format: the fastest way in.

Called where a full block writes tens of thousands of rows. Lines are asked for while Postgres works on the ones before,
so that both go on at the same time. All types go in as what their input functions read: integers as they are,
timestamps in ISO form, ids in hex; what may hold any character goes through `text`, bytes through `octets`.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from typing import Final

from cryptowatch.db.pool import Connection

NULL: Final = "\\N"
_LINES_A_CHUNK = 500


def text(value: str | None) -> str:
    """Any text as a field."""
    if value is None:
        return NULL
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def octets(value: bytes | None) -> str:
    """Bytes as a field of a bytea column."""
    return NULL if value is None else "\\\\x" + value.hex()


async def copy_lines(
    connection: Connection, table: str, columns: Sequence[str], lines: Iterable[str]
) -> None:
    """Append rows: one line each, fields parted by tabs, its newline included. Raises what an INSERT would."""

    async def chunks() -> AsyncIterator[bytes]:
        rest = iter(lines)
        while chunk := "".join(islice(rest, _LINES_A_CHUNK)):
            yield chunk.encode()

    await connection.copy_to_table(table, columns=columns, source=chunks())
