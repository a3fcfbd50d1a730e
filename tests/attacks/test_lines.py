"""A line of payouts is never worse off than each of them alone: when none gets longer, and who gives way in one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast
from uuid import UUID

import pytest

from cryptowatch.chains.bitcoin.payments import BitcoinPlan
from cryptowatch.chains.plans import Plan
from cryptowatch.chains.port import FeeMarket
from cryptowatch.db.pool import connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.watchlist import SQL as WATCHED
from cryptowatch.errors import SignerWaits
from cryptowatch.sending.change import ChangeRules
from cryptowatch.sending.unconfirmed import read_family
from cryptowatch.sending.worker import SendRules
from cryptowatch.signing.families import SignedTransaction
from tests.attacks.test_children import Late, late
from tests.attacks.test_unconfirmed import AMOUNT, COIN, DEARER, Wallet, stands_on, wallet
from tests.attacks.world import CHAIN, FEES, FINALITY, PATIENCE, Attempt, World

GAUGES = load_queries("cryptowatch", "instruments.sql")
__all__ = ["wallet"]


def asks(rate: int, floor: int = 1_000) -> FeeMarket:
    return FeeMarket({2: rate, 6: rate, 24: rate}, floor)


def lifted_to(*plans: BitcoinPlan) -> int:
    return sum(plan.fee for plan in plans) * 1_000 // sum(plan.size for plan in plans)


async def batch(wallet: Wallet, payments: int, rate: int) -> Attempt:
    """So many payouts in one transaction."""
    wallet.world.nodes.market = asks(rate)
    for _ in range(payments - 1):
        await wallet.world.withdraw(wallet.account, AMOUNT // 100)
    return await wallet.paid(AMOUNT // 100)


# Nothing gets longer than it can be lifted


@pytest.mark.parametrize(
    ("payments", "rate", "waits"),
    [
        (60, 30_000, True),
        (9, 30_000, True),
        (1, 30_000, False),
        # A budget of fifty times so little is no more than the small one may pay for the large one.
        (60, 1_000, False),
        (90, 1_000, True),
    ],
)
async def test_a_small_payout_is_not_made_from_a_large_ones_change_but_joins_its_replacement(
    wallet: Wallet, payments: int, rate: int, waits: bool
) -> None:
    world = wallet.world
    first = await batch(wallet, payments, rate)
    second = await wallet.pay()
    assert (second is None) is waits
    world.nodes.market = asks(2 * rate)
    await wallet.raised()
    assert await wallet.count(first.lineage_id) == (2 if waits else 1)
    assert set(await wallet.states()) == {"sending"}
    newest = await wallet.newest(first.lineage_id)
    assert len(newest.positions) == payments + (1 if waits else 0)


async def test_what_is_on_its_way_can_be_lifted_as_far_as_its_first_payout_could_be_alone(
    wallet: Wallet,
) -> None:
    """Fifty times its first fee. The signer refuses what the settings' defaults refuse."""
    world = wallet.world
    first = await batch(wallet, 60, 1_000)
    second = await wallet.paid()
    world.nodes.market = asks(50_000)
    await wallet.raised()
    last = await wallet.newest(second.lineage_id)
    assert lifted_to(first.plan, last) >= 49_900
    assert last.fee <= 1_000 * last.size


@pytest.mark.parametrize(("left", "waits"), [(60_000, True), (100_000, False)])
async def test_what_leaves_too_little_to_lift_the_line_with_waits(
    wallet: Wallet, left: int, waits: bool
) -> None:
    wallet.world.nodes.market = asks(30_000)
    first = await wallet.paid()
    [change] = first.plan.coins_back
    second = await wallet.pay(change.amount - left)
    assert (second is None) is waits


async def test_two_parents_that_each_could_be_lifted_but_not_together_are_not_spent_together(
    wallet: Wallet,
) -> None:
    world = wallet.world
    await world.coin(COIN, wallet.destination)
    await world.mine(3)
    firsts = [await batch(wallet, 7, 30_000) for _ in range(2)]
    amounts = [sum(coin.amount for coin in one.plan.coins_back) for one in firsts]
    assert await wallet.pay(sum(amounts) - AMOUNT) is None
    assert await wallet.pay(amounts[0] - AMOUNT) is not None


@pytest.mark.parametrize("amount", [AMOUNT, 3 * AMOUNT, 8 * AMOUNT])
async def test_of_two_parents_the_one_that_can_be_lifted_is_spent(wallet: Wallet, amount: int) -> None:
    """Whichever coin would have fitted better."""
    world = wallet.world
    await world.coin(COIN, wallet.destination)
    await world.mine(3)
    large = await batch(wallet, 60, 30_000)
    small = await wallet.paid()
    third = await wallet.paid(amount)
    assert stands_on(third.plan, small.plan) and not stands_on(third.plan, large.plan)


async def test_the_last_of_a_line_spends_the_budget_of_all_of_it(wallet: Wallet) -> None:
    """By its own it could lift nothing but itself."""
    world = wallet.world
    world.sender.rules = SendRules(rebroadcast_s=0, fee_growth_max=4)
    first, second = await wallet.paid(), await wallet.paid()
    world.nodes.market = asks(20_000)
    await wallet.raised()
    last = await wallet.newest(second.lineage_id)
    assert lifted_to(first.plan, last) >= 20_000
    assert last.fee > 4 * second.plan.fee
    # And no more.
    world.nodes.market = asks(30_000)
    await wallet.raised()
    assert await wallet.count(second.lineage_id) == 2


