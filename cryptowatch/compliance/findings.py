"""What follows from a finding: its case, and what a case of its rule does at once. Called by all that look.

A hold needs nothing more (payouts read it from the case); a freeze changes the account, in the same transaction.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from cryptowatch.accounts.players import LimitRules, PlayerPatch, Status, patch_player
from cryptowatch.compliance.cases import Found, Outcome, add_finding
from cryptowatch.db.pool import Connection
from cryptowatch.settings import Settings
from cryptowatch.telemetry.metrics import ComplianceMetrics

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Findings:
    """`actions` by rule; `new_id` makes an id of a moment."""

    actions: Mapping[str, str]
    limits: LimitRules
    metrics: ComplianceMetrics
    new_id: Callable[[datetime], UUID]

    async def follow_up(self, conn: Connection, found: Found, now: datetime) -> bool:
        """Whether a case was opened, in the caller's transaction.

        Else it was added to the open one like it, or is known (P2). Raises ConcurrentUpdate.
        """
        action = self.actions[found.rule]
        outcome = await add_finding(conn, self.new_id(now), found, action, now)
        if outcome is Outcome.KNOWN:
            return False
        log.info(f"case {outcome}", rule=found.rule, action=action, subject=found.subject)
        if action == "freeze":
            await patch_player(conn, found.account_id, PlayerPatch(status=Status.FROZEN), self.limits, now)
        return outcome is Outcome.OPENED

    def count(self, rules: Iterable[str]) -> None:
        """The rules of cases that are open for good now: their transaction has committed."""
        for rule in rules:
            self.metrics.cases_opened.labels(rule).inc()


def finding_rules(
    settings: Settings, metrics: ComplianceMetrics, new_id: Callable[[datetime], UUID]
) -> Findings:
    limits = LimitRules(settings.accounts.limit_raise_delay_s, settings.decimals)
    return Findings(settings.compliance.actions.model_dump(), limits, metrics, new_id)
