"""P6: only final money leaves; a reorg below finality stops the chain's payouts until a person decides."""

import json

import pytest

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, paid_to
from tests.support.running import (
    CHAIN,
    FINAL,
    LARGE,
    SMALL,
    WITHDRAWAL_FEE,
    Player,
    Site,
    sat,
    story_until,
    strangers_address,
)

AMOUNTS = {SMALL: "0.4", LARGE: "1.5"}


async def halted(site: Site) -> str | None:
    [chain] = (await site.backend.get("/v1/chains")).body
    return None if chain["halted"] is None else str(chain["halted"]["reason"])


async def until_halted(site: Site) -> None:
    async def there() -> bool:
        return await halted(site) is not None

    await site.until(there)


async def events_of_the_chain(site: Site) -> list[str]:
    return await site.story(CHAIN)


async def final_deposit(site: Site, tier: tuple[int, int]) -> tuple[Player, str]:
    """A player whose only deposit has exactly the confirmations that make it final."""
    player, tx_hash = await site.deposited(AMOUNTS[tier], tier[1])
    assert await player.state() == "finalized"
    return player, tx_hash


async def test_money_can_leave_when_it_is_final_and_not_before(site: Site) -> None:
    player = await site.player()
    await site.net.send(await player.address(), "0.5")
    wanted = sat("0.5") - WITHDRAWAL_FEE
    for _ in range(SMALL[1] - 1):
        await site.mine()
        refused = await player.ask_withdrawal(wanted, strangers_address())
        assert (refused.status, refused.code) == (422, "insufficient_withdrawable")
    await site.mine()
    assert (await player.ask_withdrawal(wanted, strangers_address())).status == 202
    assert await player.balance() == Balance(total=sat("0.5"), held=sat("0.5"))


@pytest.mark.parametrize("tier", [SMALL, LARGE])
async def test_a_reorg_of_final_money_halts_payouts_and_leaves_the_deposit_alone(
    site: Site, tier: tuple[int, int]
) -> None:
    player, tx_hash = await final_deposit(site, tier)
    before = await site.cursor()
    await site.net.reorg(tier[1], drop=[tx_hash])
    await until_halted(site)
    await site.polled()
    assert await site.cursor() == before
    assert await player.balance() == Balance(total=sat(AMOUNTS[tier]))
    assert (await events_of_the_chain(site)) == ["halted"]

    async def shown() -> bool:
        return await site.metric("chain_halted") == {CHAIN: 1}

    await site.until(shown)


async def test_a_halted_chain_takes_requests_and_pays_nobody_until_a_person_resumes_it(site: Site) -> None:
    rich = await site.rich_player("1")
    await site.mine(2)
    victim, tx_hash = await final_deposit(site, SMALL)
    await site.net.reorg(SMALL[1], drop=[tx_hash])
    await until_halted(site)
    address = strangers_address()
    withdrawal = await rich.withdraw(sat("0.2"), address, priority="urgent")
    await site.polled(10)
    assert (await site.withdrawal(withdrawal))["state"] == "queued"
    assert await site.net.bitcoin[0].rpc("getrawmempool") == []

    await site.resume(accept_reorg=True)
    await site.caught_up()
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.2")]
    assert await victim.balance() == Balance()
    await assert_balanced(site)


async def test_resuming_without_accepting_the_reorg_halts_again(site: Site) -> None:
    player, tx_hash = await final_deposit(site, SMALL)
    await site.net.reorg(SMALL[1], drop=[tx_hash])
    await until_halted(site)
    await site.resume()

    async def again() -> bool:
        return await events_of_the_chain(site) == ["halted", "resumed", "halted"]

    await site.until(again)
    assert await player.balance() == Balance(total=sat("0.4"))


@pytest.mark.parametrize("tier", [SMALL, LARGE])
async def test_an_accepted_reorg_reverses_final_money_and_leaves_a_debt_where_it_was_spent(
    site: Site, tier: tuple[int, int]
) -> None:
    player, tx_hash = await final_deposit(site, tier)
    raw = await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash)
    amount = sat(AMOUNTS[tier])
    await player.bet(amount)
    await site.net.reorg(tier[1], drop=[tx_hash])
    await until_halted(site)
    await site.resume(accept_reorg=True)
    await site.caught_up()
    history = ["detected", *story_until(tier, tier[1]), "reversed"]
    assert (await player.story())[: len(history)] == history
    assert (await player.balance()).debt == amount
    assert await events_of_the_chain(site) == ["halted", "resumed", "reorged"]

    await site.net.broadcast(raw)
    await site.mine(tier[1])
    assert await player.balance() == Balance()
    await assert_balanced(site)


async def test_an_accepted_reorg_that_mines_final_money_again_credits_it_once(site: Site) -> None:
    player, _ = await final_deposit(site, SMALL)
    await site.net.reorg(SMALL[1])
    await until_halted(site)
    await site.resume(accept_reorg=True)
    await site.caught_up()
    assert await player.balance() == Balance(total=sat("0.4"))
    assert (await player.story())[-3:] == ["reversed", "credited", "finalized"]
    await site.mine(FINAL)
    await assert_balanced(site)


async def abandon_branch(site: Site, block_hash: str) -> None:
    """Every node leaves the branch that begins with this block, and is on the old one, which grows."""
    for node in site.net.bitcoin:
        await node.rpc("invalidateblock", block_hash)
    await site.net.mine(3)
    for node in site.net.bitcoin:
        await node.rpc("reconsiderblock", block_hash)


async def test_when_the_quorum_returns_nothing_was_undone_and_payouts_still_wait_for_a_person(
    site: Site,
) -> None:
    player, _ = await final_deposit(site, SMALL)
    done = await site.net.reorg(SMALL[1])
    await until_halted(site)
    await abandon_branch(site, done["new_blocks"][0])
    await site.caught_up()
    assert await player.balance() == Balance(total=sat("0.4"))
    withdrawal = await player.withdraw(sat("0.1"), strangers_address(), priority="urgent")
    await site.polled(5)
    assert (await site.withdrawal(withdrawal))["state"] == "queued"
    await site.resume()
    await site.reaches(withdrawal, "sending")
    assert await events_of_the_chain(site) == ["halted", "resumed"]
    assert "reversed" not in await player.story()


async def test_an_acceptance_that_was_not_needed_does_not_wait_for_another_reorg(site: Site) -> None:
    player, _ = await final_deposit(site, SMALL)
    done = await site.net.reorg(SMALL[1])
    await until_halted(site)
    await site.stop_daemon()
    await site.resume(accept_reorg=True)
    await abandon_branch(site, done["new_blocks"][0])
    await site.start_daemon()
    await site.caught_up()
    height = (await site.cursor() or (0, ""))[0]
    deposit_block = (await player.has_deposit())["block"]["height"]
    await site.net.reorg(height - deposit_block + 1)
    await until_halted(site)
    assert await player.balance() == Balance(total=sat("0.4"))


async def test_a_reorg_deeper_than_is_followed_halts_too(make_site: MakeSite) -> None:
    site = await make_site(chains={"bitcoin": {"reorg_depth_max": 6}})
    await site.start()
    await site.mine(8)
    await site.net.reorg(7)
    await until_halted(site)
    reason = await halted(site)
    assert reason is not None
    assert "more than 6" in reason
    told = await site.pool.fetchval("SELECT data FROM event WHERE type = 'chain.halted'")
    assert json.loads(told)["reason"] == reason
