"""A chain of made-up blocks above a real database: `apply_block` to `Sender` are the real code, nodes and signer not.

Blocks hold whatever a test puts into them. That lets an attack say in a few lines which block of which branch has
which of our transactions, and what nodes ask as fees meanwhile.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple, cast
from uuid import UUID

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.bitcoin.fees import BitcoinFees
from cryptowatch.chains.bitcoin.payments import BitcoinPlan, BitcoinPlanner
from cryptowatch.chains.denied import Denied
from cryptowatch.chains.forecast import Forecaster
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import Plan
from cryptowatch.chains.port import (
    BlockContents,
    BlockRef,
    BroadcastAnswer,
    BroadcastOutcome,
    FeeMarket,
    Spend,
    Transfer,
)
from cryptowatch.chains.standing import NodeChange
from cryptowatch.clock import Clock, SystemClock
from cryptowatch.db.pool import Pool, transaction
from cryptowatch.deposits.apply import apply_block, finalized_above, rewind
from cryptowatch.deposits.cursor import start_cursor
from cryptowatch.deposits.policy import AssetPolicy, Required
from cryptowatch.deposits.rules import ChainRules
from cryptowatch.ids import derived_id
from cryptowatch.ledger.accounts import ensure_accounts, ensure_players, house
from cryptowatch.ledger.postings import post
from cryptowatch.ledger.rules import HouseAccount, Kind, customer_posting
from cryptowatch.money import BaseUnits
from cryptowatch.payouts.policy import Refusal, WithdrawalPolicy
from cryptowatch.payouts.requests import Request, request_withdrawals
from cryptowatch.payouts.riders import QueuedRiders
from cryptowatch.payouts.rules import PayoutRules
from cryptowatch.payouts.worker import PayoutWorker
from cryptowatch.sending.change import ChangeRules
from cryptowatch.sending.children import Children
from cryptowatch.sending.coins import CoinReserver, CoinRules
from cryptowatch.sending.lifting import Bounds
from cryptowatch.sending.market import Market, MarketRules
from cryptowatch.sending.patience import Patience
from cryptowatch.sending.quotes import QuoteTerms
from cryptowatch.sending.riders import Joining
from cryptowatch.sending.worker import Sender, SendRules
from cryptowatch.settings.chains import Batching, BitcoinFeeSettings, Priority
from cryptowatch.signing.families import Sign, SignedTransaction
from cryptowatch.treasury.consolidate import ConsolidationRules, Consolidator

CHAIN, ASSET = "bitcoin", "BTC"
START = 100
#: Blocks until a conflict, a payout or the largest deposit is final; a deposit up to 1 BTC is after three.
FINALITY = 6
#: Blocks after which a transaction counts as stuck.
PATIENCE = 3
RULES = ChainRules(
    CHAIN,
    ASSET,
    {ASSET: AssetPolicy(8, BaseUnits(0), ((100_000_000, Required(1, 3)), (None, Required(2, FINALITY))))},
    FINALITY,
    150,
)
FEES = BitcoinFees(
    BitcoinFeeSettings(target_blocks={"economy": 24, "normal": PATIENCE, "urgent": 2}), PATIENCE
)
#: A market in which nothing is sent, so that what is queued stays so and can be looked at.
CLOSED = FeeMarket({}, FEES.settings.cap_sat_vb * 1000 + 1)
#: As far as everything of ours can be lifted, with the settings' defaults.
BOUNDS = Bounds(FEES.settings.cap_sat_vb * 1_000, 50, 1_000_000, 5_000_000)
COINS = CoinRules(1, 84, ChangeRules(1, 1, 1, 100_000, 600), 500, BOUNDS)
MARKET_RULES = MarketRules(
    QuoteTerms(CHAIN, ASSET, 8, 600, Patience({"economy": 14_400}, 25, 20, levels_min=36)), 30, 86_400
)
_ADDRESSES = 40


def made_up(*parts: object) -> bytes:
    """32 bytes that stand for a hash."""
    return sha256(repr(parts).encode()).digest()


class Payout(NamedTuple):
    """A withdrawal as the tests look at it."""

    amount: int
    state: str
    reason: str | None
    tx_hash: bytes | None
    position: int | None


class Attempt(NamedTuple):
    lineage_id: UUID
    plan: BitcoinPlan


class _Unobserved:
    """An observer that keeps nothing."""

    def on_batch(self, payouts: int, priority: str, fee_rate: int) -> None: ...

    def on_held(self, held: Mapping[str, int]) -> None: ...

    def on_market(self, priority: str, market_rate: int) -> None: ...

    def on_estimator(self, is_ready: bool, history_s: float) -> None: ...

    def on_withdrawal(
        self, asset: str, state: str, requested_at: datetime, broadcast_at: datetime | None
    ) -> None: ...

    def on_bump(self) -> None: ...

    def on_signing(self, refused: bool) -> None: ...


@dataclass
class Nodes:
    """A pool of nodes that agrees with the database's chain and takes every transaction."""

    world: "World"
    market: FeeMarket = field(default_factory=lambda: FeeMarket({2: 5_000, 6: 5_000, 24: 5_000}, 1_000))
    sent: list[bytes] = field(default_factory=list)
    #: Transaction -> what others' pay that spend of it before a block holds it.
    built_on: dict[bytes, int] = field(default_factory=dict)
    #: What they take; all where it says nothing.
    takes: Callable[[bytes], bool] = lambda raw: True
    untold: list[NodeChange] = field(default_factory=list)
    quorum: int = 1

    def changes(self) -> list[NodeChange]:
        return list(self.untold)

    def told(self, change: NodeChange) -> None:
        self.untold.remove(change)

    async def agreed_head(self) -> BlockPoint:
        return self.world.at

    async def agreed_hash(self, height: int) -> bytes:
        return self.world.blocks[height].hash

    async def fee_market(self) -> FeeMarket:
        return self.market

    async def backlog(self) -> None:
        """Estimates are all that these nodes tell of fees."""

    async def evicted_fees(self, tx_hash: bytes) -> int:
        return self.built_on.get(tx_hash, 0)

    async def broadcast(self, raw: bytes, parents: Sequence[bytes] = ()) -> list[BroadcastAnswer]:
        self.sent.append(raw)
        taken = self.takes(raw)
        return [BroadcastAnswer("n", BroadcastOutcome.ACCEPTED if taken else BroadcastOutcome.REJECTED, "")]


