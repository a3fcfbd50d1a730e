"""Compares what our accounts hold by their movements with what the nodes say that they hold, by turns (P7).

One loop of `daemon` per chain of accounts (role `treasury`). Movements are what blocks prove of the money that we know
how to see; a balance is what is there. Less than the movements say, in two looks in a row, means that money left in a
way that we did not see: payouts halt. (One look is not enough: nodes that are changing branch, all at the same time,
may answer from the state of neither, whatever block they were asked for.) More is money that came unseen (out of a
contract's call without traces, a validator's withdrawal, a token that grows): it is told, credited to nobody, and stops
nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg
import structlog

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.nodes import NodePool
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.sending.halts import halt

SQL = load_queries(__package__, "audit.sql")
log = structlog.get_logger(__name__)

#: Deposit accounts that one round looks at (P10).
_ACCOUNTS_A_ROUND = 50


@dataclass(slots=True)
class BalanceAudit:
    """One chain's. `after`: the last deposit account that was looked at; the next round goes on behind it."""

    chain: str
    nodes: NodePool
    pool: Pool
    clock: Clock
    after: bytes = b""
    #: What was short in the last look: (account, asset).
    short: set[tuple[bytes, str]] = field(default_factory=set)
    #: Surpluses that were told: said once.
    told: set[tuple[bytes, str, int]] = field(default_factory=set)

    async def step(self) -> int:
        """One round; 0, so that the loop waits its interval. Raises NoQuorum and such; safe to repeat."""
        async with connection(self.pool) as conn:
            rows = await conn.fetch(SQL["held"], self.chain, self.after, _ACCOUNTS_A_ROUND)
        deposit_accounts = {row["account"] for row in rows if row["branch"] == 0}
        if not rows:
            self.after = b""
            return 0
        accounts = sorted({row["account"] for row in rows})
        at = BlockPoint(rows[0]["height"], rows[0]["hash"])
        states = dict(zip(accounts, await self.nodes.accounts(accounts, at), strict=True))
        differences = [
            (row, states[row["account"]].balances.get(row["asset"], 0) - row["amount"]) for row in rows
        ]
        short = {(row["account"], row["asset"]) for row, difference in differences if difference < 0}
        await self._judge([(row, difference) for row, difference in differences if difference])
        if short <= self.short:
            self.after = max(deposit_accounts) if len(deposit_accounts) == _ACCOUNTS_A_ROUND else b""
        # Otherwise the same accounts are looked at once more before the next ones.
        self.short = short
        return 0

    async def _judge(self, differences: Sequence[tuple[asyncpg.Record, int]]) -> None:
        for row, difference in differences:
            key = (row["account"], row["asset"], difference)
            if difference < 0:
                if (row["account"], row["asset"]) not in self.short:
                    continue
                reason = f"{-difference} base units of {row['asset']} left an account of ours unseen"
                async with transaction(self.pool) as conn:
                    if await halt(conn, self.chain, reason, self.clock.now()):
                        log.critical("money left unseen", chain=self.chain, asset=row["asset"], reason=reason)
            elif key not in self.told:
                self.told.add(key)
                log.warning(
                    "money came unseen", chain=self.chain, asset=row["asset"], base_units=str(difference)
                )
