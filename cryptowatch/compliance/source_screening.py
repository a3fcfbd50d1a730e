"""Where deposits came from is shown to the platform's provider. A loop of the role `webhooks`.

`sources` queues a deposit with what it found; here the provider is asked about it, outside any transaction (P4); its
verdict, the case that it opens and the queue's row are then written in one. A deposit is credited meanwhile: as with an
address of the deny list, what follows is a case, and what that does is a setting. Whoever dies in between asks again,
under the same id, and the first verdict that is written counts (P2). Nobody waits for it: a provider that is away for a
while is asked again, and the queue's row says since when (P10).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import asyncpg

from cryptowatch.clock import Clock
from cryptowatch.compliance.cases import Found
from cryptowatch.compliance.findings import Findings
from cryptowatch.compliance.provider import Answer, Provider, SourceQuestion, Verdict, ruling
from cryptowatch.compliance.rules import Rule
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.money import format_amount

SQL = load_queries(__package__, "source_screening.sql")

_DEPOSITS_MAX = 200
#: Between two questions about one deposit.
_WAIT_MIN, _WAIT_MAX = timedelta(seconds=5), timedelta(minutes=5)


def ask_again(since: datetime, now: datetime, patience: timedelta) -> datetime | None:
    """When, where nobody answered since then: each wait is as long as all before it. None: long enough."""
    if now >= since + patience:
        return None
    wait = min(max(now - since, _WAIT_MIN), _WAIT_MAX)
    return min(now + wait, since + patience)


class SourceScreening:
    """`step` asks about one portion of the queue.

    Who does not answer is asked again for as long as `patience`; then, or where there is no provider, `default` holds.
    """

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        provider: Provider | None,
        default: Verdict,
        patience: timedelta,
        decimals: Mapping[str, int],
        findings: Findings,
    ) -> None:
        self.pool, self.clock, self.provider, self.default = pool, clock, provider, default
        self.patience, self.decimals, self.findings = patience, decimals, findings

    async def step(self) -> int:
        """How many deposits were asked about."""
        async with connection(self.pool) as conn:
            waiting = await conn.fetch(SQL["waiting"], _DEPOSITS_MAX, list(self.decimals), self.clock.now())
        if not waiting:
            return 0
        answers: Sequence[Answer | None] = [None] * len(waiting)
        if self.provider is not None:
            answers = await self.provider.ask_all([self._question(deposit) for deposit in waiting])
        async with transaction(self.pool) as conn:
            opened = [
                Rule.SCREENED_SOURCE
                for deposit, answer in zip(waiting, answers, strict=True)
                if await self._note(conn, deposit, answer, self.clock.now())
            ]
        self.findings.count(opened)
        return len(waiting)

    def _question(self, deposit: asyncpg.Record) -> SourceQuestion:
        return SourceQuestion(
            id=show_id(Kind.DEPOSIT, deposit["id"]),
            account_id=show_id(Kind.ACCOUNT, deposit["account_id"]),
            chain=deposit["chain"],
            asset=deposit["asset"],
            amount=format_amount(deposit["amount"], self.decimals[deposit["asset"]]),
            tx_hash=deposit["tx_hash"].hex(),
            addresses=deposit["addresses"],
        )

    async def _note(
        self, conn: Connection, deposit: asyncpg.Record, answer: Answer | None, now: datetime
    ) -> bool:
        """Whether it opened a case."""
        if answer is None and self.provider is not None:
            since = deposit["unanswered_since"] or now
            again = ask_again(since, now, self.patience)
            if again is not None:
                await conn.execute(SQL["later"], deposit["id"], since, again)
                return False
        holds = ruling(answer, self.default)
        await conn.execute(SQL["done"], deposit["id"])
        first = await conn.fetchval(
            SQL["add"], deposit["id"], holds.verdict, holds.answered, holds.reference, now
        )
        if first is None or holds.passes:
            return False
        found = Found(
            deposit["account_id"],
            Rule.SCREENED_SOURCE,
            deposit["asset"],
            show_id(Kind.DEPOSIT, deposit["id"]),
            {"chain": deposit["chain"], **holds.compared},
            deposit["created_at"],
        )
        return await self.findings.follow_up(conn, found, now)
