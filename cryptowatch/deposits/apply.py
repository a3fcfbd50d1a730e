"""One block, or one rewind, as one database transaction: the third hop of the main flow.

Called by `watcher` with a block that the quorum agreed on. In the caller's transaction it moves the chain's cursor by
compare-and-set, records coins and our own transactions (`sending.track`), takes every deposit concerned through the
machine, and writes rows, postings and events together. So a crash, a replay or a second daemon leaves either all of
a block or none of it (P2, P8). Nothing here talks to a node (P4).
"""

import asyncio
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from itertools import compress
from uuid import UUID

import asyncpg

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.connect import OWN_BRANCH
from cryptowatch.chains.port import BlockContents, BlockRef, Identity, Spend, Transfer
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.bookkeeping import Players, write_changes
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
from cryptowatch.deposits.policy import total_per_transaction
from cryptowatch.deposits.records import Change, Moved, Record, moved, moved_by, read_record
from cryptowatch.deposits.rules import ChainRules
from cryptowatch.deposits.sighting import first_sight, our_destinations, remember_resources, seen_again
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ids import derived_ids
from cryptowatch.ledger.accounts import find_players
from cryptowatch.loops import in_slices
from cryptowatch.sending.accounts import own_moves
from cryptowatch.sending.coins import new_coin, note_lost_parents
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
    found, players = await _track_and_find(conn, rules, contents, head, now)
    changes = [
        *found,
        *await _due(conn, rules, head, {transfer.tx_hash for transfer in contents.transfers}),
        *await _losers(conn, rules, contents.spends, ref.height, now),
    ]
    await write_changes(conn, rules.chain, changes, ref.height, now, players)
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
    changes, players = await _track_and_find(conn, rules, contents, head, now)
    await write_changes(conn, rules.chain, changes, head.height, now, players)
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
) -> tuple[list[Change], Players]:
    """Coins and our own transactions, then deposits: new ones, and those seen before in a mempool or another block.

    A full block has tens of thousands, so coins are put into words while Postgres finds whose they are, and deposits go
    through the machine while it records the coins. Answered with the accounts in the ledger of those who are paid.
    """
    is_coins = contents.movements is None
    ours, coins = await asyncio.gather(
        our_destinations(conn, rules.chain, contents.transfers),
        in_slices(map(new_coin, contents.transfers if is_coins else ())),
    )
    own = await own_moves(conn, rules.chain, contents)
    # The watch list may name a stranger's output (a collision of hashes); the table does not. What moves our own money
    # within the wallet is no deposit either.
    wanted = [t.destination in ours and t.tx_hash not in own for t in contents.transfers]
    coins = list(compress(coins, wanted))
    contents = replace(contents, transfers=tuple(compress(contents.transfers, wanted)))
    totals = total_per_transaction(contents.transfers)
    hashes = list({transfer.tx_hash for transfer in contents.transfers})
    rows = await conn.fetch(SQL["lock_deposits_of_transactions"], rules.chain, hashes) if hashes else ()
    known = {record.identity: record for record in (_read(row, rules) for row in rows)}
    standing = {identity for identity, one in known.items() if one.deposit.state is not State.REPLACED}
    new = [t for t in contents.transfers if not standing or t.identity not in standing]
    limited = await beyond_limits(conn, ours, new, rules.assets, now)
    # Our own change, or what an address that nobody was given received: the coin is recorded, no deposit.
    paid = [
        (ours[t.destination], t) for t in contents.transfers if ours[t.destination]["account_id"] is not None
    ]

    async def record() -> Players:
        mature = _blocks_to_mature(rules, contents.transfers, ours, totals)
        final_height = rules.final_height(head)
        await track_block(conn, rules.chain, rules.asset, contents, coins, mature, final_height, now)
        paying, told = {transfer.tx_hash for _, transfer in paid}, {row["tx_hash"] for row in rows}
        await remember_resources(conn, rules.chain, paying, contents.resources, told)
        owners: dict[str, set[UUID]] = {}
        for owner, transfer in paid:
            owners.setdefault(transfer.asset, set()).add(owner["account_id"])
        return await find_players(conn, owners)

    players, changes = await asyncio.gather(
        record(), in_slices(_found(rules, contents, paid, totals, known, limited, head, now))
    )
    return changes, players


def _blocks_to_mature(
    rules: ChainRules,
    transfers: Sequence[Transfer],
    ours: Mapping[bytes, asyncpg.Record],
    totals: Mapping[tuple[bytes, str], int],
) -> list[int]:
    """After how many further blocks each coin may be used.

    Our own change comes from us. What others paid waits until a deposit of its size is final: its payer could still
    take it back, and a payout of it could then neither confirm nor soon be proven dead.
    """
    return [
        transfer.immature_blocks
        if ours[transfer.destination]["branch"] == OWN_BRANCH
        else max(
            transfer.immature_blocks,
            rules.assets[transfer.asset].required(totals[transfer.tx_hash, transfer.asset]).finalize - 1,
        )
        for transfer in transfers
    ]


def _found(
    rules: ChainRules,
    contents: BlockContents,
    paid: Sequence[tuple[asyncpg.Record, Transfer]],
    totals: Mapping[tuple[bytes, str], int],
    known: Mapping[Identity, Record],
    limited: Container[tuple[bytes, int]],
    head: HeadMoved,
    now: datetime,
) -> Iterator[Change]:
    """Pure: what this block does to the deposits that are in it. `paid`: whose address each is to.

    In the order of the accounts: what follows from it then goes into most indexes in their own order.
    """
    block = BlockPoint(contents.ref.height, contents.ref.hash)
    ids = derived_ids(now, rules.chain.encode(), block.hash)

    @cache  # the machine sees little of a deposit: those of a block move in a few ways
    def included(deposit: Deposit, first: tuple[Event, ...]) -> Moved:
        return moved(deposit, [*first, Included(block, head.height, head.final_height)])

    for owner, transfer in sorted(paid, key=lambda each: each[0]["account_id"].bytes):
        record = known.get(transfer.identity)
        beyond = (transfer.tx_hash, transfer.position) in limited
        if record is None:
            total = totals[transfer.tx_hash, transfer.asset]
            record, first = first_sight(next(ids), rules, transfer, owner, total, now, beyond_limit=beyond)
        else:
            first = seen_again(rules, record, owner, beyond_limit=beyond)
        yield Change(record, *included(record.deposit, first))


async def _due(
    conn: Connection, rules: ChainRules, head: HeadMoved, in_this_block: set[bytes]
) -> list[Change]:
    """Deposits of earlier blocks that reach a threshold with this one."""
    rows = await conn.fetch(SQL["lock_due_deposits"], rules.chain, head.height, head.final_height)
    return [moved_by(_read(row, rules), [head]) for row in rows if row["tx_hash"] not in in_this_block]


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
    rows = await conn.fetch(SQL["lock_deposits_of_transactions"], rules.chain, hashes)
    return [moved_by(_read(row, rules), [Lost()]) for row in rows if row["block_height"] is None]


def _read(row: asyncpg.Record, rules: ChainRules) -> Record:
    return read_record(row, rules.assets[row["asset"]].decimals)
