"""Several daemons over one Postgres and one network of nodes, in an order and with faults that a seed decides.

Run by `test_simulation`, and for longer by `python -m tests.attacks.simulate`. What runs is real: each daemon has a
watcher, a payout worker and a sender of its own on connections of its own. Network, signer and people are made up. Who
does the next statement, who is held in the middle of one, whose connection breaks, what blocks hold and which of them
are left is drawn from the seed; statements run one at a time (`turns`), so that a seed goes the same way again but for
what Postgres and the order of Python's sets decide.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import cast
from uuid import UUID

from cryptowatch.chains.bitcoin.payments import BitcoinPlan
from cryptowatch.chains.plans import Plan
from cryptowatch.db.pool import Connection, Pool, transaction
from cryptowatch.deposits.watcher import Watcher
from cryptowatch.deposits.watchlist import ChainWatchList
from cryptowatch.errors import ConcurrentUpdate, SignerRefused, SignerUnavailable, Temporary
from cryptowatch.payouts.machine import Event
from cryptowatch.payouts.reviews import Person, decide
from cryptowatch.payouts.riders import SQL as RIDERS
from cryptowatch.payouts.worker import SQL as PAYOUTS
from cryptowatch.sending.coins import SQL as COINS
from cryptowatch.sending.track import SQL as TRACK
from cryptowatch.sending.unconfirmed import SQL as UNCONFIRMED
from cryptowatch.sending.worker import SQL as SENDING
from cryptowatch.sending.worker import SendRules
from cryptowatch.signing.families import SignedTransaction
from tests.attacks import invariants
from tests.attacks.network import Network, signed, transaction_of
from tests.attacks.turns import Task, Turns, purpose
from tests.attacks.world import CHAIN, RULES, START, Nodes, World
from tests.support.fake_nodes import HandClock

PLAYERS = 3
#: What a step may end with: the loop waits and begins anew (`cryptowatch.loops`).
PASSING = (Temporary, ConcurrentUpdate)
#: For so many turns of all tasks one is held, or left alone.
WAITS = (3, 10, 40, 150, 400)
#: Compare-and-set by which payouts, coins and attempts change hands; held more often than others.
DELICATE = frozenset(
    purpose(sql[name])
    for sql, names in (
        (PAYOUTS, ("claim", "bind", "leave_out", "unbind_left_out", "unbind_dead", "unbind_refused")),
        (RIDERS, ("claim_riders", "bind_riders")),
        (COINS, ("reserve",)),
        (UNCONFIRMED, ("reserve_change",)),
        (SENDING, ("lock_open_lineage", "store_signed", "give_up")),
        (TRACK, ("finalize_lineages", "bury_lineages")),
    )
    for name in names
)
DELICATE_HOLDS = 0.6
_REVIEWED = "SELECT id FROM withdrawal WHERE state = 'in_review' ORDER BY id"
_COMMITTED = "SELECT EXISTS (SELECT FROM attempt WHERE raw = $1)"


@dataclass(frozen=True)
class Odds:
    """Of one run, drawn from its seed."""

    daemons: int
    #: So many to begin with. With one, payouts wait for its change, and join what is replaced meanwhile.
    coins: int
    unconfirmed_depth_max: int
    joins: bool
    #: Of another task's turn after each statement.
    switches: float
    #: Of a statement that writes to be held in the middle.
    holds: float
    #: Of something to happen outside in place of a statement.
    happens: float
    #: Of a block to hold anything; and then to be a miner's who goes by what came first, not by what pays more.
    full: float
    older: float

    @classmethod
    def drawn(cls, chance: Random) -> "Odds":
        return cls(
            daemons=chance.choice((2, 3)),
            coins=chance.choice((1, 1, 2, PLAYERS)),
            unconfirmed_depth_max=chance.choice((0, 0, 3)),
            joins=chance.random() < 0.9,
            switches=chance.choice((0.03, 0.1, 0.3)),
            holds=chance.choice((0.03, 0.1, 0.2)),
            happens=chance.choice((0.02, 0.04)),
            full=chance.choice((0.3, 0.5)),
            older=chance.choice((0.5, 0.9)),
        )


#: What happens outside of the daemons.
Happening = Callable[["Simulation"], Awaitable[None]]


class Daemon:
    """Its loops' tasks stay when it dies; what it remembers does not."""

    def __init__(self, name: str, pool: Pool, simulation: "Simulation") -> None:
        self.name, self.pool, self.simulation = name, pool, simulation
        self.loops = {
            Task(simulation.turns, f"{name} {loop}"): loop for loop in ("watcher", "payouts", "sender")
        }
        self.starts()

    def starts(self) -> None:
        of = self.simulation
        world = World(self.pool, nodes=cast(Nodes, of.network), clock=of.clock, randbytes=of.chance.randbytes)
        world.spends_unconfirmed(of.odds.unconfirmed_depth_max)
        world.sender = world.sender_with(of.sign)
        world.sender.rules = SendRules(rebroadcast_s=20)
        if not of.odds.joins:
            world.sender.joining = None
        self.world = world
        self.watcher = Watcher(
            RULES,
            world.pool_of_nodes,
            self.pool,
            of.clock,
            ChainWatchList(CHAIN),
            None,
            100,
            1,
            lambda applied, left: None,
        )

    def step_of(self, loop: str) -> Callable[[], Awaitable[int]]:
        return {
            "watcher": self.watcher.follow,
            "payouts": self.world.payouts.step,
            "sender": self.world.sender.step,
        }[loop]


