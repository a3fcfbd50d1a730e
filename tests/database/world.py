"""A small world for ledger tests: house accounts, players with money, postings in few words."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from uuid import UUID, uuid4

from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.ledger.accounts import HouseAccounts, ensure_players, open_house_accounts
from cryptowatch.ledger.balances import account_balance, house_balances
from cryptowatch.ledger.postings import Posted, post, post_all, post_each
from cryptowatch.ledger.rules import (
    EFFECTS,
    Balance,
    CustomerAccount,
    HouseAccount,
    Kind,
    Posting,
    Status,
    customer_posting,
)
from cryptowatch.ledger.verify import Report, verify
from cryptowatch.money import BaseUnits

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ASSET = "BTC"


@dataclass
class World:
    pool: Pool
    houses: HouseAccounts
    keys: "count[int]" = field(default_factory=count)

    @property
    def custody(self) -> HouseAccount:
        return self.houses.id("custody:bitcoin", ASSET)

    @property
    def game(self) -> HouseAccount:
        return self.houses.id("game", ASSET)

    @property
    def fees(self) -> HouseAccount:
        return self.houses.id("fee_income", ASSET)

    async def player(self, owner: UUID | None = None, **parts: int) -> CustomerAccount:
        """A new player; `final`, `unfinalized` and `held` base units of it are brought about by postings."""
        owner = owner or uuid4()
        async with transaction(self.pool) as conn:
            player = (await ensure_players(conn, [(owner, ASSET)]))[owner, ASSET]
        if parts.get("final"):
            await self.done(Kind.DEPOSIT_CREDIT_FINAL, player, parts["final"])
        if parts.get("unfinalized"):
            await self.done(Kind.DEPOSIT_CREDIT, player, parts["unfinalized"])
        if parts.get("held"):
            await self.done(Kind.HOLD, player, parts["held"])
        return player

    def posting(
        self,
        kind: Kind,
        player: CustomerAccount,
        amount: int,
        *,
        key: str | None = None,
        resolves: str | None = None,
        reference: str | None = None,
    ) -> Posting:
        key = key or f"test:{next(self.keys)}"
        house = None if EFFECTS[kind].total == 0 else self.house_of(kind)
        return customer_posting(
            kind, key, player, house, BaseUnits(amount), resolves=resolves, reference=reference
        )

    def house_of(self, kind: Kind) -> HouseAccount:
        return self.custody if kind.startswith(("deposit", "hold")) else self.game

    async def post(self, posting: Posting) -> Posted:
        async with connection(self.pool) as conn:
            return await post(conn, posting, NOW)

    async def post_each(self, *postings: Posting) -> list[Posted]:
        async with connection(self.pool) as conn:
            return await post_each(conn, postings, NOW)

    async def post_all(self, *postings: Posting) -> None:
        async with connection(self.pool) as conn:
            await post_all(conn, postings, NOW)

    async def done(
        self, kind: Kind, player: CustomerAccount, amount: int, *, resolves: str | None = None
    ) -> str:
        """Post it, expect it to be created; its key."""
        posting = self.posting(kind, player, amount, resolves=resolves)
        posted = await self.post(posting)
        assert posted.status is Status.CREATED, posted
        return posting.key

    async def balance(self, player: CustomerAccount) -> Balance:
        async with connection(self.pool) as conn:
            found = await account_balance(conn, player)
        assert found is not None
        return found

    async def house(self, account: HouseAccount) -> int:
        async with connection(self.pool) as conn:
            return next(house.base_units for house in await house_balances(conn) if house.id == account)

    async def verify(self) -> Report:
        async with connection(self.pool) as conn:
            return await verify(conn)

    async def assert_sound(self) -> Report:
        report = await self.verify()
        assert report.findings == []
        return report


async def create_world(pool: Pool) -> World:
    roles = ("custody:bitcoin", "game", "fee_income", "network_fees:bitcoin")
    return World(pool, await open_house_accounts(pool, [(role, ASSET) for role in roles]))


async def force(conn: Connection, table: str, statement: str) -> None:
    """Break history behind the ledger's back, as only a superuser can, and leave the guard as it was."""
    await conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
    await conn.execute(statement)
    await conn.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only")
