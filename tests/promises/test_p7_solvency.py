"""P7: what the chain holds is compared with what the books say, and a gap stops payouts before it pages."""

from cryptowatch.clock import SystemClock
from cryptowatch.treasury.reconcile import Reconciler, read_positions
from cryptowatch.treasury.solvency import Position
from tests.promises.conftest import MakeSite
from tests.support.running import FINAL, Site, sat, strangers_address
from tests.support.spending import script, signed, wallet_coins, wallet_keys


async def position(site: Site) -> Position:
    async with site.pool.acquire() as conn:
        (found,) = await read_positions(conn)
    return found


async def compare(site: Site) -> None:
    await Reconciler(site.pool, SystemClock(), lambda _: None).step()


async def halted(site: Site) -> str | None:
    reason: str | None = await site.pool.fetchval("SELECT halted FROM chain")
    return reason


async def test_p7_chain_and_books_agree_at_every_stage_of_deposits_and_payouts(site: Site) -> None:
    player = await site.rich_player("0.5", "0.6")
    assert (await position(site)).difference == 0
    other = await site.player()
    await site.net.send(await other.address(), "2")
    await site.mine()
    await other.reaches("confirming")
    found = await position(site)
    assert (found.uncredited, found.difference) == (sat("2"), 0)
    withdrawal = await player.withdraw(sat("0.2"), strangers_address(), priority="urgent")
    await site.sent(withdrawal)
    await site.mine()
    await site.reaches(withdrawal, "confirmed")
    found = await position(site)
    assert found.unsettled == sat("0.2")
    assert found.unbooked_fees > 0
    assert found.difference == 0
    await site.mine(FINAL)
    await site.reaches(withdrawal, "finalized")
    found = await position(site)
    assert (found.unsettled, found.unbooked_fees, found.difference) == (0, 0, 0)
    await compare(site)
    assert await halted(site) is None
    assert await site.story("bitcoin/BTC") == ["balanced"]


async def test_p7_coins_moved_by_a_thief_with_the_hot_key_halt_payouts_with_the_thiefs_block(
    make_site: MakeSite,
) -> None:
    site = await make_site()
    await site.start()
    player = await site.rich_player("0.5", "0.6")
    (first, *_) = await wallet_coins(site)
    taken = first.coin.amount
    _, raw = signed(wallet_keys(site), [first], [(script(strangers_address()), taken - 1_000)])
    await site.net.broadcast(raw)
    await site.mine()
    await site.caught_up()
    assert "not ours" in (await halted(site) or "")
    withdrawal = await player.withdraw(sat("0.01"), strangers_address(), priority="urgent")
    await site.polled(5)
    assert (await site.withdrawal(withdrawal))["state"] == "queued"
    await compare(site)
    assert (await position(site)).difference == -taken
    assert (await site.story("bitcoin/BTC"))[-1] == "mismatch"


async def test_p7_missing_money_halts_payouts_and_tells_once(make_site: MakeSite) -> None:
    site = await make_site()
    await site.start(roles=("watch", "send", "api"))
    await site.rich_player("0.5")
    await compare(site)
    assert await halted(site) is None
    await site.pool.execute("DELETE FROM coin")
    await compare(site)
    await compare(site)
    assert await halted(site) == f"{sat('0.5')} base units of BTC are missing on the chain"
    assert await site.story("bitcoin/BTC") == ["balanced", "mismatch"]
