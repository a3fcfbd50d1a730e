"""P5: what fewer nodes than the quorum say moves no money, and no minority can hold the others up."""

from typing import Any

import pytest

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, paid_to
from tests.support.running import CHAIN, FINAL, Player, Site, sat, strangers_address


async def nodes(site: Site) -> dict[str, dict[str, Any]]:
    [chain] = (await site.backend.get("/v1/chains")).body
    return {node["name"]: node for node in chain["nodes"]}


async def node_is(site: Site, number: int, state: str) -> None:
    async def there() -> bool:
        return str((await nodes(site))[f"bitcoin-{number}"]["state"]) == state

    await site.until(there)


async def told_of_node(site: Site, number: int, *events: str) -> None:
    """Wait until exactly these were told."""

    async def there() -> bool:
        return await site.story(f"{CHAIN}/bitcoin-{number}") == list(events)

    await site.until(there)


async def credited(player: Player, amount: str) -> None:
    async def there() -> bool:
        return (await player.balance()).total == sat(amount)

    await player.site.until(there)


@pytest.mark.parametrize("liar", [0, 2])
async def test_a_node_that_forges_a_chain_credits_nothing_and_holds_up_nobody(site: Site, liar: int) -> None:
    player, victim = await site.player(), await site.player()
    await site.net.fault(liar, "forged_block", address=await victim.address(), amount="5")
    await site.net.send(await player.address(), "0.5")
    await site.mine(4)
    await node_is(site, liar, "quarantined")
    assert await player.balance() == Balance(total=sat("0.5"))
    assert await victim.deposits() == []
    await site.net.clear_faults()
    await node_is(site, liar, "healthy")
    await told_of_node(site, liar, "quarantined", "recovered")
    await site.mine(2)
    assert await victim.balance() == Balance()
    await assert_balanced(site)


async def test_a_node_that_forges_what_is_in_a_block_is_caught_by_the_blocks_hash(site: Site) -> None:
    player, victim = await site.player(), await site.player()
    address = await victim.address()
    # The fastest node is read from first: the honest one is slow.
    await site.net.fault(2, "delay", seconds=0.2)
    await site.reads_first_from(0, 1)
    for liar in (0, 1):
        await site.net.fault(liar, "forged_block", variant="body", address=address, amount="5")
    await site.net.send(await player.address(), "0.5")
    await site.net.mine()
    await credited(player, "0.5")
    states = [node["state"] for node in (await nodes(site)).values()]
    assert "quarantined" in states[:2]
    assert states[2] == "healthy"
    assert await victim.deposits() == []
    await site.net.clear_faults()
    await site.mine(3)
    assert await victim.deposits() == []
    await assert_balanced(site)


async def test_a_node_that_stands_still_is_named_and_nobody_waits_for_it(site: Site) -> None:
    player = await site.player()
    await site.net.fault(1, "stale_head")
    await site.net.send(await player.address(), "0.5")
    await site.mine(5)
    assert await player.balance() == Balance(total=sat("0.5"))
    await node_is(site, 1, "lagging")
    assert (await nodes(site))["bitcoin-1"]["lag_blocks"] == 5
    await site.net.clear_faults()
    await node_is(site, 1, "healthy")
    await told_of_node(site, 1, "quarantined", "recovered")


async def test_a_block_that_only_one_node_has_credits_nothing_until_another_has_it_too(site: Site) -> None:
    player = await site.player()
    for behind in (1, 2):
        await site.net.fault(behind, "stale_head")
    before = await site.cursor()
    await site.net.send(await player.address(), "0.5")
    await site.net.mine(3)
    await site.polled(5)
    assert await site.cursor() == before
    assert await player.balance() == Balance()
    await site.net.clear_faults()
    await site.caught_up()
    assert await player.balance() == Balance(total=sat("0.5"))


async def test_when_every_node_must_agree_one_that_lies_stops_credits_and_forges_none(
    make_site: MakeSite,
) -> None:
    site = await make_site(chains={"bitcoin": {"quorum": 3}})
    await site.start()
    player, victim = await site.player(), await site.player()
    await site.net.fault(1, "forged_block", address=await victim.address(), amount="5")
    before = await site.cursor()
    await site.net.send(await player.address(), "0.5")
    await site.net.mine(2)
    await site.polled(5)
    assert await site.cursor() == before
    assert await player.balance() == Balance()
    await site.net.clear_faults()
    await site.caught_up()
    assert (await player.balance()).total == sat("0.5")
    assert await victim.deposits() == []


async def test_without_a_quorum_nothing_is_credited_or_paid_and_nothing_is_lost(site: Site) -> None:
    rich, player, address = await site.rich_player("0.5"), await site.player(), strangers_address()
    deposit_address = await player.address()
    before = await site.cursor()
    for down in (1, 2):
        await site.net.kill(f"bitcoin:{down}")
    await node_is(site, 1, "unreachable")
    await node_is(site, 2, "unreachable")
    await site.net.send(deposit_address, "0.4")
    await site.net.mine(2)
    withdrawal = await rich.withdraw(sat("0.2"), address)
    await site.polled(3, "head")
    assert await site.cursor() == before
    assert await player.balance() == Balance()
    assert (await site.withdrawal(withdrawal))["state"] == "queued"
    # The API goes on, and says what is wrong.
    assert await site.is_ready()
    problems = [node["problem"] for node in (await nodes(site)).values()]
    assert sum(problem is not None for problem in problems) >= 2
    shown = await site.metric("node_state", by="state", node="bitcoin-1")
    assert shown["unreachable"] == 1

    for down in (1, 2):
        await site.net.start(f"bitcoin:{down}")
    await site.caught_up()
    assert (await player.balance()).total == sat("0.4")
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.2")]
    await assert_balanced(site)


async def test_one_dead_node_of_three_is_not_noticed_by_players(site: Site) -> None:
    player, address = await site.rich_player("0.5"), strangers_address()
    # On a busy machine it may have been behind the others by some blocks before.
    await node_is(site, 1, "healthy")
    before = await site.story(f"{CHAIN}/bitcoin-1")
    await site.net.kill("bitcoin:1")
    await site.net.send(await player.address(), "0.3")
    await site.mine(3)
    withdrawal = await player.withdraw(sat("0.6"), address)

    async def pending() -> bool:
        found = await site.withdrawal(withdrawal)
        return found["state"] == "sending" and await site.is_pending(found["tx_hash"])

    await site.until(pending)
    await site.net.mine(FINAL)
    await site.reaches(withdrawal, "finalized")
    assert await paid_to(site, address) == [sat("0.6")]
    await told_of_node(site, 1, *before, "quarantined")


async def test_slow_nodes_and_failing_ones_cost_time_and_nothing_else(site: Site) -> None:
    player = await site.player()
    await site.net.fault(0, "delay", seconds=0.3)
    await site.net.fault(1, "error", probability=0.3)
    await site.net.fault(2, "drop", probability=0.3)
    amounts = ["0.1", "0.2", "0.3"]
    for amount in amounts:
        await site.net.send(await player.address(), amount)
        await site.net.mine()
    await site.mine(2)
    await site.net.clear_faults()
    assert await player.balance() == Balance(total=sat("0.6"))
    assert len(await player.deposits()) == 3
