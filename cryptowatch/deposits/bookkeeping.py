"""Writes what the machine decided: rows, the ledger's postings and events, in the caller's one transaction.

Called by `apply`, `pending` and `release`. Each posting's key carries deposit and inclusion (P2). Money comes from the
chain's custody account, whose balance is minus what we hold there.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.deposits.machine import Effect, State
from cryptowatch.deposits.records import Change, events_of, write_rows
from cryptowatch.ledger.accounts import PlayersByAsset, ensure_accounts, ensure_players_of, house
from cryptowatch.ledger.events import begin_telling
from cryptowatch.ledger.postings import Batch
from cryptowatch.ledger.rules import CustomerAccount, HouseAccount, Kind, Posting, customer_posting
from cryptowatch.loops import slices
from cryptowatch.money import BaseUnits


def owners_of(changes: Iterable[Change]) -> dict[str, set[UUID]]:
    """By asset, the accounts whose money moves."""
    owners: dict[str, set[UUID]] = {}
    for c in changes:
        if c.effects:
            owners.setdefault(c.record.asset, set()).add(c.record.account_id)
    return owners


async def write_changes(
    conn: Connection,
    chain: str,
    changes: Iterable[Change],
    head_height: int,
    now: datetime,
    players: PlayersByAsset | None = None,
) -> Sequence[Change]:
    """Rows, postings and events of all changes. Raises ConcurrentUpdate when another writer was first.

    `players`: the accounts in the ledger of `owners_of` the changes, at least; without, they are looked up. The caller
    has locked the deposits, or what they come from.

    A full block has tens of thousands: they are worked out, and postings put together, while Postgres writes the rows
    of those before, and events put into words while it posts.
    """
    if players is None:
        changes = list(changes)
        players = await ensure_players_of(conn, owners_of(changes))
    custody = await _custody(conn, chain, [asset for asset, accounts in players.items() if accounts])
    written: list[Change] = []
    # Apart, because a finalization uses up a credit, and catch-up sees both in one block.
    credits, others = Batch(), Batch()

    async def parts() -> AsyncIterator[list[Change]]:
        async for part in slices(changes):
            for batch, postings in zip((credits, others), _postings(part, players, custody), strict=True):
                batch.add(postings)
            written.extend(part)
            yield part

    async def post() -> None:
        await credits.post(conn, now)
        await others.post(conn, now)

    await write_rows(conn, parts(), now)
    telling = await begin_telling(conn, sum(len(c.passed) for c in written))
    await asyncio.gather(post(), telling.add_in_slices(events_of(written, head_height, now)))
    await telling.append(conn)
    return written


async def _custody(conn: Connection, chain: str, assets: Iterable[str]) -> Mapping[str, HouseAccount]:
    """The chain's accounts by asset."""
    wanted = sorted(assets)
    ids = await ensure_accounts(conn, [house(f"custody:{chain}", asset) for asset in wanted])
    return dict(zip(wanted, map(HouseAccount, ids), strict=True))


def _postings(
    changes: Iterable[Change], players: PlayersByAsset, custody: Mapping[str, HouseAccount]
) -> tuple[list[Posting], list[Posting]]:
    """Credits, and all others."""
    credits: list[Posting] = []
    others: list[Posting] = []
    for c in changes:
        for effect, inclusion in c.effects:
            asset = c.record.asset
            posting = _posting(c, effect, inclusion, players[asset][c.record.account_id], custody[asset])
            (credits if effect is Effect.CREDIT else others).append(posting)
    return credits, others


def _posting(
    c: Change,
    effect: Effect,
    inclusion: int,
    player: CustomerAccount,
    custody: HouseAccount,
) -> Posting:
    record, amount = c.record, BaseUnits(c.record.amount)
    credit = _key(record.id, inclusion, "credit")
    if effect is Effect.CREDIT:
        return customer_posting(Kind.DEPOSIT_CREDIT, credit, player, custody, amount)
    finalize = _key(record.id, inclusion, "finalize")
    match effect:
        case Effect.FINALIZE:
            return customer_posting(Kind.DEPOSIT_FINALIZE, finalize, player, None, amount, resolves=credit)
        case Effect.REVERSE:
            final = record.deposit.state is State.FINALIZED
            return customer_posting(
                Kind.DEPOSIT_REVERSE_FINAL if final else Kind.DEPOSIT_REVERSE,
                _key(record.id, inclusion, "reverse"),
                player,
                custody,
                amount,
                resolves=finalize if final else credit,
            )


def _key(deposit_id: UUID, inclusion: int, what: str) -> str:
    return f"dep:{deposit_id.hex}:{inclusion}:{what}"
