"""Unconfirmed deposits: seen in enough mempools, warned of when an input is used twice, lost when gone everywhere.

One loop of `daemon` per chain, beside the watcher's. Nothing is credited here. Nothing in a mempool is proven, so a
deposit is shown as detected when `quorum` nodes hold it, a conflict that any node names is a warning, and a loss is
declared only at the quorum's head and takes back no money (P5).
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import asyncpg
import structlog

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.port import PendingTransaction, Transfer
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.bookkeeping import write_changes
from cryptowatch.deposits.limits import beyond_limits
from cryptowatch.deposits.machine import Lost, Seen, State
from cryptowatch.deposits.policy import total_per_transaction
from cryptowatch.deposits.records import Change, Record, moved_by, read_record
from cryptowatch.deposits.rules import ChainRules
from cryptowatch.deposits.sighting import first_sight, our_destinations, remember_resources, seen_again
from cryptowatch.deposits.watchlist import ChainWatchList
from cryptowatch.ids import derived_ids

SQL = load_queries(__package__, "pending.sql")
log = structlog.get_logger(__name__)

#: How long a lost deposit's transaction is still looked for in mempools.
_REPLACED_WATCHED = timedelta(days=3)
#: P10: a flood of unconfirmed deposits is looked at in slices.
_RESOURCES_A_ROUND_MAX = 10_000
_UNWRITTEN_MAX = 10_000


@dataclass(slots=True)
class PendingObserver:
    """One chain's mempools. `_unwritten` keeps what the pool gave once until the database has it."""

    rules: ChainRules
    nodes: NodePool
    pool: Pool
    clock: Clock
    watchlist: ChainWatchList
    _unwritten: dict[bytes, PendingTransaction] = field(default_factory=dict)

    async def observe(self) -> int:
        """One round; how many deposits changed. Raises NodeUnavailable and such; safe to repeat."""
        async with connection(self.pool) as conn:
            await self.watchlist.refresh(conn)
            rows = await conn.fetch(
                SQL["unconfirmed"], self.rules.chain, self.clock.now() - _REPLACED_WATCHED
            )
        tracked = frozenset(row["tx_hash"] for row in rows)
        seen = await self.nodes.pending(tracked)
        for raw in seen.new:
            found = raw.contents(self.watchlist.interest)
            if found is not None and len(self._unwritten) < _UNWRITTEN_MAX:
                self._unwritten[found.tx_hash] = found
        changed = await self._write_seen() if self._unwritten else 0
        # First, so that what replaced a deposit is named with its loss.
        await self._warn()
        if seen.gone:
            changed += await self._write_gone(seen.gone)
        return changed

    async def _write_seen(self) -> int:
        found, now = list(self._unwritten.values()), self.clock.now()
        transfers = [transfer for pending in found for transfer in pending.transfers]
        hashes = [pending.tx_hash for pending in found]
        async with transaction(self.pool) as conn:
            head = await conn.fetchrow(SQL["lock_height"], self.rules.chain)
            if head is None:
                return 0
            again = [
                read_record(row, self.rules.assets[row["asset"]].decimals)
                for row in await conn.fetch(SQL["lock_unconfirmed"], self.rules.chain, hashes)
            ]
            whose = await our_destinations(conn, self.rules.chain, self.rules.asset, transfers)
            owners = {
                destination: owner for destination, owner in whose.items() if owner["account_id"] is not None
            }
            known = {
                (row["tx_hash"], row["position"])
                for row in await conn.fetch(SQL["known_positions"], self.rules.chain, hashes)
            }
            totals = total_per_transaction(transfers)
            standing = known - {
                (record.tx_hash, record.position)
                for record in again
                if record.deposit.state is State.REPLACED
            }
            new = [one for one in transfers if (one.tx_hash, one.position) not in standing]
            limited = await beyond_limits(conn, owners, new, self.rules.assets, now)
            changes = [self._again(record, owners, limited) for record in again]
            ids = derived_ids(now, self.rules.chain.encode(), *hashes)
            changes += [
                self._first(
                    ids,
                    transfer,
                    owners,
                    totals[transfer.tx_hash, transfer.asset],
                    beyond_limit=(transfer.tx_hash, transfer.position) in limited,
                )
                for transfer in transfers
                if transfer.destination in owners and (transfer.tx_hash, transfer.position) not in known
            ]
            await write_changes(conn, self.rules.chain, changes, head["height"], now)
            resources = {pending.tx_hash: pending.resources for pending in found}
            paying, known_hashes = {c.record.tx_hash for c in changes}, {tx_hash for tx_hash, _ in known}
            await remember_resources(conn, self.rules.chain, paying, resources, known_hashes)
        for c in changes:
            self.watchlist.add_resources(resources[c.record.tx_hash])
        self._unwritten.clear()
        return sum(1 for c in changes if c.passed)

    def _first(
        self,
        ids: Iterator[UUID],
        transfer: Transfer,
        owners: Mapping[bytes, asyncpg.Record],
        total: int,
        *,
        beyond_limit: bool,
    ) -> Change:
        record, quarantine = first_sight(
            next(ids),
            self.rules,
            transfer,
            owners[transfer.destination],
            total,
            self.clock.now(),
            beyond_limit=beyond_limit,
        )
        c = moved_by(record, quarantine)
        return c if c.passed else Change(record, record.deposit, (), (State.DETECTED,))

    def _again(
        self,
        record: Record,
        owners: Mapping[bytes, asyncpg.Record],
        limited: Container[tuple[bytes, int]],
    ) -> Change:
        owner, beyond = owners[record.destination], (record.tx_hash, record.position) in limited
        return moved_by(record, seen_again(self.rules, record, owner, beyond_limit=beyond) or (Seen(),))

    async def _write_gone(self, gone: frozenset[bytes]) -> int:
        """A mined transaction is gone from the mempools too: only at the quorum's head does gone mean lost."""
        head = await self.nodes.agreed_head()
        if head is None:
            return 0
        now = self.clock.now()
        async with transaction(self.pool) as conn:
            at = await conn.fetchrow(SQL["lock_height"], self.rules.chain)
            if at is None or BlockPoint(at["height"], at["hash"]) != head:
                return 0
            rows = await conn.fetch(SQL["lock_unconfirmed"], self.rules.chain, list(gone))
            records = [read_record(row, self.rules.assets[row["asset"]].decimals) for row in rows]
            changes = [moved_by(record, [Lost()]) for record in records]
            await write_changes(conn, self.rules.chain, changes, head.height, now)
        return sum(1 for c in changes if c.passed)

    async def _warn(self) -> None:
        async with connection(self.pool) as conn:
            rows = await conn.fetch(SQL["watched_resources"], self.rules.chain, _RESOURCES_A_ROUND_MAX)
        if not rows:
            return
        spenders = await self.nodes.spenders([row["resource"] for row in rows])
        warnings = [
            (row["tx_hash"], other)
            for row in rows
            for other in spenders.get(row["resource"], ())
            if other != row["tx_hash"]
        ]
        if warnings:
            await self._write_warnings(warnings)

    async def _write_warnings(self, warnings: Sequence[tuple[bytes, bytes]]) -> None:
        async with transaction(self.pool) as conn:
            status = await conn.execute(
                SQL["warn"], self.rules.chain, [w[0] for w in warnings], [w[1] for w in warnings]
            )
        if status != "UPDATE 0":
            log.warning(
                "unconfirmed deposits have conflicting transactions",
                chain=self.rules.chain,
                deposits=int(status.split()[-1]),
            )