async def siblings(wallet: Wallet, payments: int) -> tuple[Attempt, list[Attempt]]:
    """A batch, and two payouts from parts of its change."""
    world = wallet.world
    world.coins = replace(world.coins, change=ChangeRules(4, 4, 4, 100_000, 600))
    world.spends_unconfirmed(1)
    first = await batch(wallet, payments, 5_000)
    both = [await wallet.paid() for _ in range(2)]
    assert all(stands_on(one.plan, first.plan) for one in both)
    return first, both


async def test_of_two_that_stand_on_one_only_the_first_pays_for_it(wallet: Wallet) -> None:
    world = wallet.world
    first, both = await siblings(wallet, 5)
    world.nodes.market = asks(20_000)
    await world.mine(PATIENCE)
    for _ in range(4):
        await world.sender.step()
    assert [await wallet.count(one.lineage_id) for one in (first, *both)] == [1, 2, 2]
    lasts = sorted([await wallet.newest(one.lineage_id) for one in both], key=lambda plan: -plan.fee)
    assert 20_000 <= lifted_to(first.plan, lasts[0]) <= 20_100
    assert 20_000 <= lifted_to(lasts[1]) <= 20_100


async def test_nor_does_a_child_of_the_second_pay_for_it_again(wallet: Wallet) -> None:
    world = wallet.world
    first, both = await siblings(wallet, 5)
    second = both[1].plan
    world.spends_unconfirmed(2)
    world.nodes.built_on[second.tx_hash] = second.fee + 20_000
    world.nodes.market = asks(20_000)
    await world.mine(PATIENCE)
    for _ in range(4):
        await world.sender.step()
    assert [await wallet.count(one.lineage_id) for one in (first, *both)] == [1, 2, 1]
    child = (await world.attempts())[-1].plan
    assert stands_on(child, second) and child.positions == ()
    assert 20_000 <= lifted_to(second, child) <= 20_100


@pytest.mark.parametrize(("left", "waits"), [(30_000, True), (100_000, False)])
async def test_who_joins_leaves_the_change_by_which_a_line_is_lifted(
    wallet: Wallet, left: int, waits: bool
) -> None:
    """Four times the replacement's fee would do for one that stands alone."""
    world = wallet.world
    world.spends_unconfirmed(1)
    first, second = await wallet.paid(), await wallet.paid()
    [change] = second.plan.coins_back
    await world.withdraw(wallet.account, change.amount - left)
    await wallet.raised()
    assert [await wallet.count(one.lineage_id) for one in (first, second)] == [1, 2]
    assert (await wallet.states())[-1] == ("queued" if waits else "sending")
    assert len((await wallet.newest(second.lineage_id)).positions) == (1 if waits else 2)


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
    await world.withdraw(wallet.account, AMOUNT)
    await world.payouts.step()
    second = (await world.attempts())[-1]
    refuse(world, second.plan)
    await world.sender.step()
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
    await world.withdraw(wallet.account, AMOUNT)
    await world.payouts.step()
    second = (await world.attempts())[-1]
    refuse(world, second.plan)
    await world.sender.step()
    await world.mine(PATIENCE)
    world.nodes.takes = lambda raw: True
    world.sender = world.sender_with(world.sender.sign)
    await world.sender.step()
    await world.sender.step()
    assert [await wallet.count(one.lineage_id) for one in (first, second)] == [1, 2]


async def test_one_node_of_three_that_says_it_took_a_child_holds_up_nobody(wallet: Wallet) -> None:
    world = wallet.world
    world.nodes.quorum = 2
    first = await wallet.paid()
    await world.withdraw(wallet.account, AMOUNT)
    await world.payouts.step()
    second = (await world.attempts())[-1]
    await world.sender.step()
    # The first one had been taken by one node alone, too: it stands on nothing of ours, and is raised as it is.
    await blocks_pass(world, PATIENCE)
    assert [await wallet.count(one.lineage_id) for one in (first, second)] == [2, 1]


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


# What lost for good


async def shown(world: World) -> tuple[int, Sequence[bytes]]:
    """What the gauge counts as unconfirmed, and the coins that blocks are searched for."""
    rows = await world.pool.fetch(GAUGES["wallet_balances"])
    watched = await world.pool.fetch(WATCHED["unspent_resources"], CHAIN)
    [amount] = [row["amount"] for row in rows if row["state"] == "unconfirmed"]
    return int(amount), [row["resource"] for row in watched]


async def test_change_of_an_attempt_that_lost_is_shown_and_watched_until_that_is_final(
    wallet: Wallet,
) -> None:
    world = wallet.world
    world.sender.joining = None
    first = await wallet.paid()
    await wallet.raised()
    second = await wallet.paid()
    newest = await wallet.newest(first.lineage_id)
    [lost] = newest.coins_back
    assert stands_on(second.plan, newest)
    assert await shown(world) == (lost.amount, [first.plan.resources[0], lost.resource])
    await world.mine_plans(first.plan)
    await world.mine(FINALITY - 2)
    assert (await shown(world))[0] == lost.amount
    await world.mine(1)
    amount, watched = await shown(world)
    assert amount == 0 and lost.resource not in watched
    assert first.plan.coins_back[0].resource in watched
    # A person accepts that the final block is left: it may be after all.
    await world.back_to(world.at.height - FINALITY, accepted=True)
    assert (await shown(world))[0] >= lost.amount
