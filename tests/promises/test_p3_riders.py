"""P3 when queued payouts join a replacement: whichever attempt a block takes, each is paid once."""

from typing import Any

from cryptowatch.chains.bitcoin.transaction import ReadTransaction
from tests.promises.conftest import MakeSite
from tests.promises.test_p3_bumps import BUMP_AFTER, IMPATIENT, attempts, coins_of, until_attempts
from tests.promises.test_p4_half_done import ALL_NODES, SEND, replace_daemon, until_waiting, write_locked
from tests.support import processes
from tests.support.books import assert_balanced, paid_to
from tests.support.running import FINAL, Site, merged, sat, strangers_address

CONFIRMED_ONLY: dict[str, Any] = {"chains": {"bitcoin": {"wallet": {"unconfirmed_depth_max": 0}}}}


async def joined(make_site: MakeSite) -> tuple[Site, list[str], list[str], list[ReadTransaction]]:
    """Two withdrawals, the second of which joined the first one's replacement; with their addresses and both attempts.

    The only coin is the first one's, and its change is not spent before a block holds it: alone, the second would have
    had to wait for one.
    """
    site = await make_site(**merged(IMPATIENT, CONFIRMED_ONLY))
    await site.start()
    player, addresses = await site.rich_player("0.9"), [strangers_address(), strangers_address()]
    first = await player.withdraw(sat("0.2"), addresses[0])
    await site.sent(first)
    second = await player.withdraw(sat("0.1"), addresses[1])
    await site.polled(5)
    assert (await site.withdrawal(second))["state"] == "queued"
    await site.mine_empty(BUMP_AFTER)
    [(old_fee, old), (new_fee, new)] = await until_attempts(site, 2)
    assert coins_of(old) == coins_of(new)
    assert new_fee >= old_fee + new.vsize
    await site.pending_everywhere(new.txid.hex())
    for withdrawal in (first, second):
        assert await site.sent(withdrawal) == new.txid.hex()
    return site, [first, second], addresses, [old, new]


async def raw_of(site: Site, number: int) -> str:
    raw = await site.pool.fetchval(
        "SELECT raw FROM attempt WHERE number = $1 ORDER BY created_at LIMIT 1", number
    )
    return str(raw.hex())


async def assert_paid_once(site: Site, addresses: list[str]) -> None:
    assert await paid_to(site, addresses[0]) == [sat("0.2")]
    assert await paid_to(site, addresses[1]) == [sat("0.1")]
    await assert_balanced(site)


async def test_a_queued_payout_joins_a_replacement_and_both_are_paid_by_it(make_site: MakeSite) -> None:
    site, withdrawals, addresses, [_, new] = await joined(make_site)
    await site.mine_empty(BUMP_AFTER)
    # Raised once more, it still pays both.
    [*_, (_, newest)] = await until_attempts(site, 3)
    assert coins_of(newest) == coins_of(new)
    await site.finished(*withdrawals)
    assert {(await site.withdrawal(one))["tx_hash"] for one in withdrawals} == {newest.txid.hex()}
    assert await site.story(withdrawals[1]) == ["requested", "queued", "sending", "confirmed", "finalized"]
    assert await site.pool.fetchval("SELECT count(*) FROM lineage") == 1
    await assert_paid_once(site, addresses)


async def test_when_the_attempt_from_before_is_mined_who_joined_is_paid_only_after_it_is_final(
    make_site: MakeSite,
) -> None:
    site, [first, second], addresses, [old, new] = await joined(make_site)
    await site.mine_only([await raw_of(site, 1)])
    await site.reaches(first, "confirmed")
    await site.mine_empty(FINAL - 2)
    await site.polled(10)
    # Whoever has the newer attempt could still bring it in by a reorg: nothing else pays the second one until then.
    assert (await site.withdrawal(second))["state"] == "sending"
    assert await site.pool.fetchval("SELECT count(*) FROM lineage") == 1
    await site.gauge("payouts_stopped", {"bitcoin": 0}, asset="BTC")
    await site.mine_empty()
    await site.reaches(first, "finalized")
    await site.finished(second)
    assert (await site.story(second))[2:] == ["sending", "queued", "sending", "confirmed", "finalized"]
    rows = await site.pool.fetch("SELECT void FROM attempt WHERE tx_hash = ANY($1)", [old.txid, new.txid])
    assert sorted(row["void"] for row in rows) == [False, True]
    await assert_paid_once(site, addresses)


async def test_a_reorg_that_brings_in_the_other_attempt_pays_nobody_twice(make_site: MakeSite) -> None:
    site, [first, second], addresses, [old, new] = await joined(make_site)
    newer, older = await raw_of(site, 2), await raw_of(site, 1)
    await site.mine()
    await site.reaches(second, "confirmed")
    # Within one step of the chain the older one takes its place: it pays the first alone.
    await site.reorg(1, drop=[new.txid.hex()], include=[older])
    await site.reaches(second, "sending")
    assert await site.pool.fetchval("SELECT tx_hash FROM lineage") == old.txid
    # And back again.
    await site.reorg(2, drop=[old.txid.hex()], include=[newer])
    await site.reaches(second, "confirmed")
    assert await site.pool.fetchval("SELECT tx_hash FROM lineage") == new.txid
    # The last word is the older one's.
    await site.reorg(3, drop=[new.txid.hex()], include=[older])
    await site.reaches(second, "sending")
    await site.stop_daemon()
    await site.net.mine(FINAL)
    await site.start_daemon()
    await site.reaches(first, "finalized")
    await site.finished(second)
    assert await site.pool.fetchval("SELECT count(*) FROM withdrawal WHERE state = 'finalized'") == 2
    await assert_paid_once(site, addresses)
    assert len(await attempts(site)) == 3


async def test_killed_before_the_replacement_is_committed_and_before_it_is_sent(make_site: MakeSite) -> None:
    """P4: first nobody has joined, then the committed bytes are sent, and no others."""
    site, addresses = (
        await make_site(**merged(IMPATIENT, CONFIRMED_ONLY)),
        [strangers_address(), strangers_address()],
    )
    await site.start_processes()
    player = await site.rich_player("0.9")
    withdrawals = [await player.withdraw(sat("0.2"), addresses[0])]
    await site.sent(withdrawals[0])
    withdrawals.append(await player.withdraw(sat("0.1"), addresses[1]))
    async with write_locked(site, "attempt"):
        await site.mine_empty(BUMP_AFTER)
        await until_waiting(site, "attempt")
        await site.net.fault(ALL_NODES, "drop", methods=SEND)
        processes.kill(site.daemons[-1])
    states = await site.pool.fetch("SELECT state FROM withdrawal ORDER BY id")
    assert [row["state"] for row in states] == ["sending", "queued"]
    await replace_daemon(site)
    [_, (_, joint)] = await until_attempts(site, 2)
    processes.kill(site.daemons[-1])
    states = await site.pool.fetch("SELECT state FROM withdrawal ORDER BY id")
    assert [row["state"] for row in states] == ["sending", "sending"]
    assert not await site.is_pending(joint.txid.hex())
    await site.net.clear_faults()
    await replace_daemon(site)
    await site.until(site.is_ready)
    await site.pending_everywhere(joint.txid.hex())
    await site.finished(*withdrawals)
    assert len(await attempts(site)) == 2
    await assert_paid_once(site, addresses)
