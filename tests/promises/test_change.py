"""A wallet keeps coins enough: payouts do not wait for one another's change."""

from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, paid_to
from tests.support.running import FINAL, sat, strangers_address
from tests.support.spending import wallet_coins


async def test_after_one_payout_of_a_single_coin_four_more_need_no_block_between_them(
    make_site: MakeSite,
) -> None:
    site = await make_site(chains={"bitcoin": {"wallet": {"change": {"coins_min": 4, "outputs_max": 4}}}})
    await site.start()
    player = await site.rich_player("1")
    await site.finished(await player.withdraw(sat("0.1"), strangers_address()))
    coins = await wallet_coins(site)
    assert len(coins) == 4
    assert sum(owned.coin.amount for owned in coins) > sat("0.89")
    addresses = [strangers_address() for _ in range(4)]
    withdrawals = []
    for address in addresses:
        # Each is sent before the next is asked for: none shares another's transaction.
        withdrawals.append(await player.withdraw(sat("0.05"), address))
        await site.sent(withdrawals[-1])
    assert await site.pool.fetchval("SELECT count(*) FROM lineage WHERE state = 'open'") == 4
    assert await wallet_coins(site, "reserved_by IS NULL AND spent_by IS NULL") == []
    await site.mine(FINAL)
    for withdrawal, address in zip(withdrawals, addresses, strict=True):
        await site.reaches(withdrawal, "finalized")
        assert await paid_to(site, address) == [sat("0.05")]
    # The change of each was on its way when the next was planned: four are enough.
    assert len(await wallet_coins(site)) == 4
    await assert_balanced(site)
