"""Turns what the loops report into metrics. Made by `daemon`; nothing here decides anything."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.port import NodeState
from cryptowatch.clock import Clock
from cryptowatch.compliance.rules import Rule
from cryptowatch.db.pool import Pool, connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.apply import Applied
from cryptowatch.deposits.machine import State
from cryptowatch.ledger.events import unsequenced_events
from cryptowatch.telemetry.metrics import Metrics
from cryptowatch.telemetry.progress import CatchUp
from cryptowatch.treasury.bands import Marks
from cryptowatch.treasury.solvency import Position

SQL = load_queries(__package__, "instruments.sql")


@dataclass(frozen=True, slots=True)
class ChainInstruments:
    """One chain's. Implements `chains.nodes.NodeObserver`."""

    chain: str
    metrics: Metrics
    clock: Clock
    catch_up: CatchUp

    def on_request(self, node: str, method: str, seconds: float, error: str | None) -> None:
        self.metrics.nodes.request_seconds.labels(self.chain, node, method).observe(seconds)
        if error is not None:
            self.metrics.nodes.request_errors.labels(self.chain, node, method).inc()

    def on_applied(self, applied: Applied, blocks_to_go: int) -> None:
        """After each block and each rewind."""
        chains, now = self.metrics.chains, self.clock.now()
        if applied.blocks_left:
            chains.reorg_depth_blocks.labels(self.chain).observe(applied.blocks_left)
        else:
            chains.blocks_applied.labels(self.chain).inc()
        self.catch_up.applied(blocks_to_go)
        chains.scan_lag_blocks.labels(self.chain).set(blocks_to_go)
        chains.scan_lag_seconds.labels(self.chain).set(
            0 if blocks_to_go == 0 else _age_s(applied.block_time, now)
        )
        for c in applied.changes:
            for state in c.passed:
                self.metrics.deposits.entered.labels(self.chain, c.record.asset, state).inc()
            seconds = _age_s(c.record.created_at, now)
            if State.CREDITED in c.passed:
                self.metrics.deposits.credit_seconds.labels(self.chain, c.record.asset).observe(seconds)
            if State.FINALIZED in c.passed:
                self.metrics.deposits.finality_seconds.labels(self.chain, c.record.asset).observe(seconds)

    def on_polled(self, head: BlockPoint, at: BlockPoint) -> None:
        """After each poll, whether or not there was a new block."""
        self.metrics.chains.agreed_head_height.labels(self.chain).set(head.height)
        self.metrics.chains.scan_lag_blocks.labels(self.chain).set(max(0, head.height - at.height))
        if head.height <= at.height:
            self.metrics.chains.scan_lag_seconds.labels(self.chain).set(0)

    def on_batch(self, payouts: int, priority: str, fee_rate: int) -> None:
        self.metrics.payouts.payouts_per_transaction.labels(self.chain).observe(payouts)
        self.metrics.payouts.fee_rate_bid.labels(self.chain, priority).set(fee_rate)

    def on_held(self, held: Mapping[str, int]) -> None:
        """How many wait for cheaper fees, by asset; after each look at the queue."""
        for asset, count in held.items():
            self.metrics.payouts.held.labels(self.chain, asset, "cheaper_fees").set(count)

    def on_market(self, priority: str, market_rate: int) -> None:
        self.metrics.payouts.fee_rate_market.labels(self.chain, priority).set(market_rate)

    def on_estimator(self, is_ready: bool, history_s: float) -> None:
        self.metrics.payouts.fee_estimator_ready.labels(self.chain).set(is_ready)
        self.metrics.payouts.fee_estimator_history_seconds.labels(self.chain).set(history_s)

    def on_withdrawal(
        self, asset: str, state: str, requested_at: datetime, broadcast_at: datetime | None
    ) -> None:
        """A withdrawal entered a state that a block gave it."""
        payouts = self.metrics.payouts
        payouts.entered.labels(self.chain, asset, state).inc()
        if state == "confirmed" and broadcast_at is not None:
            payouts.broadcast_seconds.labels(self.chain, asset).observe(_age_s(requested_at, broadcast_at))
        if state == "finalized":
            payouts.finality_seconds.labels(self.chain, asset).observe(_age_s(requested_at, self.clock.now()))

    def on_bump(self) -> None:
        self.metrics.payouts.bumps.labels(self.chain).inc()

    def on_signing(self, refused: bool) -> None:
        self.metrics.payouts.signer_requests.labels(self.chain).inc()
        if refused:
            self.metrics.payouts.signer_refusals.labels(self.chain).inc()

    def show_nodes(self, nodes: NodePool) -> None:
        """The nodes as the last rounds left them."""
        shown = self.metrics.nodes
        for status in nodes.statuses():
            for state in NodeState:
                shown.state.labels(self.chain, status.name, state).set(status.state is state)
            if status.height is not None:
                shown.head_height.labels(self.chain, status.name).set(status.height)
            if status.lag_blocks is not None:
                shown.lag_blocks.labels(self.chain, status.name).set(status.lag_blocks)


def chain_instruments(chain: str, metrics: Metrics, clock: Clock) -> ChainInstruments:
    return ChainInstruments(chain, metrics, clock, CatchUp(chain, clock))


