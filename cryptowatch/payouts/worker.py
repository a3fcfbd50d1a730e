"""Takes withdrawals from the queue into transactions, and follows those transactions to the end.

One loop of `daemon` per chain. A batch is one database transaction: withdrawals claimed, coins reserved, the
transaction written down, payouts bound to it (P4). What becomes of them is read from the lineage's state, which
only blocks decide (`sending.track`), by compare-and-set: dying anywhere, running twice or twice at once pays nobody
twice (P3). Policy on how many are in flight and how many wait is bounded by settings (P10).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

import asyncpg
import structlog

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.denied import Denied
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import FeePolicy, Insufficient, Planner, Recipient
from cryptowatch.chains.port import FeeMarket
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.payouts.batching import Queued, due_batches
from cryptowatch.payouts.bookkeeping import Settlement, release, settle
from cryptowatch.payouts.holds import let_go
from cryptowatch.payouts.machine import Effect, Event, State, advance
from cryptowatch.payouts.moves import set_aside, tell
from cryptowatch.payouts.rules import PayoutRules
from cryptowatch.sending.market import Market
from cryptowatch.sending.patience import Wait
from cryptowatch.sending.quotes import reason
from cryptowatch.sending.reserve import Halted, NotReady, Order, Reserver
from cryptowatch.sending.worker import is_caught_up

SQL = load_queries(__package__, "worker.sql")
log = structlog.get_logger(__name__)

_FOLLOWED_A_STEP_MAX = 1000


class PayoutObserver(Protocol):
    """Told for metrics. Rates in the family's unit."""

    def on_batch(self, payouts: int, priority: str, fee_rate: int) -> None: ...

    def on_held(self, held: Mapping[str, int]) -> None: ...

    def on_withdrawal(
        self,
        asset: str,
        state: str,
        requested_at: datetime,
        broadcast_at: datetime | None,
    ) -> None: ...


class _NotCovered(Exception):
    """The free coins do not cover the batch; raised to roll its transaction back. `missing` in base units."""

    def __init__(self, missing: int) -> None:
        super().__init__(missing)
        self.missing = missing


