"""One block, or one rewind, as one database transaction: the third hop of the main flow.

Called by `watcher` with a block that the quorum agreed on. In the caller's transaction it moves the chain's cursor by
compare-and-set, records coins and our own transactions (`sending.track`), takes every deposit concerned through the
machine, and writes rows, postings and events together. So a crash, a replay or a second daemon leaves either all of
a block or none of it (P2, P8). Nothing here talks to a node (P4).
"""

import asyncio
import itertools
from collections.abc import Collection, Container, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import asyncpg

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.connect import OWN_BRANCH
from cryptowatch.chains.port import BlockContents, BlockRef, Identity, Spend, Transfer
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.bookkeeping import owners_of, write_changes
from cryptowatch.deposits.limits import beyond_limits
from cryptowatch.deposits.machine import (
    Deposit,
    Event,
    HeadMoved,
    Included,
    Lost,
    Orphaned,
    State,
)
from cryptowatch.deposits.records import Change, Moved, Record, moved, moved_by, read_record
from cryptowatch.deposits.rules import ChainRules
from cryptowatch.deposits.sighting import (
    OurTransfers,
    first_sight,
    our_destinations,
    remember_resources,
    seen_again,
)
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ids import derived_ids
from cryptowatch.ledger.accounts import PlayersByAsset, ensure_players_of
from cryptowatch.loops import in_slices
from cryptowatch.sending.accounts import own_moves
from cryptowatch.sending.coins import NewCoins, coins_seen, new_coin, note_lost_parents
from cryptowatch.sending.track import track_block, track_rewind

SQL = load_queries(__package__, "apply.sql")


@dataclass(frozen=True, slots=True)
class Applied:
    """What a block or rewind did, for logs and metrics. `blocks_left` 0 = a block was appended."""

    height: int
    block_time: datetime
    changes: Sequence[Change]
    blocks_left: int = 0


async def apply_block(
    conn: Connection,
    rules: ChainRules,
    parent: BlockPoint,
    contents: BlockContents,
    now: datetime,
    final_height: int | None = None,
) -> Applied:
    """Append a block whose parent is the cursor's block. `final_height`: what the nodes call final, at least.

    Raises ConcurrentUpdate when the cursor is elsewhere, or another writer moved a deposit: roll back, look again.
    """
    ref = contents.ref
    if ref.height != parent.height + 1 or ref.prev_hash != parent.hash:
        raise ConcurrentUpdate("this block does not follow the cursor's block")
    await _move_cursor(
        conn, SQL["advance_cursor"], rules.chain, parent, BlockPoint(ref.height, ref.hash), now
    )
    await conn.execute(SQL["insert_block"], rules.chain, ref.height, ref.hash, ref.prev_hash, ref.time)
    await conn.execute(SQL["forget_old_blocks"], rules.chain, ref.height - rules.blocks_kept)
    await conn.execute(SQL["forget_old_resources"], rules.chain, ref.height - rules.blocks_kept)
    head = HeadMoved(ref.height, await _note_final(conn, rules, final_height))
    found, ours = await _track_and_find(conn, rules, contents, head, now)
    others = [
        *await _due(conn, rules, head, contents.transfers),
        *await _losers(conn, rules, contents.spends, ref.height, now),
    ]
    players = await _players(conn, ours, others)
    every = itertools.chain(found, others)
    changes = await write_changes(conn, rules.chain, every, ref.height, now, players)
    return Applied(ref.height, ref.time, changes)


async def apply_again(
    conn: Connection,
    rules: ChainRules,
    contents: BlockContents,
    head: HeadMoved,
    now: datetime,
) -> Applied:
    """Look at a block below the cursor anew, and record only what was missed: coins, deposits, uses of coins.

    The caller holds the chain's row. Deposits found late go as far as the head allows. Idempotent (P2).
    """
    await conn.execute(SQL["count_rescan"], rules.chain)
    found, ours = await _track_and_find(conn, rules, contents, head, now)
    players = await _players(conn, ours, ())
    changes = await write_changes(conn, rules.chain, found, head.height, now, players)
    return Applied(contents.ref.height, contents.ref.time, changes)


