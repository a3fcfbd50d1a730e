"""What happens around the daemons of a simulation: people, miners, nodes, the signer, and what breaks.

Used by `simulation`; each draws what it needs from the simulation's seed and notes what it did.
"""

from collections.abc import Sequence
from typing import Final

from cryptowatch.chains.port import FeeMarket
from cryptowatch.payouts.machine import Event
from cryptowatch.settings.chains import Priority
from tests.attacks.network import OTHERS_SIZE, Output, Transaction, deposit_of
from tests.attacks.simulation import Happening, Simulation
from tests.attacks.world import START, made_up

#: Above the last tier but one: it is final no earlier than a payout, so that a shallow reorg halts nothing.
DEPOSIT = 150_000_000
AMOUNT_MIN, AMOUNT_MAX = 500_000, 30_000_000
#: Satoshi per 1000 virtual bytes.
RATES: Final = (1_500, 5_000, 5_000, 10_000, 20_000, 40_000)
PRIORITIES: Final[Sequence[Priority]] = ("normal", "normal", "normal", "urgent", "economy")
REORG_DEPTH_MAX = 5


# People


async def withdraws(of: Simulation) -> None:
    if not of.visitor.is_idle:
        return
    account, _ = of.chance.choice(of.accounts)
    amount, priority = of.chance.randint(AMOUNT_MIN, AMOUNT_MAX), of.chance.choice(PRIORITIES)
    script = b"\x00\x14" + made_up("payee", len(of.scripts))[:20]
    of.scripts.append(script)
    of.note(f"a player asks for {amount}, {priority}")

    async def step() -> int:
        of.people.now = of.clock.now()
        of.withdrawals.append(await of.people.withdraw(account, amount, priority, to=script))
        return 1

    of.visitor.start(step)
    await of.turns.settle()


async def decides(of: Simulation) -> None:
    """A player cancels, or a person approves what the signer refused."""
    if not of.visitor.is_idle or not of.withdrawals:
        return
    waiting = await of.in_review()
    event = Event.APPROVE if waiting else Event.CANCEL
    withdrawal = of.chance.choice(waiting or of.withdrawals)
    of.note(f"a person: {event} {withdrawal}")

    async def step() -> int:
        await of.decides(withdrawal, event)
        return 1

    of.visitor.start(step)
    await of.turns.settle()


async def deposits(of: Simulation) -> None:
    _, script = of.chance.choice(of.accounts)
    one = deposit_of(len(of.network.known), script, DEPOSIT + of.chance.randint(0, DEPOSIT))
    of.note(f"a deposit of {one.outputs[0].amount}")
    of.network.sends(one)


async def takes_back(of: Simulation) -> None:
    """Who sent a deposit spends what it spent for himself, before a block holds it."""
    ours = {script for _, script in of.accounts}
    found = [one for one in of.network.waiting() if one.outputs[0].script in ours]
    if found:
        of.note("a deposit is taken back")
        old = of.chance.choice(found)
        outputs = (Output(made_up("thief"), old.outputs[0].amount - 5_000),)
        new = Transaction(made_up("taken back", old.hash), old.spends, outputs, old.fee + 5_000, OTHERS_SIZE)
        of.network.sends(new)


async def payee_spends(of: Simulation) -> None:
    """What a payout that waits pays him, for more or less than a replacement would cost."""
    waiting = of.network.waiting()
    spent = {resource for one in waiting for resource in one.spends}
    found = [
        (one.outpoint(place), output)
        for one in waiting
        for place, output in enumerate(one.outputs)
        if output.script in of.scripts and one.outpoint(place) not in spent
    ]
    if found:
        outpoint, output = of.chance.choice(found)
        fee = of.chance.choice((300, 5_000, 20_000))
        of.note(f"a payee spends what he gets, for a fee of {fee}")
        outputs = (Output(made_up("payee's", outpoint), output.amount - fee),)
        of.network.sends(
            Transaction(made_up("spends", outpoint, fee), (outpoint,), outputs, fee, OTHERS_SIZE)
        )


