"""Who spends change and is had by no node, or by no signer: it gives way, and is paid once all the same."""

from dataclasses import replace
from typing import cast
from uuid import UUID

import pytest

from cryptowatch.chains.bitcoin.payments import BitcoinPlan
from cryptowatch.chains.plans import Plan
from cryptowatch.chains.port import FeeMarket
from cryptowatch.db.pool import connection
from cryptowatch.errors import SignerWaits
from cryptowatch.sending.change import ChangeRules
from cryptowatch.sending.unconfirmed import read_family
from cryptowatch.sending.worker import SendRules
from cryptowatch.signing.families import SignedTransaction
from tests.attacks.test_children import Late, late
from tests.attacks.test_lines import asks, lifted_to
from tests.attacks.test_unconfirmed import AMOUNT, COIN, DEARER, Wallet, stands_on, wallet
from tests.attacks.world import CHAIN, FEES, FINALITY, PATIENCE, Attempt, World

__all__ = ["wallet"]


# A child that nobody takes


def refuse(world: World, *plans: Plan) -> None:
    refused = {b"signed" + cast(bytes, plan.tx_hash) for plan in plans}
    world.nodes.takes = lambda raw: raw not in refused


async def pinned(payout: Late) -> BitcoinPlan:
    """The child of a payout that its payee has spent, in as long a chain as nodes keep: none takes the child."""
    world = payout.world
    await payout.built_on()
    world.nodes.market = DEARER
    await world.mine(PATIENCE)
    await world.sender.step()
    [child] = await payout.attempts("child")
    refuse(world, child)
    await world.sender.step()
    return child


async def blocks_pass(world: World, count: int) -> None:
    await world.mine(count)
    await world.sender.step()
    await world.sender.step()


async def refused(wallet: Wallet) -> Attempt:
    """One more payout, which no node takes."""
    world = wallet.world
    await world.withdraw(wallet.account, AMOUNT)
    await world.payouts.step()
    attempt = (await world.attempts())[-1]
    refuse(world, attempt.plan)
    await world.sender.step()
    return attempt


async def test_where_no_node_takes_the_child_its_parent_is_replaced_for_what_that_evicts(
    world: World,
) -> None:
    payout = await late(world, COIN, AMOUNT)
    child = await pinned(payout)
    await blocks_pass(world, PATIENCE - 1)
    assert await payout.counts() == (1, 1), "it had not had its time yet"
    await blocks_pass(world, 1)
    assert await payout.counts() == (2, 1)
    first, second = await payout.attempts("payout")
    evicted = world.nodes.built_on[first.tx_hash]
    assert second.fee >= evicted + second.size
    assert first.resources == second.resources
    # The child is not raised, nor made once more, and sent again at leisure.
    world.sender.rules = SendRules(rebroadcast_s=1_000, retry_s=0)
    world.sender.again_s.clear()
    world.nodes.sent.clear()
    await blocks_pass(world, PATIENCE)
    assert await payout.counts() == (3, 1)
    assert world.nodes.sent.count(b"signed" + child.tx_hash) == 1
    # Nothing of it is free before its end is proven: its bytes are about.
    used = "SELECT count(*) FROM coin c JOIN lineage l ON l.id = c.reserved_by WHERE l.kind = 'child'"
    newest = (await payout.attempts("payout"))[-1]
    await world.mine_plans(newest)
    await world.mine(FINALITY - 2)
    assert await world.pool.fetchval(used) == len(child.resources)
    await world.mine(1)
    assert await world.pool.fetchval(used) == 0
    states = await world.pool.fetch("SELECT kind, state, conflict FROM lineage ORDER BY kind")
    assert [tuple(row) for row in states] == [
        ("child", "dead", newest.tx_hash),
        ("payout", "finalized", None),
    ]
    await world.payouts.step()
    assert [one.state for one in await world.withdrawals()] == ["finalized"]
    assert await world.halted() is None


async def test_when_the_attempt_that_the_child_stands_on_wins_after_all_both_count(world: World) -> None:
    payout = await late(world, COIN, AMOUNT)
    child = await pinned(payout)
    await blocks_pass(world, PATIENCE)
    assert await payout.counts() == (2, 1)
    world.nodes.sent.clear()
    await world.mine_plans(payout.parent.plan)
    world.sender = world.sender_with(world.sender.sign)
    await world.sender.step()
    assert b"signed" + child.tx_hash in world.nodes.sent
    await world.mine_plans(child)
    await world.mine(FINALITY)
    await world.payouts.step()
    states = await world.pool.fetch("SELECT state FROM lineage")
    assert {row["state"] for row in states} == {"finalized"}
    assert [one.state for one in await world.withdrawals()] == ["finalized"]


