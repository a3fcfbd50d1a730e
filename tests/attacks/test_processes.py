"""Several processes on one database: daemons that start at once, a rescan beside a watcher, a reconciler."""

from cryptowatch.chains.port import BlockContents, BlockRef, Transfer
from cryptowatch.db.pool import connection, transaction
from cryptowatch.deposits.apply import apply_again
from cryptowatch.deposits.cursor import block_at, read_cursor, start_cursor
from cryptowatch.deposits.machine import HeadMoved
from cryptowatch.deposits.watcher import Watcher
from cryptowatch.deposits.watchlist import ChainWatchList
from cryptowatch.money import BaseUnits
from cryptowatch.sending.halts import resume
from cryptowatch.treasury.reconcile import Reconciler
from tests.attacks.world import ASSET, CHAIN, RULES, START, World, made_up


async def test_a_second_daemons_first_start_one_block_later_leaves_the_chain_as_it_is(world: World) -> None:
    later = BlockRef(START + 1, made_up("seen by the second daemon"), world.at.hash, world.now)
    async with transaction(world.pool) as conn:
        await start_cursor(conn, CHAIN, ASSET, later, world.now)
        cursor = await read_cursor(conn, CHAIN)
        assert cursor is not None and cursor.block == world.at
        assert await block_at(conn, CHAIN, START + 1) is None
    await world.block()
    async with connection(world.pool) as conn:
        assert await block_at(conn, CHAIN, START + 1) == world.blocks[START + 1]


async def test_a_watcher_beside_a_rescan_watches_the_coins_that_it_found(world: World) -> None:
    watchlist = ChainWatchList(CHAIN)
    watcher = Watcher(
        RULES,
        world.pool_of_nodes,
        world.pool,
        world.clock,
        watchlist,
        None,
        100,
        1,
        lambda applied, left: None,
    )
    await watcher.follow()
    account, destination = await world.rich()
    tx_hash = made_up("an old deposit")
    old = BlockContents(
        BlockRef(50, made_up("block", 50), made_up("block", 49), world.now),
        (Transfer(tx_hash, 0, destination, ASSET, BaseUnits(50_000_000)),),
        (),
        {tx_hash: (made_up("its input") + bytes(4),)},
        1,
        1,
    )
    async with transaction(world.pool) as conn:
        await apply_again(conn, RULES, old, HeadMoved(START), world.now)
    await world.withdraw(account, 10_000_000)
    await world.pay()
    [attempt] = await world.attempts()
    assert attempt.plan.resources == (tx_hash + bytes(4),)
    await watcher.follow()
    assert list(watchlist.interest.resources(list(attempt.plan.resources))) == [True]


async def test_payouts_halt_again_when_more_is_missing_than_a_person_accepted(world: World) -> None:
    _, destination = await world.rich()
    await world.coin(50_000_000, destination)
    await world.mine(6)
    reconciler = Reconciler(world.pool, world.clock, lambda position: None)
    await reconciler.step()
    assert await world.halted() is None
    await world.pool.execute("UPDATE coin SET amount = amount - 1")
    await reconciler.step()
    assert str(await world.halted()).startswith("1 base units")
    async with transaction(world.pool) as conn:
        await resume(conn, CHAIN, False, world.now)
    await reconciler.step()
    assert await world.halted() is None
    await world.pool.execute("UPDATE coin SET amount = amount - 40000000")
    await reconciler.step()
    assert str(await world.halted()).startswith("40000001 base units")
