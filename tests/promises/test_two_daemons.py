"""Two daemons on one database: work may be wasted, and every promise is kept. Safety rests on no lease."""

import asyncio
import random
import secrets

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support import processes
from tests.support.books import assert_balanced, paid_to
from tests.support.running import FINAL, WITHDRAWAL_FEE, Site, sat, strangers_address


async def twins(make_site: MakeSite) -> Site:
    """A site with two daemons; the test talks to the first one's API."""
    site = await make_site()
    await site.start_processes()
    port = site.hold_port()
    site.spawn_daemon(site.write_settings("second.toml", port))
    await site.until(lambda: site.is_ready(port))
    return site


async def test_each_deposit_is_credited_once_and_each_event_told_once(make_site: MakeSite) -> None:
    site = await twins(make_site)
    player = await site.player()
    for number in range(1, 6):
        await site.net.send(await player.address(), f"0.{number}")
        await site.net.mine()
    await site.mine(FINAL)
    assert await player.balance() == Balance(total=sat("1.5"))
    for deposit in await player.deposits():
        assert (await site.story(deposit["id"]))[-2:] == ["credited", "finalized"]
    await assert_balanced(site)


async def test_a_withdrawal_is_paid_once_and_seen_in_its_block_whoever_applies_it(
    make_site: MakeSite,
) -> None:
    site = await twins(make_site)
    player = await site.rich_player("0.3", "0.4", "0.5")
    # One after the other: each uses coins that either daemon may have recorded.
    asked = []
    for _ in range(4):
        address = strangers_address()
        withdrawal = await player.withdraw(sat("0.1"), address)
        await site.sent(withdrawal)
        await site.mine()
        await site.reaches(withdrawal, "confirmed")
        assert await paid_to(site, address) == [sat("0.1")]
        asked.append(withdrawal)
    await site.mine(FINAL)
    for withdrawal in asked:
        await site.reaches(withdrawal, "finalized")
    await assert_balanced(site)


async def test_many_withdrawals_at_once_are_each_paid_once(make_site: MakeSite) -> None:
    site = await twins(make_site)
    player = await site.rich_player(*["0.2"] * 10)
    wanted = {strangers_address(): 100_000 + number for number in range(30)}
    asked = await asyncio.gather(*(player.withdraw(amount, address) for address, amount in wanted.items()))
    await site.mine_until_final(asked)
    for address, amount in wanted.items():
        assert await paid_to(site, address) == [amount]
    total = sat("2") - sum(wanted.values()) - 30 * WITHDRAWAL_FEE
    assert await player.balance() == Balance(total=total)
    await assert_balanced(site)


async def test_reorgs_are_followed_once_and_a_survivor_goes_on_alone(make_site: MakeSite) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    site = await twins(make_site)
    player, expected = await site.player(), 0
    for number in range(8):
        amount = chance.randrange(10_000, 1_000_000)
        tx_hash = await site.net.send(await player.address(), f"0.{amount:08}")
        await site.net.mine()
        if chance.random() < 0.5:
            await site.net.reorg(1, drop=[tx_hash])
        else:
            await site.net.reorg(chance.choice([1, 2]))
            expected += amount
        if number == 5:
            processes.kill(site.daemons[1])
    await site.mine(FINAL)
    assert await player.balance() == Balance(total=expected)
    reorgs = await site.pool.fetchval("SELECT count(*) FROM event WHERE type = 'chain.reorged'")
    assert reorgs <= 8
    await assert_balanced(site)
