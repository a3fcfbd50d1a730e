"""A line of payouts is never worse off than each of them alone; and change that lost is not the wallet's."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cryptowatch.chains.bitcoin.payments import BitcoinPlan
from cryptowatch.chains.port import FeeMarket
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.watchlist import SQL as WATCHED
from cryptowatch.sending.change import ChangeRules
from cryptowatch.sending.worker import SendRules
from tests.attacks.test_unconfirmed import AMOUNT, COIN, DEPTH, Wallet, stands_on, wallet
from tests.attacks.world import CHAIN, FINALITY, PATIENCE, Attempt, World

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


async def test_one_that_is_late_is_raised_though_others_go_on_being_made_from_its_change(
    wallet: Wallet,
) -> None:
    """They pay for themselves alone, which the market of the urgent one has left behind."""
    world = wallet.world
    world.coins = replace(world.coins, change=ChangeRules(4, 4, 4, 100_000, 600))
    world.spends_unconfirmed(DEPTH)
    first = await wallet.paid(priority="urgent")
    world.nodes.market = FeeMarket({2: 20_000, 3: 5_000, 24: 5_000}, 1_000)
    for _ in range(PATIENCE):
        await world.mine(1)
        assert await wallet.pay(priority="economy") is not None
    await world.sender.step()
    newest = {one.lineage_id: one.plan for one in await world.attempts()}
    assert max(lifted_to(first.plan, plan) for plan in newest.values()) >= 20_000
    # Once: what was paid for waits anew.
    attempts = len(await world.attempts())
    await world.mine(1)
    await world.sender.step()
    assert len(await world.attempts()) == attempts
