"""What a block means for our own coins and transactions; called by `deposits.apply` inside its transaction.

A lineage is confirmed by whichever of its attempts a block holds, final when that block is deep enough, and dead only
when a foreign transaction that used one of its inputs is final (P3): then its payouts may go into a new one.
"""

from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec
import structlog

from cryptowatch.chains.port import BlockContents
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.sending.accounts import (
    free_nonces_of,
    record_movements,
    rewind_accounts,
    use_nonces,
)
from cryptowatch.sending.bookkeeping import post_network_fees
from cryptowatch.sending.coins import (
    NewCoins,
    free_coins_of,
    note_lost_parents,
    record_coins,
    rewind_coins,
    use_coins,
)
from cryptowatch.sending.halts import halt

SQL = load_queries(__package__, "track.sql")
log = structlog.get_logger(__name__)


class TransactionView(msgspec.Struct, frozen=True):
    """One of our transactions as its events show it."""

    id: str
    chain: str
    state: str
    tx_hash: str | None
    block_height: int | None = None
    conflict_tx_hash: str | None = None
    #: Of `stuck`: why its fee cannot be raised; none while a replacement is on its way.
    reason: str | None = None


def transaction_event(
    kind: str,
    lineage_id: UUID,
    version: int,
    view: TransactionView,
    now: datetime,
) -> NewEvent:
    return NewEvent(
        type=f"transaction.{kind}",
        entity_kind="transaction",
        entity_id=show_id(Kind.TRANSACTION, lineage_id),
        entity_version=version,
        account_id=None,
        data=msgspec.json.encode(view).decode(),
        created_at=now,
    )


async def track_block(
    conn: Connection,
    chain: str,
    asset: str,
    contents: BlockContents,
    coins: NewCoins,
    final_height: int,
    now: datetime,
) -> None:
    """What this block does to our coins or accounts, and that to our lineages; one event per change (P8).

    `asset` pays the network. Where the chain's money is coins, `coins` are what came to destinations of ours. Up to
    `final_height` nothing is undone any more.
    """
    if contents.movements is None:
        await record_coins(conn, chain, contents.ref.height, coins)
    else:
        await record_movements(conn, chain, contents)
    events: list[NewEvent] = []
    if contents.spends:
        events += await _spent(conn, chain, contents, now)
    finalized = await conn.fetch(SQL["finalize_lineages"], chain, final_height, now)
    if finalized:
        await conn.execute(SQL["void_larger"], [row["id"] for row in finalized])
    await post_network_fees(conn, chain, asset, [(row["tx_hash"], row["fee"]) for row in finalized], now)
    for row in finalized:
        view = TransactionView(
            show_id(Kind.TRANSACTION, row["id"]),
            chain,
            "finalized",
            row["tx_hash"].hex(),
            row["block_height"],
        )
        events.append(transaction_event("finalized", row["id"], row["version"], view, now))
        if row["kind"] == "sweep":
            events.append(await _sweep_event(conn, chain, row, now))
    dead = await _bury(conn, chain, final_height, now)
    for row in dead:
        view = TransactionView(
            show_id(Kind.TRANSACTION, row["id"]), chain, "dead", None, conflict_tx_hash=row["conflict"].hex()
        )
        events.append(transaction_event("dead", row["id"], row["version"], view, now))
    if events:
        await append_events(conn, events)


async def _sweep_event(conn: Connection, chain: str, row: asyncpg.Record, now: datetime) -> NewEvent:
    """`sweep.finalized`: what a sweep brought in, in base units, and what it cost."""
    swept = await conn.fetch(SQL["swept_by"], chain, row["tx_hash"])
    told = await conn.fetchval(SQL["sweeps_told"], show_id(Kind.TRANSACTION, row["id"]))
    data = {
        "transaction_id": show_id(Kind.TRANSACTION, row["id"]),
        "chain": chain,
        "tx_hash": row["tx_hash"].hex(),
        "swept": [
            {"asset": one["asset"], "base_units": str(one["amount"]), "accounts": one["accounts"]}
            for one in swept
        ],
        "fee_base_units": str(row["fee"]),
    }
    return NewEvent(
        type="sweep.finalized",
        entity_kind="sweep",
        entity_id=show_id(Kind.TRANSACTION, row["id"]),
        entity_version=told + 1,
        account_id=None,
        data=msgspec.json.encode(data).decode(),
        created_at=now,
    )


