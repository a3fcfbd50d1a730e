"""The loops of the role `referrals`: read the feed, look at what accounts play, pay what is due.

Called by `daemon`. Each step is one database transaction of bounded size. Two processes take turns at the feed
(`ledger/consumers.py`) and share what is due: a row is held by one of them, and every step is a compare-and-set.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import asyncpg

from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, transaction, transaction_by_keys
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.consumers import take
from cryptowatch.referrals.counts import count_referred
from cryptowatch.referrals.facts import Pair, Promises, version_of, weigh
from cryptowatch.referrals.machine import Event
from cryptowatch.referrals.qualify import reconsider
from cryptowatch.referrals.rewards import Move, move_rewards
from cryptowatch.referrals.rules import Finding, findings

SQL = load_queries(__package__, "worker.sql")

CONSUMER: Final = "referrals"
_ATTRIBUTED: Final = "referral.attributed"
#: After these, an account's referral may stand elsewhere.
TYPES: Final = (_ATTRIBUTED, "account.updated", "deposit.finalized", "deposit.reversed")


@dataclass(frozen=True, slots=True)
class ReferralWorker:
    pool: Pool
    clock: Clock
    promises: Promises
    batch_max: int
    activity_interval_s: float

    async def follow(self) -> int:
        """The next portion of the feed; 0 when there is none, or another process is at it."""
        async with transaction_by_keys(self.pool) as conn:
            portion = await take(conn, CONSUMER, TYPES, self.batch_max)
            if portion is None:
                return 0
            new = [e.account_id for e in portion.events if e.type == _ATTRIBUTED and e.account_id is not None]
            if new:
                await count_referred(conn, new)
            accounts = {event.account_id for event in portion.events if event.account_id is not None}
            if accounts:
                await reconsider(conn, accounts, self.promises, self.clock.now())
            return portion.until - portion.after

    async def look_at_play(self) -> int:
        """Referrals whose act no event tells; each again after `activity_interval_s`."""
        now = self.clock.now()
        async with transaction(self.pool) as conn:
            again = now + timedelta(seconds=self.activity_interval_s)
            rows = await conn.fetch(SQL["to_look_at"], now, self.batch_max, again)
            if rows:
                await reconsider(conn, {row["account_id"] for row in rows}, self.promises, now)
            return len(rows)

    async def pay(self) -> int:
        """Rewards whose hold period is over: paid, unless something speaks against it by now."""
        now = self.clock.now()
        async with transaction(self.pool) as conn:
            rows = await conn.fetch(SQL["due"], now, self.batch_max)
            if rows:
                await move_rewards(conn, await self._judged(conn, rows), self.promises.decimals, now)
            return len(rows)

    async def _judged(self, conn: Connection, rows: list[asyncpg.Record]) -> list[Move]:
        known = await self.promises.learn(conn, rows)
        frauds = [known[version_of(row)].fraud for row in rows]
        pairs = [
            Pair(row["account_id"], row["referrer_id"], own) for row, own in zip(rows, frauds, strict=True)
        ]
        _, found = await weigh(conn, [], pairs)
        return [
            _judge(row, findings(fraud, tie)) for row, fraud, tie in zip(rows, frauds, found, strict=True)
        ]


def _judge(row: asyncpg.Record, against: tuple[Finding, ...]) -> Move:
    """What a person has approved is not asked about again, unless something was found that nobody knew."""
    known = row["findings"] if row["decided_by"] is not None else ()
    if set(against) <= set(known):
        return Move(row, Event.PAY)
    return Move(row, Event.SUSPECT, findings=against)