async def test_a_payout_that_no_node_takes_gives_way_and_is_paid_once_when_that_is_final(
    wallet: Wallet,
) -> None:
    world = wallet.world
    first = await wallet.paid()
    second = await refused(wallet)
    await blocks_pass(world, PATIENCE)
    assert [await wallet.count(one.lineage_id) for one in (first, second)] == [2, 1]
    world.nodes.takes = lambda raw: True
    newest = await wallet.newest(first.lineage_id)
    await world.mine_plans(newest)
    await world.mine(FINALITY - 2)
    await world.pay()
    assert await wallet.states() == ["confirmed", "sending"]
    assert len(await world.attempts()) == 3, "it is not paid anew before its first transaction is dead"
    await world.mine(1)
    await world.pay()
    await world.pay()
    assert await wallet.states() == ["finalized", "sending"]
    again = (await world.attempts())[-1]
    assert again.lineage_id != second.lineage_id and stands_on(again.plan, newest)
    assert await world.halted() is None


async def test_one_below_what_nodes_relay_is_raised_and_its_parent_is_not_replaced(wallet: Wallet) -> None:
    world = wallet.world
    first = await wallet.paid()
    await world.withdraw(wallet.account, AMOUNT)
    await world.payouts.step()
    second = (await world.attempts())[-1]
    refuse(world, second.plan)
    world.nodes.market = asks(20_000, floor=10_000)
    await world.market.step()
    await world.sender.step()
    await blocks_pass(world, PATIENCE)
    assert [await wallet.count(one.lineage_id) for one in (first, second)] == [1, 2]


async def test_one_that_full_mempools_dropped_was_taken_before_and_is_raised(wallet: Wallet) -> None:
    """Whatever process asks: it is on record."""
    world = wallet.world
    first, second = await wallet.paid(), await wallet.paid()
    refuse(world, first.plan, second.plan)
    world.sender = world.sender_with(world.sender.sign)
    await blocks_pass(world, PATIENCE)
    assert [await wallet.count(one.lineage_id) for one in (first, second)] == [1, 2]


async def test_what_was_signed_and_sent_to_nobody_for_long_is_sent_before_it_is_given_up(
    wallet: Wallet,
) -> None:
    """The daemon was away."""
    world = wallet.world
    first = await wallet.paid()
    second = await refused(wallet)
    await world.mine(PATIENCE)
    world.nodes.takes = lambda raw: True
    world.sender = world.sender_with(world.sender.sign)
    await world.sender.step()
    await world.sender.step()
    assert [await wallet.count(one.lineage_id) for one in (first, second)] == [1, 2]


async def test_one_node_of_three_that_says_it_took_a_child_holds_up_nobody(wallet: Wallet) -> None:
    world = wallet.world
    first = await wallet.paid()
    world.nodes.quorum = 2
    await world.withdraw(wallet.account, AMOUNT)
    await world.payouts.step()
    second = (await world.attempts())[-1]
    await world.sender.step()
    await blocks_pass(world, PATIENCE)
    assert [await wallet.count(one.lineage_id) for one in (first, second)] == [2, 1]


async def test_what_one_node_of_three_says_it_took_is_not_built_upon(wallet: Wallet) -> None:
    """A replacement that the others refuse, say for what its payee has made of the first attempt: that one wins."""
    world = wallet.world
    world.sender.joining = None
    first = await wallet.paid()
    world.nodes.quorum = 2
    await wallet.raised()
    assert await wallet.count(first.lineage_id) == 2
    assert await wallet.pay() is None
    await world.mine_plans(first.plan)
    await world.pay()
    again = (await world.attempts())[-1]
    assert await wallet.states() == ["confirmed", "sending"] and stands_on(again.plan, first.plan)
    # What a quorum has is built upon.
    world.nodes.quorum = 1
    world.sender.again_s.clear()
    await world.sender.step()
    assert stands_on((await wallet.paid()).plan, again.plan)


