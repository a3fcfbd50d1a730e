"""P3 when payouts spend change that no block holds: each pays once, whatever becomes of the one before it."""

from decimal import Decimal
from typing import Any

from tests.promises.conftest import MakeSite
from tests.promises.test_p3_bumps import BUMP_AFTER, IMPATIENT, stuck, until_attempts
from tests.support import processes
from tests.support.books import assert_balanced, paid_to
from tests.support.running import FINAL, Site, merged, node_sat, sat, strangers_address

DEPTH = 3
#: One part of change each, so that payouts stand above one another.
LINE: dict[str, Any] = {"chains": {"bitcoin": {"wallet": {"change": {"outputs_max": 1}}}}}


async def line(site: Site, count: int) -> tuple[list[str], list[str], list[str]]:
    """So many payouts from a single coin without a block between them: ids, addresses, transactions."""
    player = await site.rich_player("1")
    addresses = [strangers_address() for _ in range(count)]
    withdrawals, transactions = [], []
    for address in addresses:
        withdrawals.append(await player.withdraw(sat("0.1"), address))
        transactions.append(await site.sent(withdrawals[-1]))
    return withdrawals, addresses, transactions


async def raw_of(site: Site, number: int) -> str:
    raw = await site.pool.fetchval(
        "SELECT raw FROM attempt WHERE number = $1 ORDER BY created_at LIMIT 1", number
    )
    return str(raw.hex())


async def assert_paid(site: Site, addresses: list[str]) -> None:
    for address in addresses:
        assert await paid_to(site, address) == [sat("0.1")]
    await assert_balanced(site)


async def test_four_payouts_leave_from_one_coin_before_a_block_and_the_fifth_waits_for_it(
    make_site: MakeSite,
) -> None:
    site = await make_site(**LINE)
    await site.start()
    withdrawals, addresses, transactions = await line(site, 1 + DEPTH)
    entry = await site.net.bitcoin[0].rpc("getmempoolentry", transactions[-1])
    assert entry["ancestorcount"] == 1 + DEPTH
    player = await site.player()
    assert (await player.transfer("win", sat("0.5"))).status == 201
    addresses.append(strangers_address())
    withdrawals.append(await player.withdraw(sat("0.1"), addresses[-1]))
    await site.polled(5)
    assert (await site.withdrawal(withdrawals[-1]))["state"] == "queued"
    await site.mine()
    await site.finished(withdrawals[-1])
    await assert_paid(site, addresses)
    for withdrawal in withdrawals:
        assert (await site.withdrawal(withdrawal))["state"] == "finalized"


async def test_a_line_that_no_block_takes_is_raised_through_its_last_which_pays_for_all(
    make_site: MakeSite,
) -> None:
    site = await make_site(**merged(LINE, IMPATIENT))
    await site.start()
    withdrawals, addresses, transactions = await line(site, 3)
    before = await site.net.bitcoin[0].rpc("getmempoolentry", transactions[-1])
    await site.mine_empty(BUMP_AFTER)
    made = await until_attempts(site, 4)
    newest = made[-1][1].txid.hex()
    await site.pending_everywhere(newest)
    entry = await site.net.bitcoin[0].rpc("getmempoolentry", newest)
    assert (entry["ancestorcount"], entry["descendantcount"]) == (3, 1)
    old, new = (
        node_sat(Decimal(one["fees"]["ancestor"])) * 1000 // one["ancestorsize"] for one in (before, entry)
    )
    assert new >= old + 1000
    assert await site.is_pending(transactions[0]) and await site.is_pending(transactions[1])
    assert not await site.is_pending(transactions[2])
    await site.finished(*withdrawals)
    await assert_paid(site, addresses)


async def test_a_reorg_of_the_whole_line_pays_everybody_once_all_the_same(make_site: MakeSite) -> None:
    site = await make_site(**LINE)
    await site.start()
    withdrawals, addresses, transactions = await line(site, 3)
    await site.mine()
    for withdrawal in withdrawals:
        await site.reaches(withdrawal, "confirmed")
    await site.reorg(1, drop=transactions)
    for tx_hash in transactions:
        await site.pending_everywhere(tx_hash)
    await site.finished(*withdrawals)
    await assert_paid(site, addresses)


async def test_the_child_of_an_attempt_that_lost_is_paid_once_by_a_new_transaction(
    make_site: MakeSite,
) -> None:
    site, first, second = await make_site(**merged(LINE, IMPATIENT)), strangers_address(), strangers_address()
    await site.start()
    parent = await stuck(site, sat("0.1"), first, "0.9")
    player = await site.player()
    assert (await player.transfer("win", sat("0.5"))).status == 201
    child = await player.withdraw(sat("0.1"), second)
    lost = await site.sent(child)
    await site.mine_only([await raw_of(site, 1)])
    await site.reaches(parent, "confirmed")
    assert not await site.is_pending(lost)
    assert (await site.withdrawal(child))["state"] == "sending"
    await site.mine(FINAL - 2)
    assert (await site.withdrawal(child))["state"] == "sending"
    await site.mine(1)
    await site.finished(child)
    assert (await site.withdrawal(child))["tx_hash"] != lost
    assert (await site.story(child))[2:] == ["sending", "queued", "sending", "confirmed", "finalized"]
    await assert_paid(site, [first, second])


async def test_killed_between_a_parent_and_its_child_and_again_with_the_child_sent_to_nobody(
    make_site: MakeSite,
) -> None:
    site = await make_site(**LINE)
    signer = site.spawn_signer()
    daemon = site.spawn_daemon()
    await site.until(site.is_ready)
    await site.until(site.cursor)
    player, addresses = await site.rich_player("1"), [strangers_address(), strangers_address()]
    first = await player.withdraw(sat("0.1"), addresses[0])
    parent = await site.sent(first)
    processes.kill(signer)
    second = await player.withdraw(sat("0.1"), addresses[1])

    async def signed() -> list[bool]:
        rows = await site.pool.fetch("SELECT raw FROM attempt ORDER BY created_at")
        return [row["raw"] is not None for row in rows]

    async def is_planned() -> bool:
        return await signed() == [True, False]

    async def is_signed() -> bool:
        return await signed() == [True, True]

    await site.until(is_planned)
    processes.kill(daemon)
    await site.net.fault(None, "drop", methods=["sendrawtransaction"])
    site.spawn_signer()
    daemon = site.spawn_daemon()
    await site.until(is_signed)
    processes.kill(daemon)
    await site.net.clear_faults()
    site.spawn_daemon()
    await site.until(site.is_ready)
    child = await site.sent(second)
    assert (await site.net.bitcoin[0].rpc("getmempoolentry", child))["depends"] == [parent]
    await site.finished(first, second)
    assert await site.pool.fetchval("SELECT count(*) FROM attempt") == 2
    await assert_paid(site, addresses)
