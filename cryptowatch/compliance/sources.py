"""Where deposits came from: asked of nodes, kept with the deposit and its account, and looked up in the deny list.

A loop per chain, where the nodes are. Nodes are asked outside any transaction (P4); what they said and the reader's
place are then written in one. Whoever dies in between, or is overtaken by another process, asks again, and writes
nothing twice. The deny list is the one of that moment.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from cryptowatch.accounts.traits import TraitKind, add_traits, address_trait
from cryptowatch.chains.connect import ConnectedChain
from cryptowatch.chains.denied import Denied
from cryptowatch.chains.funding import funders_of
from cryptowatch.chains.port import InvalidAddress
from cryptowatch.clock import Clock
from cryptowatch.compliance.cases import Found
from cryptowatch.compliance.findings import Findings
from cryptowatch.compliance.rules import Rule
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, read_id, show_id
from cryptowatch.ledger.consumers import look, move
from cryptowatch.settings import Settings

SQL = load_queries(__package__, "sources.sql")


@dataclass(frozen=True, slots=True)
class SourceRules:
    """`kept_max` addresses of one deposit, `traits_max` devices and networks of one account. `shown`: to the screening
    provider."""

    events_max: int
    at_once: int
    kept_max: int
    traits_max: int
    shown: bool


def source_rules(settings: Settings) -> SourceRules:
    own = settings.compliance
    return SourceRules(
        events_max=own.events_max,
        at_once=own.sources_at_once,
        kept_max=own.sources_max,
        traits_max=settings.accounts.traits_max,
        shown=own.screening.url is not None and own.screening.deposits,
    )


@dataclass(frozen=True, slots=True)
class _Source:
    address: str
    denied: bool


class SourceWatch:
    """`step` looks at one portion of the feed, for one chain."""

    def __init__(
        self,
        chain: ConnectedChain,
        pool: Pool,
        clock: Clock,
        denied: Callable[[], Denied],
        rules: SourceRules,
        findings: Findings,
    ) -> None:
        self.chain, self.pool, self.clock = chain, pool, clock
        self.denied, self.rules, self.findings = denied, rules, findings
        self._consumer = f"sources:{chain.chain}"

    async def step(self) -> int:
        """How many positions were passed. Raises NodeUnavailable: they are asked about again."""
        async with connection(self.pool) as conn:
            portion = await look(conn, self._consumer, ["deposit.credited"], self.rules.events_max)
            if portion is None:
                return 0
            ids = list({_deposit_id(event.entity_id) for event in portion.events})
            deposits = await conn.fetch(SQL["unknown"], self.chain.chain, ids) if ids else []
            if not deposits:
                await move(conn, self._consumer, portion)
                return portion.until - portion.after
        asking = asyncio.Semaphore(self.rules.at_once)
        told = await asyncio.gather(*(self._ask(asking, deposit) for deposit in deposits))
        async with transaction(self.pool) as conn:
            opened = [
                Rule.DENIED_SOURCE
                for deposit, sources in zip(deposits, told, strict=True)
                if await self._note(conn, deposit, sources, self.clock.now())
            ]
            await move(conn, self._consumer, portion)
        self.findings.count(opened)
        return portion.until - portion.after

    async def _ask(self, asking: asyncio.Semaphore, deposit: asyncpg.Record) -> Sequence[_Source]:
        """The denied ones first. What is no address of the chain is left out, whatever a node said."""
        async with asking:
            texts = await funders_of(
                self.chain.nodes, deposit["tx_hash"], deposit["position"], deposit["block_hash"]
            )
        denied, found = self.denied(), list[_Source]()
        for text in texts:
            destination = self.chain.read_address(text)
            if not isinstance(destination, InvalidAddress):
                found.append(_Source(text, denied.covers(self.chain.chain, destination, text)))
        return sorted(found, key=lambda one: not one.denied)[: self.rules.kept_max]

    async def _note(
        self, conn: Connection, deposit: asyncpg.Record, sources: Sequence[_Source], now: datetime
    ) -> bool:
        """Whether it opened a case."""
        if self.rules.shown:
            # Also where nothing that it spends has an address: nobody evades the provider by how he pays.
            await conn.execute(SQL["show"], deposit["id"])
        if not sources:
            return False
        addresses = [one.address for one in sources]
        await conn.execute(SQL["add"], deposit["id"], addresses, [one.denied for one in sources], now)
        traits = [address_trait(self.chain.chain, one, TraitKind.FUNDING_ADDRESS) for one in addresses]
        account_id: UUID = deposit["account_id"]
        await add_traits(conn, account_id, traits, count_max=self.rules.traits_max, now=now)
        if not sources[0].denied:
            return False
        found = Found(
            account_id,
            Rule.DENIED_SOURCE,
            deposit["asset"],
            show_id(Kind.DEPOSIT, deposit["id"]),
            {"chain": self.chain.chain, "address": sources[0].address},
            deposit["created_at"],
        )
        return await self.findings.follow_up(conn, found, now)


def _deposit_id(shown: str) -> UUID:
    deposit_id = read_id(Kind.DEPOSIT, shown)
    assert deposit_id is not None
    return deposit_id
