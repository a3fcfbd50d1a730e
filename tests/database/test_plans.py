"""Plans that were made for empty tables, and are kept until Postgres has analyzed them, read no table per row."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from cryptowatch.chains.port import Transfer
from cryptowatch.db.pool import Connection, Pool, connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.listing import Filter, list_deposits
from cryptowatch.deposits.machine import State
from cryptowatch.deposits.sighting import our_destinations
from cryptowatch.ledger.consumers import look, take
from cryptowatch.ledger.events import read_events
from cryptowatch.money import BaseUnits
from cryptowatch.webhooks.deliveries import Claimed, Finished, arrive, finish, release
from cryptowatch.webhooks.machine import Answered, Verdict
from cryptowatch.webhooks.machine import State as DeliveryState

PAYOUTS, REFERRALS = (
    load_queries("cryptowatch.payouts", "worker.sql"),
    load_queries("cryptowatch.referrals", "facts.sql"),
)
NOW, CHAIN, PROGRAMME = datetime(2026, 1, 1, tzinfo=UTC), "bitcoin", UUID(int=7)
ROWS = 300
#: As often a plan is made for the values at hand before Postgres keeps one for all of them.
PLANNED_ANEW = 6
_FILLERS: Mapping[str, str] = {
    "uuid": "gen_random_uuid()",
    "text": "'x'",
    "bytea": "decode(md5('b' || n), 'hex')",
    "timestamp with time zone": "now()",
    "json": "'{}'",
    "boolean": "false",
}
_READ = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int FROM pg_stat_xact_user_tables WHERE relname = $1"
_NEEDED = """
SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1
    AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO' AND is_generated = 'NEVER'
