"""Who can hold a balance of what: the accounts of the ledger, created on demand.

Called by every feature before it posts. An account never changes and is never deleted, so its id may be kept
for ever once the transaction that created it has committed.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from cryptowatch.db.pool import Connection, Pool, joining_whole_tables, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.rules import CustomerAccount, HouseAccount

SQL = load_queries(__package__, "ledger.sql")

OwnerKind: TypeAlias = Literal["player", "house", "agent", "referrer"]

#: The house is one owner; its accounts differ by role.
HOUSE: Final = UUID(int=0)
#: The one role that every customer has.
MAIN: Final = "main"


#: asset -> account id -> the account in the ledger
PlayersByAsset: TypeAlias = dict[str, dict[UUID, CustomerAccount]]


class AccountRef(NamedTuple):
    """What identifies an account, before its id is known."""

    owner_kind: OwnerKind
    owner_id: UUID
    role: str
    asset: str


def player(account_id: UUID, asset: str) -> AccountRef:
    """A player's account of one asset, whatever chain the asset comes from."""
    return AccountRef("player", account_id, MAIN, asset)


def house(role: str, asset: str) -> AccountRef:
    """A house account. Roles in use: `custody:<chain>` (its balance is minus what is hot there),
    `in_transit:<chain>` and `cold:<chain>` (the same of what is on its way to or from cold, and of what is there),
    `fee_income`, `network_fees:<chain>`, `game`, `bonus`, `commission`, `referral`, `adjustment`, `dust`,
    `house_funds:<chain>` (what came to the wallet and is no player's), `losses:<chain>` (what a person wrote off)."""
    return AccountRef("house", HOUSE, role, asset)


async def ensure_accounts(connection: Connection, refs: Sequence[AccountRef]) -> list[int]:
    """The ids of these accounts, in order, creating those that are missing. Idempotent, safe in races.

    Ids of accounts created here are good for this transaction; keep them longer only after it commits.
    """
    if not refs:
        return []
    columns = [list(column) for column in zip(*refs, strict=True)]
    ids = [row["id"] for row in await connection.fetch(SQL["account_ids"], *columns)]
    if None in ids:
        missing = sorted({ref for ref, id_ in zip(refs, ids, strict=True) if id_ is None})
        await connection.execute(
            SQL["create_accounts"], *(list(column) for column in zip(*missing, strict=True))
        )
        ids = [row["id"] for row in await connection.fetch(SQL["account_ids"], *columns)]
    return ids


async def ensure_players(
    connection: Connection, players: Sequence[tuple[UUID, str]]
) -> dict[tuple[UUID, str], CustomerAccount]:
    """`ensure_accounts` for players' (account id, asset) pairs."""
    owners: dict[str, set[UUID]] = {}
    for owner, asset in players:
        owners.setdefault(asset, set()).add(owner)
    found = await ensure_players_of(connection, owners)
    return {(owner, asset): found[asset][owner] for owner, asset in players}


async def ensure_players_of(connection: Connection, owners: Mapping[str, Set[UUID]]) -> PlayersByAsset:
    """`ensure_accounts` of players, asked for by asset: a full block has tens of thousands of them, and few assets."""
    found: PlayersByAsset = {}
    missing: list[tuple[UUID, str]] = []
    for asset, asked in sorted(owners.items()):
        ids = list(asked)
        async with joining_whole_tables(connection, len(ids)):
            rows = await connection.fetch(SQL["player_ids"], asset, ids)
        found[asset] = dict(zip(ids, [row["id"] for row in rows], strict=True))
        missing += [(owner, asset) for owner, id_ in found[asset].items() if id_ is None]
    # All at once and in one order, whoever creates them: nobody waits for somebody who waits for them.
    missing.sort()
    made = await ensure_accounts(connection, [player(*pair) for pair in missing])
    for (owner, asset), id_ in zip(missing, made, strict=True):
        found[asset][owner] = CustomerAccount(id_)
    return found


class HouseAccounts:
    """The ids of the house accounts that this process uses, looked up once at start."""

    def __init__(self, ids: Mapping[tuple[str, str], HouseAccount]) -> None:
        self._ids = ids

    def id(self, role: str, asset: str) -> HouseAccount:
        """Raises KeyError for one that was not opened: name it where the daemon is composed."""
        return self._ids[role, asset]


async def open_house_accounts(pool: Pool, accounts: Sequence[tuple[str, str]]) -> HouseAccounts:
    """Ensure these (role, asset) accounts in a transaction of their own, so that the ids can be kept."""
    wanted = list(dict.fromkeys(accounts))
    async with transaction(pool) as connection:
        ids = await ensure_accounts(connection, [house(*pair) for pair in wanted])
    return HouseAccounts({pair: HouseAccount(id_) for pair, id_ in zip(wanted, ids, strict=True)})
