"""Withdrawals to strangers' addresses wait for the verdict of the platform's provider. A loop of the role `webhooks`.

A withdrawal comes into review with the finding `screening`; here the provider is asked about it, outside any
transaction (P4); its verdict and the reader's place are then written in one. Payouts read the verdict: `pass` lets it
go on, `refuse` rejects it, `review` leaves it to people. Each but the first opens a case. Whoever dies in between asks
again, under the same id, and the first verdict that is written counts (P2).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from cryptowatch.clock import Clock
from cryptowatch.compliance.cases import Found
from cryptowatch.compliance.findings import Findings
from cryptowatch.compliance.provider import Answer, Provider, Question, Verdict, ruling
from cryptowatch.compliance.rules import Rule
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, read_id, show_id
from cryptowatch.ledger.consumers import look, move
from cryptowatch.money import format_amount

SQL = load_queries(__package__, "screening.sql")

_EVENTS_MAX = 200


class ScreeningWatch:
    """`step` looks at one portion of the feed. `default` holds where the provider does not answer, or there is none."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        provider: Provider | None,
        default: Verdict,
        decimals: Mapping[str, int],
        findings: Findings,
    ) -> None:
        self.pool, self.clock, self.provider, self.default = pool, clock, provider, default
        self.decimals, self.findings = decimals, findings

    async def step(self) -> int:
        """How many positions were passed."""
        async with connection(self.pool) as conn:
            portion = await look(conn, "screening", ["withdrawal.in_review"], _EVENTS_MAX)
            if portion is None:
                return 0
            ids = list({read_id(Kind.WITHDRAWAL, event.entity_id) for event in portion.events})
            waiting = await conn.fetch(SQL["waiting"], ids) if ids else []
            if not waiting:
                await move(conn, "screening", portion)
                return portion.until - portion.after
        questions = [self._question(withdrawal) for withdrawal in waiting]
        answers: Sequence[Answer | None] = [None] * len(questions)
        if self.provider is not None:
            answers = await self.provider.ask_all(questions)
        async with transaction(self.pool) as conn:
            opened = [
                Rule.SCREENING
                for withdrawal, answer in zip(waiting, answers, strict=True)
                if await self._note(conn, withdrawal, answer, self.clock.now())
            ]
            await move(conn, "screening", portion)
        self.findings.count(opened)
        return portion.until - portion.after

    def _question(self, withdrawal: asyncpg.Record) -> Question:
        return Question(
            id=show_id(Kind.WITHDRAWAL, withdrawal["id"]),
            account_id=show_id(Kind.ACCOUNT, withdrawal["account_id"]),
            chain=withdrawal["chain"],
            asset=withdrawal["asset"],
            amount=format_amount(withdrawal["amount"], self.decimals[withdrawal["asset"]]),
            address=withdrawal["address"],
        )

    async def _note(
        self, conn: Connection, withdrawal: asyncpg.Record, answer: Answer | None, now: datetime
    ) -> bool:
        """Whether it opened a case."""
        holds = ruling(answer, self.default)
        first = await conn.fetchval(
            SQL["add"], withdrawal["id"], holds.verdict, holds.answered, holds.reference, now
        )
        if first is None or holds.passes:
            return False
        found = Found(
            withdrawal["account_id"],
            Rule.SCREENING,
            withdrawal["asset"],
            show_id(Kind.WITHDRAWAL, withdrawal["id"]),
            holds.compared,
            withdrawal["created_at"],
        )
        return await self.findings.follow_up(conn, found, now)
