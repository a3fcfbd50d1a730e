"""Compares what our accounts hold by their movements with what the nodes say that they hold, by turns (P7).

One loop of `daemon` per chain of accounts (role `treasury`). Movements are what blocks prove of the money that we know
how to see; a balance is what is there. Differences are kept as findings, which `reconcile` counts with: less than the
movements say, in two looks in a row, means that money left in a way that we did not see, and stops the asset's payouts.
(One look is not enough: nodes that are changing branch, all at the same time, may answer from the state of neither,
whatever block they were asked for.) More is money that came unseen (out of a contract's call without traces, a
validator's withdrawal, a token that grows): it is told, credited to nobody, and stops nothing. A finding goes when a
look does not confirm it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.nodes import NodePool
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.db.queries import load_queries

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

    async def step(self) -> int:
        """One round; 0, so that the loop waits its interval. Raises NoQuorum and such; safe to repeat."""
        async with connection(self.pool) as conn:
            rows = await conn.fetch(SQL["held"], self.chain, self.after, _ACCOUNTS_A_ROUND)
        if not rows:
            self.after = b""
            return 0
        accounts = sorted({row["account"] for row in rows})
        at = BlockPoint(rows[0]["height"], rows[0]["hash"])
        states = dict(zip(accounts, await self.nodes.accounts(accounts, at), strict=True))
        differences = {
            (row["account"], row["asset"]): states[row["account"]].balances.get(row["asset"], 0)
            - row["amount"]
            for row in rows
        }
        short = {key for key, difference in differences.items() if difference < 0}
        # What is short for the first time says nothing yet, neither that it is nor that it is not.
        await self._keep({key: n for key, n in differences.items() if key not in short - self.short}, at)
        in_turn = {row["account"] for row in rows if row["in_turn"]}
        if short <= self.short:
            self.after = max(in_turn) if len(in_turn) == _ACCOUNTS_A_ROUND else b""
        # Otherwise the same accounts are looked at once more before the next ones.
        self.short = short
        return 0

    async def _keep(self, differences: Mapping[tuple[bytes, str], int], at: BlockPoint) -> None:
        keys = list(differences)
        async with transaction(self.pool) as conn:
            found = await conn.fetch(
                SQL["keep_findings"],
                self.chain,
                [key[0] for key in keys],
                [key[1] for key in keys],
                [differences[key] for key in keys],
                at.height,
                self.clock.now(),
            )
        for row in found:
            said = {"chain": self.chain, "asset": row["asset"], "base_units": str(row["difference"])}
            if row["difference"] < 0:
                log.critical("money left unseen", **said)
            else:
                log.warning("money came unseen", **said)
