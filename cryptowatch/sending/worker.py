"""Carries every open lineage of one chain towards a block: sign, commit, broadcast, send again, raise the fee.

One loop of `daemon` per chain. Each step starts from what the database says, so it may die anywhere: an attempt
without signed bytes is signed again (the plan fixes every byte that counts), one with them is sent again as it is,
to every node (P3). Nothing is broadcast that is not committed, and no transaction is open while the signer or a node
is asked (P4). A halted chain sends nothing (P6). Of a stopped asset nothing is signed, and nothing is sent that no node
has (P7); on a chain of accounts, what stands behind such a transaction's nonce waits with it.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import asyncpg
import structlog

from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import Bid, FeePolicy, Insufficient, Plan, Planner
from cryptowatch.chains.port import BroadcastAnswer, BroadcastOutcome, FeeMarket
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate, SignerRefused, SignerUnavailable, SignerWaits
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.events import append_events
from cryptowatch.sending.accounts import free_nonces_of
from cryptowatch.sending.coins import free_coins_of
from cryptowatch.sending.market import Market
from cryptowatch.sending.reserve import Halted, Reserver, insert_attempt, sending_height
from cryptowatch.sending.riders import Joining, Rider
from cryptowatch.sending.track import TransactionView, transaction_event
from cryptowatch.signing.families import Sign, SignedTransaction

SQL = load_queries(__package__, "send.sql")
log = structlog.get_logger(__name__)

_SIGNED_A_STEP_MAX = 50


class SendObserver(Protocol):
    """Told for metrics."""

    def on_bump(self) -> None: ...

    def on_signing(self, refused: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class SendRules:
    #: How long until the same bytes are sent again: when a quorum of nodes took them, and when fewer did.
    rebroadcast_s: float = 30
    retry_s: float = 2
    #: A lineage's budget, in its first attempt's fees.
    fee_growth_max: int = 50


@dataclass(slots=True)
class Sender:
    """One chain's sender. `again_s`: when this process sends each attempt again; only to save work."""

    chain: str
    nodes: NodePool
    pool: Pool
    clock: Clock
    planner: Planner
    fees: FeePolicy
    market: Market
    reserver: Reserver
    sign: Sign
    rules: SendRules
    observer: SendObserver
    #: None: nobody joins a replacement.
    joining: Joining | None = None
    again_s: dict[bytes, float] = field(default_factory=dict)
    #: (kind, asset) of transactions whose hour is full. Said once, not in every round; of others, what is said of each.
    signer_waits: set[tuple[str, str | None]] = field(default_factory=set)
    said: dict[bytes, str] = field(default_factory=dict)

    async def step(self) -> int:
        """One round over all open lineages; how many things were done. Safe to repeat after any error."""
        async with connection(self.pool) as conn:
            state = await conn.fetchrow(SQL["chain_state"], self.chain)
        if state is None or state["halted"]:
            return 0
        done, away = 0, None
        try:
            done = await self._sign_all()
        except SignerUnavailable as problem:
            away = problem  # what is signed already is sent all the same
        async with connection(self.pool) as conn:
            open_signed = await conn.fetch(SQL["open_signed"], self.chain)
        self._forget({row["tx_hash"] for row in open_signed})
        for row in open_signed:
            done += await self._send(row)
        stuck = [row for row in open_signed if self._is_stuck(row, state["height"])]
        if stuck and away is None:
            done += await self._bump_all(stuck, state["height"])
        if away is not None:
            raise away
        return done

    async def _sign_all(self) -> int:
        async with connection(self.pool) as conn:
            rows = await conn.fetch(SQL["unsigned_attempts"], self.chain, _SIGNED_A_STEP_MAX)
        signed = 0
        # Each asset has an hour of its own, and what goes to cold another one: one that is full holds up no other.
        full: set[tuple[str, str | None]] = set()
        for row in rows:
            hour = (row["kind"], row["asset"])
            if hour in full:
                continue
            plan = self.planner.read(row["plan"].encode())
            try:
                new = await self._signed(plan, row["lineage_id"])
            except SignerWaits as wait:
                if hour not in self.signer_waits:
                    log.warning(
                        "signer waits",
                        chain=self.chain,
                        kind=row["kind"],
                        asset=row["asset"],
                        reason=str(wait),
                    )
                full.add(hour)
                continue
            except SignerRefused as refusal:
                await self._give_up(row["lineage_id"], str(refusal))
                continue
            async with transaction(self.pool) as conn:
                if await conn.fetchrow(SQL["lock_open_lineage"], row["lineage_id"]) is not None:
                    await conn.execute(
                        SQL["store_signed"], row["lineage_id"], row["number"], new.raw, new.tx_hash
                    )
            signed += 1
        self.signer_waits = full
        return signed

    async def _signed(self, plan: Plan, lineage_id: UUID) -> SignedTransaction:
        try:
            signed = await self.sign(plan, show_id(Kind.TRANSACTION, lineage_id))
        except SignerWaits:
            raise  # no refusal: the same will be signed later
        except SignerRefused:
            self.observer.on_signing(refused=True)
            raise
        self.observer.on_signing(refused=False)
        return signed

    async def _give_up(self, lineage_id: UUID, reason: str) -> None:
        """A lineage of which nothing was ever signed cannot confirm: its coins and payouts are free again."""
        log.error("signer refused", chain=self.chain, reason=reason)
        now = self.clock.now()
        async with transaction(self.pool) as conn:
            if await conn.fetchrow(SQL["lock_open_lineage"], lineage_id) is None:
                return
            if await conn.fetchval(SQL["any_signed"], lineage_id):
                return
            version = await conn.fetchval(SQL["give_up"], lineage_id, f"signer_refused: {reason}", now)
            await free_coins_of(conn, [lineage_id])
            await free_nonces_of(conn, [lineage_id])
            # Nothing of it was ever signed: planned again, the very same transaction may be a new lineage's.
            await conn.execute(SQL["forget_unsigned"], lineage_id)
            view = TransactionView(show_id(Kind.TRANSACTION, lineage_id), self.chain, "dead", None)
            await append_events(conn, [transaction_event("dead", lineage_id, version, view, now)])

    async def _send(self, row: asyncpg.Record) -> int:
        if self.clock.monotonic_s() < self.again_s.get(row["tx_hash"], 0):
            return 0
        answers = await self.nodes.broadcast(row["raw"])
        self._log_answers(row, answers)
        arrived = sum(a.outcome in (BroadcastOutcome.ACCEPTED, BroadcastOutcome.CONFIRMED) for a in answers)
        pause_s = self.rules.rebroadcast_s if arrived >= self.nodes.quorum else self.rules.retry_s
        self.again_s[row["tx_hash"]] = self.clock.monotonic_s() + pause_s
        if arrived and row["broadcast_at"] is None:
            await self._mark_broadcast(row)
        return 1

    def _log_answers(self, row: asyncpg.Record, answers: Sequence[BroadcastAnswer]) -> None:
        for answer in answers:
            if answer.outcome is not BroadcastOutcome.ACCEPTED:
                log.info(
                    "broadcast",
                    chain=self.chain,
                    tx_hash=row["tx_hash"].hex(),
                    node=answer.node,
                    outcome=answer.outcome,
                    detail=answer.detail,
                )

    async def _mark_broadcast(self, row: asyncpg.Record) -> None:
        now = self.clock.now()
        async with transaction(self.pool) as conn:
            if await conn.fetchrow(SQL["lock_open_lineage"], row["lineage_id"]) is None:
                return
            status = await conn.execute(SQL["mark_broadcast"], row["lineage_id"], row["number"], now)
            if status == "UPDATE 1":
                kind = "broadcast" if row["number"] == 1 else "replaced"
                version = await conn.fetchval(SQL["next_version"], row["lineage_id"], now)
                await self._tell(conn, kind, row["lineage_id"], version, row["tx_hash"])

    def _is_stuck(self, row: asyncpg.Record, height: int) -> bool:
        """By the last survey, so that what merely waits for its block costs no requests."""
        waited_blocks = height - row["planned_height"]
        if row["kind"] == "consolidation" or waited_blocks < self.fees.bump_after_blocks:
            return False  # merging coins is in no hurry
        if row["kind"] == "cold_refill":
            return row["stuck"] is None and waited_blocks >= self.fees.patience_blocks(row["priority"])
        plan = self.planner.read(row["plan"].encode())
        return self.fees.is_stuck(self.market.surveyed, plan, row["priority"], waited_blocks)

    async def _bump_all(self, stuck: Sequence[asyncpg.Record], height: int) -> int:
        if not await is_caught_up(self.nodes, height):
            return 0  # what looks stuck may be in a block that is yet to be applied
        market = await self.market.now()
        if self.fees.beyond_cap(market):
            for row in stuck:
                await self._tell_stuck(row, "market beyond the fee cap", height)
            return 0
        done = 0
        async with connection(self.pool) as conn:
            held_up = {row["lineage_id"] for row in await conn.fetch(SQL["held_up"], self.chain)}
        for row in stuck:
            if row["number"] != row["attempts"]:
                continue  # a newer attempt is there and not signed yet
            if row["lineage_id"] in held_up:
                continue  # no fee brings it into a block
            if row["kind"] == "cold_refill":
                # Another version of what the cold wallet signed is not ours to make.
                await self._tell_stuck(row, "the fee that cold signed stays what it is", height)
                continue
            plan = self.planner.read(row["plan"].encode())
            if not self.fees.is_stuck(market, plan, row["priority"], height - row["planned_height"]):
                continue  # what the last survey found has passed
            bid = self.fees.raised(market, plan, row["priority"])
            if bid is None:
                await self._tell_stuck(row, "stuck at the fee cap", height)
                continue
            done += await self._bump(row, plan, bid, market, height)
        return done

    async def _bump(self, row: asyncpg.Record, old: Plan, bid: Bid, market: FeeMarket, height: int) -> int:
        """A replacement that pays more, signed before it is written: unsigned it would block the next.

        It uses the very resources of the first attempt, no more: whatever loses one of them has killed all attempts,
        and a lineage that is dead can then not confirm by an older one (P3). Payouts that wait may join it.
        """
        lineage_id = row["lineage_id"]
        try:
            new = await asyncio.to_thread(self.planner.bump, old, bid)
            if isinstance(new, Insufficient):
                return await self._tell_stuck(row, "nothing left to raise the fee with", height)
            if not self._within_budget(row, new):
                return await self._tell_stuck(row, "the payment's fee budget is used up", height)
            async with transaction(self.pool) as conn:
                height = await sending_height(conn, self.chain, row["asset"])
                short = await self.reserver.reserve_more(conn, lineage_id, old, new)
            if short is not None:
                return await self._tell_stuck(row, "nothing left to raise the fee with", height)
            joint = None if self.joining is None else await self.joining.join(row, old, new, bid, market)
            if joint is not None and self._within_budget(row, joint[0]):
                with suppress(SignerRefused):  # for those who would join: without them it may be signed
                    return await self._replace(row, old, *joint, height)
            return await self._replace(row, old, new, (), height)
        except (Halted, ConcurrentUpdate):
            return 0
        except SignerRefused as refusal:
            return self._warn(row["tx_hash"], f"signer refused a replacement: {refusal}")

    def _within_budget(self, row: asyncpg.Record, new: Plan) -> bool:
        """By rate, so that nobody's budget is spent on those who joined later."""
        most = row["first_fee"] * self.rules.fee_growth_max * new.size
        return bool(new.fee * row["first_size"] <= most)

    async def _replace(
        self, row: asyncpg.Record, old: Plan, new: Plan, riders: Sequence[Rider], height: int
    ) -> int:
        assert set(old.resources) == set(new.resources), "a replacement uses what it replaces used"
        signed = await self._signed(new, row["lineage_id"])
        async with transaction(self.pool) as conn:
            await sending_height(conn, self.chain, row["asset"])
            await self._store_bump(conn, row, new, signed, riders, height)
        return 1

    async def _tell_stuck(self, row: asyncpg.Record, problem: str, height: int) -> int:
        """Longer than its target is a person's matter: then it is an event, once until it moves."""
        waited_blocks = height - row["planned_height"]
        self._warn(row["tx_hash"], problem)
        if row["stuck"] is None and waited_blocks >= self.fees.patience_blocks(row["priority"]):
            now = self.clock.now()
            async with transaction(self.pool) as conn:
                version = await conn.fetchval(
                    SQL["note_stuck"], row["lineage_id"], problem, now, row["attempts"]
                )
                if version is not None:
                    await self._tell(conn, "stuck", row["lineage_id"], version, row["tx_hash"], problem)
        return 0

    def _warn(self, tx_hash: bytes, problem: str) -> int:
        if self.said.get(tx_hash) != problem:
            log.warning(problem, chain=self.chain, tx_hash=tx_hash.hex())
            self.said[tx_hash] = problem
        return 0

    async def _store_bump(
        self,
        conn: Connection,
        row: asyncpg.Record,
        new: Plan,
        signed: SignedTransaction,
        riders: Sequence[Rider],
        height: int,
    ) -> None:
        lineage_id, now = row["lineage_id"], self.clock.now()
        locked = await conn.fetchrow(SQL["lock_open_lineage"], lineage_id)
        if locked is None or locked["attempts"] != row["attempts"]:
            return
        await insert_attempt(conn, self.chain, lineage_id, row["attempts"] + 1, new, signed, height, now)
        if riders:
            assert self.joining is not None
            await self.joining.riders.bind(conn, lineage_id, riders, new, now)
        version = await conn.fetchval(SQL["add_attempt"], lineage_id, now)
        await self._tell(conn, "stuck", lineage_id, version, row["tx_hash"])
        self.observer.on_bump()

    async def _tell(
        self,
        conn: Connection,
        kind: str,
        lineage_id: UUID,
        version: int,
        tx_hash: bytes,
        reason: str | None = None,
    ) -> None:
        shown = show_id(Kind.TRANSACTION, lineage_id)
        view = TransactionView(shown, self.chain, "open", tx_hash.hex(), reason=reason)
        await append_events(conn, [transaction_event(kind, lineage_id, version, view, self.clock.now())])

    def _forget(self, still_open: set[bytes]) -> None:
        for remembered in (self.again_s, self.said):
            for tx_hash in [known for known in remembered if known not in still_open]:
                del remembered[tx_hash]


async def is_caught_up(nodes: NodePool, height: int) -> bool:
    """Whether the quorum has no block beyond this height. While it has, or there is none, nothing new is sent: blocks
    to come may halt the chain (P6), and waiting time counted in blocks of the past would raise fees for nothing.
    """
    head = await nodes.agreed_head()
    return head is not None and head.height <= height