"""
_CHECKS = """
SELECT conrelid::regclass AS its_table, conname FROM pg_constraint
WHERE contype = 'c' AND conrelid = ANY ('{deposit,referral,lineage,withdrawal}'::regclass[])
"""


@pytest_asyncio.fixture
async def lax(pool: Pool) -> AsyncIterator[Connection]:
    """A connection to a database that takes rows without what belongs to them, and is not analyzed."""
    async with connection(pool) as conn:
        await conn.execute("SET session_replication_role = replica")
        for table, check in await conn.fetch(_CHECKS):
            await conn.execute(f"ALTER TABLE {table} DROP CONSTRAINT {check}")
        for table in (
            "deposit",
            "referral",
            "lineage",
            "withdrawal",
            "account",
            "event",
            "event_position",
            "webhook_delivery",
        ):
            await conn.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        yield conn


async def fill(
    conn: Connection, table: str, given: Mapping[str, str], first: int = 1, last: int = ROWS
) -> None:
    """Rows by expressions of n; columns that must be there and do not matter get anything."""
    needed = {
        row["column_name"]: _FILLERS.get(row["data_type"], "1") for row in await conn.fetch(_NEEDED, table)
    }
    columns = {**needed, **given}
    await conn.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
        f"FROM generate_series({first}, {last}) n"
    )


async def test_payouts_that_are_on_their_way_are_followed_by_indexes(lax: Connection) -> None:
    async def follow() -> int:
        async with lax.transaction():
            await lax.execute(PAYOUTS["by_indexes"])
            assert await lax.fetch(PAYOUTS["unbind_dead"], CHAIN, "queued", NOW) == []
            assert await lax.fetch(PAYOUTS["unbind_refused"], CHAIN, "in_review", "queued", NOW) == []
            return int(await lax.fetchval(_READ, "lineage"))

    for _ in range(PLANNED_ANEW):
        await follow()
    own = {"chain": f"'{CHAIN}'"}
    await fill(lax, "lineage", {**own, "id": "md5('l' || n)::uuid", "state": "'open'"})
    await fill(lax, "withdrawal", {**own, "state": "'sending'", "lineage_id": "md5('l' || n)::uuid"})
    assert await follow() < 5 * ROWS


async def test_what_may_change_of_referrals_is_found_among_each_accounts_own_deposits(
    lax: Connection,
) -> None:
    async def lock(accounts: list[UUID]) -> tuple[int, int]:
        """How many there are, and how many deposits were read for them."""
        async with lax.transaction():
            await lax.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            found = await lax.fetch(REFERRALS["lock_referrals"], accounts, [PROGRAMME], [1], ["BTC"], [1])
            return len(found), int(await lax.fetchval(_READ, "deposit"))

    await lock([PROGRAMME])
    account, day_before = {"account_id": "md5('a' || n)::uuid"}, f"'{NOW - timedelta(days=1)}'"
    await fill(lax, "account", {"id": account["account_id"], "external_id": "'x' || n"})
    deposited = {"state": "'finalized'", "asset": "'BTC'", "amount": "5", "created_at": f"'{NOW}'"}
    await fill(lax, "deposit", {**account, **deposited})
    referred = {"state": "'pending'", "programme_id": f"'{PROGRAMME}'", "ancestors": "'{}'::uuid[]"}
    await fill(lax, "referral", {**account, **referred, "terms_version": "1", "attributed_at": day_before})
    accounts = [row["id"] for row in await lax.fetch("SELECT id FROM account")]
    count, read = await lock(accounts)
    assert count == ROWS
    assert read < 5 * ROWS


async def test_a_portion_of_the_feed_is_read_without_the_rest_of_it(lax: Connection) -> None:
    async def read_both(limit: int = 1) -> int:
        async with lax.transaction():
            portion = await look(lax, "reader", ["x"], limit)
            assert portion == await take(lax, "reader", ["x"], limit)
            return sum([await lax.fetchval(_READ, table) for table in ("event", "event_position")])

    tables = {
        "event": {"id": "n", "entity_id": "n::text"},
        "event_position": {"position": "n", "event_id": "n"},
    }
    await lax.execute("INSERT INTO consumer (name, position) VALUES ('reader', 0)")
    for table, columns in tables.items():
        await fill(lax, table, columns, last=6)
    # Of six rows on one page Postgres reads them all, for each that it looks up.
    await lax.execute("VACUUM ANALYZE event, event_position")
    for _ in range(PLANNED_ANEW):
        await read_both()
    for table, columns in tables.items():
        await fill(lax, table, columns, first=7)
    assert await read_both(ROWS // 10) < ROWS


@pytest.mark.parametrize("until", [None, ROWS + 20], ids=["to the end", "up to a position"])
@pytest.mark.parametrize(("account", "every"), [(None, 1), (PROGRAMME, 10)], ids=["of all", "of one account"])
async def test_a_page_of_the_feed_is_read_without_the_rest_of_it(
    lax: Connection, account: UUID | None, every: int, until: int | None
) -> None:
    """All events were of the one account when the plan was made, later it has each tenth."""

    async def read(after: int, limit: int) -> tuple[int, int]:
        """How many events, and rows that were read for them."""
        async with lax.transaction():
            events = await read_events(lax, after, limit, account_id=account, until=until)
            read = [await lax.fetchval(_READ, table) for table in ("event", "event_position")]
            return len(events), sum(read)

    whose = f"CASE WHEN n <= {ROWS} OR n % 10 = 0 THEN '{PROGRAMME}' ELSE md5('o' || n) END::uuid"
    tables = {
        "event": {"id": "n", "entity_id": "n::text", "account_id": whose},
        "event_position": {"position": "n", "event_id": "n", "account_id": whose},
    }
    for table, columns in tables.items():
        await fill(lax, table, columns)
    await lax.execute("VACUUM ANALYZE event, event_position")
    for _ in range(PLANNED_ANEW):
        await read(0, 1)
    for table, columns in tables.items():
        await fill(lax, table, columns, first=ROWS + 1, last=3 * ROWS)
    for limit in (10, ROWS):
        found = min(limit, (2 * ROWS if until is None else 20) // every)
        count, rows_read = await read(ROWS, limit)
        assert count == found
        assert rows_read <= 4 * found + 20


@pytest.mark.parametrize("account", [None, PROGRAMME], ids=["of all", "of one account"])
async def test_a_page_holds_the_types_asked_for_and_no_others(lax: Connection, account: UUID | None) -> None:
    whose = f"CASE WHEN n % 2 = 0 THEN '{PROGRAMME}' ELSE md5('o' || n) END::uuid"
    told = {"id": "n", "entity_id": "n::text", "account_id": whose, "type": "'t' || n % 3"}
    await fill(lax, "event", told, last=30)
    await fill(lax, "event_position", {"position": "n", "event_id": "n", "account_id": whose}, last=30)
    for types in (None, [], ["t1"], ["t0", "t2"], ["unknown"]):
        for limit, until in ((100, None), (3, None), (100, 12)):
            expected = [
                n
                for n in range(5, (until or 30) + 1)
                if (account is None or n % 2 == 0) and (types is None or f"t{n % 3}" in types)
            ]
            events = await read_events(lax, 4, limit, types, account, until)
            assert [event.position for event in events] == expected[:limit]


@pytest.mark.parametrize("before", [PLANNED_ANEW, 10 * ROWS], ids=["new", "all arrived"])
@pytest.mark.parametrize("outcome", ["arrived", "failed", "given back"])
async def test_outcomes_reach_their_deliveries_without_a_look_at_what_else_waits(
    lax: Connection, outcome: str, before: int
) -> None:
    """The plan is one of when nothing waited, of few or of many; Postgres had analyzed the table then."""
    endpoint = UUID(int=9)

    async def write(first: int, last: int) -> int:
        """Of so many deliveries; how many rows were read for them."""
        ids = [UUID(hashlib.md5(f"d{n}".encode()).hexdigest()) for n in range(first, last + 1)]
        claimed = [Claimed(id_, endpoint, 1, "", "", b"", (), NOW) for id_ in ids]
        failed = [Finished(one, Answered(500), Verdict(DeliveryState.PENDING, wait_s=9)) for one in claimed]
        async with lax.transaction():
            if outcome == "given back":
                await release(lax, claimed)
            elif outcome == "failed":
                assert await finish(lax, failed, {endpoint}, timedelta(days=1), NOW) == 0
            else:
                arrived = Verdict(DeliveryState.DELIVERED)
                await arrive(lax, [Finished(one, Answered(200), arrived) for one in claimed], NOW)
            return int(await lax.fetchval(_READ, "webhook_delivery"))

    own = {"id": "md5('d' || n)::uuid", "endpoint_id": f"'{endpoint}'", "attempts": "1", "position": "n"}
    own |= {"entity_id": "'e' || n"}
    await fill(lax, "webhook_delivery", {**own, "state": "'delivered'"}, last=before)
    await lax.execute("VACUUM ANALYZE webhook_delivery")
    for n in range(1, PLANNED_ANEW + 1):
        await write(n, n)
    await fill(lax, "webhook_delivery", {**own, "state": "'pending'"}, before + 1, before + 5 * ROWS)
    assert await write(before + 2 * ROWS, before + 3 * ROWS - 1) <= 2 * ROWS
    written = "state <> 'pending' OR attempts <> 1 OR last_status = 500"
    changed = f"SELECT count(*) FROM webhook_delivery WHERE position > {before} AND ({written})"
    assert await lax.fetchval(changed) == ROWS


@pytest.mark.parametrize("known", ["as it is", "when none was final"])
@pytest.mark.parametrize("state", ["credited", "finalized", "quarantined"])
async def test_a_page_of_deposits_of_one_state_is_listed_without_reading_all_of_them(
    lax: Connection, state: str, known: str
) -> None:
    """Nearly all are final, some wait, and one in a hundred is of a rare state; and what Postgres knows of it."""
    states = "CASE WHEN n % 100 = 0 THEN 'quarantined' WHEN n % 50 = 1 THEN 'credited' ELSE 'finalized' END"
    own = {"id": "md5('d' || n)::uuid", "destination": "decode(md5('b' || n), 'hex')", "chain": f"'{CHAIN}'"}
    waits = {"state": states, "due_height": "CASE WHEN n % 50 = 1 THEN 9 END"}
    await fill(lax, "deposit", {**own, **waits, "tx_hash": own["destination"]}, last=10 * ROWS)
    await fill(
        lax,
        "address",
        {"destination": own["destination"], "chain": own["chain"], "key_index": "n"},
        last=10 * ROWS,
    )
    if known == "when none was final":
        await lax.execute("UPDATE deposit SET state = 'detected' WHERE state = 'finalized'")
        await lax.execute("VACUUM ANALYZE deposit, address")
        await lax.execute("UPDATE deposit SET state = 'finalized' WHERE state = 'detected'")
    else:
        await lax.execute("VACUUM ANALYZE deposit, address")
    async with lax.transaction():
        read_before = await lax.fetchval(_READ, "deposit")
        rows = await list_deposits(lax, Filter(state=State(state)), limit=10, before=None)
        read = await lax.fetchval(_READ, "deposit") - read_before
    assert [row["state"] for row in rows] == [state] * 10
    assert sorted((row["id"] for row in rows), reverse=True) == [row["id"] for row in rows]
    assert read <= ROWS // 3


async def test_whose_a_full_blocks_addresses_are_is_asked_in_time_by_its_size_and_not_by_its_square(
    lax: Connection,
) -> None:
    paid = 5_000

    async def whose(transfers: Sequence[Transfer]) -> int:
        """How many rows of the ledger's accounts were read to find the players of these."""
        async with lax.transaction():
            owners = await our_destinations(lax, CHAIN, "BTC", transfers)
            assert [owner["ledger_account"] is not None for owner in owners.values()] == [True] * len(owners)
            assert len(owners) == (0 if len(transfers) == 1 else paid)
            return int(await lax.fetchval(_READ, "ledger_account"))

    for table in ("address", "ledger_account"):
        await lax.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    for _ in range(PLANNED_ANEW):
        await whose([Transfer(b"", 0, b"", "BTC", BaseUnits(1))])
    account = "md5('a' || n)::uuid"
    await fill(lax, "account", {"id": account, "external_id": "'x' || n"}, last=paid)
    own = {"chain": f"'{CHAIN}'", "destination": "int4send(n)", "account_id": account, "key_index": "n"}
    await fill(lax, "address", {**own, "branch": "0", "assigned_at": "now()"}, last=paid)
    player = {"owner_kind": "'player'", "owner_id": account, "role": "'main'", "asset": "'BTC'"}
    await fill(lax, "ledger_account", player, last=paid)
    transfers = [Transfer(b"", n, n.to_bytes(4, "big"), "BTC", BaseUnits(1)) for n in range(1, paid + 1)]
    assert await whose(transfers) < 5 * paid
