"""P7 on chains of accounts: what the nodes say that our accounts hold, against what their movements add up to."""

from tests.promises.conftest import MakeSite
from tests.support.ethereum import ETH, House, deposited, halted
from tests.support.running import Site


async def audited(site: Site, rounds: int = 3) -> None:
    """Until every account was looked at so many times more."""
    await site.polled(rounds, "accounts")


async def test_accounts_that_hold_what_their_movements_say_stop_nothing(evm_site: Site) -> None:
    await House(evm_site).opens()
    await deposited(evm_site, ETH, "2")
    await audited(evm_site)
    assert await halted(evm_site) is None


async def test_money_that_left_unseen_halts_payouts(evm_site: Site) -> None:
    """Made by saying that there was more: no honest chain takes money from an account unseen."""
    await House(evm_site).opens()
    await evm_site.pool.execute(
        "UPDATE holding SET amount = amount + 7 WHERE chain = 'ethereum' AND asset = 'ETH' AND account = "
        "(SELECT destination FROM address WHERE chain = 'ethereum' AND branch = 1 AND key_index = 0)"
    )

    async def there() -> str | None:
        return await halted(evm_site)

    assert await evm_site.until(there) == "7 base units of ETH left an account of ours unseen"
    # So that the books are right again for whatever looks at them next.
    await evm_site.pool.execute(
        "UPDATE holding SET amount = amount - 7 WHERE chain = 'ethereum' AND asset = 'ETH' AND account = "
        "(SELECT destination FROM address WHERE chain = 'ethereum' AND branch = 1 AND key_index = 0)"
    )


async def test_money_that_came_unseen_is_told_and_stops_nothing(make_evm_site: MakeSite) -> None:
    """Without traces, what a contract sends is not seen: it is credited to nobody."""
    site = await make_evm_site(chains={"ethereum": {"traces": False}})
    await site.start()
    await House(site).opens()
    player = await site.player(ETH)
    await site.net.send(await player.address(), "1", chain="ethereum")
    await site.mine(1, "ethereum")
    await site.net.send(await player.address(), "1.5", chain="ethereum", internal=True)
    await site.mine(6, "ethereum")
    await audited(site)
    assert len(await player.deposits()) == 1
    assert await halted(site) is None
