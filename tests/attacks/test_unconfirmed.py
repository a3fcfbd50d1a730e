"""Payouts from change that no block holds: whose, how deep, and what becomes of them when their parent's fate turns."""

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import cast
from uuid import UUID

import pytest
import pytest_asyncio
from asyncpg import LockNotAvailableError

from cryptowatch.chains.bitcoin.payments import BitcoinPlan
from cryptowatch.chains.plans import Plan
from cryptowatch.chains.port import FeeMarket
from cryptowatch.db.pool import connection, transaction
from cryptowatch.errors import ConcurrentUpdate, SignerRefused
from cryptowatch.ids import derived_id
from cryptowatch.sending.unconfirmed import read_family, reserve_change
from cryptowatch.sending.worker import SQL as SENDING
from cryptowatch.settings.chains import Priority
from cryptowatch.signing.families import SignedTransaction
from tests.attacks.world import CHAIN, CLOSED, FINALITY, PATIENCE, Attempt, World

COIN, AMOUNT, DEPTH = 50_000_000, 5_000_000, 3
DEARER = FeeMarket({2: 20_000, 6: 20_000, 24: 20_000}, 1_000)


@dataclass
class Wallet:
    """One with a single coin, and a player who may have all of it."""

    world: World
    account: UUID
    destination: bytes

    async def pay(self, amount: int = AMOUNT, priority: Priority = "normal") -> Attempt | None:
        """A payout, sent if anything covers it."""
        known = {attempt.lineage_id for attempt in await self.world.attempts()}
        await self.world.withdraw(self.account, amount, priority)
        await self.world.pay()
        new = [attempt for attempt in await self.world.attempts() if attempt.lineage_id not in known]
        return new[0] if new else None

    async def paid(self, amount: int = AMOUNT, priority: Priority = "normal") -> Attempt:
        found = await self.pay(amount, priority)
        assert found is not None
        return found

    async def raised(self, blocks: int = PATIENCE) -> None:
        """Nobody takes what is on its way for so many blocks; what is made instead is sent."""
        await self.world.mine(blocks)
        await self.world.sender.step()
        await self.world.sender.step()

    async def states(self) -> list[str]:
        return [payout.state for payout in await self.world.withdrawals()]

    async def newest(self, lineage_id: UUID) -> BitcoinPlan:
        return [one.plan for one in await self.world.attempts() if one.lineage_id == lineage_id][-1]

    async def count(self, lineage_id: UUID) -> int:
        """Its attempts."""
        return sum(one.lineage_id == lineage_id for one in await self.world.attempts())


@pytest_asyncio.fixture
async def wallet(world: World) -> Wallet:
    world.spends_unconfirmed(DEPTH)
    account, destination = await world.rich()
    await world.coin(COIN, destination)
    await world.mine(3)
    return Wallet(world, account, destination)


def stands_on(child: BitcoinPlan, parent: BitcoinPlan) -> bool:
    return parent.tx_hash in {resource[:32] for resource in child.resources}


async def test_a_payout_spends_change_of_the_one_before_it_until_the_line_is_too_long(wallet: Wallet) -> None:
    line = [await wallet.paid() for _ in range(1 + DEPTH)]
    for parent, child in pairwise(line):
        assert stands_on(child.plan, parent.plan)
    assert await wallet.pay() is None
    assert await wallet.states() == ["sending"] * (1 + DEPTH) + ["queued"]
    # A block with the first one makes the line shorter.
    await wallet.world.mine_plans(line[0].plan)
    await wallet.world.pay()
    assert (await wallet.states())[-1] == "sending"
    assert stands_on((await wallet.world.attempts())[-1].plan, line[-1].plan)


async def test_where_it_is_turned_off_a_payout_waits_for_the_block(wallet: Wallet) -> None:
    wallet.world.spends_unconfirmed(0)
    await wallet.paid()
    assert await wallet.pay() is None


