"""Accounts of ours: balances as the blocks say, and nonces, each of which one transaction can ever use.

`AccountReserver` serves `payouts.worker` and `treasury`; the rest is called by `track` inside a block's transaction.
Keeps P3: a nonce is a row, reserved by one lineage at a time by compare-and-set; no counter stands outside of the
database, and no answer of a node ever changes a lineage's nonce. A nonce that was given up before anything was signed
is the next to be taken, so that no gap holds up what comes after it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import AccountPlanner, Insufficient, Plan, Sender
from cryptowatch.chains.port import BlockContents
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.sending.reserve import NotReady, Order, insert_attempt, insert_lineage, sending_height
from cryptowatch.settings.chains import Priority

SQL = load_queries(__package__, "accounts.sql")

_NONCE_BYTES = 8


@dataclass(frozen=True, slots=True)
class AccountReserver:
    """Implements `reserve.Reserver`. `in_flight_max`: an account's transactions that no block holds (P10)."""

    chain: str
    #: The chain's own coin, in which gas is paid.
    asset: str
    #: The sending account that holds the wallet's money.
    vault: bytes
    planner: AccountPlanner
    nodes: NodePool
    pool: Pool
    in_flight_max: int
    #: address -> the code that must be there: nothing is sent while any of the wallet's contracts is another one.
    contracts: Mapping[bytes, bytes]
    #: Those of them that were looked at.
    trusted: set[bytes] = field(default_factory=set)

    @property
    def spends_unconfirmed(self) -> bool:
        """Balances are what blocks say."""
        return False

    async def prepare(self) -> None:
        """Look once at each of the wallet's contracts, and at each sending account."""
        await self._trust()
        async with connection(self.pool) as conn:
            unopened = await conn.fetch(SQL["unopened"], self.chain)
        if unopened:
            await self.open([row["destination"] for row in unopened])

    async def _trust(self) -> None:
        """A wrong address in the settings would be allowed to spend everything, or be what players delegate to."""
        if self.trusted == self.contracts.keys():
            return
        async with connection(self.pool) as conn:
            row = await conn.fetchrow(SQL["read_block"], self.chain)
        if row is None:
            return
        for address, code in self.contracts.items():
            if await self.nodes.code(address, BlockPoint(row["height"], row["hash"])) == code:
                self.trusted.add(address)

    async def open(self, accounts: Sequence[bytes]) -> None:
        """Of those that were never looked at: where the nonce stands, and what the account holds, by a quorum (P5)."""
        async with connection(self.pool) as conn:
            at = await conn.fetchrow(SQL["read_block"], self.chain)
            known = {row["account"] for row in await conn.fetch(SQL["known_senders"], self.chain, accounts)}
        accounts = [account for account in accounts if account not in known]
        if at is None or not accounts:
            return
        states = await self.nodes.accounts(accounts, BlockPoint(at["height"], at["hash"]))
        async with transaction(self.pool) as conn:
            if await conn.fetchrow(SQL["lock_block"], self.chain) != at:
                return  # what was read is of another block: look again
            for account, state in zip(accounts, states, strict=True):
                opened = await conn.execute(SQL["open_sender"], self.chain, account, state.nonce)
                if opened == "INSERT 0 1":
                    for asset, amount in state.balances.items():
                        await conn.execute(SQL["open_holding"], self.chain, account, asset, amount)

    async def reserve(self, conn: Connection, order: Order, now: datetime) -> Plan | Insufficient:
        """The chain's own coin is paid by the vault itself; tokens out of it by whichever account is least busy.

        To cold the vault gives either itself: the signer takes no contract's word for what is cold.
        """
        own_coin, cold = order.asset == self.asset, order.kind == "overflow"
        if not own_coin and not cold:
            subject = self.planner.setup_subject(order.asset)
            if not await conn.fetchval(SQL["is_set_up"], self.chain, subject):
                raise NotReady(f"the payouts contract is not allowed to spend {order.asset} yet")

        def plan(sender: Sender) -> Plan:
            if cold:
                [to] = order.recipients
                return self.planner.transfer(sender, order.asset, to.destination, to.amount, order.bid)
            return self.planner.pay(sender, order.asset, order.recipients, order.bid)

        return await self.send(
            conn,
            plan,
            kind=order.kind,
            priority=order.priority,
            lineage_id=order.lineage_id,
            account=self.vault if own_coin or cold else None,
            now=now,
            pays=order.asset,
        )

    async def send(
        self,
        conn: Connection,
        plan: Callable[[Sender], Plan],
        *,
        kind: str,
        priority: Priority,
        lineage_id: UUID,
        account: bytes | None,
        now: datetime,
        subject: str | None = None,
        pays: str | None = None,
    ) -> Plan | Insufficient:
        """A transaction of this account, or (None) of whichever of ours can send it. Raises as `Reserver.reserve`.

        `pays`: the asset that it takes out of the wallet, if any.
        """
        height = await sending_height(conn, self.chain, pays)
        if foreign := self.contracts.keys() - self.trusted:
            raise NotReady(f"not the wallet's own contract: 0x{min(foreign).hex()}")
        gasless = 0
        for row in await conn.fetch(SQL["senders"], self.chain, account):
            if row["in_flight"] >= self.in_flight_max:
                continue
            sender = _sender(row)
            planned = plan(sender)
            missing = await self._missing(conn, planned)
            if not missing:
                await insert_lineage(
                    conn, self.chain, lineage_id, kind, priority, now, subject=subject, pays=pays
                )
                await self._take(conn, planned, sender, lineage_id)
                await insert_attempt(conn, self.chain, lineage_id, 1, planned, None, height, now)
                return planned
            if account is None and (sender.account, self.asset) in missing:
                gasless += 1
                continue
            return Insufficient(max(missing.values()))
        raise NotReady(
            f"{gasless} sending accounts have too little gas" if gasless else "every sending account is busy"
        )

    async def reserve_more(
        self, conn: Connection, lineage_id: UUID, old: Plan, new: Plan
    ) -> Insufficient | None:
        """What its account could not pay, nodes would refuse; and only the newest version is ever sent again."""
        needs, before = self.planner.needs(new), self.planner.needs(old)
        missing = await self._short(conn, {key: needs[key] - before[key] for key in needs})
        if missing:
            return Insufficient(max(missing.values()))
        await self._reserve_amounts(conn, lineage_id, needs)
        return None

    async def _missing(self, conn: Connection, plan: Plan) -> dict[tuple[bytes, str], int]:
        return await self._short(conn, self.planner.needs(plan))

    async def _short(
        self, conn: Connection, needs: Mapping[tuple[bytes, str], int]
    ) -> dict[tuple[bytes, str], int]:
        rows = await conn.fetch(
            SQL["available"], self.chain, [key[0] for key in needs], [key[1] for key in needs]
        )
        has = {(row["account"], row["asset"]): row["amount"] for row in rows}
        return {key: amount - has[key] for key, amount in needs.items() if has[key] < amount and amount}

    async def _take(self, conn: Connection, plan: Plan, sender: Sender, lineage_id: UUID) -> None:
        status = await conn.execute(SQL["take_nonce"], self.chain, sender.account, sender.nonce, lineage_id)
        if status != "INSERT 0 1":
            raise ConcurrentUpdate("another sender took this nonce first")
        await conn.execute(SQL["move_nonce"], self.chain, sender.account, sender.nonce + 1)
        await self._reserve_amounts(conn, lineage_id, self.planner.needs(plan))

    async def _reserve_amounts(
        self, conn: Connection, lineage_id: UUID, needs: Mapping[tuple[bytes, str], int]
    ) -> None:
        taken = {key: amount for key, amount in needs.items() if amount}
        await conn.execute(
            SQL["reserve_amounts"],
            lineage_id,
            self.chain,
            [key[0] for key in taken],
            [key[1] for key in taken],
            list(taken.values()),
        )


