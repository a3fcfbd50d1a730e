"""Several processes on one database: daemons that start at once, a rescan beside a watcher, a reconciler."""

import asyncio
from typing import Any, cast

import pytest

from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.port import BlockContents, BlockRef, NodeState, Transfer
from cryptowatch.chains.standing import ChangeKind, NodeChange
from cryptowatch.db.pool import Connection, connection, transaction
from cryptowatch.deposits import cursor as cursors
from cryptowatch.deposits.apply import apply_again, finalized_above
from cryptowatch.deposits.cursor import block_at, read_cursor, start_cursor
from cryptowatch.deposits.machine import HeadMoved
from cryptowatch.deposits.watcher import Watcher
from cryptowatch.deposits.watchlist import ChainWatchList
from cryptowatch.errors import ConcurrentUpdate, DatabaseUnavailable
from cryptowatch.money import BaseUnits
from cryptowatch.sending.halts import resume
from cryptowatch.treasury.reconcile import (
    Reconciler,
    ReconcileRules,
    read_positions,
    record_finding,
    write_off,
)
from cryptowatch.treasury.solvency import Position
from tests.attacks.network import Network, deposit_of
from tests.attacks.world import ASSET, CHAIN, RULES, START, Nodes, World, made_up
from tests.support.running import until, waiting_for_locks


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


async def test_what_became_of_nodes_is_told_once_postgres_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell, is_away = cursors.tell_node, [False, True]
    nodes = cast(Nodes, world.pool_of_nodes)
    watcher = Watcher(
        RULES,
        world.pool_of_nodes,
        world.pool,
        world.clock,
        ChainWatchList(CHAIN),
        None,
        100,
        1,
        lambda applied, left: None,
    )
    nodes.untold += [
        NodeChange("a", ChangeKind.QUARANTINED, NodeState.QUARANTINED, "lied"),
        NodeChange("b", ChangeKind.QUARANTINED, NodeState.LAGGING, "9 blocks behind"),
        NodeChange("a", ChangeKind.RECOVERED, NodeState.HEALTHY, "agrees"),
    ]

    async def tell_unless_away(*told: Any) -> None:
        await tell(*told)
        if is_away and is_away.pop(0):
            raise DatabaseUnavailable("gone before it committed")

    monkeypatch.setattr(cursors, "tell_node", tell_unless_away)
    with pytest.raises(DatabaseUnavailable):
        await watcher.follow()
    await watcher.follow()
    rows = await world.pool.fetch("SELECT entity_id, type FROM event WHERE entity_kind = 'node' ORDER BY id")
    assert [tuple(row) for row in rows] == [
        (f"{CHAIN}/a", "node.quarantined"),
        (f"{CHAIN}/b", "node.quarantined"),
        (f"{CHAIN}/a", "node.recovered"),
    ]
    assert nodes.untold == []


def watcher_of(world: World, network: Network) -> Watcher:
    nodes = cast(NodePool, network)
    watchlist = ChainWatchList(CHAIN)
    return Watcher(RULES, nodes, world.pool, world.clock, watchlist, None, 100, 1, lambda applied, left: None)


@pytest.mark.parametrize("is_at_the_end", [False, True], ids=["only left the branch", "went on to its end"])
async def test_a_watcher_that_is_late_does_not_halt_a_chain_whose_reorg_another_one_followed(
    world: World, monkeypatch: pytest.MonkeyPatch, is_at_the_end: bool
) -> None:
    """It looks for the fork in blocks that are gone by then, or would undo what is final on the new branch."""
    network, (_, destination) = Network(world.blocks[START]), await world.account()
    late, other = watcher_of(world, network), watcher_of(world, network)
    for _ in range(3):
        network.mine((), world.now)
    await late.follow()
    head = await network.agreed_head()
    network.leave(2)
    network.mine([deposit_of(1, destination, 50_000_000)], world.now)
    for _ in range(3):
        network.mine((), world.now)
    agreed_hash, asked = network.agreed_hash, list[int]()

    async def meanwhile(height: int) -> bytes | None:
        asked.append(height)
        if is_at_the_end and asked == [START + 3, START + 2, START + 1]:
            await other.follow()
        if not is_at_the_end and len(asked) == 1:
            world.at, world.blocks[START + 1] = head, network.branch.blocks[1].ref
            await world.back_to(START + 1)
        return await agreed_hash(height)

    monkeypatch.setattr(network, "agreed_hash", meanwhile)
    with pytest.raises(ConcurrentUpdate, match=f"no longer at {START + 3}"):
        await late.follow()
    assert await world.halted() is None
    await late.follow()
    assert await world.pool.fetchval("SELECT height FROM chain") == START + 5
    assert await world.pool.fetchval("SELECT state FROM deposit") == "finalized"