@dataclass(slots=True)
class PayoutWorker:
    """One chain's queue. `entropy` gives a fresh (lineage id, seed of coin selection) for each batch."""

    chain: str
    nodes: NodePool
    pool: Pool
    clock: Clock
    planner: Planner
    fees: FeePolicy
    market: Market
    reserver: Reserver
    rules: PayoutRules
    entropy: Callable[[datetime], tuple[UUID, int]]
    observer: PayoutObserver
    #: The deny list as it is now.
    denied: Callable[[], Denied] = Denied
    #: Why payouts wait, as last logged: said once, not in every round.
    _said: str | None = None
    #: How many wait for cheaper fees, by asset.
    _held: Counter[str] = field(default_factory=Counter)

    async def step(self) -> int:
        """Follow what is on its way, then send at most one batch; how many withdrawals moved."""
        moved = await self._follow()
        return moved + await self._send_batch()

    async def _follow(self) -> int:
        moved = 0
        async with transaction(self.pool) as conn:
            await conn.execute(SQL["by_indexes"])
            await conn.execute(SQL["follow_replacements"], self.chain)
            moved += await self._leave_out(conn)
            for event, lineage_states in (
                (Event.CONFIRM, ["confirmed", "finalized"]),
                (Event.REORG, ["open", "dead"]),
                (Event.FINALIZE, ["finalized"]),
            ):
                moved += await self._follow_event(conn, event, lineage_states)
            moved += await self._unbind(conn)
            moved += await self._unbind_unpaid(conn)
            moved += await set_aside(conn, self.chain, self.rules.decimals, self.clock.now())
            moved += await let_go(conn, self.chain, self.denied(), self.rules.decimals, self.clock.now())
        return moved

    async def _follow_event(self, conn: Connection, event: Event, lineage_states: list[str]) -> int:
        now = self.clock.now()
        before = State.SENDING if event is Event.CONFIRM else State.CONFIRMED
        step = advance(before, event)
        assert step is not None
        rows = await conn.fetch(
            SQL["follow_lineages"], self.chain, before, step[0], lineage_states, now, _FOLLOWED_A_STEP_MAX
        )
        if event is Event.FINALIZE:
            await settle(
                conn,
                self.chain,
                [
                    Settlement(row["id"], row["account_id"], row["asset"], row["amount"], row["fee"])
                    for row in rows
                ],
                now,
            )
        await self._tell(conn, rows, now)
        for row in rows:
            self.observer.on_withdrawal(row["asset"], row["state"], row["created_at"], row["broadcast_at"])
        return len(rows)

    async def _leave_out(self, conn: Connection) -> int:
        """Those that joined with a replacement, when a block holds an attempt without them: first on their way again,
        and back in the queue once that is final."""
        now, moved = self.clock.now(), 0
        for query, state, event in (
            ("leave_out", State.CONFIRMED, Event.REORG),
            ("unbind_left_out", State.SENDING, Event.LEFT_OUT),
        ):
            step = advance(state, event)
            assert step is not None
            rows = await conn.fetch(SQL[query], self.chain, step[0], now)
            await self._tell(conn, rows, now)
            moved += len(rows)
        return moved

    async def _unbind(self, conn: Connection) -> int:
        now = self.clock.now()
        dead, refused, tried_alone = (
            advance(State.SENDING, event)
            for event in (Event.LINEAGE_DEAD, Event.LINEAGE_REFUSED, Event.BATCH_REFUSED)
        )
        assert dead is not None
        assert refused is not None
        assert tried_alone is not None
        rows = await conn.fetch(SQL["unbind_dead"], self.chain, dead[0], now)
        rows += await conn.fetch(SQL["unbind_refused"], self.chain, refused[0], tried_alone[0], now)
        await self._tell(conn, rows, now)
        return len(rows)

    async def _unbind_unpaid(self, conn: Connection) -> int:
        now = self.clock.now()
        again, never = advance(State.SENDING, Event.UNPAID), advance(State.SENDING, Event.UNPAYABLE)
        assert again is not None
        assert never is not None
        assert never[1] is Effect.RELEASE
        rows = await conn.fetch(SQL["unbind_unpaid"], self.chain, again[0], never[0], now)
        for row in rows:
            if row["state"] == never[0]:
                await release(
                    conn, row["account_id"], row["asset"], row["id"], row["amount"] + row["fee"], now
                )
        await self._tell(conn, rows, now)
        return len(rows)

    async def _send_batch(self) -> int:
        """At most one. What is not covered hides nobody behind it: then those are looked at that ask for less."""
        uncovered: dict[str, int] = {}
        known: dict[str, int] | None = None
        while uncovered != known:
            known = dict(uncovered)
            if bound := await self._send_of_the_oldest(uncovered):
                return bound
        return 0

    async def _send_of_the_oldest(self, uncovered: dict[str, int]) -> int:
        """Look first without locks: most rounds find nothing due. Notes the least of each asset that is not covered."""
        batching = self.rules.batching
        async with connection(self.pool) as conn:
            rows = await conn.fetch(
                SQL["waiting"],
                self.chain,
                batching.count_max,
                list(uncovered),
                list(uncovered.values()),
                self.reserver.spends_unconfirmed,
            )
            chain = await conn.fetchrow(SQL["chain_state"], self.chain) if rows else None
        waits = [await self.market.wait(row["priority"], row["created_at"]) for row in rows]
        if not uncovered:
            self._note_held(rows, waits)
        queue = [
            Queued(row["id"], row["priority"], row["queued_at"], row["amount"], row["asset"], row["alone"])
            for row, wait in zip(rows, waits, strict=True)
            if wait is None
        ]
        batches = self._due(queue)
        if not batches or chain is None or chain["in_flight"] >= batching.in_flight_max:
            return 0
        if not await is_caught_up(self.nodes, chain["height"]):
            return self._wait("the chain is not caught up")
        await self.reserver.prepare()
        market = await self.market.now()
        if self.fees.beyond_cap(market):
            return self._wait("market beyond the fee cap")
        asked = {item.id: item for item in queue}
        while batches:
            for batch in batches:
                # What one asset waits for holds up no other.
                if bound := await self._send_part([asked[one] for one in batch], market, uncovered):
                    return bound
            # Nor does what the money does not cover, though its turn was first.
            tried = {one for batch in batches for one in batch}
            queue = [one for one in queue if one.id not in tried]
            batches = self._due(queue)
        return 0

    def _due(self, queue: Sequence[Queued]) -> Sequence[Sequence[UUID]]:
        return due_batches(
            queue,
            self.clock.now(),
            count_max=self.rules.batching.count_max,
            wait_max_s=self.rules.batching.wait_max_s,
            amounts_max=self.rules.amounts_max,
        )

    def _note_held(self, rows: Sequence[asyncpg.Record], waits: Sequence[Wait | None]) -> None:
        """Which of them can wait for cheaper fees, and should: for people."""
        held = Counter(dict.fromkeys(self._held, 0))
        for row, wait in zip(rows, waits, strict=True):
            if wait is not None:
                held[row["asset"]] += 1 + row["behind"]  # who asked later has more patience
        longest = next((wait for wait in waits if wait is not None), None)
        if longest is not None and not self._held.total():
            log.info("withdrawals wait", chain=self.chain, reason=reason(longest, self.fees))
        self._held = held
        self.observer.on_held(held)

    async def _send_part(self, batch: Sequence[Queued], market: FeeMarket, uncovered: dict[str, int]) -> int:
        """Of the batch, those that cost least in one transaction, and of these as many as the money covers."""
        recipients, empty = await self._recipients([one.id for one in batch])
        rest = list(range(len(batch)))
        try:
            while rest:
                places = self.planner.together([recipients[n] for n in rest], [empty[n] for n in rest])
                part = [rest[place] for place in places]
                if bound := await self._bind_covered([batch[n] for n in part], market, uncovered):
                    return bound
                rest = [n for n in rest if n not in part]
        except (Halted, NotReady) as wait:
            self._wait(str(wait))
        except ConcurrentUpdate:
            pass  # another sender was first; the next round sees what is left
        return 0

    async def _recipients(self, batch: Sequence[UUID]) -> tuple[list[Recipient], list[bool]]:
        """Whom the withdrawals pay, and whose account does not exist yet, where that matters."""
        async with connection(self.pool) as conn:
            rows = await conn.fetch(SQL["recipients"], self.chain, list(batch))
        recipients = [Recipient(row["destination"], row["amount"]) for row in rows]
        if len(rows) == 1 or not self.planner.minds_empty(rows[0]["asset"]):
            return recipients, [False] * len(rows)
        at = BlockPoint(rows[0]["height"], rows[0]["hash"])
        states = await self.nodes.accounts([recipient.destination for recipient in recipients], at)
        return recipients, [not state.exists for state in states]

    async def _bind_covered(
        self, chosen: Sequence[Queued], market: FeeMarket, uncovered: dict[str, int]
    ) -> int:
        """As many of the chosen as the coins cover: the largest wait for coins, and hold up nobody."""
        while chosen:
            try:
                async with transaction(self.pool) as conn:
                    bound = await self._bind(conn, [one.id for one in chosen], market)
                self._said = None
                return bound
            except _NotCovered as short:
                self._wait("the coins do not cover every payout")
                asset, least = chosen[0].asset, min(one.amount for one in chosen)
                chosen = _without_the_largest(chosen, short.missing)
                if not chosen:
                    uncovered[asset] = min(least, uncovered.get(asset, least))
        return 0

    def _wait(self, reason: str) -> int:
        if reason != self._said:
            log.warning("payouts wait", chain=self.chain, reason=reason)
            self._said = reason
        return 0

    async def _bind(self, conn: Connection, chosen: Sequence[UUID], market: FeeMarket) -> int:
        now = self.clock.now()
        found = await conn.fetch(SQL["claim"], list(chosen))
        claimed = await self._without_denied(conn, found, now)
        if not claimed:
            return len(found)
        priority = min((row["priority"] for row in claimed), key=["urgent", "normal", "economy"].index)
        bid = self.fees.bid(market, priority)
        lineage_id, seed = self.entropy(now)
        plan = await self.reserver.reserve(
            conn,
            Order(
                asset=claimed[0]["asset"],
                recipients=[Recipient(row["destination"], row["amount"]) for row in claimed],
                priority=priority,
                bid=bid,
                lineage_id=lineage_id,
                seed=seed,
            ),
            now,
        )
        if isinstance(plan, Insufficient):
            raise _NotCovered(plan.missing)
        rows = await conn.fetch(
            SQL["bind"],
            [row["id"] for row in claimed],
            lineage_id,
            plan.tx_hash,
            now,
            list(plan.positions or [None] * len(claimed)),
        )
        assert len(rows) == len(claimed), "claimed rows are locked"
        await self._tell(conn, rows, now)
        self.observer.on_batch(len(rows), priority, bid.rate)
        return len(rows)

    async def _without_denied(
        self, conn: Connection, claimed: Sequence[asyncpg.Record], now: datetime
    ) -> Sequence[asyncpg.Record]:
        """At the last moment: what was queued before its address was denied is for a person."""
        denied = self.denied()
        listed = [
            row["id"] for row in claimed if denied.covers(self.chain, row["destination"], row["address"])
        ]
        if not listed:
            return claimed
        step = advance(State.QUEUED, Event.REVIEW)
        assert step is not None
        await self._tell(conn, await conn.fetch(SQL["set_aside_denied"], listed, step[0], now), now)
        return [row for row in claimed if row["id"] not in listed]

    async def _tell(self, conn: Connection, rows: Sequence[asyncpg.Record], now: datetime) -> None:
        await tell(conn, rows, self.rules.decimals, now)


def _without_the_largest(chosen: Sequence[Queued], missing: int) -> list[Queued]:
    """So many less that what is missing is not asked for any more; the smallest is tried alone before all wait."""
    if len(chosen) == 1:
        return []
    kept = sorted(chosen, key=lambda one: one.amount)
    while missing > 0 and len(kept) > 1:
        missing -= kept.pop().amount
    return kept
