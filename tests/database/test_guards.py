"""What the database itself refuses, whoever asks and however."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from cryptowatch.db.pool import Connection, Pool, connection
from cryptowatch.ledger.rules import EFFECTS, Kind
from tests.database.world import NOW, World


async def test_the_database_and_the_rules_say_the_same_of_every_kind(pool: Pool) -> None:
    query = "SELECT kind, total_sign, unfinalized_sign, held_sign, floor, resolves FROM posting_kind"
    async with connection(pool) as conn:
        stored = {row[0]: (*row[1:5], frozenset(row[5] or ())) for row in await conn.fetch(query)}
    assert stored == {
        kind: (effect.total, effect.unfinalized, effect.held, effect.floor, effect.resolves)
        for kind, effect in EFFECTS.items()
    }


@pytest.mark.parametrize("table", ["posting", "ledger_account"])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET asset = asset", "DELETE FROM {}", "TRUNCATE {} CASCADE"]
)
async def test_p1_history_cannot_be_changed_not_even_with_triggers_for_replicas(
    world: World, table: str, statement: str
) -> None:
    await world.player(final=10)
    async with connection(world.pool) as conn:
        for role in ("origin", "replica"):
            await conn.execute(f"SET session_replication_role = {role}")
            with pytest.raises(asyncpg.PostgresError, match="append-only"):
                await conn.execute(statement.format(table))
        await conn.execute("RESET session_replication_role")
    await world.assert_sound()


@pytest.mark.parametrize(
    "change",
    ["UPDATE customer_balance SET unfinalized = -1", "UPDATE customer_balance SET held = -1"],
)
async def test_a_part_of_a_balance_is_never_negative(world: World, change: str) -> None:
    await world.player(final=10)
    async with connection(world.pool) as conn:
        with pytest.raises(asyncpg.CheckViolationError):
            await conn.execute(change)


async def test_p2_a_key_and_a_resolution_are_unique_in_the_table_itself(world: World) -> None:
    player = await world.player(final=10)
    hold = await world.done(Kind.HOLD, player, 5)
    await world.done(Kind.HOLD_RELEASE, player, 5, resolves=hold)
    columns = "customer, version, resolves, created_at, amount, kind, asset"
    async with connection(world.pool) as conn:
        for key, index in [("key", "posting_key"), ("key || 'x'", "posting_resolved")]:
            copy = f"INSERT INTO posting (key, {columns}) SELECT {key}, {columns} FROM posting"
            with pytest.raises(asyncpg.UniqueViolationError, match=index):
                await conn.execute(f"{copy} WHERE kind = 'hold_release'")


async def test_p3_a_coin_is_reserved_by_a_lineage_that_is_there_and_no_lineage_goes_away(pool: Pool) -> None:
    coin = "INSERT INTO coin (chain, resource, amount, destination, reserved_by) VALUES ('bitcoin', $1, 1, '', $2)"
    lineage, nobody = uuid4(), uuid4()
    async with connection(pool) as conn:
        await conn.execute(
            "INSERT INTO lineage (id, chain, kind, state, priority, created_at, updated_at) "
            "VALUES ($1, 'bitcoin', 'payout', 'open', 'normal', $2, $2)",
            lineage,
            NOW,
        )
        await conn.execute(coin, b"1", lineage)
        await conn.execute(coin, b"2", None)
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await conn.execute(coin, b"3", nobody)
        for role in ("origin", "replica"):
            await conn.execute(f"SET session_replication_role = {role}")
            with pytest.raises(asyncpg.ForeignKeyViolationError):
                await conn.execute("UPDATE coin SET reserved_by = $1", nobody)
            for statement in (
                "DELETE FROM lineage",
                "TRUNCATE lineage CASCADE",
                "UPDATE lineage SET id = uuidv7()",
            ):
                with pytest.raises(asyncpg.PostgresError, match="keeps its rows"):
                    await conn.execute(statement)
        await conn.execute("RESET session_replication_role")


_BLOCK: Mapping[str, Any] = {"block_height": 7, "block_hash": b"b"}
_OF_ITS_STATE: Mapping[str, Mapping[str, Any]] = {
    "detected": {},
    "confirming": _BLOCK,
    "credited": {**_BLOCK, "due_height": 9},
    "finalized": _BLOCK,
    "reversed": {},
    "replaced": {},
    "quarantined": {"quarantine": "below_minimum"},
}


async def _insert_deposit(conn: Connection, columns: Mapping[str, Any]) -> None:
    row: dict[str, Any] = {"id": uuid4(), "account_id": uuid4(), "tx_hash": uuid4().bytes, "destination": b""}
    row |= {"position": 0, "chain": "bitcoin", "asset": "BTC", "amount": 1, "version": 1}
    row |= {"credit_confirmations": 1, "finalize_confirmations": 3, "created_at": NOW, "updated_at": NOW}
    row |= columns
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await conn.execute(f"INSERT INTO deposit ({', '.join(row)}) VALUES ({places})", *row.values())


@pytest.mark.parametrize("state", _OF_ITS_STATE)
async def test_a_deposit_stands_in_a_block_and_waits_as_its_state_says_and_not_otherwise(
    pool: Pool, state: str
) -> None:
    own: dict[str, Any] = {"state": state, **_OF_ITS_STATE[state]}
    in_a_block = state in ("confirming", "credited", "finalized")
    elsewhere = dict.fromkeys(_BLOCK) if in_a_block else dict(_BLOCK)
    wrong: list[dict[str, Any]] = [
        {"quarantine": None if state == "quarantined" else "below_minimum"},
        {"block_hash": None if in_a_block else b"b"},
        {"block_height": None if in_a_block else 7},
        {"amount": 0},
        {"credit_confirmations": 0},
        {"finalize_confirmations": 0},
        {"state": state.upper()},
    ]
    wrong += [{"due_height": None}] if state == "credited" else []
    wrong += [] if state == "quarantined" else [elsewhere]
    async with connection(pool) as conn:
        for change in wrong:
            with pytest.raises(asyncpg.CheckViolationError, match="deposit_shape"):
                await _insert_deposit(conn, own | change)
        await _insert_deposit(conn, own)
        if state == "quarantined":
            await _insert_deposit(conn, own | elsewhere)
