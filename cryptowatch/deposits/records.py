"""A deposit's row and its machine together, and the write that takes many of them one step on.

Used by `apply` (blocks), `pending` (mempool) and `release`. All of them write through `bookkeeping.write_changes`, so
that each state passed through is one event (P8), each effect one posting (P1, P2), and each row a compare-and-set.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.port import Identity
from cryptowatch.db.copy import amount, bigint, copy_chunks, integer, joined, octets, text, timestamp, uuid
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.machine import Deposit, Effect, Event, State, advance
from cryptowatch.deposits.view import deposit_json, standing_json
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import NewEvent

SQL = load_queries(__package__, "records.sql")


#: What COPY writes: each deposit's own, then what it shares with others of its block, as in `_shared_fields`.
_COLUMNS: Final = (
    *("id", "tx_hash", "position", "account_id", "amount", "destination", "content", "version"),
    *(
        "chain",
        "asset",
        "credit_confirmations",
        "finalize_confirmations",
        "state",
        "block_height",
        "block_hash",
    ),
    *("inclusion", "due_height", "quarantine", "created_at", "updated_at"),
)


class Record(msgspec.Struct, frozen=True):
    """One deposit with what never changes about it. `version` 0 = not yet in the database."""

    id: UUID
    chain: str
    tx_hash: bytes
    position: int
    account_id: UUID
    asset: str
    amount: int
    decimals: int
    destination: bytes
    address: str
    deposit: Deposit
    version: int
    conflict: bytes | None
    created_at: datetime
    content: bytes = b""

    @property
    def identity(self) -> Identity:
        """That of the transfer, on its chain."""
        return self.tx_hash, self.position, self.content


def read_record(row: asyncpg.Record, decimals: int) -> Record:
    """From a row of `deposit` joined with its address."""
    block = None if row["block_height"] is None else BlockPoint(row["block_height"], row["block_hash"])
    deposit = Deposit(
        state=State(row["state"]),
        credit_confirmations=row["credit_confirmations"],
        finalize_confirmations=row["finalize_confirmations"],
        block=block,
        inclusion=row["inclusion"],
        quarantine=row["quarantine"],
    )
    return Record(
        id=row["id"],
        chain=row["chain"],
        tx_hash=row["tx_hash"],
        position=row["position"],
        account_id=row["account_id"],
        asset=row["asset"],
        amount=row["amount"],
        decimals=decimals,
        destination=row["destination"],
        address=row["address"],
        deposit=deposit,
        version=row["version"],
        conflict=row["conflict"],
        created_at=row["created_at"],
        content=row["content"],
    )


class Change(msgspec.Struct, frozen=True):
    """What one event, or several in a row, did to a deposit."""

    record: Record
    deposit: Deposit
    effects: tuple[tuple[Effect, int], ...]  # with the inclusion that each is for
    passed: tuple[State, ...]


#: The deposit afterwards, effects with the inclusion that each is for, states passed through.
Moved: TypeAlias = tuple[Deposit, tuple[tuple[Effect, int], ...], tuple[State, ...]]


def moved_by(record: Record, events: Iterable[Event]) -> Change:
    """Takes one record through events in a row."""
    return Change(record, *moved(record.deposit, events))


def moved(deposit: Deposit, events: Iterable[Event]) -> Moved:
    """The machine's steps in a row; effects carry the inclusion that held when they arose."""
    effects: list[tuple[Effect, int]] = []
    passed: list[State] = []
    for event in events:
        step = advance(deposit, event)
        deposit = step.deposit
        effects += [(effect, deposit.inclusion) for effect in step.effects]
        passed += step.passed
    return deposit, tuple(effects), tuple(passed)


async def write_rows(conn: Connection, changes: AsyncIterator[Sequence[Change]], now: datetime) -> None:
    """The deposits' own rows, part by part. Raises ConcurrentUpdate when another writer moved one since it was read."""
    moved: list[Change] = []

    async def created() -> AsyncIterator[bytes]:
        async for part in changes:
            rows = [_row(c, now) for c in part if c.record.version == 0]
            moved.extend(c for c in part if c.record.version > 0 and c.deposit != c.record.deposit)
            if rows:
                yield joined(_COLUMNS, rows)

    try:
        await copy_chunks(conn, "deposit", _COLUMNS, created())
    except asyncpg.UniqueViolationError as problem:
        raise ConcurrentUpdate("another writer recorded one of these deposits first") from problem
    if moved:
        await _update(conn, moved, now)


def events_of(changes: Sequence[Change], head_height: int, now: datetime) -> Iterator[NewEvent]:
    """One event for each state passed through (P8), each with the deposit as it was then."""
    for c in changes:
        yield from _events(c, head_height, now)


def _row(c: Change, now: datetime) -> bytes:
    r = c.record
    return b"".join(
        (
            uuid(r.id),
            octets(r.tx_hash),
            bigint(r.position),
            uuid(r.account_id),
            amount(r.amount),
            octets(r.destination),
            octets(r.content),
            integer(len(c.passed)),
            _shared_fields(r.chain, r.asset, c.deposit, now),
        )
    )


@lru_cache(maxsize=64)
def _shared_fields(chain: str, asset: str, d: Deposit, now: datetime) -> bytes:
    return b"".join(
        (
            text(chain),
            text(asset),
            integer(d.credit_confirmations),
            integer(d.finalize_confirmations),
            text(d.state),
            bigint(d.block and d.block.height),
            octets(d.block and d.block.hash),
            integer(d.inclusion),
            bigint(d.due_height),
            text(d.quarantine),
            timestamp(now),
            timestamp(now),
        )
    )


async def _update(conn: Connection, moved: Sequence[Change], now: datetime) -> None:
    status = await conn.execute(
        SQL["update_deposits"],
        now,
        [c.record.id for c in moved],
        [c.record.version for c in moved],
        *_machine_columns(moved),
    )
    if int(status.split()[-1]) != len(moved):
        raise ConcurrentUpdate("another writer moved one of these deposits first")


def _machine_columns(changes: Sequence[Change]) -> tuple[list[object], ...]:
    """state, block height, block hash, inclusion, due height, quarantine, version: one list each."""
    blocks = [c.deposit.block for c in changes]
    return (
        [c.deposit.state for c in changes],
        [None if block is None else block.height for block in blocks],
        [None if block is None else block.hash for block in blocks],
        [c.deposit.inclusion for c in changes],
        [c.deposit.due_height for c in changes],
        [c.deposit.quarantine for c in changes],
        [c.record.version + len(c.passed) for c in changes],
    )


def _events(c: Change, head_height: int, now: datetime) -> Iterator[NewEvent]:
    r = c.record
    entity_id = show_id(Kind.DEPOSIT, r.id)
    for offset, state in enumerate(c.passed, start=1):
        then = c.deposit if state is c.deposit.state else replace(c.deposit, state=state, quarantine=None)
        conflict = r.conflict if then.block is None else None
        released = offset == 1 and r.deposit.state is State.QUARANTINED and state is not State.REPLACED
        yield NewEvent(
            type="deposit.released" if released else f"deposit.{state}",
            entity_kind="deposit",
            entity_id=entity_id,
            entity_version=r.version + offset,
            account_id=r.account_id,
            data=deposit_json(
                shown_id=entity_id,
                account_id=r.account_id,
                chain=r.chain,
                asset=r.asset,
                amount=r.amount,
                decimals=r.decimals,
                tx_hash=r.tx_hash,
                position=r.position,
                address=r.address,
                standing=standing_json(then, head_height, conflict, r.created_at, now),
            ),
            created_at=now,
        )
