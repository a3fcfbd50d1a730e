"""What a wallet of accounts needs for itself: sweeps of deposit accounts, gas where it is spent, allowances, no gaps.

One loop of `daemon` per chain of accounts (role `send`). Every transaction goes through `sending` like a payout:
reserved and committed before it is signed (P4), in one nonce for ever (P3), its fee booked when it is final. Nothing
leaves the wallet here. Running twice, or twice at once, wastes gas at most: each look starts from what is reserved and
on its way.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import AccountPlanner, Bid, FeePolicy, Insufficient, Plan, Sender, Sweepable
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.money import BaseUnits, parse_amount
from cryptowatch.sending.accounts import AccountReserver
from cryptowatch.sending.reserve import Halted, NotReady
from cryptowatch.sending.worker import is_caught_up
from cryptowatch.settings.chains import EthereumSettings

SQL = load_queries(__package__, "upkeep.sql")
log = structlog.get_logger(__name__)

_WEI_GWEI = 10**9


@dataclass(frozen=True, slots=True)
class UpkeepRules:
    """Amounts in base units. `sweep_mins`: by asset; what is below it on an account is left there."""

    sweep_mins: Mapping[str, int]
    sweep_count_max: int
    #: How long what came to nothing waits: an account that a sweep took nothing from, an allowance that was refused.
    retry: timedelta
    #: In the family's unit: above it sweeps wait.
    sweep_rate_max: int
    gas_refill: int
    #: Assets that the payouts contract must be allowed to spend; none where there is no such contract.
    allowed: frozenset[str]
    #: Whether many accounts are swept by one transaction (EIP-7702), or each by its own.
    delegation: bool
    interval_s: float


def upkeep_rules(settings: EthereumSettings) -> UpkeepRules:
    """From the settings. Without the wallet's contracts nothing is allowed to be spent, nor swept through them."""
    wallet, own = settings.wallet, settings.assets[settings.asset]
    with_contracts = settings.contracts is not None
    swept = settings.assets if with_contracts or not settings.delegation else {}
    return UpkeepRules(
        sweep_mins={name: parse_amount(asset.sweep_min, asset.decimals) for name, asset in swept.items()},
        sweep_count_max=wallet.sweep_count_max,
        retry=timedelta(seconds=wallet.sweep_retry_s),
        sweep_rate_max=int(wallet.sweep_gas_max_gwei * _WEI_GWEI),
        gas_refill=parse_amount(wallet.gas_refill, own.decimals),
        allowed=frozenset(settings.assets.keys() - {settings.asset} if with_contracts else ()),
        delegation=settings.delegation,
        interval_s=wallet.sweep_interval_s,
    )