async def rewind(
    conn: Connection,
    rules: ChainRules,
    head: BlockPoint,
    fork: BlockRef,
    accepted: bool,
    now: datetime,
) -> Applied:
    """Leave every block above `fork`, the last block that both branches share.

    With `accepted` (a person's word) even final deposits are undone; without, the caller has checked that there are
    none. Raises ConcurrentUpdate as apply_block does.
    """
    await _move_cursor(conn, SQL["rewind_cursor"], rules.chain, head, BlockPoint(fork.height, fork.hash), now)
    await conn.execute(SQL["delete_blocks_above"], rules.chain, fork.height)
    await track_rewind(conn, rules.chain, head.height, fork.height, now)
    changes = []
    for row in await conn.fetch(SQL["lock_orphaned_deposits"], rules.chain, fork.height, head.height):
        record = _read(row, rules)
        assert record.deposit.block is not None
        changes.append(moved_by(record, [Orphaned(record.deposit.block, accepted)]))
    await write_changes(conn, rules.chain, changes, fork.height, now)
    return Applied(fork.height, fork.time, changes, head.height - fork.height)


async def finalized_above(conn: Connection, chain: str, height: int, head_height: int) -> bool:
    """Whether a rewind to this height would undo something final (P6)."""
    return bool(await conn.fetchval(SQL["finalized_above"], chain, height, head_height))


async def _move_cursor(
    conn: Connection,
    query: str,
    chain: str,
    at: BlockPoint,
    to: BlockPoint,
    now: datetime,
) -> None:
    status = await conn.execute(query, chain, to.height, to.hash, at.height, at.hash, now)
    if status != "UPDATE 1":
        raise ConcurrentUpdate(f"the cursor of {chain} is no longer at {at.height}")


async def _note_final(conn: Connection, rules: ChainRules, final_height: int | None) -> int | None:
    """What is called final never goes back, whatever nodes say later (P6)."""
    if not rules.tagged:
        return None
    noted: int = await conn.fetchval(SQL["note_final"], rules.chain, final_height)
    return noted


async def _track_and_find(
    conn: Connection,
    rules: ChainRules,
    contents: BlockContents,
    head: HeadMoved,
    now: datetime,
) -> tuple[Iterator[Change], OurTransfers]:
    """Coins and our own transactions, then deposits: new ones, and those seen before in a mempool or another block.

    A full block has tens of thousands, so each step in Python is made while Postgres is at one of its own; deposits are
    found as they are asked for.
    """
    transfers = contents.transfers
    own = await own_moves(conn, rules.chain, contents)
    owners, coins = await asyncio.gather(
        our_destinations(conn, rules.chain, rules.asset, transfers),
        in_slices(map(new_coin, transfers if contents.movements is None else ())),
    )
    ours = OurTransfers(owners, own)

    async def recorded() -> tuple[Set[bytes], Sequence[asyncpg.Record]]:
        seen = await coins_seen(conn, rules.chain, coins)
        return seen, await _lock_deposits(conn, rules.chain, {transfer.tx_hash for transfer in transfers})

    (seen, rows), _ = await asyncio.gather(recorded(), ours.sort_out(transfers))
    # The watch list may name a stranger's output (a collision of hashes); the table does not.
    coins = coins if all(ours.wanted) else list(itertools.compress(coins, ours.wanted))
    new_coins = NewCoins(coins, _blocks_to_mature(rules, ours), seen)
    final_height = rules.final_height(head)
    await asyncio.gather(
        track_block(conn, rules.chain, rules.asset, contents, new_coins, final_height, now),
        ours.attribute(rules.asset),
    )
    told = {row["tx_hash"] for row in rows}
    await remember_resources(conn, rules.chain, ours.paying, contents.resources, told)
    known = {record.identity: record for record in await in_slices(_read(row, rules) for row in rows)}
    standing = {identity for identity, one in known.items() if one.deposit.state is not State.REPLACED}
    new = [t for t in ours.transfers if t.identity not in standing] if standing else ours.transfers
    limited = await beyond_limits(conn, owners, new, rules.assets, now) if ours.limited else frozenset()
    return _found(rules, contents, ours, known, limited, head, now), ours


