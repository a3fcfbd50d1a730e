"""P1, P2: many clients at once, repeating themselves on purpose; and Postgres killed under them."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cryptowatch.db import embedded
from cryptowatch.db.migrate import migrate
from cryptowatch.db.pool import Pool, connection, open_pool, transaction
from cryptowatch.errors import ConcurrentUpdate, DatabaseUnavailable
from cryptowatch.ledger.balances import roll_up
from cryptowatch.ledger.postings import PostingRefused, post, post_all, post_each
from cryptowatch.ledger.rules import DONE, CustomerAccount, Kind, Posting, Status
from cryptowatch.ledger.rules import house_transfer as transfer_between
from cryptowatch.money import BaseUnits
from tests.database.world import NOW, World, create_world

CLIENTS = 16


class Client:
    """Posts what chance says, alone, in batches, in transactions; remembers what was acknowledged."""

    def __init__(self, number: int, world: World, players: list[CustomerAccount]) -> None:
        self.random = random.Random(number)
        self.number = number
        self.world = world
        self.players = players
        self.acknowledged: list[Posting] = []
        self.sent = 0
        self.statuses: Counter[str] = Counter()

    def posting(self) -> Posting:
        # Keys are shared by all clients: every posting is made by several of them, at about the same time.
        number = self.sent = self.sent + 1
        chance = random.Random(number)
        kind = chance.choice([Kind.BET, Kind.WIN, Kind.DEPOSIT_CREDIT, Kind.HOLD, Kind.HOUSE_TRANSFER])
        key, amount = f"shared:{number}", chance.randrange(1, 50)
        if kind is Kind.HOUSE_TRANSFER:
            return transfer_between(key, self.world.game, self.world.fees, BaseUnits(amount))
        if self.random.random() < 0.05:
            amount += 1  # the same key with other content
        player = self.players[number % len(self.players)]
        return self.world.posting(kind, player, amount, key=key)

    async def step(self, pool: Pool) -> None:
        postings = [self.posting() for _ in range(self.random.choice([1, 1, 1, 5, 20]))]
        self.random.shuffle(postings)
        try:
            if len(postings) == 1:
                async with connection(pool) as conn:
                    answers = [await post(conn, postings[0], NOW)]
            elif self.random.random() < 0.7:
                async with connection(pool) as conn:
                    answers = await post_each(conn, postings, NOW)
            else:
                async with transaction(pool) as conn:
                    await post_all(conn, postings, NOW)
                self.acknowledged += postings
                return
        except PostingRefused as refusal:
            self.statuses[refusal.status] += 1
            return
        for posting, answer in zip(postings, answers, strict=True):
            self.statuses[answer.status] += 1
            if answer.status in DONE:
                self.acknowledged.append(posting)


async def start(world: World) -> list[Client]:
    players = [await world.player(final=500) for _ in range(6)]
    return [Client(number, world, players) for number in range(CLIENTS)]


async def check(world: World, clients: list[Client]) -> None:
    """Every acknowledged posting is there once, as acknowledged, and all balances follow from them."""
    async with connection(world.pool) as conn:
        rows = await conn.fetch("SELECT key, kind, customer, amount FROM posting WHERE key LIKE 'shared:%'")
    stored = {row["key"]: (row["kind"], row["customer"], row["amount"]) for row in rows}
    assert len(stored) == len(rows)
    for client in clients:
        for posting in client.acknowledged:
            assert stored[posting.key] == (posting.kind, posting.customer, posting.amount_base_units)
    await world.assert_sound()


async def test_p1_p2_sixteen_clients_that_repeat_each_other_post_everything_once(world: World) -> None:
    clients = await start(world)
    races: Counter[str] = Counter()

    async def run(client: Client) -> None:
        for _ in range(40):
            try:
                await client.step(world.pool)
            except ConcurrentUpdate as race:
                races[str(race.__cause__)] += 1

    async def roll() -> None:
        while True:
            async with connection(world.pool) as conn:
                await roll_up(conn)
            await asyncio.sleep(0.01)

    roller = asyncio.create_task(roll())
    await asyncio.gather(*(run(client) for client in clients))
    roller.cancel()
    statuses = sum((client.statuses for client in clients), Counter[str]())
    assert all(statuses[status] for status in (Status.CREATED, Status.EXISTS, Status.CONFLICT))
    assert not [cause for cause in races if "deadlock" in cause]
    await check(world, clients)


async def at_once(world: World, player: CustomerAccount, postings: list[Posting]) -> Counter[Status]:
    """Post each from its own connection, all of them waiting for the player's row at the same moment."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    lock = "SELECT FROM customer_balance WHERE account_id = $1 FOR UPDATE"
    async with connection(world.pool) as watcher, transaction(world.pool) as locker:
        await locker.execute(lock, player)
        posts = [asyncio.create_task(world.post(posting)) for posting in postings]
        while await watcher.fetchval(waiting) < len(postings):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.01)
    return Counter(answer.status for answer in await asyncio.gather(*posts))