async def _sign(plan: Plan, lineage_id: str) -> SignedTransaction:
    assert plan.tx_hash is not None
    return SignedTransaction(plan.tx_hash, b"signed" + plan.tx_hash)


class World:
    """The chain, its workers, and the people who ask for money."""

    def __init__(
        self,
        pool: Pool,
        *,
        nodes: Nodes | None = None,
        clock: Clock | None = None,
        randbytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.pool = pool
        self.nodes = nodes or Nodes(self)
        self.clock = clock or SystemClock()
        self.randbytes = randbytes
        self.now = self.clock.now() - timedelta(hours=1)
        first = BlockRef(START, made_up("block", START, 0), made_up("block", START - 1), self.now)
        self.blocks = {START: first}
        self.at = BlockPoint(START, first.hash)
        self._made = 0
        self.restart_market()
        self.denied = Denied()
        self.coins = COINS
        self.payouts = self.worker()
        self.sender = self.sender_with(_sign)

    def _next(self) -> int:
        self._made += 1
        return self._made

    @property
    def pool_of_nodes(self) -> NodePool:
        return cast(NodePool, self.nodes)

    async def open(self, addresses_each: int = _ADDRESSES) -> None:
        addresses = [
            (CHAIN, b"\x00\x14" + made_up(branch, index)[:20], f"a{branch}-{index}", branch, index)
            for branch in (0, 1)
            for index in range(addresses_each)
        ]
        async with transaction(self.pool) as conn:
            await start_cursor(conn, CHAIN, ASSET, self.blocks[START], self.now)
            await conn.executemany(
                "INSERT INTO address (chain, destination, address, scheme, branch, key_index) "
                "VALUES ($1, $2, $3, 84, $4, $5)",
                addresses,
            )
            await conn.execute(
                "INSERT INTO derivation (chain, scheme, branch, xpub, next_index) "
                "SELECT $1, 84, branch, 'made up', $2 FROM generate_series(0, 1) AS branch",
                CHAIN,
                addresses_each,
            )

    def spends_unconfirmed(self, depth_max: int) -> None:
        """From now on payouts do, where coins in blocks do not cover them."""
        self.coins = replace(self.coins, unconfirmed_depth_max=depth_max)
        self.payouts, self.sender = self.worker(), self.sender_with(self.sender.sign)

    async def cheap_day(self) -> None:
        """Fees were at 1 sat/vB; now the nodes ask for five times as much."""
        await self.pool.execute(
            "INSERT INTO fee_level (chain, slot, level) SELECT $1, now() - n * interval '10 minutes', 1000 "
            "FROM generate_series(1, 100) AS n",
            CHAIN,
        )

    # Workers

    def restart_market(self) -> None:
        """As a new process does, which remembers nothing. Workers made from then on ask this one."""
        self.market = Market(
            self.pool_of_nodes, self.pool, self.clock, FEES, MARKET_RULES, Forecaster(600), _Unobserved()
        )

    def worker(self, count_max: int = 100, seed: int = 1) -> PayoutWorker:
        def entropy(now: datetime) -> tuple[UUID, int]:
            return derived_id(now, self.randbytes(16)), seed

        batching = Batching(wait_max_s=0, count_max=count_max)
        rules = PayoutRules(batching, {ASSET: 8}, {})
        planner = BitcoinPlanner(10_000)
        reserver = CoinReserver(CHAIN, planner, self.coins)
        return PayoutWorker(
            CHAIN,
            self.pool_of_nodes,
            self.pool,
            self.clock,
            planner,
            FEES,
            self.market,
            reserver,
            rules,
            entropy,
            _Unobserved(),
            lambda: self.denied,
        )

    def sender_with(self, sign: Sign) -> Sender:
        rules = SendRules(rebroadcast_s=0)
        planner = BitcoinPlanner(10_000)
        reserver = CoinReserver(CHAIN, planner, self.coins)
        nodes, observer = self.pool_of_nodes, _Unobserved()
        riders = QueuedRiders(
            CHAIN, self.pool, self.clock, self.market, self.payouts.rules, lambda: self.denied
        )
        joining = Joining(planner, FEES, riders)
        return Sender(
            CHAIN,
            nodes,
            self.pool,
            self.clock,
            planner,
            FEES,
            self.market,
            reserver,
            sign,
            rules,
            observer,
            joining,
            Children(CHAIN, nodes, self.pool, self.clock, reserver, self._entropy),
        )

    def _entropy(self, now: datetime) -> tuple[UUID, int]:
        return derived_id(now, self.randbytes(16)), 1

    def consolidator(self, rules: ConsolidationRules) -> Consolidator:
        reserver = CoinReserver(CHAIN, BitcoinPlanner(10_000), COINS)
        return Consolidator(CHAIN, self.pool, self.clock, FEES, self.market, reserver, rules, self._entropy)

    async def pay(self) -> None:
        """One round of both workers: what is due is planned, signed and sent."""
        await self.payouts.step()
        await self.sender.step()

    # Blocks

    async def block(
        self,
        transfers: Sequence[Transfer] = (),
        spends: Sequence[Spend] = (),
        resources: Mapping[bytes, tuple[bytes, ...]] | None = None,
    ) -> None:
        height = self.at.height + 1
        ref = BlockRef(height, made_up("block", height, self._next()), self.at.hash, self.now)
        contents = BlockContents(ref, tuple(transfers), tuple(spends), resources or {}, 1, 1)
        async with transaction(self.pool) as conn:
            await apply_block(conn, RULES, self.at, contents, self.now)
        self.at, self.blocks[height] = BlockPoint(height, ref.hash), ref

    async def mine(self, count: int) -> None:
        for _ in range(count):
            await self.block()

    async def mine_plans(self, *plans: BitcoinPlan) -> None:
        """A block with these transactions of ours, their change included."""
        spends = [Spend(resource, plan.tx_hash) for plan in plans for resource in plan.resources]
        change = []
        for plan in plans:
            for place in plan.change_positions:
                output = plan.transaction.outputs[place]
                change.append(Transfer(plan.tx_hash, place, output.script, ASSET, output.amount))
        await self.block(change, spends)

    async def back_to(self, height: int, *, accepted: bool = False) -> None:
        """Leaves every block above the height."""
        async with transaction(self.pool) as conn:
            assert accepted or not await finalized_above(conn, CHAIN, height, self.at.height)
            await rewind(conn, RULES, self.at, self.blocks[height], accepted, self.now)
        self.at = BlockPoint(height, self.blocks[height].hash)

    # People

    async def account(self) -> tuple[UUID, bytes]:
        """An account and its deposit address."""
        account_id = derived_id(self.now, self.randbytes(8))
        await self.pool.execute(
            "INSERT INTO account (id, external_id, created_at, updated_at) VALUES ($1, $2, now(), now())",
            account_id,
            account_id.hex,
        )
        destination = await self.pool.fetchval(
            "UPDATE address SET account_id = $1, assigned_at = now() WHERE (chain, destination) = ("
            "  SELECT chain, destination FROM address WHERE branch = 0 AND account_id IS NULL"
            "  ORDER BY key_index LIMIT 1) RETURNING destination",
            account_id,
        )
        return account_id, destination

    async def rich(self) -> tuple[UUID, bytes]:
        """An account that may withdraw whatever it likes."""
        account_id, destination = await self.account()
        async with transaction(self.pool) as conn:
            player = (await ensure_players(conn, [(account_id, ASSET)]))[account_id, ASSET]
            [bonus] = await ensure_accounts(conn, [house("bonus", ASSET)])
            posting = customer_posting(
                Kind.BONUS, self.randbytes(8).hex(), player, HouseAccount(bonus), BaseUnits(10**11)
            )
            await post(conn, posting, self.now)
        return account_id, destination

    async def coin(self, amount: int, destination: bytes) -> bytes:
        """A block with a deposit; its outpoint. It may be used from two blocks later on."""
        tx_hash = made_up("deposit", self._next())
        inputs = {tx_hash: (made_up("input", tx_hash) + bytes(4),)}
        await self.block([Transfer(tx_hash, 0, destination, ASSET, BaseUnits(amount))], (), inputs)
        return tx_hash + bytes(4)

    async def withdraw(
        self,
        account_id: UUID,
        amount: int,
        priority: Priority = "normal",
        *,
        to: bytes | None = None,
        approval_from: int | None = None,
    ) -> UUID:
        """`to`: a stranger's unless given."""
        number = self._next()
        now = self.now + timedelta(milliseconds=number)
        destination = to or b"\x00\x14" + made_up("stranger", number)[:20]
        policy = WithdrawalPolicy(
            8, BaseUnits(546), BaseUnits(10**12), BaseUnits(0), approval_from=approval_from
        )
        withdrawal_id = derived_id(now, self.randbytes(8))
        request = Request(
            withdrawal_id,
            account_id,
            CHAIN,
            ASSET,
            amount,
            destination.hex(),
            destination,
            priority,
            None,
            "key_1",
            policy,
        )
        async with transaction(self.pool) as conn:
            [found] = await request_withdrawals(conn, [request], self.denied, now)
        assert not isinstance(found, Refusal), found
        return withdrawal_id

    # What the database says

    async def withdrawals(self) -> list[Payout]:
        """In the order of their requests."""
        rows = await self.pool.fetch(
            "SELECT amount, state, reason, tx_hash, position FROM withdrawal ORDER BY created_at"
        )
        return [Payout(*row) for row in rows]

    async def attempts(self) -> list[Attempt]:
        """In the order of their plans."""
        rows = await self.pool.fetch("SELECT lineage_id, plan FROM attempt ORDER BY created_at, number")
        return [Attempt(row[0], BitcoinPlanner(10_000).read(row[1].encode())) for row in rows]

    async def lineage_states(self, lineages: Iterable[UUID]) -> list[str]:
        return [
            await self.pool.fetchval("SELECT state FROM lineage WHERE id = $1", lineage)
            for lineage in lineages
        ]

    async def conflict(self, lineage: UUID) -> bytes | None:
        found: bytes | None = await self.pool.fetchval("SELECT conflict FROM lineage WHERE id = $1", lineage)
        return found

    async def halted(self) -> str | None:
        reason: str | None = await self.pool.fetchval("SELECT halted FROM chain WHERE chain = $1", CHAIN)
        return reason
