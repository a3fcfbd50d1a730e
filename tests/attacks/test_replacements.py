"""Replaced transactions in reorgs: what lives is not buried; what died is paid again, once."""

from dataclasses import dataclass
from uuid import UUID

import pytest_asyncio

from cryptowatch.chains.bitcoin.payments import BitcoinPlan
from cryptowatch.chains.port import FeeMarket
from cryptowatch.sending.worker import SendRules
from tests.attacks.world import CLOSED, FINALITY, PATIENCE, Attempt, World


@dataclass
class Replaced:
    """A payout that was bumped once: the chain may choose either attempt."""

    world: World
    account: UUID
    destination: bytes
    lineage: UUID
    first: BitcoinPlan
    second: BitcoinPlan

    async def pay(self, amount: int) -> Attempt:
        """Another payout, sent."""
        known = {attempt.lineage_id for attempt in await self.world.attempts()}
        await self.world.withdraw(self.account, amount)
        await self.world.pay()
        [new] = [attempt for attempt in await self.world.attempts() if attempt.lineage_id not in known]
        return new

    async def pay_from_change(self, amount: int, parent: BitcoinPlan) -> Attempt:
        """Another payout, of which an input is the change of `parent`."""
        child = await self.pay(amount)
        assert parent.tx_hash in {resource[:32] for resource in child.plan.resources}
        return child


@pytest_asyncio.fixture
async def replaced(world: World) -> Replaced:
    account, destination = await world.rich()
    await world.coin(50_000_000, destination)
    await world.mine(3)
    await world.withdraw(account, 10_000_000)
    await world.pay()
    await world.mine(PATIENCE)
    await world.sender.step()
    (lineage, first), (_, second) = await world.attempts()
    assert first.tx_hash != second.tx_hash
    return Replaced(world, account, destination, lineage, first, second)


async def test_a_conflict_that_was_rewound_does_not_kill_a_lineage_that_confirmed_since(
    replaced: Replaced,
) -> None:
    world = replaced.world
    await world.mine_plans(replaced.first)
    child = await replaced.pay_from_change(5_000_000, replaced.first)
    fork = world.at.height - 1
    await world.back_to(fork)
    await world.mine_plans(replaced.second)
    assert await world.conflict(child.lineage_id) == replaced.second.tx_hash
    await world.mine_plans(child.plan)
    await world.back_to(fork)
    await world.mine(FINALITY)
    assert await world.lineage_states([child.lineage_id]) == ["open"]
    await world.payouts.step()
    assert [payout.state for payout in await world.withdrawals()] == ["sending", "sending"]


async def test_a_confirmation_forgets_the_conflict(replaced: Replaced) -> None:
    world = replaced.world
    await world.mine_plans(replaced.first)
    child = await replaced.pay_from_change(5_000_000, replaced.first)
    await world.back_to(world.at.height - 1)
    await world.mine_plans(replaced.second)
    await world.mine_plans(child.plan)
    assert await world.lineage_states([child.lineage_id]) == ["confirmed"]
    assert await world.conflict(child.lineage_id) is None


async def test_a_rewind_forgets_the_conflict_of_a_lineage_that_is_confirmed(replaced: Replaced) -> None:
    world = replaced.world
    await world.mine_plans(replaced.first)
    await world.pool.execute(
        "UPDATE lineage SET conflict = $2, conflict_height = $3 WHERE id = $1",
        replaced.lineage,
        bytes(32),
        world.at.height,
    )
    await world.back_to(world.at.height - 1)
    await world.mine(FINALITY)
    assert await world.lineage_states([replaced.lineage]) == ["open"]


async def _only_just_covered(replaced: Replaced) -> Attempt:
    """A payout whose coin leaves no change, from which a bump could pay; the first payout's change is free."""
    world = replaced.world
    await world.coin(200_700, replaced.destination)
    await world.mine(2)
    just = await replaced.pay(200_000)
    assert len(just.plan.resources) == 1
    assert just.plan.change_positions == ()
    await world.mine_plans(replaced.first)
    return just


async def test_a_bump_never_adds_inputs(replaced: Replaced) -> None:
    world = replaced.world
    just = await _only_just_covered(replaced)
    world.nodes.market = FeeMarket({2: 20_000}, 1_000)
    for _ in range(3):
        await world.mine(PATIENCE)
        await world.sender.step()
    own = [attempt.plan for attempt in await world.attempts() if attempt.lineage_id == just.lineage_id]
    assert {plan.resources for plan in own} == {just.plan.resources}
    assert replaced.second.resources == replaced.first.resources


