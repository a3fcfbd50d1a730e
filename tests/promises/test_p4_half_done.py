"""P2, P4, P8: SIGKILL in the middle of a database transaction leaves all of it or nothing.

A table is locked so that writes to it wait (SHARE mode: reading goes on). Once the daemon waits there, half of
its work done, it is killed; another one starts, and everything must be as if nothing had happened.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support import processes
from tests.support.books import assert_balanced, paid_to
from tests.support.running import FINAL, WITHDRAWAL_FEE, Player, Site, sat, strangers_address
from tests.support.traffic import answered

ALL_NODES = None
SEND = ["sendrawtransaction"]


@asynccontextmanager
async def write_locked(site: Site, table: str) -> AsyncIterator[None]:
    async with site.pool.acquire() as conn, conn.transaction():
        await conn.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield


async def until_waiting(site: Site, table: str) -> None:
    """Until the daemon waits to write to the table."""
    query = (
        "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
        "WHERE c.relname = $1 AND NOT l.granted"
    )

    async def there() -> bool:
        return bool(await site.pool.fetchval(query, table))

    await site.until(there)


async def replace_daemon(site: Site) -> None:
    """Kill it, and wait until Postgres has noticed; the next one is ready."""
    processes.kill(site.daemons[-1])
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cryptowatch'"

    async def gone() -> bool:
        return not await site.pool.fetchval(query)

    await site.until(gone)
    site.spawn_daemon()


async def paid_once(site: Site, player: Player, withdrawal: str, address: str) -> None:
    await site.mine_until_final([withdrawal])
    assert await paid_to(site, address) == [sat("0.2")]
    assert await player.balance() == Balance(total=sat("0.5") - sat("0.2") - WITHDRAWAL_FEE)
    assert await site.story(withdrawal) == ["requested", "queued", "sending", "confirmed", "finalized"]
    assert await site.pool.fetchval("SELECT count(*) FROM lineage") == 1
    await assert_balanced(site)


async def rich(site: Site) -> Player:
    """With exactly one coin: whatever is left reserved would be missed."""
    await site.start_processes()
    return await site.rich_player("0.5")


async def test_killed_while_reserving_coins(make_site: MakeSite) -> None:
    site, address = await make_site(), strangers_address()
    player = await rich(site)
    async with write_locked(site, "attempt"):
        withdrawal = await player.withdraw(sat("0.2"), address)
        await until_waiting(site, "attempt")
        processes.kill(site.daemons[-1])
    await replace_daemon(site)
    await site.until(site.is_ready)
    await paid_once(site, player, withdrawal, address)


async def test_killed_while_binding_payouts_to_their_transaction(make_site: MakeSite) -> None:
    site = await make_site(chains={"bitcoin": {"batching": {"wait_max_s": 1}}})
    address, player = strangers_address(), await rich(site)
    withdrawal = await player.withdraw(sat("0.2"), address)
    async with write_locked(site, "event"):
        await until_waiting(site, "event")
        processes.kill(site.daemons[-1])
    await replace_daemon(site)
    await site.until(site.is_ready)
    await paid_once(site, player, withdrawal, address)


async def test_killed_between_signature_and_commit_nothing_was_sent(make_site: MakeSite) -> None:
    """P4: what is not committed is not broadcast."""
    site, address = await make_site(), strangers_address()
    signer = site.spawn_signer()
    site.spawn_daemon()
    await site.until(site.is_ready)
    await site.until(site.cursor)
    player = await site.rich_player("0.5")
    processes.kill(signer)
    withdrawal = await player.withdraw(sat("0.2"), address)
    await site.reaches(withdrawal, "sending")
    async with write_locked(site, "attempt"):
        site.spawn_signer()
        await until_waiting(site, "attempt")
        assert await site.net.bitcoin[0].rpc("getrawmempool") == []
        processes.kill(site.daemons[-1])
    await replace_daemon(site)
    await site.until(site.is_ready)
    await paid_once(site, player, withdrawal, address)


async def test_killed_between_broadcast_and_its_record(make_site: MakeSite) -> None:
    site, address = await make_site(), strangers_address()
    player = await rich(site)
    await site.net.fault(ALL_NODES, "drop", methods=SEND)
    withdrawal = await player.withdraw(sat("0.2"), address)

    async def signed() -> bool:
        return bool(await site.pool.fetchval("SELECT count(*) FROM attempt WHERE raw IS NOT NULL"))

    await site.until(signed)
    async with write_locked(site, "attempt"):
        await site.net.clear_faults()
        await site.sent(withdrawal)
        await until_waiting(site, "attempt")
        processes.kill(site.daemons[-1])
    await replace_daemon(site)
    await site.until(site.is_ready)
    await paid_once(site, player, withdrawal, address)


async def test_killed_while_a_block_is_applied(make_site: MakeSite) -> None:
    site = await make_site()
    await site.start_processes()
    player = await site.player()
    await site.net.send(await player.address(), "0.5")
    await site.caught_up()
    before = await site.cursor()
    async with write_locked(site, "posting"):
        await site.net.mine(2)
        await until_waiting(site, "posting")
        assert await site.cursor() == before
        processes.kill(site.daemons[-1])
    assert await player.state_in_database() in (None, "detected")
    await replace_daemon(site)
    await site.until(site.is_ready)
    await site.mine()
    assert await player.balance() == Balance(total=sat("0.5"))
    assert (await player.story())[-2:] == ["credited", "finalized"]
    await assert_balanced(site)


async def test_killed_while_a_reorg_is_followed(make_site: MakeSite) -> None:
    site = await make_site()
    await site.start_processes()
    player, tx_hash = await site.deposited("0.5", 2)
    async with write_locked(site, "posting"):
        await site.net.reorg(2, drop=[tx_hash])
        await until_waiting(site, "posting")
        processes.kill(site.daemons[-1])
    assert await player.state_in_database() == "credited"
    await replace_daemon(site)
    await site.until(site.is_ready)
    await site.caught_up()
    await player.reaches("replaced")
    assert await player.balance() == Balance()
    assert await player.story() == ["detected", "credited", "reversed", "replaced"]


async def test_killed_while_a_payout_is_settled(make_site: MakeSite) -> None:
    site, address = await make_site(), strangers_address()
    player = await rich(site)
    withdrawal = await player.withdraw(sat("0.2"), address)
    await site.sent(withdrawal)
    await site.mine(FINAL - 1)
    async with write_locked(site, "posting"):
        await site.net.mine()
        await until_waiting(site, "posting")
        processes.kill(site.daemons[-1])
    await replace_daemon(site)
    await site.until(site.is_ready)
    await paid_once(site, player, withdrawal, address)


async def test_killed_while_a_request_is_answered(make_site: MakeSite) -> None:
    site, address = await make_site(), strangers_address()
    player = await rich(site)

    async def ask(key: str) -> str:
        done = await player.ask_withdrawal(sat("0.2"), address, idempotency_key=key)
        assert done.status == 202, done
        return str(done.body["id"])

    async with write_locked(site, "idempotency"):
        first = asyncio.create_task(ask("the same"))
        await until_waiting(site, "idempotency")
        processes.kill(site.daemons[-1])
        [outcome] = await asyncio.gather(first, return_exceptions=True)
        assert isinstance(outcome, aiohttp.ClientError)
    await replace_daemon(site)
    assert await site.pool.fetchval("SELECT count(*) FROM withdrawal") == 0
    again = await answered(lambda _: player.ask_withdrawal(sat("0.2"), address, idempotency_key="the same"))
    await paid_once(site, player, str(again.body["id"]), address)
