"""A deposit's row and its machine together, and the write that takes many of them one step on.

Used by `apply` (blocks), `pending` (mempool) and `release`. All of them write through `write_steps`, so that each
state passed through is one event (P8), each effect one posting (P1, P2), and each row a compare-and-set.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.port import Identity, Transfer
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.machine import Deposit, Effect, Event, State, advance
from cryptowatch.deposits.view import deposit_view
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ids import derived_id
from cryptowatch.ledger.events import NewEvent

SQL = load_queries(__package__, "records.sql")


@dataclass(frozen=True, slots=True)
class Record:
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

    @property
    def identity(self) -> Identity:
        """That of the transfer, on its chain."""
        return self.tx_hash, self.position, self.destination, self.asset, self.amount


def new_record(
    chain: str,
    transfer: Transfer,
    *,
    account_id: UUID,
    address: str,
    decimals: int,
    deposit: Deposit,
    now: datetime,
) -> Record:
    place = (chain.encode(), transfer.tx_hash, transfer.position.to_bytes(8, "big"))
    paid = (transfer.destination, transfer.asset.encode(), str(transfer.amount).encode())
    deposit_id = derived_id(now, *place, *paid)
    return Record(
        id=deposit_id,
        chain=chain,
        tx_hash=transfer.tx_hash,
        position=transfer.position,
        account_id=account_id,
        asset=transfer.asset,
        amount=transfer.amount,
        decimals=decimals,
        destination=transfer.destination,
        address=address,
        deposit=deposit,
        version=0,
        conflict=None,
        created_at=now,
    )


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
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What one event, or several in a row, did to a deposit."""

    record: Record
    deposit: Deposit
    effects: tuple[tuple[Effect, int], ...]  # with the inclusion that each is for
    passed: tuple[State, ...]


def moved_by(record: Record, events: Iterable[Event]) -> Change:
    """Takes one record through events in a row; effects carry the inclusion that held when they arose."""
    effects: list[tuple[Effect, int]] = []
    passed: list[State] = []
    deposit = record.deposit
    for event in events:
        step = advance(deposit, event)
        deposit = step.deposit
        effects += [(effect, deposit.inclusion) for effect in step.effects]
        passed += step.passed
    return Change(record, deposit, tuple(effects), tuple(passed))


async def write_rows(conn: Connection, changes: Sequence[Change], now: datetime) -> None:
    """The deposits' own rows. Raises ConcurrentUpdate when another writer moved one of them since it was read."""
    created = [c for c in changes if c.record.version == 0]
    moved = [c for c in changes if c.record.version > 0 and c.deposit != c.record.deposit]
    if created:
        await _insert(conn, created, now)
    if moved:
        await _update(conn, moved, now)


def events_of(changes: Sequence[Change], head_height: int, now: datetime) -> list[NewEvent]:
    """One event for each state passed through (P8). CPU-bound: in bulk, call in a thread."""
    return [event for c in changes for event in _events(c, head_height, now)]


async def _insert(conn: Connection, created: Sequence[Change], now: datetime) -> None:
    records = [c.record for c in created]
    try:
        await conn.execute(
            SQL["insert_deposits"],
            now,
            [r.id for r in records],
            [r.chain for r in records],
            [r.tx_hash for r in records],
            [r.position for r in records],
            [r.account_id for r in records],
            [r.asset for r in records],
            [r.amount for r in records],
            [r.destination for r in records],
            [c.deposit.credit_confirmations for c in created],
            [c.deposit.finalize_confirmations for c in created],
            *_machine_columns(created),
        )
    except asyncpg.UniqueViolationError as problem:
        raise ConcurrentUpdate("another writer recorded one of these deposits first") from problem


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


def _events(c: Change, head_height: int, now: datetime) -> list[NewEvent]:
    """One event for each state passed through, each with the deposit as it was then."""
    r = c.record
    events = []
    for offset, state in enumerate(c.passed, start=1):
        shown = replace(
            c.deposit, state=state, quarantine=c.deposit.quarantine if state == c.deposit.state else None
        )
        view = deposit_view(
            deposit_id=r.id,
            account_id=r.account_id,
            chain=r.chain,
            asset=r.asset,
            amount=r.amount,
            decimals=r.decimals,
            tx_hash=r.tx_hash,
            position=r.position,
            address=r.address,
            deposit=shown,
            head_height=head_height,
            conflict=r.conflict if shown.block is None else None,
            created_at=r.created_at,
            updated_at=now,
        )
        released = offset == 1 and r.deposit.state is State.QUARANTINED and state is not State.REPLACED
        events.append(
            NewEvent(
                type="deposit.released" if released else f"deposit.{state}",
                entity_kind="deposit",
                entity_id=view.id,
                entity_version=r.version + offset,
                account_id=r.account_id,
                data=msgspec.json.encode(view).decode(),
                created_at=now,
            )
        )
    return events
