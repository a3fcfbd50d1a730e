"""Closes each period once it is over, and pays what needs nobody's approval. A loop of the role `referrals`.

Any number of processes may run it: a period's row and a statement's state decide who was first.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog

from cryptowatch.agents.anomalies import AnomalyRules
from cryptowatch.agents.deciding import Decider, pay_statement, payable
from cryptowatch.agents.hierarchy import Refusal
from cryptowatch.agents.plans import Period, begin_of, next_begin
from cryptowatch.agents.statements import StatementRules, close_period, first_day, last_closed
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.settings import Settings

log = structlog.get_logger(__name__)

_PAID_AT_ONCE = 100
#: Who decided, where nobody was asked.
BY_ITSELF = "cryptowatch"


@dataclass(frozen=True, slots=True)
class AgentRules:
    """`close_delay`: so long after its end, when whatever began in the period has ended. `approval`: a person pays."""

    period: Period
    close_delay: timedelta
    approval: bool
    statements: StatementRules


def agent_rules(settings: Settings) -> AgentRules:
    own = settings.agents
    rules = AnomalyRules(own.sudden_turnover_times, own.self_play_bp, own.matched_bets_bp)
    statements = StatementRules(settings.decimals, timedelta(seconds=own.hold_s), rules)
    return AgentRules(Period(own.period), timedelta(seconds=own.close_delay_s), own.approval, statements)


class AgentWorker:
    """`step` closes at most one period, or pays some statements."""

    def __init__(self, pool: Pool, clock: Clock, rules: AgentRules) -> None:
        self.pool, self.clock, self.rules = pool, clock, rules

    async def step(self) -> int:
        """How much was done; 0: nothing is to do."""
        now = self.clock.now()
        async with connection(self.pool) as conn:
            due = await self._due(conn, now)
            waiting = [] if self.rules.approval else await payable(conn, _PAID_AT_ONCE, now)
        if due is not None:
            async with transaction(self.pool) as conn:
                count = await close_period(conn, *due, self.rules.statements, now)
            if count is not None:
                log.info("period closed", begin=str(due[0]), end=str(due[1]), statements=count)
        decider, paid = Decider(BY_ITSELF, None, self.rules.statements.decimals, now), 0
        for statement_id in waiting:
            async with transaction(self.pool) as conn:
                answer = await pay_statement(conn, statement_id, decider)
            paid += not isinstance(answer, Refusal)
        return (due is not None) + paid

    async def _due(self, conn: Connection, now: datetime) -> tuple[date, date] | None:
        """The days of the next period to close: none is left out, however long nobody was here."""
        period = self.rules.period
        begin = await last_closed(conn)
        if begin is None:
            first = await first_day(conn)
            if first is None:
                return None
            begin = begin_of(period, first)
        end = next_begin(period, begin)
        return (begin, end) if (now - self.rules.close_delay).date() >= end else None
