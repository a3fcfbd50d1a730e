"""Children that pay for parents: when one is made, what it pays, and what becomes of both."""

import asyncio
from dataclasses import dataclass, replace
from uuid import UUID

import pytest
import pytest_asyncio

from cryptowatch.chains.bitcoin.payments import BitcoinPlan
from cryptowatch.chains.plans import Bid, Plan
from cryptowatch.chains.port import FeeMarket
from cryptowatch.db.pool import connection
from cryptowatch.errors import SignerRefused
from cryptowatch.sending.change import ChangeRules
from cryptowatch.sending.unconfirmed import read_family
from cryptowatch.sending.worker import SQL as SENDING
from cryptowatch.sending.worker import SendRules
from cryptowatch.signing.families import SignedTransaction
from tests.attacks.world import CHAIN, FEES, FINALITY, PATIENCE, Attempt, World

COIN, AMOUNT = 50_000_000, 5_000_000
RATE = 20_000
#: What a payee pays for what he makes of a payout: far more than a replacement at the market's rate, within the cap.
GENEROUS = 20_000
DEARER = FeeMarket({2: RATE, 6: RATE, 24: RATE}, 1_000)


@dataclass
class Late:
    """A payout that no block took so far; the market has gone up meanwhile."""

    world: World
    account: UUID
    destination: bytes
    parent: Attempt

    async def built_on(self, generous: int = GENEROUS) -> None:
        """Its payee spends what he got, and pays more for it than a replacement would."""
        newest = (await self.attempts("payout"))[-1]
        self.world.nodes.built_on[newest.tx_hash] = newest.fee + generous

    async def raised(self) -> None:
        self.world.nodes.market = DEARER
        await self.world.mine(PATIENCE)
        await self.world.sender.step()
        await self.world.sender.step()

    async def attempts(self, kind: str) -> list[BitcoinPlan]:
        rows = await self.world.pool.fetch("SELECT id FROM lineage WHERE kind = $1", kind)
        ids = {row["id"] for row in rows}
        return [one.plan for one in await self.world.attempts() if one.lineage_id in ids]

    async def counts(self) -> tuple[int, int]:
        """Attempts of payouts, and of children."""
        return len(await self.attempts("payout")), len(await self.attempts("child"))

    async def told(self) -> list[str | None]:
        """Why it is stuck, or that it is no more."""
        rows = await self.world.pool.fetch(
            "SELECT data ->> 'reason' AS reason FROM event WHERE type = 'transaction.stuck' ORDER BY id"
        )
        return [row["reason"] for row in rows]


async def late(world: World, coin: int, amount: int, depth_max: int = 3) -> Late:
    world.spends_unconfirmed(depth_max)
    account, destination = await world.rich()
    await world.coin(coin, destination)
    await world.mine(3)
    await world.withdraw(account, amount)
    await world.pay()
    [parent] = await world.attempts()
    return Late(world, account, destination, parent)


@pytest_asyncio.fixture
async def payout(world: World) -> Late:
    return await late(world, COIN, AMOUNT)


def rate_of(*plans: BitcoinPlan) -> int:
    return sum(plan.fee for plan in plans) * 1_000 // sum(plan.size for plan in plans)


async def test_what_a_payee_has_spent_is_paid_for_by_a_child(payout: Late) -> None:
    await payout.built_on()
    await payout.raised()
    assert await payout.counts() == (1, 1)
    parent, [child] = payout.parent.plan, await payout.attempts("child")
    assert list(child.resources) == [coin.resource for coin in parent.coins_back]
    # All of it comes back to the wallet, less a fee that lifts both to the wanted rate and no further.
    assert (len(child.transaction.outputs), child.change_positions) == (1, (0,))
    assert RATE <= rate_of(parent, child) <= RATE + 10
    assert payout.world.nodes.sent[-2:] == [b"signed" + parent.tx_hash, b"signed" + child.tx_hash]
    # Once: what is paid for waits for a block.
    await payout.world.mine(1)
    await payout.world.sender.step()
    assert await payout.counts() == (1, 1)


async def test_whose_last_in_the_line_a_payee_has_spent_is_raised_by_one_more(payout: Late) -> None:
    world = payout.world
    await world.withdraw(payout.account, AMOUNT)
    await world.pay()
    await payout.built_on()
    await payout.raised()
    assert await payout.counts() == (2, 1)
    (first, second), [child] = await payout.attempts("payout"), await payout.attempts("child")
    assert list(child.resources) == [coin.resource for coin in second.coins_back]
    assert RATE <= rate_of(first, second, child) <= RATE + 10


async def test_what_nobody_has_spent_is_replaced(payout: Late) -> None:
    await payout.raised()
    assert await payout.counts() == (2, 0)


