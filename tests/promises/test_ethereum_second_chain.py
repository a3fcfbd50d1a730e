"""A second chain of Ethereum's kind by configuration alone: another chain id, finality by depth, other decimals."""

from tests.promises.conftest import MakeSite
from tests.support.ethereum import BSC_USDT, USDT, House, fee_of, paid_to, settled, stranger


async def test_what_came_in_on_one_chain_is_paid_out_on_the_other(make_evm_site: MakeSite) -> None:
    site, address = await make_evm_site(), stranger()
    await site.start()
    here, there = House(site), House(site, "bsc")
    await here.opens()
    await there.opens()
    player = await there.serves(BSC_USDT, "20.123456789012345678")
    on_ethereum = player.using(USDT)
    assert (await on_ethereum.balance()).withdrawable == BSC_USDT.units("20.123456789012345678")
    refused = await on_ethereum.ask_withdrawal(USDT.units("5.1234567"), address)
    assert (refused.status, refused.code) == (422, "amount_too_precise")
    asked = await on_ethereum.withdraw(USDT.units("5.123456"), address)
    fine = await player.withdraw(BSC_USDT.units("1.123456789012345678"), address)
    await settled(site, [asked])
    await settled(site, [fine], chain="bsc")
    assert await paid_to(site, USDT, address) == USDT.units("5.123456")
    assert await paid_to(site, BSC_USDT, address) == BSC_USDT.units("1.123456789012345678")
    left = (await player.balance()).total
    assert left == BSC_USDT.units("20.123456789012345678") - USDT.units("5.123456") - BSC_USDT.units(
        "1.123456789012345678"
    ) - 2 * fee_of(USDT)
    await site.mine(8, "bsc")
    await site.mine(8, "ethereum")