async def test_a_payout_is_not_paid_again_while_its_first_attempt_can_confirm(replaced: Replaced) -> None:
    world = replaced.world
    just = await _only_just_covered(replaced)
    await world.mine(PATIENCE)
    await world.pay()
    await world.back_to(world.at.height - PATIENCE - 1)
    await world.mine_plans(replaced.second)
    for _ in range(FINALITY + 1):
        await world.mine(1)
        await world.pay()
    assert await world.lineage_states([just.lineage_id]) == ["open"]
    paying = {attempt.lineage_id for attempt in await world.attempts()} - {replaced.lineage}
    assert paying == {just.lineage_id}
    await world.mine_plans(just.plan)
    await world.payouts.step()
    assert (await world.withdrawals())[1].state == "confirmed"
    assert await world.halted() is None


async def test_a_block_with_an_attempt_of_a_dead_lineage_halts_the_chain(replaced: Replaced) -> None:
    world = replaced.world
    await world.mine_plans(replaced.first)
    child = await replaced.pay_from_change(5_000_000, replaced.first)
    await world.back_to(world.at.height - 1)
    await world.mine_plans(replaced.second)
    await world.mine(FINALITY)
    assert await world.lineage_states([child.lineage_id]) == ["dead"]
    assert await world.halted() is None
    await world.mine_plans(child.plan)
    assert "proven dead" in str(await world.halted())


async def test_grandchildren_of_a_lost_transaction_die_with_it_and_their_payouts_are_queued_again(
    replaced: Replaced,
) -> None:
    world = replaced.world
    await world.mine_plans(replaced.first)
    child = await replaced.pay_from_change(5_000_000, replaced.first)
    await world.mine_plans(child.plan)
    grandchild = await replaced.pay_from_change(3_000_000, child.plan)
    family = [child.lineage_id, grandchild.lineage_id]
    await world.back_to(world.at.height - 2)
    await world.mine_plans(replaced.second)
    await world.mine(FINALITY - 2)
    assert await world.lineage_states(family) == ["open", "open"]
    await world.mine(1)
    assert await world.lineage_states(family) == ["dead", "dead"]
    open_market, world.nodes.market = world.nodes.market, CLOSED
    await world.payouts.step()
    assert [payout.state for payout in (await world.withdrawals())[1:]] == ["queued", "queued"]
    world.nodes.market = open_market
    await world.pay()
    again = (await world.attempts())[-1]
    assert again.lineage_id not in family
    assert sorted(again.plan.transaction.outputs[place].amount for place in again.plan.positions) == [
        3_000_000,
        5_000_000,
    ]
    assert [payout.state for payout in (await world.withdrawals())[1:]] == ["sending", "sending"]


async def _pending_economy_payout(world: World) -> None:
    """Sent at 5 sat/vB for a target of 24 blocks, and not taken by the first three."""
    account, destination = await world.rich()
    await world.coin(50_000_000, destination)
    await world.mine(3)
    await world.withdraw(account, 10_000_000, "economy")
    await world.pay()
    await world.mine(PATIENCE)


async def test_a_payout_that_the_market_leaves_behind_is_raised_before_its_target(world: World) -> None:
    await _pending_economy_payout(world)
    await world.sender.step()
    assert len(await world.attempts()) == 1, "the market asks no more than it pays"
    before, world.nodes.market = world.nodes.market, FeeMarket({24: 20_000}, 1_000)
    await world.market.step()
    world.nodes.market = before
    await world.sender.step()
    assert len(await world.attempts()) == 1, "what the survey found has passed"
    world.nodes.market = FeeMarket({24: 20_000}, 1_000)
    await world.sender.step()
    (_, first), (_, second) = await world.attempts()
    assert first.resources == second.resources
    assert second.fee * 1_000 // second.size >= 20_000


async def test_a_payout_is_raised_no_further_than_its_budget(world: World) -> None:
    await _pending_economy_payout(world)
    world.nodes.market = FeeMarket({24: 20_000}, 1_000)
    await world.market.step()
    world.sender.rules = SendRules(rebroadcast_s=0, fee_growth_max=3)
    await world.sender.step()
    assert len(await world.attempts()) == 1
    world.sender.rules = SendRules(rebroadcast_s=0, fee_growth_max=5)
    await world.sender.step()
    assert len(await world.attempts()) == 2
