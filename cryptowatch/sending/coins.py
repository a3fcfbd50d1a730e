"""Coins of ours: reserved for a transaction, created and used by blocks (chains whose money is coins).

`CoinReserver` serves `payouts.worker`; the rest is called by `track` inside a block's transaction. Keeps P3: a coin is
reserved by one lineage at a time, by compare-and-set.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cache
from math import ceil
from typing import NamedTuple
from uuid import UUID

import asyncpg

from cryptowatch.chains.plans import Bid, Coin, CoinPlanner, Insufficient, Plan
from cryptowatch.chains.port import BlockContents, Transfer
from cryptowatch.db.copy import amount, bigint, copy_rows, octets, text
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ids import derived_id
from cryptowatch.money import BaseUnits
from cryptowatch.sending.change import LOOK_BACK_BLOCKS, ChangeRules, change_parts, coins_wanted
from cryptowatch.sending.family import Family, family_of
from cryptowatch.sending.lifting import Bounds, fee_of_longer_line
from cryptowatch.sending.reserve import NotReady, Order, insert_attempt, insert_lineage, sending_height
from cryptowatch.sending.unconfirmed import lock_parents, pending_change, read_family, reserve_change

SQL = load_queries(__package__, "coins.sql")

#: Of a child's bid: a fee is not raised for less than a quarter more.
_PARENT_RATE_PERCENT = 80
#: Rates are satoshi per so many virtual bytes.
_VB = 1000


@dataclass(frozen=True, slots=True)
class CoinRules:
    """What of a wallet may be spent. `change_scheme`: 84 or 86. `outputs_max`: what the signer allows one transaction.

    `bounds`: how far a line of payouts must be liftable. `considered_max` bounds one selection's work (P10).
    """

    confirmations_min: int
    change_scheme: int
    change: ChangeRules
    outputs_max: int
    bounds: Bounds
    considered_max: int = 20_000
    #: So many transactions that no block holds may stand above one another below a payout; 0: it spends none's change.
    unconfirmed_depth_max: int = 0


@dataclass(frozen=True, slots=True)
class CoinReserver:
    """Implements `reserve.Reserver`."""

    chain: str
    planner: CoinPlanner
    rules: CoinRules

    @property
    def spends_unconfirmed(self) -> bool:
        return self.rules.unconfirmed_depth_max > 0

    async def prepare(self) -> None:
        """Nothing: what coins there are, the blocks said."""

    async def reserve(self, conn: Connection, order: Order, now: datetime) -> Plan | Insufficient:
        """An Insufficient has written nothing but the taking of change addresses.

        Coins that blocks hold come first; where they do not do, a payout may also spend change of our own, if the
        line that it makes longer can be lifted all the same.
        """
        height = await sending_height(conn, self.chain, order.asset)
        coins = await free_coins(conn, self.chain, height, self.rules)
        parts = await self._change_parts(conn, coins, len(order.recipients), now)
        templates = await self._change(conn, parts, now)
        plan = await self._plan(coins, order, templates)
        pending: Sequence[Coin] = ()
        if isinstance(plan, Insufficient) and order.kind == "payout":
            family = await self._family(conn)
            rows = await self._pending(conn, family, order)
            if rows:
                pending = _coins(rows)
                plan = await self._plan([*coins, *pending], order, templates)
                owners = {row["resource"]: row["lineage_id"] for row in rows}
                plan = plan if isinstance(plan, Insufficient) else self._lifting(family, owners, plan)
        if isinstance(plan, Insufficient):
            return plan
        await insert_lineage(
            conn, self.chain, order.lineage_id, order.kind, order.priority, now, pays=order.asset
        )
        await self.reserve_all(conn, plan, pending, order.lineage_id)
        await insert_attempt(conn, self.chain, order.lineage_id, 1, plan, None, height, now)
        return plan

    async def _plan(
        self, coins: Sequence[Coin], order: Order, templates: Sequence[Coin]
    ) -> Plan | Insufficient:
        return await asyncio.to_thread(
            self.planner.plan, coins, order.recipients, templates, order.bid, order.seed
        )

    async def _family(self, conn: Connection) -> Family:
        return await read_family(conn, self.chain) if self.spends_unconfirmed else family_of({})

    async def _pending(self, conn: Connection, family: Family, order: Order) -> Sequence[asyncpg.Record]:
        """Change of transactions that would not be raised at this bid, so that its spender pays for itself alone, that
        a quorum of nodes has, and that could be raised through a small one with the order's payments."""
        rate = order.bid.rate
        parents = family.spendable(self.rules.unconfirmed_depth_max, rate * _PARENT_RATE_PERCENT // 100)
        size = self.planner.fee_alone(order.recipients, Bid(_VB))
        fit = [
            one
            for one in parents
            if family.members[one].held
            and fee_of_longer_line(family, [one], size, Fraction(rate, _VB), self.rules.bounds) is not None
        ]
        return await pending_change(conn, self.chain, fit, self.rules.considered_max) if fit else ()

    def _lifting(self, family: Family, owners: Mapping[bytes, UUID], plan: Plan) -> Plan | Insufficient:
        """The plan, if those whose change it spends can be lifted through it. `owners`: whose each coin is."""
        parents = {owners[one] for one in plan.resources if one in owners}
        if not parents:
            return plan
        reach = self.planner.reach(plan)
        fee = fee_of_longer_line(
            family, parents, reach.size, Fraction(plan.fee, plan.size), self.rules.bounds
        )
        if fee is None:
            return Insufficient(1)
        return plan if fee <= reach.fee else Insufficient(ceil(fee) - reach.fee)

    async def reserve_all(
        self, conn: Connection, plan: Plan, pending: Sequence[Coin], lineage_id: UUID
    ) -> None:
        """What the plan uses. `pending`: of which coins it is known that no block holds them."""
        unconfirmed = {coin.resource for coin in pending}.intersection(plan.resources)
        if unconfirmed:
            await reserve_change(conn, self.chain, unconfirmed, lineage_id)
        await reserve_coins(
            conn, self.chain, [one for one in plan.resources if one not in unconfirmed], lineage_id
        )

    async def consolidate(
        self,
        conn: Connection,
        inputs: int,
        bid: Bid,
        least: int,
        spare: int,
        lineage_id: UUID,
        now: datetime,
    ) -> Plan | Insufficient:
        """The smallest coins of at least so much into one of our own, where they are not worth more than `spare`.

        Raises and rolls back as `reserve` does.
        """
        height = await sending_height(conn, self.chain, None)
        depth = height - self.rules.confirmations_min + 1
        rows = await conn.fetch(SQL["small_coins"], self.chain, depth, inputs, height, least)
        coins = _coins(rows)
        together = sum(coin.amount for coin in coins)
        if together > spare:
            return Insufficient(together - spare)
        [change] = await self._change(conn, 1, now)
        plan = await asyncio.to_thread(self.planner.consolidate, coins, change, bid)
        if isinstance(plan, Insufficient):
            return plan
        await insert_lineage(conn, self.chain, lineage_id, "consolidation", "economy", now)
        await reserve_coins(conn, self.chain, plan.resources, lineage_id)
        await insert_attempt(conn, self.chain, lineage_id, 1, plan, None, height, now)
        return plan

    async def lift(
        self,
        conn: Connection,
        parent: asyncpg.Record,
        known: Collection[UUID],
        bid: Bid,
        lineage_id: UUID,
        subject: str,
        now: datetime,
    ) -> Plan | Insufficient:
        """Change of the parent into a coin of our own, for a fee with which both, and all below, are mined for the bid.

        `parent`: the attempt's and its lineage's row; `known`: its children so far, of which there must be no more.
        Where its change does not do, a confirmed coin helps.
        Raises and rolls back as `reserve` does.
        """
        height, of = await sending_height(conn, self.chain, parent["asset"]), parent["lineage_id"]
        await lock_parents(conn, [of])
        family = await read_family(conn, self.chain)
        if set(family.children.get(of, ())) != set(known):
            raise ConcurrentUpdate("another one spends its change by now")
        if of not in family.spendable(self.rules.unconfirmed_depth_max, 0):
            return Insufficient(1)
        pending = _coins(await pending_change(conn, self.chain, [of], 1))
        if not pending:
            return Insufficient(1)
        [own], short = await self._change(conn, 1, now), family.left_to_pay([of], bid.rate)
        plan = await asyncio.to_thread(self.planner.consolidate, pending, own, bid, short)
        if isinstance(plan, Insufficient):
            needed = plan.missing + self.planner.worth_spending(bid)
            free = await free_coins(conn, self.chain, height, self.rules)
            helping = [coin for coin in free if coin.amount >= needed][-1:]
            plan = await asyncio.to_thread(self.planner.consolidate, [*pending, *helping], own, bid, short)
        if isinstance(plan, Insufficient):
            return plan
        await insert_lineage(conn, self.chain, lineage_id, "child", parent["priority"], now, subject=subject)
        await self.reserve_all(conn, plan, pending, lineage_id)
        await insert_attempt(conn, self.chain, lineage_id, 1, plan, None, height, now)
        return plan

    async def _change_parts(
        self, conn: Connection, coins: Sequence[Coin], recipients: int, now: datetime
    ) -> int:
        """Into how many parts the change of a transaction with so many recipients should go."""
        rules = self.rules.change
        since = derived_id(now - timedelta(seconds=LOOK_BACK_BLOCKS * rules.block_interval_s))
        wanted = coins_wanted(await conn.fetchval(SQL["payouts_since"], self.chain, since), rules)
        free = sum(coin.amount >= rules.amount_min for coin in coins)
        outputs_left = self.rules.outputs_max - recipients
        if change_parts(wanted, free, 0, outputs_left, rules) == 1:
            return 1
        rows = await conn.fetch(SQL["open_plans"], self.chain)
        plans = [self.planner.read(row["plan"].encode()) for row in rows]
        coming = [coin for plan in plans for coin in plan.coins_back]
        returning = sum(coin.amount >= rules.amount_min for coin in coming)
        return change_parts(wanted, free, returning, outputs_left, rules)

    async def _change(self, conn: Connection, count: int, now: datetime) -> list[Coin]:
        """Fresh addresses of ours, as templates: so many, or as many as there are. Raises NotReady."""
        rows = await conn.fetch(
            SQL["take_change_addresses"], self.chain, self.rules.change_scheme, now, count
        )
        if not rows:
            raise NotReady("no change address is derived ahead yet")
        return [
            Coin(b"", BaseUnits(0), row["destination"], (row["scheme"], row["branch"], row["key_index"]))
            for row in rows
        ]

    async def reserve_more(self, conn: Connection, lineage_id: UUID, old: Plan, new: Plan) -> None:
        """Nothing: a replacement takes its fee out of the coins that it has, or is not planned."""


async def free_coins(conn: Connection, chain: str, height: int, rules: CoinRules) -> list[Coin]:
    rows = await conn.fetch(
        SQL["free_coins"], chain, height - rules.confirmations_min + 1, rules.considered_max, height
    )
    return _coins(rows)


def _coins(rows: Sequence[asyncpg.Record]) -> list[Coin]:
    return [
        Coin(
            row["resource"],
            row["amount"],
            row["destination"],
            (row["scheme"], row["branch"], row["key_index"]),
        )
        for row in rows
    ]


async def reserve_coins(conn: Connection, chain: str, resources: Sequence[bytes], lineage_id: UUID) -> None:
    status = await conn.execute(SQL["reserve"], chain, list(resources), lineage_id)
    if int(status.split()[-1]) != len(resources):
        raise ConcurrentUpdate("another sender reserved one of these coins first")


class NewCoin(NamedTuple):
    """A coin that a block pays, and what of its row is its own."""

    resource: bytes
    fields: bytes


@dataclass(frozen=True, slots=True)
class NewCoins:
    """A block's. `blocks_to_mature`: after how many further blocks each is usable, worked out as they are recorded.
    `seen`: those of them recorded before."""

    coins: Sequence[NewCoin]
    blocks_to_mature: Iterator[int]
    seen: Set[bytes]


_COPIED = ("chain", "height", "resource", "amount", "destination", "mature_height")


def new_coin(transfer: Transfer) -> NewCoin:
    resource = transfer.tx_hash + transfer.position.to_bytes(4, "big")
    return NewCoin(resource, octets(resource) + amount(transfer.amount) + octets(transfer.destination))


async def coins_seen(conn: Connection, chain: str, coins: Sequence[NewCoin]) -> Set[bytes]:
    """The resources of those that were recorded before: unconfirmed, in a block that was left, at an earlier look.

    Nobody else records coins meanwhile: the caller holds the chain's row.
    """
    if not coins:
        return frozenset()
    rows = await conn.fetch(SQL["coins_seen"], chain, [coin.resource for coin in coins])
    return {row["resource"] for row in rows}


async def record_coins(conn: Connection, chain: str, height: int, new: NewCoins) -> None:
    """What a block pays to destinations of ours: a coin seen before gets its height, the others are written."""
    again: list[tuple[bytes, int]] = []

    def unseen() -> Iterator[bytes]:
        prefix = text(chain) + bigint(height)
        mature = cache(lambda blocks: bigint(height + blocks))
        for coin, blocks in zip(new.coins, new.blocks_to_mature, strict=True):
            if coin.resource in new.seen:
                again.append((coin.resource, height + blocks))
            else:
                yield prefix + coin.fields + mature(blocks)

    if new.coins:
        await copy_rows(conn, "coin", _COPIED, unseen())
    if again:
        resources, heights = zip(*again, strict=True)
        await conn.execute(SQL["find_coins_again"], chain, height, resources, heights)


async def use_coins(conn: Connection, chain: str, contents: BlockContents) -> list[asyncpg.Record]:
    """Coins of ours that the block uses: (tx_hash, reserved_by) of each."""
    return await conn.fetch(
        SQL["spend_coins"],
        chain,
        contents.ref.height,
        [spend.resource for spend in contents.spends],
        [spend.tx_hash for spend in contents.spends],
    )


async def free_coins_of(conn: Connection, lineage_ids: Sequence[UUID]) -> None:
    """What ended lineages reserved and nobody used."""
    await conn.execute(SQL["free_coins_of"], lineage_ids)


async def note_lost_parents(
    conn: Connection,
    chain: str,
    height: int,
    losers: Sequence[tuple[bytes, bytes]],
    now: datetime,
) -> None:
    """(loser, winner): the loser's outputs will not exist while the winner's block stands.

    A lineage that uses one of them can then never confirm, which is a conflict like any other: final when it is deep.
    """
    if losers:
        await conn.execute(
            SQL["note_lost_parents"],
            chain,
            height,
            now,
            [pair[0] for pair in losers],
            [pair[1] for pair in losers],
        )


async def rewind_coins(conn: Connection, chain: str, fork_height: int) -> None:
    """Undo what the blocks above the fork did. Reservations stay: their transactions are still ours to send."""
    await conn.execute(SQL["unspend_coins"], chain, fork_height)
    await conn.execute(SQL["unconfirm_coins"], chain, fork_height)
