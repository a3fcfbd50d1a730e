"""A transfer to a destination of ours as it is seen, in a block or in a mempool: whose it is, and what begins with it.

Called by `apply` and `pending` inside their transactions, which hold the chain's row.
"""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from functools import cache
from uuid import UUID

import asyncpg

from cryptowatch.chains.port import Transfer
from cryptowatch.db.pool import Connection, joining_whole_tables
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.machine import Deposit, Event, Quarantine, Seen, State
from cryptowatch.deposits.policy import Required, quarantine_reason, total_per_transaction
from cryptowatch.deposits.records import Record
from cryptowatch.deposits.rules import ChainRules
from cryptowatch.ledger.accounts import PlayersByAsset
from cryptowatch.loops import slices

SQL = load_queries(__package__, "sighting.sql")


async def our_destinations(
    conn: Connection, chain: str, asset: str, transfers: Sequence[Transfer]
) -> Mapping[bytes, asyncpg.Record]:
    """destination -> address, and where it belongs to one: account, its status, and its account of `asset` in the
    ledger where there is one; without those that are not ours."""
    if not transfers:
        return {}
    destinations = list({transfer.destination for transfer in transfers})
    async with joining_whole_tables(conn, len(destinations)):
        rows = await conn.fetch(SQL["our_destinations"], chain, destinations, asset)
    return {row["destination"]: row for row in rows}


class OurTransfers:
    """A block's transfers that are to destinations of ours, sorted out slice by slice while Postgres is at work: first
    `sort_out`, then `attribute`.

    `owners`: whose each destination is. `own_moves`: transactions that move our own money within the wallet, which is
    no deposit.
    """

    def __init__(self, owners: Mapping[bytes, asyncpg.Record], own_moves: Set[bytes]) -> None:
        self.owners, self._own_moves = owners, own_moves
        #: For each transfer that was given, whether it is among ours.
        self.wanted: list[bool] = []
        self.transfers: list[Transfer] = []
        self.totals: Mapping[tuple[bytes, str], int] = {}
        #: Whether anybody who is paid has a limit on deposits.
        self.limited = False
        #: Those to players, and the transactions that pay them. The others are change of our own, or to an address
        #: that nobody was given: the coin is recorded, no deposit.
        self.paid: list[tuple[asyncpg.Record, Transfer]] = []
        self.paying: set[bytes] = set()
        #: Who is paid: accounts in the ledger as far as `owners` has them, and by asset the others.
        self.players: PlayersByAsset = {}
        self.unknown: dict[str, set[UUID]] = {}

    async def sort_out(self, transfers: Sequence[Transfer]) -> None:
        """Which are ours, and what each transaction's come to."""
        async for part in slices(transfers):
            for transfer in part:
                owner = self.owners.get(transfer.destination)
                ours = owner is not None and transfer.tx_hash not in self._own_moves
                self.wanted.append(ours)
                if owner is None or not ours:
                    continue
                self.transfers.append(transfer)
                self.limited = self.limited or bool(owner["deposit_limited"])
        self.totals = total_per_transaction(self.transfers)

    async def attribute(self, asset: str) -> None:
        """Who is paid. `asset` is the one of `our_destinations`.

        In the order of the accounts: what follows from it goes into most indexes in their own order.
        """
        known = self.players.setdefault(asset, {})
        async for part in slices(self.transfers):
            for transfer in part:
                owner = self.owners[transfer.destination]
                player, account = owner["account_id"], owner["ledger_account"]
                if player is None:
                    continue
                self.paid.append((owner, transfer))
                self.paying.add(transfer.tx_hash)
                if account is None or transfer.asset != asset:
                    self.unknown.setdefault(transfer.asset, set()).add(player)
                else:
                    known[player] = account
        self.paid.sort(key=lambda each: each[0]["account_id"].bytes)


def first_sight(
    deposit_id: UUID,
    rules: ChainRules,
    transfer: Transfer,
    owner: asyncpg.Record,
    total: int,
    now: datetime,
    *,
    beyond_limit: bool,
) -> tuple[Record, tuple[Event, ...]]:
    """A deposit not known before, as detected, and the event that makes a person look first where policy says so.

    `total` is what its whole transaction pays us.
    """
    policy = rules.assets[transfer.asset]
    record = Record(
        id=deposit_id,
        chain=rules.chain,
        tx_hash=transfer.tx_hash,
        position=transfer.position,
        account_id=owner["account_id"],
        asset=transfer.asset,
        amount=transfer.amount,
        decimals=policy.decimals,
        destination=transfer.destination,
        address=owner["address"],
        deposit=_detected(policy.required(total)),
        version=0,
        conflict=None,
        created_at=now,
        content=transfer.content,
    )
    reason = quarantine_reason(transfer.amount, policy, owner["status"], beyond_limit=beyond_limit)
    return record, () if reason is None else (Quarantine(reason),)


@cache  # one for each tier of the settings
def _detected(required: Required) -> Deposit:
    return Deposit(State.DETECTED, required.credit, required.finalize)


def seen_again(
    rules: ChainRules, record: Record, owner: asyncpg.Record, *, beyond_limit: bool
) -> tuple[Event, ...]:
    """What comes first when a deposit that was replaced returns: policy looks at it anew, as at any other."""
    if record.deposit.state is not State.REPLACED:
        return ()
    policy = rules.assets[record.asset]
    reason = quarantine_reason(record.amount, policy, owner["status"], beyond_limit=beyond_limit)
    return () if reason is None else (Seen(), Quarantine(reason))


async def remember_resources(
    conn: Connection,
    chain: str,
    tx_hashes: Set[bytes],
    resources: Mapping[bytes, tuple[bytes, ...]],
    known: Set[bytes],
) -> None:
    """`known`: those that had a deposit before. The caller holds the chain's row: nobody else writes it meanwhile.

    It is kept with a transaction's first deposit, so that of one which had none nothing can be there.
    """
    parts = (("remember_resources", tx_hashes - known), ("remember_resources_again", tx_hashes & known))
    for query, hashes in parts:
        pairs = [(resource, tx_hash) for tx_hash in hashes for resource in resources.get(tx_hash, ())]
        if pairs:
            await conn.execute(SQL[query], chain, [p[0] for p in pairs], [p[1] for p in pairs])
