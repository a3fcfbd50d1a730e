"""Writes what the machine decided: rows, the ledger's postings and events, in the caller's one transaction.

Called by `apply`, `pending` and `release`. Each posting's key carries deposit and inclusion (P2). Money comes from the
chain's custody account, whose balance is minus what we hold there.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.deposits.machine import Effect, State
from cryptowatch.deposits.records import Change, events_of, write_rows
from cryptowatch.ledger.accounts import ensure_accounts, ensure_players, house
from cryptowatch.ledger.events import append_events
from cryptowatch.ledger.postings import post_all
from cryptowatch.ledger.rules import CustomerAccount, HouseAccount, Kind, Posting, customer_posting
from cryptowatch.money import BaseUnits


async def write_changes(
    conn: Connection,
    chain: str,
    changes: Sequence[Change],
    head_height: int,
    now: datetime,
) -> None:
    """Rows, postings and events of all changes. Raises ConcurrentUpdate when another writer was first.

    The events are put into words while Postgres works on the rest: a full block has tens of thousands.
    """

    async def write_rows_and_post() -> None:
        await write_rows(conn, changes, now)
        await post_effects(conn, chain, changes, now)

    events, _ = await asyncio.gather(
        asyncio.to_thread(events_of, changes, head_height, now), write_rows_and_post()
    )
    await append_events(conn, events)


async def post_effects(conn: Connection, chain: str, changes: Sequence[Change], now: datetime) -> None:
    """All of them or none. Credits go first: a finalization uses one up, and catch-up sees both in one block."""
    moving = [c for c in changes if c.effects]
    if not moving:
        return
    players = await ensure_players(conn, [(c.record.account_id, c.record.asset) for c in moving])
    assets = sorted({c.record.asset for c in moving})
    custody = dict(
        zip(
            assets,
            await ensure_accounts(conn, [house(f"custody:{chain}", asset) for asset in assets]),
            strict=True,
        )
    )
    credits: list[Posting] = []
    rest: list[Posting] = []
    for c in moving:
        player = players[c.record.account_id, c.record.asset]
        for effect, inclusion in c.effects:
            posting = _posting(c, effect, inclusion, player, HouseAccount(custody[c.record.asset]))
            (credits if effect is Effect.CREDIT else rest).append(posting)
    await post_all(conn, credits, now)
    await post_all(conn, rest, now)


def _posting(
    c: Change,
    effect: Effect,
    inclusion: int,
    player: CustomerAccount,
    custody: HouseAccount,
) -> Posting:
    record, amount = c.record, BaseUnits(c.record.amount)
    credit, finalize = _key(record.id, inclusion, "credit"), _key(record.id, inclusion, "finalize")
    match effect:
        case Effect.CREDIT:
            return customer_posting(Kind.DEPOSIT_CREDIT, credit, player, custody, amount)
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
