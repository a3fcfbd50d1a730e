"""Arrays that we write are what Postgres reads."""

from collections.abc import Sequence

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptowatch.db import arrays
from cryptowatch.db.pool import Pool

ODD = [
    "",
    " ",
    "null",
    "NULL",
    None,
    "{}",
    '{"a"}',
    "a,b",
    '"',
    "\\",
    '\\"',
    "'",
    "\n\t\x01",
    "\u2028",
    "é\U0001f3b0",
    "a  b",
]
TEXT = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


async def test_odd_texts_come_through(pool: Pool) -> None:
    for values in [[], *([one] for one in ODD), ODD]:
        assert await pool.fetchval("SELECT $1::text::text[]", arrays.texts(values)) == values


async def test_what_no_text_holds_is_refused(pool: Pool) -> None:
    with pytest.raises(asyncpg.CharacterNotInRepertoireError):
        await pool.fetchval("SELECT $1::text::text[]", arrays.texts(["a\0b"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=st.lists(TEXT))
async def test_any_texts_come_through(pool: Pool, values: Sequence[str | None]) -> None:
    assert await pool.fetchval("SELECT $1::text::text[]", arrays.texts(values)) == values


async def test_numbers_come_through(pool: Pool) -> None:
    amounts = [0, 1, -1, 2**256, -(10**77)]
    assert await pool.fetchval("SELECT $1::text::numeric[]", arrays.numbers(map(str, amounts))) == amounts
    assert await pool.fetchval("SELECT $1::text::bigint[]", arrays.numbers([])) == []