async def _bury(conn: Connection, chain: str, final_height: int, now: datetime) -> list[asyncpg.Record]:
    """The lineages that died: by a final conflict, or because they use what such a one would have paid us."""
    dead: list[asyncpg.Record] = []
    while rows := await conn.fetch(SQL["bury_lineages"], chain, final_height, now):
        dead += rows
        ids = [row["id"] for row in rows]
        await free_coins_of(conn, ids)
        await free_nonces_of(conn, ids)
        losers = [
            (row["tx_hash"], row["conflict"]) for row in await conn.fetch(SQL["attempts_of_lineages"], ids)
        ]
        await note_lost_parents(conn, chain, max(row["conflict_height"] for row in rows), losers, now)
    return dead


async def _spent(conn: Connection, chain: str, contents: BlockContents, now: datetime) -> list[NewEvent]:
    """Marks our coins that this block uses; confirms lineages, notes conflicts and unknown spends."""
    height = contents.ref.height
    use = use_coins if contents.movements is None else use_nonces
    rows = await use(conn, chain, contents)
    executions = {execution.tx_hash: execution for execution in contents.executions}
    ours = await conn.fetch(SQL["attempts_of"], chain, [spend.tx_hash for spend in contents.spends])
    attempts = {row["tx_hash"]: row["lineage_id"] for row in ours}
    for void in (row["tx_hash"].hex() for row in ours if row["void"]):
        # Who joined it has been paid by another transaction, or will be.
        await halt(conn, chain, f"a transaction that was void is in a block: {void}", now)
    events, winners = [], {}
    for tx_hash, lineage_id in attempts.items():
        ran = executions.get(tx_hash)
        version = await conn.fetchval(
            SQL["confirm_lineage"],
            lineage_id,
            tx_hash,
            height,
            now,
            None if ran is None else ran.fee,
            None if ran is None else list(ran.outcomes),
        )
        if version is not None:
            view = TransactionView(
                show_id(Kind.TRANSACTION, lineage_id), chain, "confirmed", tx_hash.hex(), height
            )
            events.append(transaction_event("confirmed", lineage_id, version, view, now))
            winners[lineage_id] = tx_hash
        elif await conn.fetchval(SQL["is_dead"], lineage_id):
            # Its payouts may be in another transaction by now.
            await halt(conn, chain, f"a transaction that was proven dead is in a block: {tx_hash.hex()}", now)
    if winners:
        losers = await conn.fetch(SQL["siblings_of"], list(winners), list(winners.values()))
        await note_lost_parents(conn, chain, height, [(row["tx_hash"], row["winner"]) for row in losers], now)
    for row in rows:
        if row["tx_hash"] in attempts:
            continue
        # Nobody but the signer can: another holder of the key.
        foreign = row["tx_hash"].hex()
        log.critical("our money moved by a foreign transaction", chain=chain, height=height, tx_hash=foreign)
        await halt(conn, chain, f"a transaction that is not ours moved our money: {foreign}", now)
        if row["reserved_by"] is not None:
            await conn.execute(SQL["note_conflict"], row["reserved_by"], row["tx_hash"], height, now)
    return events


async def track_rewind(
    conn: Connection, chain: str, head_height: int, fork_height: int, now: datetime
) -> None:
    """Undo what the blocks above the fork did, up to `head_height`.

    Reservations stay: their transactions are still ours to send. As pending they are new: the blocks that come with
    the other branch gave them no chance, so these do not count towards a raise of the fee.
    """
    await rewind_coins(conn, chain, fork_height)
    await rewind_accounts(conn, chain, fork_height)
    await conn.execute(SQL["forget_conflicts"], chain, fork_height)
    reopened = await conn.fetch(SQL["reopen_lineages"], chain, fork_height, now, head_height)
    events = [
        transaction_event(
            "reorged",
            row["id"],
            row["version"],
            TransactionView(show_id(Kind.TRANSACTION, row["id"]), chain, "open", None),
            now,
        )
        for row in reopened
    ]
    if events:
        await append_events(conn, events)
