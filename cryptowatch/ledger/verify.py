"""Checks every promise of the ledger and the event log over the whole database, while it runs.

Called by `cryptowatch verify-ledger` and after every test that fights. Reads one snapshot (REPEATABLE READ,
read only) in streams: memory stays bounded whatever the size. What holds is in replay.Invariant.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.replay import (
    AccountReplay,
    Entry,
    Finding,
    Invariant,
    Stored,
    check_house_transfer,
)
from cryptowatch.ledger.rules import Balance

SQL = load_queries(__package__, "verify.sql")

#: Postings read so far, postings in all.
Progress = Callable[[int, int], None]

_CUSTOMERS_PER_STEP: Final = 1000
_ROWS_PER_FETCH: Final = 2000

GUARDS: Final = frozenset(
    {
        ("trigger", "posting.append_only"),
        ("trigger", "ledger_account.append_only"),
        ("trigger", "event.append_only"),
        ("trigger", "event_position.append_only"),
        ("index", "posting_key"),
        ("index", "posting_history"),
        ("index", "posting_resolved"),
        ("index", "event_entity_id_entity_kind_entity_version_key"),
        ("index", "event_position_pkey"),
        ("index", "event_position_event_id_key"),
        ("domain", "customer_balance.unfinalized CHECK ((VALUE >= (0)::numeric))"),
        ("domain", "customer_balance.held CHECK ((VALUE >= (0)::numeric))"),
        ("domain", "posting.amount CHECK ((VALUE > (0)::numeric))"),
    }
)


@dataclass
class Report:
    """What was read and what is wrong; `findings` keeps the first ones up to a bound, `count` counts all."""

    findings_max: int
    postings: int = 0
    accounts: int = 0
    events: int = 0
    count: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return self.count == 0

    def add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.count += 1
            if len(self.findings) < self.findings_max:
                self.findings.append(finding)


async def verify(
    connection: Connection, *, progress: Progress | None = None, findings_max: int = 1000
) -> Report:
    """Check everything; may take minutes on a large ledger, disturbs nobody. Not inside a transaction."""
    report = Report(findings_max)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("SET LOCAL statement_timeout = 0")
        totals = await connection.fetchrow(SQL["totals"])
        assert totals is not None
        report.events = totals["events"]
        report.add(await _guards(connection))
        report.add(await _conservation(connection))
        await _accounts(connection, report, totals["postings"], progress)
        await _events(connection, report)
    return report


async def _guards(connection: Connection) -> list[Finding]:
    present = {tuple(row) for row in await connection.fetch(SQL["guards"])}
    return [
        Finding(Invariant.GUARD, name, f"{what} is missing or off") for what, name in sorted(GUARDS - present)
    ]


async def _conservation(connection: Connection) -> list[Finding]:
    return [
        Finding(Invariant.CONSERVATION, asset, f"all balances sum to {amount}")
        for asset, amount in await connection.fetch(SQL["asset_sums"])
    ]


class _HouseSums:
    """What history says that each house account has, summed while the postings stream by."""

    def __init__(self, houses: dict[int, str]) -> None:
        self.houses = houses
        self.sums = dict.fromkeys(houses, 0)

    def add(self, entry: Entry) -> None:
        if entry.from_account in self.sums:
            self.sums[entry.from_account] -= entry.amount
        if entry.to_account in self.sums:
            self.sums[entry.to_account] += entry.amount


async def _accounts(connection: Connection, report: Report, postings: int, progress: Progress | None) -> None:
    rows = await connection.fetch(SQL["houses"])
    sums = _HouseSums({row["account_id"]: row["account_asset"] for row in rows})

    async def read(query: str, *range_: int) -> AsyncIterator[Entry]:
        async for row in connection.cursor(SQL[query], *range_, prefetch=_ROWS_PER_FETCH):
            entry = Entry(*row)
            sums.add(entry)
            yield entry
            report.postings += 1
            if progress is not None and report.postings % _ROWS_PER_FETCH == 0:
                progress(report.postings, postings)

    after = -1
    while customers := await connection.fetch(SQL["customers"], after, _CUSTOMERS_PER_STEP):
        first, after = customers[0]["account_id"], customers[-1]["account_id"]
        await _customers(customers, read("history", first, after), sums.houses, report)
    async for entry in read("house_history"):
        report.add(check_house_transfer(entry, sums.houses))

    report.accounts += len(rows)
    report.add(_house_findings(sums, {row["account_id"]: row["balance"] for row in rows}))
    for account_id, amount in await connection.fetch(SQL["stray_deltas"]):
        report.add([Finding(Invariant.HOUSE_BALANCE, f"account {account_id}", f"stray deltas of {amount}")])
    for (account_id,) in await connection.fetch(SQL["accounts_without_balance"]):
        report.add([Finding(Invariant.BALANCE, f"account {account_id}", "has no balance row")])
    if report.postings != postings:
        detail = f"{postings - report.postings} postings belong to no account's history"
        report.add([Finding(Invariant.ENTRY, "posting", detail)])
    if progress is not None:
        progress(postings, postings)


async def _customers(
    customers: Sequence[Any], history: AsyncIterator[Entry], houses: Mapping[int, str], report: Report
) -> None:
    replays = {
        row["account_id"]: AccountReplay(row["account_id"], row["account_asset"], houses) for row in customers
    }
    async for entry in history:
        replay = replays.get(entry.customer or 0)
        if replay is None:
            report.add([Finding(Invariant.ENTRY, f"posting {entry.id}", f"of no account: {entry.customer}")])
        else:
            report.add(replay.add(entry))
    for row in customers:
        balance = Balance(row["total"], row["unfinalized"], row["held"])
        report.add(replays[row["account_id"]].finish(Stored(row["version"], balance)))
        if row["asset"] != row["account_asset"]:
            detail = f"row in {row['asset']}, account in {row['account_asset']}"
            report.add([Finding(Invariant.ENTRY, f"account {row['account_id']}", detail)])
    report.accounts += len(customers)


def _house_findings(sums: _HouseSums, stored: dict[int, int]) -> Iterator[Finding]:
    for account_id, balance in stored.items():
        if balance != sums.sums[account_id]:
            detail = f"rolled up and waiting: {balance}; history: {sums.sums[account_id]}"
            yield Finding(Invariant.HOUSE_BALANCE, f"account {account_id}", detail)


async def _events(connection: Connection, report: Report) -> None:
    async for kind, id_, count, first, last in connection.cursor(SQL["event_versions"]):
        detail = f"{count} events, versions {first} to {last}"
        report.add([Finding(Invariant.EVENT_VERSIONS, f"{kind} {id_}", detail)])
    async for position, before in connection.cursor(SQL["feed_gaps"]):
        report.add([Finding(Invariant.EVENT_FEED, f"position {position}", f"follows {before}")])
    async for (event_id,) in connection.cursor(SQL["feed_strays"]):
        report.add(
            [Finding(Invariant.EVENT_FEED, f"event {event_id}", "not in exactly one of queue and feed")]
        )
    async for kind, id_, version in connection.cursor(SQL["feed_order"]):
        report.add([Finding(Invariant.EVENT_FEED, f"{kind} {id_}", f"version {version} told too early")])
