"""P7 on Ethereum: who else holds the wallet's key stops the chain's payouts by using it, in the same block."""

from cryptowatch.devnet.ethereum.artifacts import contract
from tests.support.ethereum import (
    ETH,
    FINAL,
    USDT,
    House,
    halted,
    paid_to,
    settled,
    stranger,
    thief,
)

CHAIN = "ethereum"


async def test_coins_moved_by_the_vaults_key_halt_payouts_in_the_same_block(house: House) -> None:
    site = house.site
    player = await house.serves(USDT, "20")
    receipt = await thief(site).execute(stranger(), value_wei=ETH.units("3"), gas=21_000)
    await site.caught_up(CHAIN)
    assert "not ours" in (await halted(site) or "")
    fee = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    withdrawal = await player.withdraw(USDT.units("5"), stranger(), priority="urgent")
    await site.mine(FINAL, CHAIN)
    await site.polled(3)
    assert (await site.withdrawal(withdrawal))["state"] == "queued"
    # The house makes up for it.
    await house.brings(ETH, "4")
    await site.mine(1, CHAIN)
    await site.resume(CHAIN)
    await settled(site, [withdrawal])
    await house.assert_balanced(gone={ETH: ETH.units("3") + fee})


async def test_tokens_moved_by_the_vaults_key_halt_payouts_in_the_same_block(house: House) -> None:
    site = house.site
    usdt, address = site.net.evm[CHAIN].tokens["USDT"], stranger()
    call = contract("TetherLike").call("transfer", address, 50_000_000)
    await thief(site).execute(usdt, call, gas=100_000)
    await site.caught_up(CHAIN)
    assert "not ours" in (await halted(site) or "")
    assert await paid_to(site, USDT, address) == USDT.units("50")


async def test_a_deposit_account_that_is_emptied_by_its_key_halts_payouts(house: House) -> None:
    site = house.site
    player = await site.player(ETH)
    await site.net.send(await player.address(), "5", chain=CHAIN)
    await site.mine(FINAL, CHAIN)
    index = await site.pool.fetchval("SELECT key_index FROM address WHERE account_id IS NOT NULL")
    await thief(site, index, branch=0).execute(stranger(), value_wei=ETH.units("4"), gas=21_000)
    await site.caught_up(CHAIN)
    assert "not ours" in (await halted(site) or "")
