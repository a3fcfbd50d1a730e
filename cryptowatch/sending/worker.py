"""Carries every open lineage of one chain towards a block: sign, commit, broadcast, send again, raise the fee.

One loop of `daemon` per chain. Each step starts from what the database says, so it may die anywhere: an attempt
without signed bytes is signed again (the plan fixes every byte that counts), one with them is sent again as it is,
to every node (P3). Nothing is broadcast that is not committed, and no transaction is open while the signer or a node
is asked (P4). A halted chain sends nothing (P6). Of a stopped asset nothing is signed, and nothing is sent that no node
has (P7); on a chain of accounts, what stands behind such a transaction's nonce waits with it.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import UUID

import asyncpg
import structlog

from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import Bid, FeePolicy, Insufficient, Offer, Plan, Planner
from cryptowatch.chains.port import BroadcastAnswer, BroadcastOutcome, FeeMarket
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate, SignerRefused, SignerUnavailable
from cryptowatch.sending.children import Children
from cryptowatch.sending.family import Family
from cryptowatch.sending.lifting import budget_of, fee_to_lift, is_within_budget
from cryptowatch.sending.market import Market
from cryptowatch.sending.reserve import Halted, Reserver, insert_attempt, sending_height
from cryptowatch.sending.riders import Joining, Rider
from cryptowatch.sending.signatures import Signatures, SigningObserver, give_up
from cryptowatch.sending.telling import Telling
from cryptowatch.sending.unconfirmed import children_of, read_family
from cryptowatch.signing.families import Sign, SignedTransaction

SQL = load_queries(__package__, "send.sql")
log = structlog.get_logger(__name__)


class _CannotRaise(Exception):
    """Why a transaction's fee stays what it is."""


