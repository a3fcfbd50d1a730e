"""A transfer to a destination of ours as it is seen, in a block or in a mempool: whose it is, and what begins with it.

Called by `apply` and `pending` inside their transactions, which hold the chain's row.
"""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from functools import cache
from uuid import UUID

import asyncpg

from cryptowatch.chains.port import Transfer
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.machine import Deposit, Event, Quarantine, Seen, State
from cryptowatch.deposits.policy import Required, quarantine_reason
from cryptowatch.deposits.records import Record
from cryptowatch.deposits.rules import ChainRules

SQL = load_queries(__package__, "sighting.sql")


async def our_destinations(
    conn: Connection,
    chain: str,
    transfers: Sequence[Transfer],
) -> Mapping[bytes, asyncpg.Record]:
    """destination -> address, and account and its status where it belongs to one; without those that are not ours."""
    if not transfers:
        return {}
    destinations = list({transfer.destination for transfer in transfers})
    return {row["destination"]: row for row in await conn.fetch(SQL["our_destinations"], chain, destinations)}


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