@pytest.mark.parametrize("parts", [1, 4])
async def test_where_the_replacement_would_cost_more_than_the_cap_it_is_told_and_no_more_is_built_on_it(
    world: World, parts: int
) -> None:
    world.coins = replace(world.coins, change=ChangeRules(parts, parts, parts, 100_000, 600))
    payout = await late(world, COIN, AMOUNT)
    await pinned(payout)
    world.nodes.built_on[payout.parent.plan.tx_hash] = FEES.settings.cap_sat_vb * payout.parent.plan.size
    await blocks_pass(world, 2 * PATIENCE)
    assert await payout.counts() == (1, 1)
    told = await payout.told()
    assert "what others have built on it would cost more than the fee cap" in told
    assert "no node takes it" in told


# A child that the signer makes wait


async def unsigned(wallet: Wallet) -> tuple[Attempt, UUID]:
    """A payout, and one from its change for which the signer's hour has no room."""
    world, sign = wallet.world, wallet.world.sender.sign
    first = await wallet.paid()

    async def waits(plan: Plan, lineage_id: str) -> SignedTransaction:
        if stands_on(cast(BitcoinPlan, plan), first.plan):
            raise SignerWaits("hourly_limit: full")
        return await sign(plan, lineage_id)

    world.sender = world.sender_with(waits)
    await world.withdraw(wallet.account, AMOUNT)
    await world.payouts.step()
    await world.sender.step()
    return first, (await world.attempts())[-1].lineage_id


async def test_a_child_that_is_not_signed_in_time_gives_way_and_its_payout_is_queued_again(
    wallet: Wallet,
) -> None:
    world = wallet.world
    first, second = await unsigned(wallet)
    world.sender.joining = None
    await blocks_pass(world, PATIENCE - 1)
    assert await wallet.count(first.lineage_id) == 1
    await blocks_pass(world, 1)
    assert await wallet.count(first.lineage_id) == 2
    row = await world.pool.fetchrow("SELECT state, reason FROM lineage WHERE id = $1", second)
    assert row is not None and tuple(row) == ("dead", "parent_replaced")
    await world.payouts._follow()
    assert [tuple(one)[1:3] for one in await world.withdrawals()][1] == ("queued", "parent_replaced")
    # It is paid once, from what the replacement brings back.
    await world.pay()
    assert await wallet.states() == ["sending", "sending"]
    newest = (await world.attempts())[-1]
    assert stands_on(newest.plan, await wallet.newest(first.lineage_id))


async def test_what_is_signed_while_its_parent_is_being_replaced_is_not_given_up(wallet: Wallet) -> None:
    """Another daemon has its bytes: only proof ends it."""
    world, plain = wallet.world, wallet.world.sender.sign
    first, second = await unsigned(wallet)
    waits = world.sender.sign

    async def meanwhile(plan: Plan, lineage_id: str) -> SignedTransaction:
        if set(plan.resources) == set(first.plan.resources):
            await world.sender_with(plain).signatures.step()
        return await waits(plan, lineage_id)

    world.sender = world.sender_with(meanwhile)
    await blocks_pass(world, PATIENCE)
    assert await wallet.count(first.lineage_id) == 2
    assert await world.lineage_states([second]) == ["open"]
    assert await wallet.states() == ["sending", "sending"]
    async with connection(world.pool) as conn:
        family = await read_family(conn, CHAIN)
    assert family.is_lost(second)


async def test_one_that_waits_for_the_signer_does_not_keep_the_line_from_being_raised_through_another(
    wallet: Wallet,
) -> None:
    """One such a block would do so as long as the signer's hour is full: none is ever old enough to give way."""
    world, sign = wallet.world, wallet.world.sender.sign
    world.coins = replace(world.coins, change=ChangeRules(4, 4, 4, 100_000, 600))
    world.spends_unconfirmed(1)
    first, second = await wallet.paid(priority="urgent"), await wallet.paid(priority="economy")
    planned = {one.plan.resources for one in await world.attempts()}

    async def waits(plan: Plan, lineage_id: str) -> SignedTransaction:
        if plan.resources not in planned:
            raise SignerWaits("hourly_limit: full")
        return await sign(plan, lineage_id)

    world.sender = world.sender_with(waits)
    world.nodes.market = FeeMarket({2: 20_000, 3: 5_000, 24: 5_000}, 1_000)
    await world.mine(PATIENCE)
    third = await wallet.paid(priority="economy")
    assert stands_on(second.plan, first.plan) and stands_on(third.plan, first.plan)
    assert [await wallet.count(one.lineage_id) for one in (first, second, third)] == [1, 2, 1]
    assert lifted_to(first.plan, await wallet.newest(second.lineage_id)) >= 20_000
