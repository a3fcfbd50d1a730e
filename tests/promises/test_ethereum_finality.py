"""P6 on Ethereum: final is what a quorum of the nodes call final, as deep as the tiers ask, and it never goes back."""

from typing import Any

import pytest_asyncio

from cryptowatch.devnet.ethereum.artifacts import contract
from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.ethereum import CALM, USDT, faucet
from tests.support.running import Player, Site, merged

CHAIN = "ethereum"
#: By their depth alone deposits would be final at once; the nodes call a block final that has two more on top.
_TIERS = {"tiers": [{"credit_confirmations": 1, "finalize_confirmations": 1}]}
SHALLOW: dict[str, Any] = merged(
    CALM,
    {"chains": {CHAIN: {"assets": dict.fromkeys(("ETH", "USDT", "USDC"), _TIERS)}}},
)
LAG = 2


@pytest_asyncio.fixture
async def site(make_ethereum_site: MakeSite) -> Site:
    made = await make_ethereum_site(**SHALLOW)
    await made.start()
    return made


async def credited(site: Site) -> Player:
    player = await site.player(USDT)
    await site.net.send(await player.address(), "5", chain=CHAIN, asset="USDT")
    await site.mine(1, CHAIN)
    assert await player.state() == "credited"
    return player


async def final_height(site: Site) -> int:
    found: int = await site.pool.fetchval("SELECT final_height FROM chain WHERE chain = $1", CHAIN)
    return found


async def test_a_deposit_is_final_when_the_nodes_say_so_and_not_before(site: Site) -> None:
    player = await credited(site)
    await site.mine(LAG - 1, CHAIN)
    assert await player.state() == "credited"
    await site.mine(1, CHAIN)
    assert await player.state() == "finalized"


async def test_one_node_that_calls_nothing_final_any_more_holds_up_nobody(site: Site) -> None:
    await site.net.fault(0, "stale_finalized", chain=CHAIN)
    player = await credited(site)
    await site.mine(LAG, CHAIN)
    assert await player.state() == "finalized"


async def test_one_node_that_calls_everything_final_unlocks_nothing(site: Site) -> None:
    await site.net.fault(1, "jumping_finalized", chain=CHAIN)
    player = await credited(site)
    await site.mine(LAG - 1, CHAIN)
    assert await player.balance() == Balance(total=USDT.units("5"), unfinalized=USDT.units("5"))
    await site.mine(1, CHAIN)
    assert await player.balance() == Balance(total=USDT.units("5"))


async def test_without_a_quorum_on_what_is_final_deposits_wait_and_are_credited_all_the_same(
    site: Site,
) -> None:
    for stale in (0, 2):
        await site.net.fault(stale, "stale_finalized", chain=CHAIN)
    player = await credited(site)
    await site.mine(4 * LAG, CHAIN)
    assert await player.state() == "credited"
    await site.net.clear_faults()
    await site.mine(1, CHAIN)
    assert await player.state() == "finalized"


async def test_what_was_final_stays_so_when_all_nodes_go_back_and_after_a_restart(site: Site) -> None:
    for node in range(3):
        await site.net.fault(node, "jumping_finalized", chain=CHAIN)
    player = await site.player(USDT)
    await site.net.send(await player.address(), "5", chain=CHAIN, asset="USDT")
    await site.mine(1, CHAIN)
    assert await player.state() == "finalized"
    before = await final_height(site)
    await site.net.clear_faults()
    await site.stop_daemon()
    await site.start_daemon()
    await site.mine(1, CHAIN)
    assert await final_height(site) == before
    assert await player.story() == ["credited", "finalized"]
    await site.mine(2 * LAG, CHAIN)
    assert await final_height(site) > before


async def test_a_new_branch_is_not_final_for_what_was_said_of_the_one_that_was_left(site: Site) -> None:
    """The nodes called blocks final that they left all the same; nothing of ours was in them."""
    for node in range(3):
        await site.net.fault(node, "stale_finalized", chain=CHAIN)
    await site.mine(4, CHAIN)
    await site.pool.execute("UPDATE chain SET final_height = height WHERE chain = $1", CHAIN)
    player = await site.player(USDT)
    call = contract("TetherLike").call("transfer", await player.address(), 5_000_000)
    deposit = await faucet(site).sign(site.net.evm[CHAIN].tokens["USDT"], call)
    await site.reorg(4, include=[deposit.raw], chain=CHAIN)
    await site.mine(LAG, CHAIN)
    assert await player.story() == ["credited"]
    await site.net.clear_faults()
    await site.mine(1, CHAIN)
    assert await player.story() == ["credited", "finalized"]


async def test_a_reorg_of_final_money_halts_payouts_and_leaves_the_deposit_alone(site: Site) -> None:
    player = await credited(site)
    await site.mine(LAG, CHAIN)
    assert await player.state() == "finalized"
    before = await site.cursor(CHAIN)
    tx_hash = (await player.has_deposit())["tx_hash"]
    await site.net.reorg(LAG + 1, drop=[tx_hash], chain=CHAIN)

    async def halted() -> bool:
        return "final" in (await site.pool.fetchval("SELECT coalesce(halted, '') FROM chain"))

    await site.until(halted)
    await site.polled(2)
    assert await site.cursor(CHAIN) == before
    assert await player.balance() == Balance(total=USDT.units("5"))
    await site.resume(CHAIN, accept_reorg=True)
    await site.caught_up(CHAIN)
    assert await player.balance() == Balance()
