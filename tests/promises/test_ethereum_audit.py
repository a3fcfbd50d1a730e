"""P7 on chains of accounts: what the nodes say that our accounts hold, against what their movements add up to."""

from tests.promises.conftest import MakeSite
from tests.support.ethereum import ETH, USDT, House, deposited, halted, settled, stranger
from tests.support.running import Site


async def audited(site: Site, rounds: int = 3) -> None:
    """Until every account was looked at so many times more."""
    await site.polled(rounds, "accounts")


async def test_accounts_that_hold_what_their_movements_say_stop_nothing(evm_site: Site) -> None:
    await House(evm_site).opens()
    await deposited(evm_site, ETH, "2")
    await audited(evm_site)
    assert await halted(evm_site) is None


async def test_money_that_left_unseen_stops_payouts_of_that_asset_until_it_is_explained(
    evm_site: Site,
) -> None:
    """Made by changing the nodes' state: no honest chain takes money from an account unseen."""
    house = House(evm_site)
    await house.opens()
    player = await house.serves(ETH, "2")
    tokens = await house.serves(USDT, "50")
    await take_unseen(house, 7)

    async def stopped() -> list[str]:
        assets: list[str] = await evm_site.pool.fetchval(
            "SELECT stopped_assets FROM chain WHERE chain = 'ethereum'"
        )
        return assets

    await evm_site.until(stopped)
    assert await stopped() == ["ETH"]
    assert await halted(evm_site) is None
    waits = await player.withdraw(ETH.units("0.5"), stranger(), priority="urgent")
    goes = await tokens.withdraw(USDT.units("20"), stranger(), priority="urgent")
    await settled(evm_site, [goes])
    assert (await evm_site.withdrawal(waits))["state"] == "queued"
    await take_unseen(house, -7)
    await settled(evm_site, [waits])
    assert await stopped() == []


async def take_unseen(house: House, wei: int) -> None:
    for node in house.site.net.evm["ethereum"].nodes:
        balance = int(await node.rpc("eth_getBalance", house.vault, "latest"), 16)
        await node.rpc("anvil_setBalance", house.vault, hex(balance - wei))
    await house.site.mine(1, "ethereum")


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
