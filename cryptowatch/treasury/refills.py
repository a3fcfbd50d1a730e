"""Money back from cold: what the cold wallet is asked to sign, and what becomes of its answer.

`propose` is called by `rebalancer`, `import_signed` by the API. No key of a cold wallet is ever near (P9): an artefact
goes out, a signed transaction comes back, and it must be the very one that was proposed. What it uses is reserved when
it comes back, not before: a proposal that nobody signs holds up nothing.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, cast
from uuid import UUID

import asyncpg

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.connect import (
    COLD_BRANCH,
    COLD_CHANGE_BRANCH,
    OWN_BRANCH,
    ColdWallet,
    ConnectedChain,
)
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import (
    AccountPlanner,
    Bid,
    Coin,
    CoinPlanner,
    Insufficient,
    Plan,
    Planner,
    Recipient,
    Sender,
)
from cryptowatch.chains.port import CoinBlock
from cryptowatch.db.pool import Connection, Pool, connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.money import BaseUnits
from cryptowatch.sending.adopt import adopt, cold_coins
from cryptowatch.sending.reserve import NotReady
from cryptowatch.treasury.rebalances import RebalanceView, bind, propose

SQL = load_queries(__package__, "refills.sql")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the cold wallet is to sign, and whom it pays."""

    #: None: a contract pays, and its owners make the transaction.
    plan: Plan | None
    artefact: str
    address: str
    #: Destinations of ours that are used by it: taken with it.
    fresh: tuple[bytes, ...] = ()


class Proposer(Protocol):
    """One chain's. Which kind it is decides `daemon`."""

    async def propose(self, rebalance: asyncpg.Record, bid: Bid, seed: int) -> Proposal:
        """Outside of every database transaction: nodes are asked. Raises NotReady."""
        ...


@dataclass(frozen=True, slots=True)
class CoinProposer:
    """Implements `Proposer`. `scheme`: of the hot wallet's own addresses."""

    chain: str
    cold: ColdWallet
    scheme: int
    planner: CoinPlanner
    nodes: NodePool
    pool: Pool

    async def propose(self, rebalance: asyncpg.Record, bid: Bid, seed: int) -> Proposal:
        async with connection(self.pool) as conn:
            height = await conn.fetchval(SQL["read_height"], self.chain)
            coins = dict(await cold_coins(conn, self.chain, height))
            hot = await conn.fetchrow(SQL["fresh_address"], self.chain, self.scheme, OWN_BRANCH)
            change = await conn.fetchrow(
                SQL["fresh_address"], self.chain, self.cold.scheme, COLD_CHANGE_BRANCH
            )
        if hot is None or change is None:
            raise NotReady("no address of ours is derived ahead yet")
        path = (self.cold.scheme, COLD_CHANGE_BRANCH, change["key_index"])
        template = Coin(b"", BaseUnits(0), change["destination"], path)
        payee = Recipient(hot["destination"], BaseUnits(rebalance["amount"]))
        plan = await asyncio.to_thread(self.planner.plan, list(coins), [payee], [template], bid, seed)
        if isinstance(plan, Insufficient):
            raise NotReady(f"{plan.missing} base units are missing in the cold wallet")
        spent = {coin.resource[:32]: at for coin, at in coins.items() if coin.resource in plan.resources}
        parents = {tx_hash: await self._parent(tx_hash, at) for tx_hash, at in spent.items()}
        fresh = (hot["destination"], change["destination"])
        return Proposal(plan, self.cold.format.write(plan, parents), hot["address"], fresh)

    async def _parent(self, tx_hash: bytes, height: int) -> bytes:
        """Out of its block, which is proven: so the amount that the cold wallet sees is true."""
        block_hash = await self.nodes.agreed_hash(height)
        if block_hash is None:
            raise NotReady(f"the nodes do not agree on block {height}")
        block = cast(CoinBlock, await self.nodes.block(block_hash, height))
        raw = block.raw_transaction(tx_hash)
        if raw is None:
            raise NotReady(f"a coin of the cold wallet is not in block {height}")
        return raw