async def test_where_change_is_not_to_be_spent_it_is_replaced_all_the_same(world: World) -> None:
    payout = await late(world, COIN, AMOUNT, depth_max=0)
    await payout.built_on()
    await payout.raised()
    assert await payout.counts() == (2, 0)


async def test_it_is_replaced_where_it_has_no_change_and_told_where_that_is_not_possible_either(
    world: World,
) -> None:
    payout = await late(world, AMOUNT + 700, AMOUNT)
    assert payout.parent.plan.change_positions == ()
    await payout.built_on()
    await payout.raised()
    assert await payout.counts() == (1, 0)
    assert await payout.told() == ["nothing left to raise the fee with"]


async def test_where_the_change_is_too_little_a_confirmed_coin_helps(world: World) -> None:
    payout = await late(world, AMOUNT + 2_000, AMOUNT)
    [change] = payout.parent.plan.coins_back
    await payout.raised()
    assert await payout.counts() == (1, 0), "neither a replacement nor a child can be paid for"
    assert (await payout.told())[-1] == "nothing left to raise the fee with"
    outpoints = [await world.coin(coin, payout.destination) for coin in (2 * COIN, COIN)]
    await world.mine(3)
    await world.sender.step()
    assert await payout.counts() == (1, 1)
    [child] = await payout.attempts("child")
    # The smallest that does.
    assert set(child.resources) == {change.resource, outpoints[1]}
    assert RATE <= rate_of(payout.parent.plan, child) <= RATE + 10
    assert (await payout.told())[-1] is None


@pytest.mark.parametrize(
    ("growth_max", "rate", "generous", "told"),
    [
        (2, RATE, GENEROUS, "the payment's fee budget is used up"),
        (100, 2 * FEES.settings.cap_sat_vb * 1_000, 10 * GENEROUS, None),
    ],
)
async def test_neither_budget_nor_cap_is_exceeded_by_a_child(
    payout: Late, growth_max: int, rate: int, generous: int, told: str | None
) -> None:
    world = payout.world
    await payout.built_on(generous)
    world.sender.rules = SendRules(rebroadcast_s=0, fee_growth_max=growth_max)
    world.nodes.market = FeeMarket({2: rate, 6: rate, 24: rate}, 1_000)
    await world.mine(PATIENCE)
    await world.sender.step()
    if told is None:
        [child] = await payout.attempts("child")
        cap = FEES.settings.cap_sat_vb * 1_000
        assert rate_of(payout.parent.plan, child) <= cap + 10
        await world.mine(2 * PATIENCE)
        await world.sender.step()
        await world.sender.step()
        assert (await payout.counts(), await payout.told()) == ((1, 1), ["stuck at the fee cap"] * 2)
    else:
        assert (await payout.counts(), await payout.told()) == ((1, 0), [told])


async def test_what_was_told_of_a_payout_is_taken_back_when_a_child_pays_for_it(payout: Late) -> None:
    world = payout.world
    await payout.built_on()
    world.sender.rules = SendRules(rebroadcast_s=0, fee_growth_max=2)
    await payout.raised()
    assert await payout.told() == ["the payment's fee budget is used up"]
    world.sender.rules = SendRules(rebroadcast_s=0)
    await payout.raised()
    assert await payout.counts() == (1, 1)
    assert await payout.told() == ["the payment's fee budget is used up", None]


async def test_a_child_has_no_more_to_spend_than_its_parent_had(payout: Late) -> None:
    """Its own first rate is far above theirs together."""
    world = payout.world
    await payout.built_on()
    await payout.raised()
    world.sender.rules = SendRules(rebroadcast_s=0, fee_growth_max=4)
    await payout.raised()
    assert await payout.counts() == (1, 1)
    assert set(await payout.told()) == {"the payment's fee budget is used up"}
    world.sender.rules = SendRules(rebroadcast_s=0, fee_growth_max=5)
    stuck = "SELECT count(*) FROM lineage WHERE stuck IS NOT NULL"
    assert await world.pool.fetchval(stuck) == 2
    await payout.raised()
    assert await payout.counts() == (1, 2)
    # Of the parent, too, it is told no more.
    assert await world.pool.fetchval(stuck) == 0