async def test_coins_in_blocks_come_first(wallet: Wallet) -> None:
    await wallet.world.coin(COIN, wallet.destination)
    await wallet.world.mine(3)
    first, second = await wallet.paid(), await wallet.paid()
    assert not stands_on(second.plan, first.plan)
    # Together with change, where they alone do not do.
    await wallet.world.coin(COIN // 5, wallet.destination)
    await wallet.world.mine(1)
    third = await wallet.paid(COIN - AMOUNT + COIN // 10)
    assert len(third.plan.resources) == 2
    assert stands_on(third.plan, first.plan) or stands_on(third.plan, second.plan)


async def test_change_is_not_spent_twice(wallet: Wallet) -> None:
    first = await wallet.paid()
    workers = [wallet.world.worker(seed=seed) for seed in range(3)]
    for _ in range(3):
        await wallet.world.withdraw(wallet.account, AMOUNT)
    await asyncio.gather(*(worker.step() for worker in workers))
    for worker in workers:
        await worker.step()
    plans = [one.plan for one in await wallet.world.attempts()]
    used = [resource for plan in plans for resource in plan.resources]
    assert len(set(used)) == len(used)
    assert sum(stands_on(plan, first.plan) for plan in plans) == 1


@pytest.mark.parametrize(
    "spoiled",
    [
        "UPDATE attempt SET broadcast_at = NULL",
        "UPDATE attempt SET void = true",
        "UPDATE lineage SET kind = 'cold_refill'",
        "UPDATE lineage SET kind = 'consolidation'",
        "UPDATE lineage SET conflict = '\\x00', conflict_height = 1",
        # What it spends itself is a stranger's, and a reorg took its block.
        "UPDATE coin SET height = NULL, mature_height = NULL",
    ],
)
async def test_change_that_may_never_be_is_not_spent(wallet: Wallet, spoiled: str) -> None:
    world = wallet.world
    first = await wallet.paid()
    await world.pool.execute(spoiled)
    await world.withdraw(wallet.account, AMOUNT)
    await world.payouts.step()
    assert await wallet.states() == ["sending", "queued"]
    assert [one.lineage_id for one in await world.attempts()] == [first.lineage_id]


async def test_a_strangers_coin_is_not_spent_before_a_block_holds_it(wallet: Wallet) -> None:
    await wallet.world.coin(COIN, wallet.destination)
    await wallet.world.back_to(wallet.world.at.height - 1)
    assert await wallet.pay(COIN + AMOUNT) is None


async def test_change_of_one_that_pays_too_little_is_not_spent(wallet: Wallet) -> None:
    await wallet.paid()
    wallet.world.nodes.market = DEARER
    assert await wallet.pay() is None
    wallet.world.sender.joining = None
    # Raised, it pays enough.
    await wallet.raised()
    await wallet.world.pay()
    assert await wallet.states() == ["sending", "sending"]
    first, raised, second = [one.plan for one in await wallet.world.attempts()]
    assert stands_on(second, raised) and not stands_on(second, first)


async def test_whose_change_is_spent_is_raised_through_the_last_of_the_line(wallet: Wallet) -> None:
    world, rate = wallet.world, 20_000
    first, second, third = [await wallet.paid() for _ in range(3)]
    world.nodes.market = DEARER
    await world.mine(PATIENCE)
    await world.pay()
    assert [await wallet.count(one.lineage_id) for one in (first, second, third)] == [1, 1, 2]
    last = await wallet.newest(third.lineage_id)
    assert last.resources == third.plan.resources
    together = (first.plan, second.plan, last)
    assert sum(plan.fee for plan in together) * 1_000 >= rate * sum(plan.size for plan in together)
    assert last.fee * 1_000 <= rate * sum(plan.size for plan in together)
    # What was paid for is not paid for again.
    await world.mine(1)
    await world.pay()
    assert len(await world.attempts()) == 4
    # When the others are in a block, it is raised for itself.
    await world.mine_plans(first.plan, second.plan)
    await world.pay()
    assert await world.lineage_states([first.lineage_id, second.lineage_id]) == ["confirmed"] * 2
    assert len(await world.attempts()) == 4


async def test_an_urgent_parent_is_raised_through_a_child_that_could_wait(wallet: Wallet) -> None:
    world = wallet.world
    first, second = await wallet.paid(priority="urgent"), await wallet.paid(priority="economy")
    sign, signed = world.sender.sign, list[bytes]()

    async def noted(plan: Plan, lineage_id: str) -> SignedTransaction:
        signed.extend(plan.resources)
        return await sign(plan, lineage_id)

    world.sender = world.sender_with(noted)
    await wallet.raised()
    assert [await wallet.count(one.lineage_id) for one in (first, second)] == [1, 2]
    assert signed == list(second.plan.resources)


async def test_a_replacement_is_given_up_when_its_change_is_spent_meanwhile(wallet: Wallet) -> None:
    """Two daemons: one makes a child while the other has a replacement of the parent signed."""
    world = wallet.world
    first = await wallet.paid()
    sign = world.sender.sign

    async def meanwhile(plan: Plan, lineage_id: str) -> SignedTransaction:
        assert plan.tx_hash != first.plan.tx_hash
        await world.withdraw(wallet.account, AMOUNT)
        assert await world.payouts.step() == 1
        return await sign(plan, lineage_id)

    await world.mine(PATIENCE)
    await world.sender_with(meanwhile).step()
    assert await wallet.count(first.lineage_id) == 1
    assert await wallet.states() == ["sending", "sending"]
    [_, second] = await world.attempts()
    assert stands_on(second.plan, first.plan)
    # It is raised through the child from then on.
    await world.sender.step()
    assert [await wallet.count(one.lineage_id) for one in (first, second)] == [1, 2]


async def test_change_of_an_attempt_that_was_replaced_meanwhile_is_not_reserved(wallet: Wallet) -> None:
    """The other way round."""
    world = wallet.world
    first = await wallet.paid()
    await wallet.raised()
    assert await wallet.count(first.lineage_id) == 2
    change = [coin.resource for coin in first.plan.coins_back]
    with pytest.raises(ConcurrentUpdate):
        async with transaction(world.pool) as conn:
            await reserve_change(conn, CHAIN, change, first.lineage_id)


async def test_who_reserves_change_and_who_replaces_hold_the_parent_against_each_other(
    wallet: Wallet,
) -> None:
    world, lock = wallet.world, SENDING["lock_open_lineage"]
    first = await wallet.paid()
    change = [coin.resource for coin in first.plan.coins_back]
    async with transaction(world.pool) as replacing, transaction(world.pool) as reserving:
        assert await replacing.fetchrow(lock, first.lineage_id) is not None
        with pytest.raises(ConcurrentUpdate):
            await reserve_change(reserving, CHAIN, change, first.lineage_id)
    async with transaction(world.pool) as replacing, transaction(world.pool) as reserving:
        await reserve_change(reserving, CHAIN, change, first.lineage_id)
        await replacing.execute("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(LockNotAvailableError):
            await replacing.fetchrow(lock, first.lineage_id)


async def test_when_the_older_attempt_wins_its_child_dies_at_finality_and_is_paid_once(
    wallet: Wallet,
) -> None:
    world = wallet.world
    first = await wallet.paid()
    await wallet.raised()
    second = await wallet.paid()
    grandchild = await wallet.paid()
    family = [second.lineage_id, grandchild.lineage_id]
    assert stands_on(second.plan, await wallet.newest(first.lineage_id))
    await world.mine_plans(first.plan)
    assert await world.conflict(second.lineage_id) == first.plan.tx_hash
    # No fee brings it into a block, and no other payout builds on it.
    await world.mine(PATIENCE)
    await world.pay()
    assert [await wallet.count(one) for one in family] == [1, 1]
    await world.mine(FINALITY - PATIENCE - 2)
    assert await world.lineage_states(family) == ["open", "open"]
    world.nodes.market = CLOSED
    await world.mine(1)
    assert await world.lineage_states(family) == ["dead", "dead"]
    await world.payouts.step()
    assert await wallet.states() == ["finalized", "queued", "queued"]
    world.nodes.market = FeeMarket({2: 5_000, 6: 5_000, 24: 5_000}, 1_000)
    await world.pay()
    assert await wallet.states() == ["finalized", "sending", "sending"]
    again = (await world.attempts())[-1]
    assert stands_on(again.plan, first.plan)
    assert again.lineage_id not in family
    assert await world.halted() is None


async def test_a_reorg_of_parent_and_child_leaves_both_on_their_way_and_the_parent_unreplaced(
    wallet: Wallet,
) -> None:
    world = wallet.world
    first = await wallet.paid()
    # By a clock that was set back the child is the elder.
    world.payouts.entropy = lambda now: (derived_id(now - timedelta(days=1), os.urandom(16)), 1)
    second = await wallet.paid()
    assert second.lineage_id < first.lineage_id
    # Both in one block, as nodes mine them.
    await world.mine_plans(first.plan, second.plan)
    family = [first.lineage_id, second.lineage_id]
    assert await world.lineage_states(family) == ["confirmed", "confirmed"]
    await world.back_to(world.at.height - 1)
    assert await world.lineage_states(family) == ["open", "open"]
    world.nodes.sent.clear()
    await world.pay()
    assert world.nodes.sent == [b"signed" + first.plan.tx_hash, b"signed" + second.plan.tx_hash]
    await wallet.raised(PATIENCE + 1)
    assert [await wallet.count(one) for one in family] == [1, 2]
    newest = await wallet.newest(second.lineage_id)
    await world.mine_plans(first.plan)
    await world.mine_plans(newest)
    await world.mine(FINALITY)
    await world.payouts.step()
    assert await wallet.states() == ["finalized", "finalized"]


async def test_a_parent_confirmed_with_a_child_on_its_way_may_be_left_and_stays_its_parent(
    wallet: Wallet,
) -> None:
    """The child was made when a block held its coin: no record but the coin's says that it stands on the parent."""
    world = wallet.world
    world.spends_unconfirmed(0)
    first = await wallet.paid()
    await world.mine_plans(first.plan)
    second = await wallet.paid()
    await world.back_to(world.at.height - 1)
    await wallet.raised(PATIENCE + 1)
    assert [await wallet.count(one.lineage_id) for one in (first, second)] == [1, 2]


async def test_who_stands_on_an_older_attempt_is_no_child_of_the_newest(wallet: Wallet) -> None:
    """A reorg made it so. What it pays back may never be, and it keeps nobody from raising the newest."""
    world = wallet.world
    first = await wallet.paid()
    await wallet.raised()
    await world.mine_plans(first.plan)
    second = await wallet.paid()
    assert stands_on(second.plan, first.plan)
    await world.back_to(world.at.height - 1)
    async with connection(world.pool) as conn:
        family = await read_family(conn, CHAIN)
    assert family.spendable(DEPTH, 0) == [first.lineage_id]
    assert family.leaves(first.lineage_id) == []
    await wallet.raised(PATIENCE + 1)
    assert await wallet.count(first.lineage_id) == 3


async def test_what_the_signer_refuses_frees_the_change_and_the_parent(wallet: Wallet) -> None:
    world, sign = wallet.world, wallet.world.sender.sign
    first = await wallet.paid()

    async def refuses(plan: Plan, lineage_id: str) -> SignedTransaction:
        if stands_on(cast(BitcoinPlan, plan), first.plan):
            raise SignerRefused("transaction_limit", "so much leaves in no hour")
        return await sign(plan, lineage_id)

    await world.withdraw(wallet.account, AMOUNT)
    await world.payouts.step()
    await world.sender_with(refuses).step()
    await world.payouts.step()
    assert await wallet.states() == ["sending", "in_review"]
    await wallet.raised()
    assert await wallet.count(first.lineage_id) == 2
    assert stands_on((await wallet.paid()).plan, await wallet.newest(first.lineage_id))


async def test_what_stands_on_one_that_is_dead_dies_too_though_a_conflict_that_a_reorg_took_was_noted_first(
    wallet: Wallet,
) -> None:
    """It spends of two: of one that is proven dead, and of one whose other attempt is in a block that is left."""
    world = wallet.world
    world.sender.joining = None
    await world.coin(COIN, wallet.destination)
    await world.mine(3)
    firsts = [await wallet.paid(), await wallet.paid()]
    await wallet.raised()
    newest = [await wallet.newest(one.lineage_id) for one in firsts]
    middle = await wallet.paid()
    [owner] = [place for place in (0, 1) if stands_on(middle.plan, newest[place])]
    last = await wallet.paid(2 * COIN - 5 * AMOUNT)
    assert stands_on(last.plan, middle.plan) and stands_on(last.plan, newest[1 - owner])
    # The one below the middle lost; and one block before that is final the other one does, too, for a moment.
    await world.mine_plans(firsts[owner].plan)
    await world.mine(FINALITY - 3)
    await world.mine_plans(firsts[1 - owner].plan)
    assert await world.conflict(last.lineage_id) == firsts[1 - owner].plan.tx_hash
    await world.mine(1)
    assert await world.lineage_states([middle.lineage_id]) == ["dead"]
    await world.back_to(world.at.height - 2)
    await world.mine_plans(newest[1 - owner])
    await world.mine(FINALITY)
    assert await world.lineage_states([last.lineage_id]) == ["dead"]