def _sender(row: asyncpg.Record) -> Sender:
    nonce = row["next_nonce"] if row["free_nonce"] is None else row["free_nonce"]
    return Sender(row["destination"], (row["scheme"], row["branch"], row["key_index"]), nonce)


async def record_movements(conn: Connection, chain: str, contents: BlockContents) -> None:
    """What the block changes of our balances. Idempotent."""
    movements = contents.movements
    if movements:
        await conn.execute(
            SQL["record_movements"],
            chain,
            contents.ref.height,
            [m.tx_hash for m in movements],
            [m.account for m in movements],
            [m.asset for m in movements],
            [m.delta for m in movements],
        )


async def use_nonces(conn: Connection, chain: str, contents: BlockContents) -> list[asyncpg.Record]:
    """Nonces of our accounts that the block uses up: (tx_hash, reserved_by) of each."""
    accounts = [spend.resource[:-_NONCE_BYTES] for spend in contents.spends]
    nonces = [int.from_bytes(spend.resource[-_NONCE_BYTES:], "big") for spend in contents.spends]
    rows = await conn.fetch(
        SQL["use_nonces"],
        chain,
        contents.ref.height,
        accounts,
        nonces,
        [spend.tx_hash for spend in contents.spends],
    )
    await conn.execute(SQL["skip_nonces"], chain, accounts, nonces)
    return rows


async def own_moves(conn: Connection, chain: str, contents: BlockContents) -> frozenset[bytes]:
    """The block's transactions that move our own money only: whom they pay has made no deposit."""
    hashes = [execution.tx_hash for execution in contents.executions]
    if not hashes:
        return frozenset()
    return frozenset(row["tx_hash"] for row in await conn.fetch(SQL["own_moves"], chain, hashes))


async def free_nonces_of(conn: Connection, lineage_ids: Sequence[UUID]) -> None:
    """What ended lineages reserved and nobody used."""
    await conn.execute(SQL["free_nonces_of"], lineage_ids)


async def rewind_accounts(conn: Connection, chain: str, fork_height: int) -> None:
    """Undo what the blocks above the fork did. Reservations stay: their transactions are still ours to send."""
    await conn.execute(SQL["undo_movements"], chain, fork_height)
    await conn.execute(SQL["unspend_nonces"], chain, fork_height)
