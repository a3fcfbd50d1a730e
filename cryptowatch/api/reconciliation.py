"""`/v1/reconciliation`: per chain and asset, what is there against what the books say, and whether payouts stopped."""

from datetime import datetime

import msgspec

from cryptowatch.api.calls import Call, NoQuery, Reply
from cryptowatch.api.problems import Problem
from cryptowatch.db.pool import Connection
from cryptowatch.money import format_amount
from cryptowatch.treasury.reconcile import LastFinding, read_findings, read_positions
from cryptowatch.treasury.solvency import Position


class ReconciliationView(msgspec.Struct, frozen=True):
    """Amounts in whole units. `difference` = `on_chain` - `unseen_losses` - `expected`; below zero, money is missing.

    `expected` = `ledger_holdings` + `uncredited` - `unsettled` - `unbooked_fees`. `in_flight`: withdrawals on their way
    that are not settled. `liabilities`: what the house owes its players, of this asset, whatever chain it is on.
    `unseen_losses`, `unseen_gains`: what nodes say that accounts hold less, and more, than the blocks show.
    """

    chain: str
    asset: str
    height: int
    state: str
    payouts_stopped: bool
    on_chain: str
    unseen_losses: str
    unseen_gains: str
    ledger_holdings: str
    uncredited: str
    unsettled: str
    unbooked_fees: str
    expected: str
    difference: str
    in_flight: str
    liabilities: str
    #: Since when the state is what it is, by the last check.
    since: datetime | None
    checked_at: datetime | None


async def list_reconciliation(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    """Computed now; `state`, `since` and `checked_at` are of the last check by the role `treasury`."""
    decimals = call.services.decimals
    positions = [p for p in await read_positions(conn) if p.chain in call.services.settings.chains]
    last = {(finding.chain, finding.asset): finding for finding in await read_findings(conn)}
    return Reply([_view(p, last.get((p.chain, p.asset)), decimals[p.asset]) for p in positions])


def _view(position: Position, last: LastFinding | None, decimals: int) -> ReconciliationView:
    def shown(name: str) -> str:
        return format_amount(getattr(position, name), decimals)

    return ReconciliationView(
        chain=position.chain,
        asset=position.asset,
        height=position.height,
        state="unchecked" if last is None else last.state,
        payouts_stopped=last is not None and last.stopped,
        on_chain=shown("on_chain"),
        unseen_losses=shown("unseen_losses"),
        unseen_gains=shown("unseen_gains"),
        ledger_holdings=shown("ledger_holdings"),
        uncredited=shown("uncredited"),
        unsettled=shown("unsettled"),
        unbooked_fees=shown("unbooked_fees"),
        expected=shown("expected"),
        difference=shown("difference"),
        in_flight=shown("in_flight"),
        liabilities=shown("liabilities"),
        since=None if last is None else last.since,
        checked_at=None if last is None else last.checked_at,
    )
