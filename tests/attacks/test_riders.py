"""Payouts that join a replacement: who may, who must not, and what becomes of them when things go wrong just then."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import pytest
import pytest_asyncio

from cryptowatch.chains.denied import Denied
from cryptowatch.chains.plans import Plan
from cryptowatch.chains.port import BroadcastAnswer, FeeMarket
from cryptowatch.db.pool import transaction
from cryptowatch.errors import NodeUnavailable, SignerRefused
from cryptowatch.payouts.worker import SQL as PAYOUTS
from cryptowatch.sending.worker import SendRules
from cryptowatch.settings.chains import Priority
from cryptowatch.signing.families import SignedTransaction
from tests.attacks.world import CHAIN, FINALITY, PATIENCE, World

COIN, FIRST, SECOND = 50_000_000, 10_000_000, 3_000_000
#: Twice of what the first attempt bid; those who are in no hurry still bid a fifth of it.
DEARER = FeeMarket({2: 10_000, 6: 10_000, 24: 1_000}, 1_000)


@dataclass
class Queue:
    """A payout whose fee is about to be raised; the only coin is its own, so that others wait."""

    world: World
    account: UUID
    destination: bytes

    async def waits(self, amount: int = SECOND, priority: Priority = "normal") -> UUID:
        return await self.world.withdraw(self.account, amount, priority)

    async def raised(self) -> list[int]:
        """How many each attempt pays, after one round of the sender."""
        self.world.nodes.market = DEARER
        await self.world.mine(PATIENCE)
        await self.world.sender.step()
        return await self.paid()

    async def paid(self) -> list[int]:
        return [len(attempt.plan.positions) for attempt in await self.world.attempts()]

    async def states(self) -> list[str]:
        return [payout.state for payout in await self.world.withdrawals()]


@pytest_asyncio.fixture
async def queue(world: World) -> Queue:
    account, destination = await world.rich()
    await world.coin(COIN, destination)
    await world.mine(3)
    await world.withdraw(account, FIRST)
    await world.pay()
    return Queue(world, account, destination)


async def test_who_waits_joins_behind_those_who_were_there(queue: Queue) -> None:
    await queue.waits()
    await queue.waits(SECOND + 1)
    assert await queue.raised() == [1, 3]
    first, second = [attempt.plan for attempt in await queue.world.attempts()]
    assert first.resources == second.resources
    outputs = second.transaction.outputs
    assert [outputs[place].amount for place in second.positions] == [FIRST, SECOND, SECOND + 1]
    assert await queue.states() == ["sending"] * 3
    rows = await queue.world.pool.fetch("SELECT batch_place, position, tx_hash FROM withdrawal ORDER BY id")
    assert [row["batch_place"] for row in rows] == [1, 2, 3]
    assert [row["position"] for row in rows[1:]] == list(second.positions[1:])


@pytest.mark.parametrize(
    ("amount", "priority"),
    [
        (SECOND, "urgent"),  # the replacement bids for less
        (SECOND, "economy"),  # alone it would pay a fifth of the rate
        (COIN - FIRST - 5_000, "normal"),  # nothing would be left to raise the fee with
        (COIN, "normal"),  # nor is there so much
    ],
)
async def test_who_would_pay_more_or_harm_the_others_does_not_join(
    queue: Queue, amount: int, priority: Priority
) -> None:
    await queue.waits(amount, priority)
    assert await queue.raised() == [1, 1]
    assert await queue.states() == ["sending", "queued"]


async def test_who_is_denied_frozen_or_must_leave_alone_does_not_join(queue: Queue) -> None:
    world = queue.world
    denied = await queue.waits()
    script = await world.pool.fetchval("SELECT destination FROM withdrawal WHERE id = $1", denied)
    world.denied = Denied(frozenset({(CHAIN, script)}))
    alone = await queue.waits()
    await world.pool.execute("UPDATE withdrawal SET alone = true WHERE id = $1", alone)
    await queue.waits()
    await world.pool.execute("UPDATE account SET status = 'frozen'")
    assert await queue.raised() == [1, 1]
    assert (await queue.states())[0] == "sending"
    assert "sending" not in (await queue.states())[1:]


@pytest.mark.parametrize(
    ("growth_max", "paid", "told"), [(2, [1, 2], []), (1, [1], ["the payment's fee budget is used up"])]
)
async def test_the_budget_counts_by_rate_so_that_who_joins_pays_for_himself(
    queue: Queue, growth_max: int, paid: list[int], told: list[str]
) -> None:
    """Twice the rate for both costs more than twice the first one's fee, and no more than each may spend."""
    await queue.waits()
    queue.world.sender.rules = SendRules(rebroadcast_s=0, fee_growth_max=growth_max)
    assert await queue.raised() == paid
    rows = await queue.world.pool.fetch(
        "SELECT data ->> 'reason' AS reason FROM event WHERE type = 'transaction.stuck'"
    )
    assert [row["reason"] for row in rows if row["reason"]] == told


async def test_no_more_join_than_a_batch_holds(queue: Queue) -> None:
    queue.world.payouts = queue.world.worker(count_max=3)
    queue.world.sender = queue.world.sender_with(queue.world.sender.sign)
    for _ in range(4):
        await queue.waits()
    assert await queue.raised() == [1, 3]