# Miners and nodes


async def mines(of: Simulation) -> None:
    """Some of what waits, what mempools have replaced by now, or nothing. Seldom before daemons know the last block."""
    behind = of.network.branch.height - await of.looks.fetchval("SELECT height FROM chain")
    if behind and of.chance.random() < 0.8:
        return
    await _block(of)


async def _block(of: Simulation) -> None:
    candidates: list[Transaction] = []
    if of.chance.random() < of.odds.full:
        is_older = of.chance.random() < of.odds.older
        candidates = list(of.network.forwarded.values()) if is_older else of.network.waiting()
    likely = of.chance.choice((0.4, 0.8, 1))
    block = of.network.mine([one for one in candidates if of.chance.random() < likely], of.clock.now())
    held = [one.hash.hex()[:8] for one in block.transactions]
    of.note(f"block {block.ref.height} with {' '.join(held) or 'nothing'}")


async def reorganizes(of: Simulation) -> None:
    depth = of.chance.randint(1, min(REORG_DEPTH_MAX, of.network.branch.height - START))
    of.note(f"{depth} blocks are left")
    of.network.leave(depth)
    for _ in range(depth + 1):
        await _block(of)


async def fees_change(of: Simulation) -> None:
    rate = of.chance.choice(RATES)
    of.note(f"nodes ask for {rate}")
    of.network.market = FeeMarket({2: 2 * rate, 6: rate, 24: rate}, 1_000)


async def loses_mempool(of: Simulation) -> None:
    node = of.chance.randrange(len(of.network.mempools))
    of.note(f"node {node} loses its mempool")
    of.network.loses_mempool(node)


async def nodes_fail(of: Simulation) -> None:
    """After they forwarded what they were sent."""
    of.note("nodes forward and fail")
    if of.chance.random() < 0.5:
        of.network.silent += 1
    else:
        of.network.broken += 1


async def signer_fails(of: Simulation) -> None:
    of.note("the signer fails")
    if of.chance.random() < 0.5:
        of.refused += 1
    else:
        of.signer_away += 1


# What breaks


async def is_cancelled(of: Simulation) -> None:
    """In the middle of whatever it does; what it does to clean up takes turns as well."""
    running = [task for task in of.turns.tasks if task.running is not None and not task.running.done()]
    if running:
        task = of.chance.choice(running)
        of.note(f"{task.name} is cancelled")
        assert task.running is not None
        task.running.cancel()
        of.turns.look_again()
        await of.turns.settle()


async def loses_connection(of: Simulation) -> None:
    found = [task for task in of.turns.tasks if task.waits and task.backend is not None]
    if found:
        task = of.chance.choice(found)
        of.note(f"{task.name} loses its connection before: {task.about}")
        await of.turns.drop(task)
        await of.turns.settle()


async def loses_answer(of: Simulation) -> None:
    """It hears of an error where its COMMIT was one."""
    task = of.chance.choice(of.turns.tasks)
    of.note(f"{task.name} will not hear of its COMMIT")
    task.loses_answer = True


async def dies(of: Simulation) -> None:
    """A daemon, at once and in all its loops; another one takes its place."""
    daemon = of.chance.choice(of.daemons)
    of.note(f"{daemon.name} dies")
    await of.kill(daemon)


_LIKELY: Final[dict[Happening, int]] = {
    withdraws: 28,
    decides: 5,
    deposits: 2,
    takes_back: 1,
    payee_spends: 4,
    mines: 26,
    reorganizes: 2,
    fees_change: 24,
    loses_mempool: 3,
    nodes_fail: 3,
    signer_fails: 1,
    is_cancelled: 3,
    loses_connection: 3,
    loses_answer: 3,
    dies: 2,
}
EVENTS: Final = (list(_LIKELY), list(_LIKELY.values()))