@dataclass(frozen=True, slots=True)
class AccountProposer:
    """The same where money is balances: a transaction of the cold account that receives, and pays its own gas."""

    chain: str
    vault: tuple[bytes, str]
    cold: ColdWallet
    planner: AccountPlanner
    nodes: NodePool
    pool: Pool

    async def propose(self, rebalance: asyncpg.Record, bid: Bid, seed: int) -> Proposal:
        assert self.cold.account is not None
        async with connection(self.pool) as conn:
            at = await conn.fetchrow(SQL["read_block"], self.chain)
        assert at is not None, "the chain was started"
        point = BlockPoint(at["height"], at["hash"])
        [state] = await self.nodes.accounts([self.cold.account], point)
        sender = Sender(self.cold.account, (self.cold.scheme, COLD_BRANCH, 0), state.nonce)
        amount = BaseUnits(rebalance["amount"])
        plan = self.planner.transfer(sender, rebalance["asset"], self.vault[0], amount, bid)
        is_contract = bool(await self.nodes.code(self.cold.account, point))
        # Whoever has a contract act pays for the gas.
        needs = {(self.cold.account, rebalance["asset"]): amount} if is_contract else self.planner.needs(plan)
        for (account, asset), needed in needs.items():
            has = state.balances.get(asset, 0) if account == self.cold.account else 0
            if has < needed:
                raise NotReady(f"{needed - has} base units of {asset} are missing in the cold account")
        if is_contract:
            assert self.cold.call_of is not None, "where there are accounts there are contracts"
            return Proposal(None, self.cold.call_of(plan), self.vault[1])
        return Proposal(plan, self.cold.format.write(plan, {}), self.vault[1])


def proposer_for(chain: ConnectedChain, nodes: NodePool, pool: Pool) -> Proposer:
    """By the wallet's kind, which the planner's follows."""
    assert chain.cold is not None
    if chain.vault is None:
        planner = cast(CoinPlanner, chain.planner)
        return CoinProposer(chain.chain, chain.cold, chain.scheme, planner, nodes, pool)
    [(_, vault, address)] = chain.keys[chain.scheme].derive(OWN_BRANCH, 0, 1)
    accounts = cast(AccountPlanner, chain.planner)
    return AccountProposer(chain.chain, (vault, address), chain.cold, accounts, nodes, pool)


async def store_proposal(
    conn: Connection, rebalance: asyncpg.Record, proposal: Proposal, decimals: int, now: datetime
) -> RebalanceView:
    """The rebalance is locked by the caller. Raises ConcurrentUpdate when an address was taken meanwhile."""
    taken = await conn.execute(SQL["take_addresses"], rebalance["chain"], list(proposal.fresh), now)
    if taken != f"UPDATE {len(proposal.fresh)}":
        raise ConcurrentUpdate("another transaction took this address first")
    document = None if proposal.plan is None else proposal.plan.to_json().decode()
    return await propose(conn, rebalance, document, proposal.artefact, proposal.address, decimals, now)


@dataclass(frozen=True, slots=True)
class ColdDesk:
    """What the API needs to take an answer in. `coins`: whether the chain's money is coins."""

    planner: Planner
    cold: ColdWallet
    coins: bool


async def import_signed(
    conn: Connection,
    desk: ColdDesk,
    rebalance_id: UUID,
    text: str,
    lineage_id: UUID,
    decimals: int,
    now: datetime,
) -> RebalanceView | None:
    """Into a transaction of ours, which `sending` then sends. None: it is not waiting for a signature.

    Raises WrongSignature (nothing has changed), Halted, and ConcurrentUpdate: then the caller rolls back.
    """
    row = await conn.fetchrow(SQL["lock_proposed"], rebalance_id, now)
    if row is None or row["plan"] is None:
        return None
    plan = desk.planner.read(row["plan"].encode())
    signed = desk.cold.format.read_signed(plan, text)
    await adopt(conn, row["chain"], lineage_id, plan, signed, now, coins=desk.coins)
    return await bind(conn, row, lineage_id, None, ("proposed", "signed"), decimals, now)
