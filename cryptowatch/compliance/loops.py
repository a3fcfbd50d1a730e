"""The loops of compliance, for `daemon`: each is a step that every process may run, as another one may, too."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from cryptowatch.chains.connect import ConnectedChain
from cryptowatch.chains.denied import Denied
from cryptowatch.clock import Clock
from cryptowatch.compliance.audit import seal
from cryptowatch.compliance.findings import finding_rules
from cryptowatch.compliance.provider import open_provider
from cryptowatch.compliance.screening import ScreeningWatch
from cryptowatch.compliance.source_screening import SourceScreening
from cryptowatch.compliance.sources import SourceWatch, source_rules
from cryptowatch.compliance.watch import ComplianceWatch, watch_rules
from cryptowatch.db.pool import Pool, transaction
from cryptowatch.settings import Settings
from cryptowatch.telemetry.metrics import ComplianceMetrics

_SEAL_INTERVAL_S = 1


@dataclass(frozen=True, slots=True)
class Loop:
    name: str
    step: Callable[[], Awaitable[int]]
    interval_s: float


def screening_loops(
    pool: Pool,
    clock: Clock,
    settings: Settings,
    metrics: ComplianceMetrics,
    new_id: Callable[[datetime], UUID],
) -> Iterator[Loop]:
    """Where the provider can be reached. Raises SettingsError for one that cannot be used."""
    own, decimals = settings.compliance.screening, settings.decimals
    provider, findings = open_provider(own, clock, metrics), finding_rules(settings, metrics, new_id)
    withdrawals = ScreeningWatch(pool, clock, provider, own.default, decimals, findings)
    patience = timedelta(seconds=own.deposits_patience_s)
    deposits = SourceScreening(pool, clock, provider, own.deposits_default, patience, decimals, findings)
    yield Loop("screening", withdrawals.step, settings.compliance.interval_s)
    yield Loop("source-screening", deposits.step, settings.compliance.interval_s)


def compliance_loops(
    pool: Pool,
    clock: Clock,
    settings: Settings,
    watched: Mapping[str, ConnectedChain],
    denied: Callable[[], Denied],
    metrics: ComplianceMetrics,
    new_id: Callable[[datetime], UUID],
) -> Iterator[Loop]:
    """`watched`: the chains whose nodes this process asks."""
    findings, interval_s = finding_rules(settings, metrics, new_id), settings.compliance.interval_s

    async def seal_audit() -> int:
        async with transaction(pool) as conn:
            return await seal(conn)

    yield Loop("audit-log", seal_audit, _SEAL_INTERVAL_S)
    yield Loop("compliance", ComplianceWatch(pool, clock, watch_rules(settings), findings).step, interval_s)
    if settings.compliance.sources:
        for name, chain in watched.items():
            sources = SourceWatch(chain, pool, clock, denied, source_rules(settings), findings)
            yield Loop(f"sources:{name}", sources.step, interval_s)