async def test_what_the_signer_refuses_for_those_who_join_is_raised_without_them(queue: Queue) -> None:
    signed = queue.world.sender.sign

    async def refuses_two(plan: Plan, lineage_id: str) -> SignedTransaction:
        if len(plan.positions) > 1:
            raise SignerRefused("destination_not_allowed: says the test")
        return await signed(plan, lineage_id)

    queue.world.sender = queue.world.sender_with(refuses_two)
    await queue.waits()
    assert await queue.raised() == [1, 1]
    assert await queue.states() == ["sending", "queued"]


async def test_who_is_canceled_while_the_replacement_is_signed_is_not_paid_by_it(queue: Queue) -> None:
    world, signed = queue.world, queue.world.sender.sign
    withdrawal = await queue.waits()

    async def meanwhile(plan: Plan, lineage_id: str) -> SignedTransaction:
        await world.pool.execute("UPDATE withdrawal SET state = 'canceled' WHERE id = $1", withdrawal)
        return await signed(plan, lineage_id)

    world.sender = world.sender_with(meanwhile)
    # What was signed is thrown away unsent; the next round raises the fee without it.
    assert await queue.raised() == [1]
    await world.sender.step()
    assert await queue.paid() == [1, 1]
    assert await queue.states() == ["sending", "canceled"]


async def test_two_senders_at_once_bind_each_payout_once(queue: Queue) -> None:
    world = queue.world
    for _ in range(3):
        await queue.waits()
    world.nodes.market = DEARER
    await world.mine(PATIENCE)
    await asyncio.gather(*(world.sender_with(world.sender.sign).step() for _ in range(3)))
    assert await queue.paid() == [1, 4]
    assert await queue.states() == ["sending"] * 4


async def test_a_sender_that_dies_before_it_sends_the_replacement_sends_the_same_bytes_later(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = queue.world
    await queue.waits()
    assert await queue.raised() == [1, 2]
    # Only the next round sends it: this one is dead.
    [_, new] = [b"signed" + attempt.plan.tx_hash for attempt in await world.attempts()]
    assert new not in world.nodes.sent

    async def unreachable(raw: bytes, parents: Sequence[bytes] = ()) -> list[BroadcastAnswer]:
        raise NodeUnavailable("n", "says the test")

    with monkeypatch.context() as patched:
        patched.setattr(world.nodes, "broadcast", unreachable)
        with pytest.raises(NodeUnavailable):
            await world.sender.step()
    await world.payouts.step()
    assert await queue.states() == ["sending", "sending"]
    world.sender = world.sender_with(world.sender.sign)
    await world.sender.step()
    assert world.nodes.sent[-1] == new
    assert await queue.paid() == [1, 2]


@pytest.mark.parametrize("late", ["leave_out", "unbind_left_out"])
async def test_a_worker_that_is_late_does_not_take_a_payout_out_of_the_transaction_that_pays_it_now(
    queue: Queue, late: str
) -> None:
    """Two daemons: one began to look when the payout was left out, and goes on when the other has it sent anew."""
    world = queue.world
    rider = await queue.waits()
    assert await queue.raised() == [1, 2]
    [first, _] = [attempt.plan for attempt in await world.attempts()]
    await world.mine_plans(first)
    await world.mine(1)
    await queue.waits()
    await world.pay()
    other = (await world.attempts())[-1].lineage_id
    await world.mine(FINALITY - 2)
    state, reached = ("confirmed", "sending") if late == "leave_out" else ("sending", "queued")
    await world.pool.execute("UPDATE withdrawal SET state = $2 WHERE id = $1", rider, state)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with transaction(world.pool) as conn:
        await conn.execute(
            "UPDATE withdrawal SET lineage_id = $2, batch_place = 1 WHERE id = $1", rider, other
        )
        looking = asyncio.create_task(world.pool.fetch(PAYOUTS[late], CHAIN, reached, world.now))
        while await world.pool.fetchval(waiting) < 1:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.01)
    assert await looking == []
    row = await world.pool.fetchrow("SELECT state, lineage_id FROM withdrawal WHERE id = $1", rider)
    assert row is not None and tuple(row) == (state, other)


async def test_what_was_left_out_for_good_is_never_sent_again_even_when_the_final_block_is_left(
    queue: Queue,
) -> None:
    world = queue.world
    await queue.waits()
    assert await queue.raised() == [1, 2]
    await world.sender.step()
    before = world.at.height
    first, second = [attempt.plan for attempt in await world.attempts()]
    await world.mine_plans(first)
    await world.payouts.step()
    assert await queue.states() == ["confirmed", "sending"]
    await world.mine(FINALITY - 2)
    await world.payouts.step()
    assert await queue.states() == ["confirmed", "sending"]
    await world.mine(1)
    # Final: it is free to be paid anew, and by the change of the very attempt that left it out.
    await world.pay()
    assert await queue.states() == ["finalized", "sending"]
    assert await queue.paid() == [1, 2, 1]
    # A person accepts that the final block is gone: the void attempt must stay away.
    world.nodes.sent.clear()
    await world.back_to(before, accepted=True)
    await world.pool.execute("UPDATE chain SET reorg_accepted_at = NULL, halted = NULL, halted_at = NULL")
    world.sender = world.sender_with(world.sender.sign)
    await world.sender.step()
    assert b"signed" + first.tx_hash in world.nodes.sent
    assert b"signed" + second.tx_hash not in world.nodes.sent
    # Somebody else has kept it. That pays the second player twice, and nothing more leaves until a person looks.
    await world.mine_plans(second)
    halted = await world.pool.fetchval("SELECT halted FROM chain")
    assert halted == f"a transaction that was void is in a block: {second.tx_hash.hex()}"
