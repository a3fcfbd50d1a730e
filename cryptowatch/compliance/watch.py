"""Looks at deposits and withdrawals as the event log tells of them, and opens cases. A loop of every process.

A portion of events, the facts around each, the cases and the reader's place are one transaction: whatever is killed
when, each event is looked at once, and two processes take turns (`ledger.consumers`). The facts are those up to the
event's own time, so that it does not matter how late it is looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from cryptowatch.clock import Clock
from cryptowatch.compliance import rules as judge
from cryptowatch.compliance.cases import Found
from cryptowatch.compliance.findings import Findings
from cryptowatch.compliance.rules import Compared, Direction, Moved, Rule, Rules, asset_rules
from cryptowatch.db.pool import Connection, Pool, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import earliest_id
from cryptowatch.ledger.consumers import take
from cryptowatch.ledger.events import Event
from cryptowatch.settings import Settings

SQL = load_queries(__package__, "watch.sql")

_TYPES: Mapping[str, Direction] = {
    "deposit.credited": Direction.DEPOSITS,
    "withdrawal.requested": Direction.WITHDRAWALS,
}
#: Deposits of one account within a window that are looked at: who has more is found by their number long before.
_DEPOSITS_MAX = 10_000
_DECIDED = msgspec.json.Decoder(dict[str, datetime])


@dataclass(frozen=True, slots=True)
class WatchRules:
    """By asset."""

    assets: Mapping[str, Rules]
    events_max: int


def watch_rules(settings: Settings) -> WatchRules:
    own = settings.compliance
    return WatchRules(
        {asset: asset_rules(rules, settings.decimals[asset]) for asset, rules in own.assets.items()},
        own.events_max,
    )


class _Subject(msgspec.Struct, frozen=True):
    """Of a deposit's or withdrawal's event, what is wanted here."""

    asset: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """One event, and what its account is judged by."""

    event: Event
    account_id: UUID
    asset: str
    rules: Rules
    kyc_level: int
    #: rule -> up to when a person decided about what it found: that is not held against the account again.
    decided: Mapping[str, datetime]

    def since(self, rule: Rule, hours: int) -> datetime:
        """When a rule's window begins."""
        begin = self.event.created_at - timedelta(hours=hours)
        return max(begin, self.decided.get(rule, begin))


class ComplianceWatch:
    """`step` looks at one portion of the feed."""

    def __init__(self, pool: Pool, clock: Clock, rules: WatchRules, findings: Findings) -> None:
        self.pool, self.clock, self.rules, self.findings = pool, clock, rules, findings

    async def step(self) -> int:
        """How many positions were passed."""
        async with transaction(self.pool) as conn:
            # Without rules nothing is judged, and the place moves on: rules judge what comes after them.
            types = list(_TYPES) if self.rules.assets else []
            portion = await take(conn, "compliance", types, self.rules.events_max)
            if portion is None:
                return 0
            opened = [rule for event in portion.events for rule in await self._look(conn, event)]
        self.findings.count(opened)
        return portion.until - portion.after

    async def _look(self, conn: Connection, event: Event) -> list[Rule]:
        """The rules of the cases that it opened."""
        asset = msgspec.json.decode(event.data, type=_Subject).asset
        rules = self.rules.assets.get(asset)
        if rules is None:
            return []
        assert event.account_id is not None
        row = await conn.fetchrow(SQL["account"], event.account_id, asset)
        assert row is not None
        decided = _DECIDED.decode(row["decided"])
        seen = _Seen(event, event.account_id, asset, rules, row["kyc_level"], decided)
        direction = _TYPES[event.type]
        if direction is Direction.DEPOSITS:
            compared = {Rule.STRUCTURING: await _structuring(conn, seen)}
        else:
            compared = {Rule.RAPID_WITHDRAWAL: await _rapid_withdrawal(conn, seen)}
        compared[Rule.VELOCITY] = await _velocity(conn, seen, direction)
        return [
            rule
            for rule, what in compared.items()
            if what is not None and await self._open(conn, seen, rule, what)
        ]

    async def _open(self, conn: Connection, seen: _Seen, rule: Rule, compared: Compared) -> bool:
        event = seen.event
        found = Found(seen.account_id, rule, seen.asset, event.entity_id, compared, event.created_at)
        return await self.findings.follow_up(conn, found, self.clock.now())


async def _structuring(conn: Connection, seen: _Seen) -> Compared | None:
    rule = seen.rules.structuring
    if rule is None:
        return None
    amounts = await _deposits(conn, seen, seen.since(Rule.STRUCTURING, rule.hours))
    return judge.structuring(rule, amounts, seen.rules.decimals)


async def _rapid_withdrawal(conn: Connection, seen: _Seen) -> Compared | None:
    """Bets count by day, so that some of the first day may be older than the window: in the player's favour."""
    rule = seen.rules.rapid_withdrawal
    if rule is None:
        return None
    since = seen.since(Rule.RAPID_WITHDRAWAL, rule.hours)
    deposited = sum(await _deposits(conn, seen, since))
    withdrawn = await _withdrawals(conn, seen, since)
    played = await conn.fetchval(SQL["played"], seen.account_id, seen.asset, since.date())
    return judge.rapid_withdrawal(rule, deposited, withdrawn.amount, played, seen.rules.decimals)


async def _velocity(conn: Connection, seen: _Seen, direction: Direction) -> Compared | None:
    for rule in seen.rules.velocity:
        if rule.direction is not direction:
            continue
        since = seen.since(Rule.VELOCITY, rule.hours)
        if direction is Direction.DEPOSITS:
            amounts = await _deposits(conn, seen, since)
            moved = Moved(sum(amounts), len(amounts))
        else:
            moved = await _withdrawals(conn, seen, since)
        if (compared := judge.velocity(rule, moved, seen.kyc_level, seen.rules.decimals)) is not None:
            return compared
    return None


async def _deposits(conn: Connection, seen: _Seen, since: datetime) -> list[int]:
    rows = await conn.fetch(
        SQL["deposits"],
        seen.account_id,
        seen.asset,
        since,
        seen.event.created_at,
        earliest_id(since),
        _DEPOSITS_MAX,
    )
    return [row["amount"] for row in rows]


async def _withdrawals(conn: Connection, seen: _Seen, since: datetime) -> Moved:
    row = await conn.fetchrow(SQL["withdrawals"], seen.account_id, seen.asset, since, seen.event.created_at)
    assert row is not None
    return Moved(row["amount"], row["count"])
