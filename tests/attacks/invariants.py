"""What must hold at every moment of a chain's payouts, whoever is in the middle of what; and what must at the end.

Used by `simulation`. Everything is read in one snapshot, as a person's or another daemon's look would find it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from cryptowatch.chains.bitcoin.payments import BitcoinPlan, BitcoinPlanner
from cryptowatch.db.pool import Connection
from cryptowatch.ledger.verify import verify
from cryptowatch.treasury.reconcile import read_positions
from tests.attacks.network import Branch

_ATTEMPTS = """
SELECT l.id, l.state, l.kind, l.tx_hash = a.tx_hash AS is_in_block, a.number, a.plan, a.tx_hash, a.void
FROM lineage l JOIN attempt a ON a.lineage_id = l.id ORDER BY l.id, a.number
"""
_WITHDRAWALS = "SELECT id, account_id, state, amount, destination, lineage_id FROM withdrawal ORDER BY id"
_ENDED = ("rejected", "canceled", "failed")
#: Of withdrawals that no transaction pays, or will.
_UNPAID = ("in_review", "queued", *_ENDED)
_BALANCES = """
SELECT l.owner_id, b.total, b.held FROM customer_balance b JOIN ledger_account l ON l.id = b.account_id
"""
_CHAIN = "SELECT halted, stopped_assets FROM chain"


@dataclass(frozen=True)
class Attempt:
    lineage_id: UUID
    #: Whether it may be in a block for good: it is the final one, or which one will be is open.
    may_be: bool
    #: Of its lineage: it, or another attempt, may be.
    is_alive: bool
    plan: BitcoinPlan


@dataclass(frozen=True)
class Seen:
    """One snapshot."""

    attempts: list[Attempt]
    withdrawals: list[asyncpg.Record]


async def look(conn: Connection, plans: dict[bytes, BitcoinPlan]) -> Seen:
    """`plans`: those that were read before; more come to it."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        rows = await conn.fetch(_ATTEMPTS)
        withdrawals = await conn.fetch(_WITHDRAWALS)
    for row in rows:
        if row["tx_hash"] not in plans:
            plans[row["tx_hash"]] = BitcoinPlanner(10_000).read(row["plan"].encode())
    attempts = [
        Attempt(
            row["id"],
            bool(row["is_in_block"]) if row["state"] == "finalized" else _is_open(row) and not row["void"],
            row["state"] != "dead",
            plans[row["tx_hash"]],
        )
        for row in rows
    ]
    return Seen(attempts, withdrawals)


def _is_open(row: asyncpg.Record) -> bool:
    """A shallow block's choice may yet be left."""
    return row["state"] in ("open", "confirmed")


def assert_each_is_paid_by_one_transaction_at_most(seen: Seen) -> None:
    """Of those that may be in a block for good. What is not on its way is paid by none."""
    payers: defaultdict[bytes, set[UUID]] = defaultdict(set)
    for attempt in seen.attempts:
        if attempt.may_be:
            for output in attempt.plan.transaction.outputs:
                payers[output.script].add(attempt.lineage_id)
    for row in seen.withdrawals:
        found = payers[row["destination"]]
        allowed = set() if row["state"] in _UNPAID else {row["lineage_id"]}
        assert found <= allowed, (
            f"{row['state']} withdrawal {row['id']} of transaction {row['lineage_id']} may be paid by {found}"
        )


def assert_no_coin_is_spent_by_two(seen: Seen) -> None:
    """And every attempt spends what the first one does."""
    spenders: dict[bytes, UUID] = {}
    first: dict[UUID, frozenset[bytes]] = {}
    for attempt in seen.attempts:
        resources = frozenset(attempt.plan.resources)
        assert first.setdefault(attempt.lineage_id, resources) == resources, (
            f"attempts of {attempt.lineage_id} spend different coins"
        )
        for resource in resources if attempt.is_alive else ():
            spender = spenders.setdefault(resource, attempt.lineage_id)
            assert spender == attempt.lineage_id, f"{spender} and {attempt.lineage_id} spend {resource.hex()}"


def assert_nobody_is_paid_twice(branch: Branch, scripts: Iterable[bytes]) -> None:
    """In the blocks themselves."""
    paid: defaultdict[bytes, int] = defaultdict(int)
    for one in branch.holds.values():
        for output in one.outputs:
            paid[output.script] += 1
    assert [script.hex() for script in scripts if paid[script] > 1] == [], "paid twice"


async def assert_books_agree(conn: Connection) -> None:
    """With the blocks, to the satoshi; and so nothing was stopped."""
    for position in await read_positions(conn):
        assert position.difference == 0, position
    for row in await conn.fetch(_CHAIN):
        assert row["halted"] is None and row["stopped_assets"] == [], tuple(row)


async def assert_sound(conn: Connection) -> None:
    report = await verify(conn)
    assert report.sound, report.findings[:5]


async def assert_all_ended_well(
    conn: Connection, branch: Branch, seen: Seen, given: Mapping[UUID, int]
) -> None:
    """Each is paid once, or has his money back. `given`: account -> what it had and has been credited since."""
    left = dict(given)
    for row in seen.withdrawals:
        assert row["state"] in ("finalized", *_ENDED), tuple(row)
        is_paid = row["state"] == "finalized"
        assert branch.amounts_paid_to(row["destination"]) == ([row["amount"]] if is_paid else []), tuple(row)
        left[row["account_id"]] -= row["amount"] if is_paid else 0
    found = {row["owner_id"]: (row["total"], row["held"]) for row in await conn.fetch(_BALANCES)}
    assert {account: found[account] for account in left} == {
        account: (total, 0) for account, total in left.items()
    }


async def assert_coins_are_the_blocks(conn: Connection, branch: Branch) -> None:
    """What the network says that our scripts hold is what the database says."""
    ours = {row["destination"] for row in await conn.fetch("SELECT destination FROM address")}
    rows = await conn.fetch(
        "SELECT destination, amount FROM coin WHERE height IS NOT NULL AND spent_by IS NULL"
    )
    recorded = sorted((row["destination"], row["amount"]) for row in rows)
    assert recorded == sorted(tuple(output) for output in branch.unspent() if output.script in ours)
