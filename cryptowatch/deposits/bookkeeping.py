"""Writes what the machine decided: rows, the ledger's postings and events, in the caller's one transaction.

Called by `apply`, `pending` and `release`. Each posting's key carries deposit and inclusion (P2). Money comes from the
chain's custody account, whose balance is minus what we hold there.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.deposits.machine import Effect, State
from cryptowatch.deposits.records import Change, events_of, write_rows
from cryptowatch.ledger.accounts import ensure_accounts, ensure_players, house
from cryptowatch.ledger.events import append_events
from cryptowatch.ledger.postings import post_all
from cryptowatch.ledger.rules import CustomerAccount, HouseAccount, Kind, Posting, customer_posting
from cryptowatch.loops import in_slices
from cryptowatch.money import BaseUnits

#: asset -> account id -> the account in the ledger, None where it is not known
Players: TypeAlias = Mapping[str, Mapping[UUID, CustomerAccount | None]]


async def write_changes(
    conn: Connection,
    chain: str,
    changes: Sequence[Change],
    head_height: int,
    now: datetime,
    players: Players | None = None,
) -> None:
    """Rows, postings and events of all changes. Raises ConcurrentUpdate when another writer was first.

    `players`: those whose accounts in the ledger were looked up already.

    Each is put into words while Postgres works on the one before: a full block has tens of thousands.
    """
    accounts = await _accounts(conn, chain, changes, players or {})
    _, postings = await asyncio.gather(
        write_rows(conn, changes, now), in_slices(_postings(changes, accounts))
    )
    _, events = await asyncio.gather(
        _post(conn, postings, now), in_slices(events_of(changes, head_height, now))
    )
    await append_events(conn, events)


@dataclass(frozen=True, slots=True)
class _Accounts:
    """Of the players whose money moves, and of the chain's custody by asset."""

    players: Mapping[str, Mapping[UUID, CustomerAccount]]
    custody: Mapping[str, HouseAccount]


_NOBODY: Mapping[UUID, None] = {}


async def _accounts(conn: Connection, chain: str, changes: Sequence[Change], known: Players) -> _Accounts:
    players: dict[str, dict[UUID, CustomerAccount]] = {}
    unknown: list[tuple[UUID, str]] = []
    for record in [c.record for c in changes if c.effects]:
        found = known.get(record.asset, _NOBODY).get(record.account_id)
        if found is None:
            unknown.append((record.account_id, record.asset))
        else:
            players.setdefault(record.asset, {})[record.account_id] = found
    for (account_id, asset), made in (await ensure_players(conn, unknown)).items():
        players.setdefault(asset, {})[account_id] = made
    assets = sorted(players)
    houses = await ensure_accounts(conn, [house(f"custody:{chain}", asset) for asset in assets])
    return _Accounts(players, dict(zip(assets, map(HouseAccount, houses), strict=True)))


def _postings(changes: Sequence[Change], accounts: _Accounts) -> Iterator[Posting]:
    for c in changes:
        for effect, inclusion in c.effects:
            player = accounts.players[c.record.asset][c.record.account_id]
            yield _posting(c, effect, inclusion, player, accounts.custody[c.record.asset])


async def _post(conn: Connection, postings: Sequence[Posting], now: datetime) -> None:
    """All of them or none. Credits go first: a finalization uses one up, and catch-up sees both in one block."""
    await post_all(conn, [p for p in postings if p.kind is Kind.DEPOSIT_CREDIT], now)
    await post_all(conn, [p for p in postings if p.kind is not Kind.DEPOSIT_CREDIT], now)


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
