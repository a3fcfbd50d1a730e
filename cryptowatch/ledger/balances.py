"""What accounts have, exactly, at the moment of asking; and the roll-up of the house's deltas.

Called by the API, payouts, treasury and reconciliation. Read from the primary only: a replica lags.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.accounts import OwnerKind
from cryptowatch.ledger.rules import Balance, CustomerAccount, HouseAccount

SQL = load_queries(__package__, "ledger.sql")

_ROWS_PER_FETCH = 5_000


@dataclass(frozen=True, slots=True)
class CustomerBalance:
    id: CustomerAccount
    role: str
    asset: str
    balance: Balance


@dataclass(frozen=True, slots=True)
class HouseBalance:
    id: HouseAccount
    role: str
    asset: str
    base_units: int


@dataclass(frozen=True, slots=True)
class CustomerTotals:
    """Of one asset, over all customers, in base units: what the house owes, and what it is owed (totals
    below zero, after reversals)."""

    asset: str
    owed: int
    owing: int
    unfinalized: int
    held: int


async def owner_balances(
    connection: Connection, owner_kind: OwnerKind, owner_id: UUID
) -> list[CustomerBalance]:
    """Every account of one customer, by asset and role; empty when it never had any."""
    rows = await connection.fetch(SQL["customer_balances"], owner_id, owner_kind)
    return [CustomerBalance(id_, role, asset, Balance(*amounts)) for id_, role, asset, *amounts in rows]


async def account_balance(connection: Connection, account: CustomerAccount) -> Balance | None:
    """None when there is no such customer's account."""
    row = await connection.fetchrow(SQL["customer_balance"], account)
    return None if row is None else Balance(*row)


async def house_balances(connection: Connection) -> list[HouseBalance]:
    """Every house account's exact balance, in one snapshot. Negative is normal: custody is minus holdings."""
    return [HouseBalance(*row) for row in await connection.fetch(SQL["house_balances"])]


async def customer_totals(connection: Connection) -> list[CustomerTotals]:
    """Per asset, in one snapshot. Reads every customer's row."""
    return [CustomerTotals(*row) for row in await connection.fetch(SQL["customer_totals"])]


@dataclass(frozen=True, slots=True)
class Owed:
    """What the house owes one customer's account, above zero."""

    owner_kind: OwnerKind
    owner_id: UUID
    role: str
    asset: str
    base_units: int


async def owed_balances(connection: Connection) -> AsyncIterator[Owed]:
    """Every customer's balance above zero, streamed. In a transaction, whose snapshot should be a repeatable one."""
    async for row in connection.cursor(SQL["owed_balances"], prefetch=_ROWS_PER_FETCH):
        yield Owed(*row)


async def roll_up(connection: Connection) -> int:
    """Fold what postings left for the house accounts into their rows; how many deltas.

    Needed only to keep reads of house balances fast: run it every second or so. Safe to run anywhere.
    """
    folded: int = await connection.fetchval(SQL["roll_up"])
    return folded