def _blocks_to_mature(rules: ChainRules, ours: OurTransfers) -> Iterator[int]:
    """After how many further blocks each coin may be used.

    Our own change comes from us. What others paid waits until a deposit of its size is final: its payer could still
    take it back, and a payout of it could then neither confirm nor soon be proven dead.
    """
    for transfer in ours.transfers:
        immature = transfer.immature_blocks
        if ours.owners[transfer.destination]["branch"] != OWN_BRANCH:
            total = ours.totals[transfer.tx_hash, transfer.asset]
            immature = max(immature, rules.assets[transfer.asset].required(total).finalize - 1)
        yield immature


def _found(
    rules: ChainRules,
    contents: BlockContents,
    ours: OurTransfers,
    known: Mapping[Identity, Record],
    limited: Container[tuple[bytes, int]],
    head: HeadMoved,
    now: datetime,
) -> Iterator[Change]:
    """Pure: what this block does to the deposits that are in it."""
    block = BlockPoint(contents.ref.height, contents.ref.hash)
    ids = derived_ids(now, rules.chain.encode(), block.hash)

    @cache  # the machine sees little of a deposit: those of a block move in a few ways
    def included(deposit: Deposit, first: tuple[Event, ...]) -> Moved:
        return moved(deposit, [*first, Included(block, head.height, head.final_height)])

    for owner, transfer in ours.paid:
        record = known.get(transfer.identity)
        beyond = (transfer.tx_hash, transfer.position) in limited
        if record is None:
            total = ours.totals[transfer.tx_hash, transfer.asset]
            record, first = first_sight(next(ids), rules, transfer, owner, total, now, beyond_limit=beyond)
        else:
            first = seen_again(rules, record, owner, beyond_limit=beyond)
        yield Change(record, *included(record.deposit, first))


async def _players(conn: Connection, ours: OurTransfers, others: Sequence[Change]) -> PlayersByAsset:
    """The accounts in the ledger of all whom this block pays, or whose money it moves."""
    owners = owners_of(others)
    for asset, unknown in ours.unknown.items():
        owners.setdefault(asset, set()).update(unknown)
    found = await ensure_players_of(conn, owners)
    for asset, known in ours.players.items():
        found.setdefault(asset, {}).update(known)
    return found


async def _due(
    conn: Connection, rules: ChainRules, head: HeadMoved, in_this_block: Sequence[Transfer]
) -> list[Change]:
    """Deposits of earlier blocks that reach a threshold with this one."""
    rows = await conn.fetch(SQL["lock_due_deposits"], rules.chain, head.height, head.final_height)
    if not rows:
        return []
    hashes = {transfer.tx_hash for transfer in in_this_block}
    return [moved_by(_read(row, rules), [head]) for row in rows if row["tx_hash"] not in hashes]


async def _losers(
    conn: Connection,
    rules: ChainRules,
    spends: Sequence[Spend],
    height: int,
    now: datetime,
) -> list[Change]:
    """Unconfirmed deposits whose input this block gave to another transaction: a double spend came true."""
    if not spends:
        return []
    losers = await conn.fetch(
        SQL["losers_of_resources"], rules.chain, [s.resource for s in spends], [s.tx_hash for s in spends]
    )
    if not losers:
        return []
    hashes, winners = [row["tx_hash"] for row in losers], [row["winner"] for row in losers]
    await conn.execute(SQL["name_winners"], rules.chain, hashes, winners)
    await note_lost_parents(conn, rules.chain, height, list(zip(hashes, winners, strict=True)), now)
    rows = await _lock_deposits(conn, rules.chain, hashes)
    return [moved_by(_read(row, rules), [Lost()]) for row in rows if row["block_height"] is None]


async def _lock_deposits(
    conn: Connection, chain: str, tx_hashes: Collection[bytes]
) -> Sequence[asyncpg.Record]:
    """Those of these transactions, in whatever state."""
    if not tx_hashes:
        return ()
    return await conn.fetch(SQL["lock_deposits_of_transactions"], chain, list(tx_hashes))


def _read(row: asyncpg.Record, rules: ChainRules) -> Record:
    return read_record(row, rules.assets[row["asset"]].decimals)
