"""What follows from a finding: a case, and what a case of its rule does at once. Called by `watch` and `sources`.

A hold needs nothing more (payouts read it from the case); a freeze changes the account, in the same transaction.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from cryptowatch.accounts.players import LimitRules, PlayerPatch, Status, patch_player
from cryptowatch.compliance.cases import Found, open_case
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

        None is where the subject had its case, or one like it is open (P2).
        """
        action = self.actions[found.rule]
        if not await open_case(conn, self.new_id(now), found, action, now):
            return False
        log.info("case opened", rule=found.rule, action=action, subject=found.subject)
        if action == "freeze":
            await patch_player(conn, found.account_id, PlayerPatch(status=Status.FROZEN), self.limits, now)
        return True

    def count(self, rules: Iterable[str]) -> None:
        """The rules of cases that are open for good now: their transaction has committed."""
        for rule in rules:
            self.metrics.cases_opened.labels(rule).inc()


def finding_rules(
    settings: Settings, metrics: ComplianceMetrics, new_id: Callable[[datetime], UUID]
) -> Findings:
    limits = LimitRules(settings.accounts.limit_raise_delay_s, settings.decimals)
    return Findings(settings.compliance.actions.model_dump(), limits, metrics, new_id)