class SendObserver(SigningObserver, Protocol):
    """Told for metrics."""

    def on_bump(self) -> None: ...


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
    #: None: nobody spends change to raise a fee.
    children: Children | None = None
    again_s: dict[bytes, float] = field(default_factory=dict)
    signatures: Signatures = field(init=False)
    telling: Telling = field(init=False)

    def __post_init__(self) -> None:
        self.signatures = Signatures(
            self.chain, self.pool, self.clock, self.planner, self.sign, self.observer
        )
        self.telling = Telling(self.chain, self.pool, self.clock)

    async def step(self) -> int:
        """One round over all open lineages; how many things were done. Safe to repeat after any error."""
        async with connection(self.pool) as conn:
            state = await conn.fetchrow(SQL["chain_state"], self.chain)
        if state is None or state["halted"]:
            return 0
        done, away = 0, None
        try:
            done = await self.signatures.step()
        except SignerUnavailable as problem:
            away = problem  # what is signed already is sent all the same
        async with connection(self.pool) as conn:
            found = await conn.fetch(SQL["open_signed"], self.chain)
            family = await read_family(conn, self.chain)
        # No node takes a child before its parents.
        open_signed = sorted(
            (row for row in found if row["lineage_id"] in family.members),
            key=lambda row: family.depth(row["lineage_id"]),
        )
        self._forget({row["tx_hash"] for row in open_signed})
        raws = {row["lineage_id"]: row["raw"] for row in open_signed}
        for row in open_signed:
            parents = family.members[row["lineage_id"]].parents
            pause_s = self.rules.rebroadcast_s if family.is_lost(row["lineage_id"]) else self.rules.retry_s
            done += await self._send(row, [raws[parent] for parent in parents if parent in raws], pause_s)
        if done:
            async with connection(self.pool) as conn:
                family = await read_family(conn, self.chain)  # with what nodes took just now
        if away is None:
            done += await self._raise_all(open_signed, family, state["height"])
        if away is not None:
            raise away
        return done

    async def _send(self, row: asyncpg.Record, parents: Sequence[bytes], retry_s: float) -> int:
        if self.clock.monotonic_s() < self.again_s.get(row["tx_hash"], 0):
            return 0
        answers = await self.nodes.broadcast(row["raw"], parents)
        self._log_answers(row, answers)
        arrived = sum(a.outcome in (BroadcastOutcome.ACCEPTED, BroadcastOutcome.CONFIRMED) for a in answers)
        pause_s = self.rules.rebroadcast_s if arrived >= self.nodes.quorum else retry_s
        self.again_s[row["tx_hash"]] = self.clock.monotonic_s() + pause_s
        if arrived and row["broadcast_at"] is None:
            await self._mark_broadcast(row)
        if arrived >= self.nodes.quorum and row["taken_at"] is None:
            async with transaction(self.pool) as conn:
                await conn.execute(SQL["mark_taken"], row["lineage_id"], row["number"], self.clock.now())
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
                await self.telling.event(conn, kind, row["lineage_id"], version, row["tx_hash"])

    def _is_stuck(self, row: asyncpg.Record, height: int, family: Family, market: FeeMarket) -> bool:
        """Whose change is spent waits since its last child was made, and pays what it is mined for with that."""
        waited_blocks = height - family.waiting_since(row["lineage_id"])
        if row["kind"] == "consolidation" or waited_blocks < self.fees.bump_after_blocks:
            return False  # merging coins is in no hurry
        if family.is_lost(row["lineage_id"]):
            return False
        if row["kind"] == "cold_refill":
            return row["stuck"] is None and waited_blocks >= self.fees.patience_blocks(row["priority"])
        return self.fees.is_stuck(market, self._offer(row, family), row["priority"], waited_blocks)

    def _offer(self, row: asyncpg.Record, family: Family) -> Offer:
        return family.offers.get(row["lineage_id"]) or self.planner.read(row["plan"].encode())

    async def _raise_all(self, open_signed: Sequence[asyncpg.Record], whole: Family, height: int) -> int:
        """First by the last survey, so that what merely waits for its block costs no requests.

        Children that nobody has hold up none: their parents are raised as if they were not.
        """
        surveyed = self.market.surveyed
        family = whole.without_idle(height, self.fees.bump_after_blocks, surveyed.floor)
        rows = {row["lineage_id"]: row for row in open_signed if row["lineage_id"] in family.members}
        idle = whole.members.keys() - family.members.keys()
        for row in open_signed:
            if row["lineage_id"] in idle:
                await self._not_raised(row, "no node takes it", height)
        stuck = [row for row in rows.values() if self._is_stuck(row, height, family, surveyed)]
        if not stuck or not await is_caught_up(self.nodes, height):
            return 0  # what looks stuck may be in a block that is yet to be applied
        market = await self.market.now()
        if self.fees.beyond_cap(market):
            for row in stuck:
                await self._not_raised(row, "market beyond the fee cap", height)
            return 0
        raised = set[UUID]()
        async with connection(self.pool) as conn:
            held_up = {row["lineage_id"] for row in await conn.fetch(SQL["held_up"], self.chain)}
        for row in stuck:
            if row["number"] != row["attempts"]:
                continue  # a newer attempt is there and not signed yet
            if row["lineage_id"] in held_up or family.related(row["lineage_id"]) & raised:
                continue  # no fee brings it into a block, or what is paid for it has just changed
            if row["kind"] == "cold_refill":
                # Another version of what the cold wallet signed is not ours to make.
                await self._not_raised(row, "the fee that cold signed stays what it is", height)
                continue
            if not self._is_stuck(row, height, family, market):
                continue  # what the last survey found has passed
            bid = self.fees.raised(market, self._offer(row, family), row["priority"])
            if bid is None:
                await self._not_raised(row, "stuck at the fee cap", height)
                continue
            raised |= await self._raise(row, bid, market, rows, family, height, raised)
        return len(raised)

    async def _raise(
        self,
        row: asyncpg.Record,
        bid: Bid,
        market: FeeMarket,
        rows: Mapping[UUID, asyncpg.Record],
        family: Family,
        height: int,
        raised: Collection[UUID],
    ) -> set[UUID]:
        """By a replacement: its own, or that of whoever spends its change, which then pays for both.

        Where none can be, or others have built on it what it would not pay for, by a child.
        """
        own, problem = row["lineage_id"], ""
        through = [rows[one] for one in family.leaves(own) or [own] if one in rows and one not in raised]
        lasts = [last for last in through if last["number"] == last["attempts"]]
        if not lasts:
            return set()  # all are yet to be signed, or have been raised for others' sake
        for last in lasts:
            try:
                done = await self._lift(last, bid, market, family)
            except _CannotRaise as cannot:
                problem = str(cannot)
                continue
            if not done:
                return set()
            for one in (row, last):
                await self.telling.unstuck(one)
            return {own, last["lineage_id"]}
        if await self._child([row, *lasts], bid, family):
            await self.telling.unstuck(row)
            return {own}
        return await self._not_raised(row, problem, height)

    async def _not_raised(self, row: asyncpg.Record, problem: str, height: int) -> set[UUID]:
        waited_blocks = height - row["planned_height"]
        is_late = waited_blocks >= self.fees.patience_blocks(row["priority"])
        await self.telling.stuck(row, problem, is_late=is_late)
        return set()

    async def _child(self, parents: Collection[asyncpg.Record], bid: Bid, family: Family) -> bool:
        """Within the budget of what it lifts. None where one is that nobody has: the family does not know that."""
        if self.children is None:
            return False
        fit = [
            one
            for one in parents
            if bid.rate <= budget_of(family, one["lineage_id"], self.rules.fee_growth_max)
        ]
        done = await self.children.pays_for(fit, bid, family)
        if done:
            self.observer.on_bump()
        return done

    async def _lift(self, row: asyncpg.Record, bid: Bid, market: FeeMarket, family: Family) -> bool:
        """It and what it stands on, to what was bid. Raises _CannotRaise."""
        of, old = row["lineage_id"], self.planner.read(row["plan"].encode())
        parents = family.members[of].parents
        lifted = replace(
            bid, rate=bid.rate + -(-family.left_to_pay(parents, bid.rate, of) * 1000 // row["size"])
        )
        new = await self._planned(old, lifted)
        if self.children is not None:
            least = await self.children.least_fee(new, row["tx_hash"])
            if new.fee < least:
                if await self._child([row], bid, family):
                    return True
                if least > fee_to_lift(family, parents, new.size, self.children.cap):
                    raise _CannotRaise("what others have built on it would cost more than the fee cap")
                lifted = replace(lifted, rate=-(-least * 1000 // new.size))
                new = await self._planned(old, lifted)
        return await self._bump(row, old, new, lifted, market, family) > 0

    async def _planned(self, old: Plan, bid: Bid) -> Plan:
        new = await asyncio.to_thread(self.planner.bump, old, bid)
        if isinstance(new, Insufficient):
            raise _CannotRaise("nothing left to raise the fee with")
        return new

    async def _bump(
        self, row: asyncpg.Record, old: Plan, new: Plan, bid: Bid, market: FeeMarket, family: Family
    ) -> int:
        """A replacement that pays more, signed before it is written: unsigned it would block the next.

        It uses the very resources of the first attempt, no more: whatever loses one of them has killed all attempts,
        and a lineage that is dead can then not confirm by an older one (P3). Payouts that wait may join it.
        Raises _CannotRaise.
        """
        lineage_id, idle = row["lineage_id"], family.left_out[row["lineage_id"]]
        try:
            if not is_within_budget(family, lineage_id, new.fee, new.size, self.rules.fee_growth_max):
                raise _CannotRaise("the payment's fee budget is used up")
            async with transaction(self.pool) as conn:
                height = await sending_height(conn, self.chain, row["asset"])
                short = await self.reserver.reserve_more(conn, lineage_id, old, new)
            if short is not None:
                raise _CannotRaise("nothing left to raise the fee with")
            joint = None if self.joining is None else await self.joining.join(row, old, new, bid, market)
            if joint and self._holds(joint[0], lineage_id, family):
                with suppress(SignerRefused):  # for those who would join: without them it may be signed
                    return await self._replace(row, old, *joint, idle, height)
            return await self._replace(row, old, new, (), idle, height)
        except (Halted, ConcurrentUpdate):
            return 0
        except SignerRefused as refusal:
            raise _CannotRaise(f"signer refused: {refusal}") from refusal

    def _holds(self, joint: Plan, lineage_id: UUID, family: Family) -> bool:
        """Whether those who would join leave it within its budget, and enough change to lift what it stands on."""
        if not is_within_budget(family, lineage_id, joint.fee, joint.size, self.rules.fee_growth_max):
            return False
        return self.children is None or self.children.lifts(family, lineage_id, joint)

    async def _replace(
        self,
        row: asyncpg.Record,
        old: Plan,
        new: Plan,
        riders: Sequence[Rider],
        idle: Collection[UUID],
        height: int,
    ) -> int:
        assert set(old.resources) == set(new.resources), "a replacement uses what it replaces used"
        signed = await self.signatures.signed(new, row["lineage_id"])
        async with transaction(self.pool) as conn:
            await sending_height(conn, self.chain, row["asset"])
            await self._store_bump(conn, row, new, signed, riders, idle, height)
        return 1

    async def _store_bump(
        self,
        conn: Connection,
        row: asyncpg.Record,
        new: Plan,
        signed: SignedTransaction,
        riders: Sequence[Rider],
        idle: Collection[UUID],
        height: int,
    ) -> None:
        """`idle`: who may spend the old attempt's change, as nobody has them; what is signed ends with proof."""
        lineage_id, now = row["lineage_id"], self.clock.now()
        locked = await conn.fetchrow(SQL["lock_open_lineage"], lineage_id)
        if locked is None or locked["attempts"] != row["attempts"]:
            return
        children = await children_of(conn, lineage_id, row["attempts"])
        if not children.issubset(idle):
            raise ConcurrentUpdate("its change was spent meanwhile")
        for child in children:
            await give_up(conn, self.chain, child, "parent_replaced", now)
        await insert_attempt(conn, self.chain, lineage_id, row["attempts"] + 1, new, signed, height, now)
        if riders:
            assert self.joining is not None
            await self.joining.riders.bind(conn, lineage_id, riders, new, now)
        version = await conn.fetchval(SQL["add_attempt"], lineage_id, now)
        await self.telling.event(conn, "stuck", lineage_id, version, row["tx_hash"])
        self.observer.on_bump()

    def _forget(self, still_open: set[bytes]) -> None:
        for remembered in (self.again_s, self.telling.said):
            for tx_hash in [known for known in remembered if known not in still_open]:
                del remembered[tx_hash]


async def is_caught_up(nodes: NodePool, height: int) -> bool:
    """Whether the quorum has no block beyond this height. While it has, or there is none, nothing new is sent: blocks
    to come may halt the chain (P6), and waiting time counted in blocks of the past would raise fees for nothing.
    """
    head = await nodes.agreed_head()
    return head is not None and head.height <= height