@dataclass
class Simulation:
    """`looks`: a connection for checks. `people`: who deposit and withdraw, in turns as well."""

    looks: Connection
    people: World
    clock: HandClock
    chance: Random
    odds: Odds
    turns: Turns
    #: What may happen outside, and how likely each is (`outside`).
    events: "tuple[Sequence[Happening], Sequence[int]]"
    network: Network = field(init=False)
    daemons: list[Daemon] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    tick: int = 0
    current: Task | None = None
    #: Until when.
    paused: dict[Task, int] = field(default_factory=dict)
    #: The backend, and until when.
    held: dict[Task, tuple[int, int]] = field(default_factory=dict)
    accounts: list[tuple[UUID, bytes]] = field(default_factory=list)
    withdrawals: list[UUID] = field(default_factory=list)
    #: What each of them had to begin with, in satoshi; deposits come to it.
    had: int = 0
    scripts: list[bytes] = field(default_factory=list)
    #: So many of the next signatures.
    refused: int = 0
    signer_away: int = 0
    #: Those that were read before.
    plans: dict[bytes, BitcoinPlan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network = Network(self.people.blocks[START], self._assert_committed)
        self.visitor = Task(self.turns, "people")
        self.turns.tasks.append(self.visitor)

    def adds_daemon(self, name: str, pool: Pool) -> None:
        daemon = Daemon(name, pool, self)
        self.daemons.append(daemon)
        self.turns.tasks += daemon.loops

    def note(self, step: str) -> None:
        self.steps.append(f"{self.tick}: {step}")

    # What daemons ask

    async def sign(self, plan: Plan, lineage_id: str) -> SignedTransaction:
        await self.turns.wait("the signer")
        if self.signer_away:
            self.signer_away -= 1
            raise SignerUnavailable("says the simulation")
        if self.refused:
            self.refused -= 1
            raise SignerRefused("says the simulation")
        assert plan.tx_hash is not None
        self.network.known[plan.tx_hash] = transaction_of(plan)
        return SignedTransaction(plan.tx_hash, signed(plan))

    async def _assert_committed(self, raw: bytes) -> None:
        await self.turns.wait("the nodes")
        assert await self.looks.fetchval(_COMMITTED, raw), f"sent and not committed: {raw.hex()}"

    # Turns

    async def play(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tick += 1
            self.clock.seconds += 0.1
            for task, (backend, until) in list(self.held.items()):
                if until <= self.tick:
                    await self._release(task, backend)
            if self.chance.random() < self.odds.happens or not await self._turn():
                await self._happens()
            self._collect()
            if self.tick % 50 == 0:
                await self.check()

    async def _happens(self) -> None:
        """Something outside; whoever has nothing to do looks again soon."""
        [event] = self.chance.choices(*self.events)
        await event(self)
        for task in self.turns.tasks:
            if task.is_idle:
                self.paused[task] = self.tick + self.chance.choice(WAITS[:3])

    async def _turn(self) -> bool:
        """The next statement, or the beginning of a loop's step; False when nobody has anything to do."""
        task = self._next()
        if task is None:
            if all(task.is_idle for task in self.turns.tasks):
                return False
            await self._unblock()
            return True
        if task.is_idle:
            self.note(f"{task.name} begins")
            task.start(self._step_of(task))
            await self.turns.settle()
        elif self._is_to_be_held(task):
            assert task.backend is not None
            backend, about = task.backend, task.about
            if await self.turns.hold(task):
                self.held[task] = backend, self.tick + self.chance.choice(WAITS[1:])
                self.note(f"{task.name} is held in: {about}")
            else:
                self.note(f"{task.name}: {about}")
        else:
            self.note(f"{task.name}: {task.about}")
            task.go()
            await self.turns.settle()
        return True

    def _is_to_be_held(self, task: Task) -> bool:
        odds = DELICATE_HOLDS if task.about in DELICATE else self.odds.holds
        return task.writes and task not in self.held and self.chance.random() < odds

    def _step_of(self, task: Task) -> Callable[[], Awaitable[int]]:
        [step] = [one.step_of(one.loops[task]) for one in self.daemons if task in one.loops]
        return step

    def _next(self) -> Task | None:
        waiting = [task for task in self.turns.tasks if task.waits]
        ready = [*waiting, *(task for daemon in self.daemons for task in daemon.loops if task.is_idle)]
        awake = [task for task in ready if self.paused.get(task, 0) <= self.tick] or waiting
        if self.current in awake and self.chance.random() > self.odds.switches:
            return self.current
        if self.current in awake and self.chance.random() < 0.3:
            self.paused[self.current] = self.tick + self.chance.choice(WAITS)
        self.current = self.chance.choice(awake) if awake else None
        return self.current

    async def _unblock(self) -> None:
        """All wait for locks: of who is held, or of each other (a deadlock, which Postgres ends)."""
        if self.held:
            task, (backend, _) = next(iter(self.held.items()))
            await self._release(task, backend)
            return
        await self.turns.pass_time()

    async def _release(self, task: Task, backend: int) -> None:
        del self.held[task]
        self.note(f"{task.name} goes on")
        await self.turns.release(backend)

    def _collect(self) -> None:
        """What has ended. Raises what no loop would wait out."""
        for task in self.turns.tasks:
            running = task.running
            if running is None or not running.done():
                continue
            task.running, pause = None, WAITS[-1]
            if running.cancelled():
                self.note(f"{task.name} was cancelled")
                pause = WAITS[0]
            elif (problem := running.exception()) is not None:
                pause = self.chance.choice(WAITS[:3])
                self.note(f"{task.name} ends with {type(problem).__name__}: {problem}")
                if not isinstance(problem, PASSING):
                    raise problem
            elif running.result():
                pause = self.chance.choice(WAITS[:2])  # it did something, and looks again at once
            self.paused[task] = self.tick + pause

    async def kill(self, daemon: Daemon) -> None:
        """And start it again; it remembers nothing."""
        for task in daemon.loops:
            if task in self.held:
                await self._release(task, self.held[task][0])
        await self.turns.kill(daemon.loops, daemon.name)
        daemon.starts()

    async def ends_what_runs(self) -> None:
        """Nothing new begins, nobody is held, no answer is lost."""
        for task, (backend, _) in list(self.held.items()):
            await self._release(task, backend)
        self.network.silent = self.network.broken = self.refused = self.signer_away = 0
        while running := [task for task in self.turns.tasks if not task.is_idle]:
            ready = [task for task in running if task.waits]
            for task in running:
                task.loses_answer = False
            if ready:
                self.note(f"{ready[0].name}: {ready[0].about}")
                ready[0].go()
                await self.turns.settle()
            else:
                await self.turns.pass_time()
            self._collect()

    async def approves_all(self) -> None:
        """A person approves whatever waits for one."""
        for withdrawal in await self.in_review():
            await self.decides(withdrawal, Event.APPROVE)

    async def in_review(self) -> list[UUID]:
        return [row["id"] for row in await self.looks.fetch(_REVIEWED)]

    async def decides(self, withdrawal: UUID, event: Event) -> None:
        async with transaction(self.people.pool) as conn:
            by, denied = Person("key_2", None), self.people.denied
            await decide(conn, withdrawal, event, by=by, denied=denied, decimals=8, now=self.clock.now())

    # Checks

    async def check(self) -> None:
        invariants.assert_nobody_is_paid_twice(self.network.branch, self.scripts)
        seen = await invariants.look(self.looks, self.plans)
        invariants.assert_each_is_paid_by_one_transaction_at_most(seen)
        invariants.assert_no_coin_is_spent_by_two(seen)
        await invariants.assert_books_agree(self.looks)

    async def check_at_the_end(self) -> None:
        """Everything is final."""
        await self.check()
        seen = await invariants.look(self.looks, self.plans)
        given = {
            account: self.had + sum(self.network.branch.amounts_paid_to(script))
            for account, script in self.accounts
        }
        await invariants.assert_all_ended_well(self.looks, self.network.branch, seen, given)
        await invariants.assert_coins_are_the_blocks(self.looks, self.network.branch)
        await invariants.assert_sound(self.looks)