@dataclass(slots=True)
class Upkeep:
    """One chain's. `entropy` gives a fresh lineage's id."""

    chain: str
    asset: str
    nodes: NodePool
    pool: Pool
    clock: Clock
    planner: AccountPlanner
    fees: FeePolicy
    reserver: AccountReserver
    rules: UpkeepRules
    entropy: Callable[[datetime], tuple[UUID, int]]
    #: Why each kind of upkeep waits, as last logged.
    _said: dict[str, str] = field(default_factory=dict)

    async def step(self) -> int:
        """One look at everything; 0, so that the loop waits its interval. Safe to repeat after any error."""
        async with connection(self.pool) as conn:
            height = await conn.fetchval(SQL["read_height"], self.chain)
        if height is None or not await is_caught_up(self.nodes, height):
            return 0
        await self.reserver.prepare()
        market = await self.nodes.fee_market()
        if self.fees.beyond_cap(market):
            return 0
        bid = self.fees.bid(market, "normal")
        await self._fill_gaps(bid)
        await self._allow(bid)
        await self._refill(bid)
        if self.fees.market_rate(market, "economy") <= self.rules.sweep_rate_max:
            bid = self.fees.bid(market, "economy")
            for asset, least in self.rules.sweep_mins.items():
                await self._sweep(asset, least, bid)
        return 0

    async def _fill_gaps(self, bid: Bid) -> None:
        """A nonce that was given up, with others behind it: nodes would hold those for ever."""
        async with connection(self.pool) as conn:
            rows = await conn.fetch(SQL["gaps"], self.chain)
        for row in rows:
            await self._send("void", lambda sender: self.planner.void(sender, bid), row["account"])

    async def _allow(self, bid: Bid) -> None:
        for asset in sorted(self.rules.allowed):
            subject = self.planner.setup_subject(asset)
            async with connection(self.pool) as conn:
                done = await conn.fetchval(
                    SQL["was_set_up"], self.chain, subject, self.clock.now() - self.rules.retry
                )
            if not done:

                def plan(sender: Sender, asset: str = asset) -> Plan:
                    return self.planner.setup(sender, asset, bid)

                await self._send("setup", plan, self.reserver.vault, subject)

    async def _refill(self, bid: Bid) -> None:
        """Accounts that send need gas. Half of a refill is when the next one comes."""
        async with connection(self.pool) as conn:
            rows = await conn.fetch(SQL["low_on_gas"], self.chain, self.asset, self.rules.gas_refill // 2)
        for row in rows:
            await self._fund(row["account"], self.rules.gas_refill, bid)

    async def _fund(self, account: bytes, amount: int, bid: Bid) -> None:
        def plan(sender: Sender) -> Plan:
            return self.planner.fund(sender, account, BaseUnits(amount), bid)

        await self._send("refill", plan, self.reserver.vault, account.hex())

    async def _sweep(self, asset: str, least: int, bid: Bid) -> None:
        async with connection(self.pool) as conn:
            rows = await conn.fetch(
                SQL["sweepable"],
                self.chain,
                asset,
                least,
                self.rules.sweep_count_max,
                self.clock.now() - self.rules.retry,
            )
        accounts = [
            Sweepable(
                row["account"],
                (row["scheme"], row["branch"], row["key_index"]),
                row["amount"],
                row["delegated"],
            )
            for row in rows
        ]
        if not self.rules.delegation:
            for account in accounts:
                await self._collect(asset, account, bid)
        elif accounts:
            await self._send("sweep", lambda sender: self.planner.sweep(sender, asset, accounts, bid), None)

    async def _collect(self, asset: str, account: Sweepable, bid: Bid) -> None:
        """By the account's own key: for a token it needs gas first, and that must have arrived."""
        fee = self.planner.collecting_fee(asset, bid)
        if asset != self.asset:
            async with connection(self.pool) as conn:
                gas = await conn.fetchrow(SQL["gas_of"], self.chain, account.account, self.asset)
            assert gas is not None
            if gas["amount"] < fee:
                if not gas["coming"]:
                    await self._fund(account.account, 2 * fee, bid)
                return
        elif account.amount <= 2 * fee:
            return  # mostly fee: it stays
        await self.reserver.open([account.account])

        def plan(sender: Sender) -> Plan:
            return self.planner.collect(sender, asset, account.amount, bid)

        await self._send("sweep", plan, account.account)

    async def _send(
        self,
        kind: str,
        plan: Callable[[Sender], Plan],
        account: bytes | None,
        subject: str | None = None,
    ) -> None:
        now = self.clock.now()
        lineage_id, _ = self.entropy(now)
        try:
            async with transaction(self.pool) as conn:
                sent = await self.reserver.send(
                    conn,
                    plan,
                    kind=kind,
                    priority="economy" if kind == "sweep" else "normal",
                    lineage_id=lineage_id,
                    account=account,
                    subject=subject,
                    now=now,
                )
        except (Halted, NotReady) as wait:
            self._wait(kind, str(wait))
        except ConcurrentUpdate:
            log.info("another process keeps the wallet", chain=self.chain, kind=kind)
        else:
            if isinstance(sent, Insufficient):
                self._wait(kind, f"{sent.missing} base units are missing")
            else:
                self._said.pop(kind, None)
                log.info("wallet upkeep", chain=self.chain, kind=kind, subject=subject)

    def _wait(self, kind: str, reason: str) -> None:
        """Said once, not in every round."""
        if self._said.get(kind) != reason:
            log.warning("wallet upkeep waits", chain=self.chain, kind=kind, reason=reason)
            self._said[kind] = reason