def show_deny_list(metrics: Metrics, good: bool, lines: int) -> None:
    """After each look at the file."""
    metrics.payouts.deny_list_good.set(good)
    metrics.payouts.deny_list_lines.set(lines)


def show_position(metrics: Metrics, position: Position) -> None:
    """After each comparison of chain and ledger."""
    labels = (position.chain, position.asset)
    metrics.treasury.difference.labels(*labels).set(position.difference)
    metrics.treasury.holdings.labels(*labels).set(position.on_chain)
    metrics.treasury.liabilities.labels(position.asset).set(position.liabilities)


def show_marks(metrics: Metrics, chain: str, asset: str, marks: Marks) -> None:
    """After each look at a wallet's band."""
    for state, mark in (("low", marks.low), ("target", marks.target), ("high", marks.high)):
        metrics.treasury.wallet_band.labels(chain, asset, state).set(mark)


@dataclass(frozen=True, slots=True)
class DatabaseInstruments:
    """Gauges that are read from the database now and then."""

    pool: Pool
    metrics: Metrics
    clock: Clock

    async def step(self) -> int:
        now = self.clock.now()
        async with connection(self.pool) as conn:
            waiting = await conn.fetch(SQL["withdrawals_waiting"])
            queued = await conn.fetch(SQL["queued"])
            wallets = await conn.fetch(SQL["wallet_balances"])
            chains = await conn.fetch(SQL["chains"])
            compared = await conn.fetch(SQL["compared_assets"])
            cases = await conn.fetch(SQL["cases_open"])
            screenings = await conn.fetchval(SQL["screenings_pending"])
            sources = await conn.fetchrow(SQL["source_screenings_pending"])
            assert sources is not None
            lag = await unsequenced_events(conn)
            consumers = await conn.fetch(SQL["consumers"])
        payouts = self.metrics.payouts
        payouts.waiting.clear()
        for row in waiting:
            payouts.waiting.labels(row["chain"], row["asset"], row["state"]).set(row["count"])
        payouts.oldest_queued_age_seconds.clear()
        oldest: dict[tuple[str, str], datetime] = {}
        for row in queued:
            payouts.waiting.labels(row["chain"], row["asset"], "queued").inc(row["count"])
            key = (row["chain"], row["priority"])
            oldest[key] = min(row["since"], oldest.get(key, row["since"]))
        for key, since in oldest.items():
            payouts.oldest_queued_age_seconds.labels(*key).set(_age_s(since, now))
        pairs = {(row["chain"], row["asset"]) for row in compared}
        for (chain, asset), reasons in _held(chains, pairs, queued).items():
            for reason, count in reasons.items():
                payouts.held.labels(chain, asset, reason).set(count)
        for row in wallets:
            labels = (row["chain"], row["asset"], row["state"])
            payouts.wallet_balance_base_units.labels(*labels).set(row["amount"])
        for row in chains:
            self.metrics.chains.halted.labels(row["chain"]).set(row["halted"])
            payouts.stuck.labels(row["chain"]).set(row["stuck"])
            for asset in [asset for chain, asset in pairs if chain == row["chain"]]:
                stopped = asset in row["stopped_assets"]
                self.metrics.treasury.stopped.labels(row["chain"], asset).set(stopped)
        compliance = self.metrics.compliance
        for rule in Rule:
            compliance.cases_open.labels(rule).set(0)
        for row in cases:
            compliance.cases_open.labels(row["rule"]).set(row["count"])
        compliance.screenings_pending.set(screenings)
        compliance.source_screenings_pending.set(sources["count"])
        since = sources["unanswered_since"]
        compliance.source_screening_unanswered_age_seconds.set(0 if since is None else _age_s(since, now))
        database = self.metrics.database
        database.event_log_lag.labels("sequencer").set(lag)
        for row in consumers:
            database.event_log_lag.labels(row["name"]).set(row["lag"])
        database.pool_connections.labels("idle").set(self.pool.get_idle_size())
        database.pool_connections.labels("busy").set(self.pool.get_size() - self.pool.get_idle_size())
        return 0


def _held(
    chains: Iterable[asyncpg.Record],
    pairs: Iterable[tuple[str, str]],
    queued: Collection[asyncpg.Record],
) -> Mapping[tuple[str, str], Mapping[str, int]]:
    """Queued ones that cannot leave as things are, by chain and asset and by the first reason that holds.

    Zeros for `pairs` and for whatever is queued, so that a gauge falls when a reason is gone. Rows as `chains` and
    `queued` give them.
    """
    by_name = {chain["chain"]: chain for chain in chains}
    shown = {*pairs, *((row["chain"], row["asset"]) for row in queued)}
    held = {pair: dict.fromkeys(("halted", "stopped", "uncovered"), 0) for pair in shown}
    for row in queued:
        chain, reasons = by_name.get(row["chain"]), held[row["chain"], row["asset"]]
        if chain is None:  # its nodes have not agreed on a first block yet
            continue
        if chain["halted"]:
            reasons["halted"] += row["count"]
        elif row["asset"] in chain["stopped_assets"]:
            reasons["stopped"] += row["count"]
        else:
            reasons["uncovered"] += row["uncovered"]
    return held


def _age_s(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())
