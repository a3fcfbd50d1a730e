"""A deposit's way from the mempool to finality on real nodes."""

from tests.support.books import assert_balanced
from tests.support.running import SMALL, Balance, Site, sat


async def test_a_small_deposit_is_playable_at_one_block_and_withdrawable_at_three(site: Site) -> None:
    player = await site.player()
    tx_hash = await site.net.send(await player.address(), "1")

    async def detected() -> bool:
        return await player.state() == "detected"

    await site.until(detected)
    assert await player.balance() == Balance()
    await site.mine()
    assert await player.state() == "credited"
    assert await player.balance() == Balance(total=sat("1"), unfinalized=sat("1"))
    await site.mine()
    assert await player.state() == "credited"
    await site.mine()
    assert await player.state() == "finalized"
    assert await player.balance() == Balance(total=sat("1"))
    assert await player.story() == ["detected", "confirming", "credited", "finalized"]
    found = await player.deposit()
    assert found is not None
    assert (found["tx_hash"], found["confirmations"]) == (tx_hash, 3)
    assert found["required"] == {"credit": SMALL[0], "finalize": SMALL[1]}
    await assert_balanced(site)