async def test_a_child_is_raised_with_its_very_inputs_and_pays_for_both_again(payout: Late) -> None:
    await payout.built_on()
    await payout.raised()
    await payout.raised()
    assert await payout.counts() == (1, 2)
    first, second = await payout.attempts("child")
    assert first.resources == second.resources
    assert rate_of(payout.parent.plan, second) >= rate_of(payout.parent.plan, first) * 5 // 4
    # A block with an older child is one with both all the same.
    world = payout.world
    await world.mine_plans(payout.parent.plan, first)
    await world.mine(FINALITY)
    await world.payouts.step()
    assert [one.state for one in await world.withdrawals()] == ["finalized"]
    fees = await world.pool.fetchval(
        "SELECT sum(amount) FROM posting p JOIN ledger_account a ON a.id = p.from_account "
        "WHERE a.role = 'network_fees:bitcoin'"
    )
    assert fees == payout.parent.plan.fee + first.fee


@pytest.mark.parametrize("parts", [1, 4])
async def test_senders_at_once_make_one_child(world: World, parts: int) -> None:
    """Also where there would be change for more."""
    world.coins = replace(world.coins, change=ChangeRules(parts, parts, parts, 100_000, 600))
    payout = await late(world, COIN, AMOUNT)
    assert len(payout.parent.plan.coins_back) == parts
    await payout.built_on()
    world.nodes.market = DEARER
    await world.mine(PATIENCE)
    await asyncio.gather(*(world.sender_with(world.sender.sign).step() for _ in range(3)))
    assert await payout.counts() == (1, 1)


async def test_who_has_not_seen_the_first_child_makes_no_second(world: World) -> None:
    world.coins = replace(world.coins, change=ChangeRules(4, 4, 4, 100_000, 600))
    await late(world, COIN, AMOUNT)
    rows = await world.pool.fetch(SENDING["open_signed"], CHAIN)
    async with connection(world.pool) as conn:
        family = await read_family(conn, CHAIN)
    children = world.sender.children
    assert children is not None
    assert await children.pays_for(rows, Bid(RATE), family)
    assert not await children.pays_for(rows, Bid(RATE), family)


async def test_a_child_that_the_signer_refuses_is_not_made_again(payout: Late) -> None:
    world, sign = payout.world, payout.world.sender.sign

    async def refuses(plan: Plan, lineage_id: str) -> SignedTransaction:
        if not plan.positions:
            raise SignerRefused("fee_too_high: so much for so little")
        return await sign(plan, lineage_id)

    await payout.built_on()
    world.sender = world.sender_with(refuses)
    await payout.raised()
    await world.sender.step()
    rows = await world.pool.fetch("SELECT state FROM lineage WHERE kind = 'child'")
    assert [row["state"] for row in rows] == ["dead"]
    # Nodes take a replacement when it pays for what it evicts, too.
    assert await payout.counts() == (2, 0)


async def test_a_raise_that_the_signer_refuses_is_told_with_its_reason(payout: Late) -> None:
    async def refuses(plan: Plan, lineage_id: str) -> SignedTransaction:
        raise SignerRefused("fee_too_high: so much for so little")

    payout.world.sender = payout.world.sender_with(refuses)
    payout.world.sender.children = None
    await payout.raised()
    assert await payout.counts() == (1, 0)
    assert await payout.told() == ["signer refused: fee_too_high: so much for so little"]


async def test_when_an_older_attempt_wins_the_child_dies_and_its_coins_are_free_again(world: World) -> None:
    payout = await late(world, AMOUNT + 5_500, AMOUNT)
    helping = await world.coin(COIN, payout.destination)
    world.sender.joining = None
    await world.mine(PATIENCE)
    await world.sender.step()
    await world.sender.step()
    assert await payout.counts() == (2, 0)
    await payout.built_on()
    await payout.raised()
    assert await payout.counts() == (2, 1)
    [child] = await payout.attempts("child")
    assert helping in child.resources
    await world.mine_plans(payout.parent.plan)
    await world.mine(FINALITY - 1)
    states = await world.pool.fetch("SELECT kind, state FROM lineage ORDER BY kind")
    assert [tuple(row) for row in states] == [("child", "dead"), ("payout", "finalized")]
    free = await world.pool.fetch(
        "SELECT resource FROM coin WHERE height IS NOT NULL AND reserved_by IS NULL AND spent_by IS NULL"
    )
    [change] = payout.parent.plan.coins_back
    assert {row["resource"] for row in free} == {helping, change.resource}
    assert await world.halted() is None


async def test_what_a_child_brings_back_pays_the_next_one(payout: Late) -> None:
    world = payout.world
    await payout.built_on()
    await payout.raised()
    [child] = await payout.attempts("child")
    await world.withdraw(payout.account, AMOUNT)
    await world.pay()
    newest = (await world.attempts())[-1].plan
    assert [resource[:32] for resource in newest.resources] == [child.tx_hash]
    assert await world.pool.fetchval("SELECT count(*) FROM coin WHERE chain = $1", CHAIN) == 3