async def test_a_person_who_accepts_a_reorg_while_the_watcher_looks_at_it_is_not_answered_by_a_halt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, (_, destination) = Network(world.blocks[START]), await world.account()
    looking, people = watcher_of(world, network), list[asyncio.Task[bool]]()
    network.mine([deposit_of(1, destination, 50_000_000)], world.now)
    for _ in range(3):
        network.mine((), world.now)
    await looking.follow()
    network.leave(4)
    for _ in range(5):
        network.mine((), world.now)
    await looking.follow()
    assert "would undo final money" in str(await world.halted())

    async def accept() -> bool:
        async with transaction(world.pool) as conn:
            return await resume(conn, CHAIN, True, world.now)

    async def looks(conn: Connection, *where: Any) -> bool:
        people.append(asyncio.create_task(accept()))
        await until(lambda: waiting_for_locks(world.pool, 1))
        return await finalized_above(conn, *where)

    monkeypatch.setattr("cryptowatch.deposits.watcher.finalized_above", looks)
    await looking.follow()
    assert await asyncio.gather(*people) == [True]
    await looking.follow()
    assert await world.halted() is None
    assert await world.pool.fetchval("SELECT state FROM deposit") == "reversed"


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


async def test_payouts_stay_stopped_while_more_is_missing_than_a_person_wrote_off(world: World) -> None:
    _, destination = await world.rich()
    await world.coin(50_000_000, destination)
    await world.mine(6)
    rules = {CHAIN: ReconcileRules(finality=6, tolerances={})}
    reconciler = Reconciler(world.pool, world.clock, rules, lambda position: None)

    async def stopped() -> list[str]:
        await reconciler.step()
        found: list[str] = await world.pool.fetchval("SELECT stopped_assets FROM chain")
        return found

    async def position() -> Position:
        async with connection(world.pool) as conn:
            [found] = await read_positions(conn)
        return found

    assert await stopped() == []
    await world.pool.execute("UPDATE coin SET amount = amount - 1")
    assert await stopped() == ["BTC"]
    seen = await position()
    await world.pool.execute("UPDATE coin SET amount = amount - 40000000")
    async with transaction(world.pool) as conn:
        assert await write_off(conn, seen, "rounding", world.now) == 1
    assert await stopped() == ["BTC"]
    # The same word twice books nothing more.
    with pytest.raises(ConcurrentUpdate):
        async with transaction(world.pool) as conn:
            await write_off(conn, seen, "rounding", world.now)
    seen = await position()
    assert seen.difference == -40_000_000
    async with transaction(world.pool) as conn:
        await write_off(conn, seen, "lost keys", world.now)
    assert await stopped() == []
    with pytest.raises(ValueError, match="nothing of BTC is missing"):
        async with transaction(world.pool) as conn:
            await write_off(conn, await position(), "again", world.now)
    told = await world.pool.fetch("SELECT type FROM event WHERE type LIKE 'reconciliation.%' ORDER BY id")
    assert [row["type"].partition(".")[2] for row in told] == [
        "balanced",
        "mismatch",
        "booked",
        "mismatch",
        "booked",
        "balanced",
    ]


async def test_a_look_from_before_a_loss_does_not_let_payouts_go_on(world: World) -> None:
    """Two reconcilers: one is paused between its look and what it writes."""
    _, destination = await world.rich()
    await world.coin(50_000_000, destination)
    rules = ReconcileRules(finality=6, tolerances={})
    reconciler = Reconciler(world.pool, world.clock, {CHAIN: rules}, lambda position: None)
    await reconciler.step()
    async with connection(world.pool) as conn:
        [before] = await read_positions(conn)
    await world.pool.execute("UPDATE coin SET amount = amount - 1")
    await reconciler.step()
    async with transaction(world.pool) as conn:
        await record_finding(conn, before, rules, world.now)
    assert await world.pool.fetchval("SELECT stopped_assets FROM chain") == ["BTC"]


async def test_an_output_that_only_the_watch_list_takes_for_ours_is_neither_coin_nor_deposit(
    world: World,
) -> None:
    """The list knows addresses by a part of their hash; it stands before and after what is ours."""
    account_id, destination = await world.account()
    paid = [made_up("stranger"), destination, made_up("another stranger")]
    tx_hash = made_up("paying")
    await world.block(
        [Transfer(tx_hash, place, to, ASSET, BaseUnits(50_000 + place)) for place, to in enumerate(paid)],
        (),
        {tx_hash: (made_up("input") + bytes(4),)},
    )
    coins = await world.pool.fetch("SELECT resource, destination, amount FROM coin")
    assert [tuple(row) for row in coins] == [(tx_hash + b"\x00\x00\x00\x01", destination, 50_001)]
    deposits = await world.pool.fetch("SELECT account_id, position, amount FROM deposit")
    assert [tuple(row) for row in deposits] == [(account_id, 1, 50_001)]
