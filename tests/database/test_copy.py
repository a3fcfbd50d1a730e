"""What COPY writes is what INSERT writes: every field's form, and whole events and deposits."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec import structs

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.db.copy import amount, bigint, copy_rows, integer, octets, text, timestamp, uuid
from cryptowatch.db.pool import Connection, Pool, prepare_connection, transaction
from cryptowatch.deposits.machine import Deposit, Event, Included, Quarantine, State
from cryptowatch.deposits.records import Record, moved_by, read_record, write_rows
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.loops import slices
from cryptowatch.money import AMOUNT_MAX

NOW = datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC)
BLOCK = BlockPoint(7, b"h" * 32)
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=50)
ROWS = st.lists(
    st.tuples(
        st.none() | TEXTS,
        st.none() | st.binary(max_size=50),
        st.none() | st.integers(-(2**31), 2**31 - 1),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.uuids(),
        st.integers(-(10**15), 10**15).map(lambda us: NOW + timedelta(microseconds=us)),
        st.integers(0, AMOUNT_MAX) | st.sampled_from([10_000**n + d for n in range(9) for d in (-1, 0, 1)]),
    ),
    max_size=20,
)


@given(rows=ROWS)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_value_comes_back_as_it_went_in(database: str, rows: list[Any]) -> None:
    connection = await asyncpg.connect(database)
    try:
        await prepare_connection(connection)
        await connection.execute(
            "CREATE TEMP TABLE copied (n int GENERATED ALWAYS AS IDENTITY, t text, o bytea, i integer, b bigint,"
            " u uuid, w timestamptz, a numeric(78, 0))"
        )
        copied = [
            text(t) + octets(o) + integer(i) + bigint(b) + uuid(u) + timestamp(w) + amount(a)
            for t, o, i, b, u, w, a in rows
        ]
        await copy_rows(connection, "copied", ("t", "o", "i", "b", "u", "w", "a"), copied)
        found = await connection.fetch("SELECT t, o, i, b, u, w, a FROM copied ORDER BY n")
        assert [tuple(row) for row in found] == rows
    finally:
        await connection.close()


@pytest.mark.parametrize("data", ['{"a":"\\\\ \\n \\t \\"","b":"ß€😀"}', "{}", '["\\u0000"]'])
async def test_many_events_are_written_as_few_are(pool: Pool, data: str) -> None:
    def events(first: int) -> list[NewEvent]:
        account = UUID(int=7)
        return [
            NewEvent(
                "deposit.credited", "deposit", f"d{first + n}", n + 1, account if n % 2 else None, data, NOW
            )
            for n in range(100)
        ]

    async with transaction(pool) as conn:
        await append_events(conn, events(0))
        for event in events(100):
            await append_events(conn, [event])
        rows = await conn.fetch(
            "SELECT entity_version, created_at, account_id, type, entity_kind, data::text FROM event ORDER BY id"
        )
    assert rows[:100] == rows[100:]
    assert {row["data"] for row in rows} == {data}


async def detected(conn: Connection, credit: int) -> Record:
    """A deposit that is not in the database yet, to an account that is."""
    owner = await conn.fetchval(
        "INSERT INTO account (external_id, created_at, updated_at) VALUES ('p', $1, $1) RETURNING id", NOW
    )
    await conn.execute(
        "INSERT INTO address (chain, destination, address, scheme, branch, key_index, account_id, assigned_at)"
        " VALUES ('bitcoin', '\\x0014', 'bcrt1', 84, 0, 0, $1, $2)",
        owner,
        NOW,
    )
    return Record(
        id=uuid4(),
        chain="bitcoin",
        tx_hash=b"t" * 32,
        position=3,
        account_id=owner,
        asset="BTC",
        amount=AMOUNT_MAX,
        decimals=8,
        destination=b"\x00\x14",
        address="bcrt1",
        deposit=Deposit(State.DETECTED, credit, 6),
        version=0,
        conflict=None,
        created_at=NOW,
    )


@pytest.mark.parametrize("credit", [1, 2])
@pytest.mark.parametrize("first", [(), (Quarantine("below_minimum"),)])
@pytest.mark.parametrize("included", [(), (Included(BLOCK, 7),), (Included(BLOCK, 12),)])
async def test_a_deposit_is_read_back_as_it_was_written(
    pool: Pool, credit: int, first: tuple[Event, ...], included: tuple[Event, ...]
) -> None:
    async with transaction(pool) as conn:
        record = await detected(conn, credit)
        change = moved_by(record, [*first, *included])
        await write_rows(conn, slices([change]), NOW)
        row = await conn.fetchrow(
            "SELECT d.*, a.address FROM deposit d JOIN address a USING (chain, destination)"
        )
        assert row is not None
    found = read_record(row, 8)
    assert (found.id, found.tx_hash, found.position, found.account_id) == (
        record.id,
        b"t" * 32,
        3,
        record.account_id,
    )
    assert (found.amount, found.destination, found.asset) == (AMOUNT_MAX, b"\x00\x14", "BTC")
    assert (found.deposit, found.version) == (change.deposit, len(change.passed))
    assert (row["due_height"], row["created_at"], row["updated_at"]) == (change.deposit.due_height, NOW, NOW)


async def test_p2_deposits_that_are_new_and_known_ones_are_written_together_and_each_once(pool: Pool) -> None:
    block = Included(BLOCK, 7)
    async with transaction(pool) as conn:
        first = await detected(conn, 1)
        both = [first, structs.replace(first, id=uuid4(), position=4)]
        await write_rows(conn, slices(moved_by(one, [Quarantine("frozen")]) for one in both), NOW)
        known = [structs.replace(one, version=1) for one in both]
        new = [structs.replace(first, id=uuid4(), position=place) for place in (5, 6)]
        changes = [moved_by(one, [block]) for one in (known[0], new[0], known[1], new[1])]
        await write_rows(conn, slices(changes), NOW)
        with pytest.raises(ConcurrentUpdate):
            await write_rows(conn, slices(changes[:1]), NOW)
        rows = await conn.fetch("SELECT position, state, version FROM deposit ORDER BY position")
    assert [tuple(row) for row in rows] == [
        (3, "credited", 2),
        (4, "credited", 2),
        (5, "credited", 1),
        (6, "credited", 1),
    ]