async def test_p3_of_clients_that_settle_and_release_the_same_hold_exactly_one_wins(world: World) -> None:
    player = await world.player(final=1000)
    hold = await world.done(Kind.HOLD, player, 100)
    kinds = [Kind.HOLD_SETTLE, Kind.HOLD_RELEASE] * 4
    statuses = await at_once(world, player, [world.posting(k, player, 100, resolves=hold) for k in kinds])
    assert statuses == {Status.CREATED: 1, Status.ALREADY_RESOLVED: 7}
    await world.assert_sound()


async def test_p2_of_clients_that_post_the_same_key_at_once_one_posts_and_all_hear_of_it(
    world: World,
) -> None:
    player = await world.player(final=1000)
    bets = [world.posting(Kind.BET, player, 10 + (n == 7), key="the same") for n in range(8)]
    statuses = await at_once(world, player, bets)
    assert statuses[Status.CREATED] == 1
    assert statuses[Status.CREATED] + statuses[Status.EXISTS] + statuses[Status.CONFLICT] == 8
    await world.assert_sound()


async def test_of_clients_that_spend_the_last_money_at_once_exactly_one_can(world: World) -> None:
    player = await world.player(final=10)
    statuses = await at_once(world, player, [world.posting(Kind.BET, player, 10) for _ in range(8)])
    assert statuses == {Status.CREATED: 1, Status.INSUFFICIENT_FUNDS: 7}
    await world.assert_sound()


@pytest.mark.parametrize("players", [2, 300])
async def test_a_batch_of_one_kind_locks_accounts_in_their_order_however_small_the_table_is(
    world: World, players: int
) -> None:
    """Wherever their rows stand: who waits for the first one holds no other, so that no two wait for each other."""
    first, *_, last = [await world.player() for _ in range(players)]
    moved = "UPDATE customer_balance SET version = version WHERE account_id = $1"
    lock = "SELECT FROM customer_balance WHERE account_id = $1 FOR UPDATE NOWAIT"
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with connection(world.pool) as other:
        await other.execute(moved, first)
        async with transaction(world.pool) as locker:
            await locker.execute(lock, first)
            batch = [world.posting(Kind.WIN, player, 10) for player in (last, first)]
            posted = asyncio.create_task(world.post_all(*batch))
            while await other.fetchval(waiting) < 1:  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.01)
            await other.execute(lock, last)
    await posted
    await world.assert_sound()


async def test_two_roll_ups_at_once_fold_every_delta_once(world: World) -> None:
    player = await world.player()
    await world.post_each(*(world.posting(Kind.WIN, player, n + 1) for n in range(50)))

    async def roll() -> int:
        async with connection(world.pool) as conn:
            return await roll_up(conn)

    folded = await asyncio.gather(*(roll() for _ in range(8)))
    assert sum(folded) == 1  # a batch leaves one delta per house account
    assert await world.house(world.game) == -sum(range(1, 51))
    await world.assert_sound()


@pytest_asyncio.fixture
async def killable(short_dir: Path) -> AsyncIterator[tuple[Path, str]]:
    """A durable Postgres of this test's own, migrated."""
    folder = short_dir / "killable"
    dsn = await embedded.start(folder)
    await asyncio.to_thread(migrate, dsn)
    yield folder, dsn
    await embedded.stop(folder)


def kill(folder: Path) -> None:
    pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
async def test_p1_p2_postgres_killed_under_load_loses_and_repeats_nothing(killable: tuple[Path, str]) -> None:
    folder, dsn = killable
    kills, unknown = 4, 0
    async with open_pool(dsn, application_name="test", size_max=CLIENTS) as pool:
        world = await create_world(pool)
        clients = await start(world)
        stop = asyncio.Event()

        async def run(client: Client) -> None:
            nonlocal unknown
            while not stop.is_set():
                before = client.sent
                try:
                    await client.step(pool)
                except ConcurrentUpdate:
                    client.sent = before
                except DatabaseUnavailable:
                    unknown += 1
                    client.sent = before  # the same keys again: the answer tells what happened
                    await asyncio.sleep(0.05)

        running = [asyncio.create_task(run(client)) for client in clients]
        for _ in range(kills):
            await asyncio.sleep(0.7)
            kill(folder)
            assert await embedded.start(folder) == dsn
        await asyncio.sleep(0.7)
        stop.set()
        await asyncio.gather(*running)
        assert unknown >= kills
        assert sum(len(client.acknowledged) for client in clients) > 1000
        await check(world, clients)
