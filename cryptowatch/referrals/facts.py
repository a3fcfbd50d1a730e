"""The facts that `rules` decides on, read for many referrals at once, by index. Called by `qualify` and `worker`."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.referrals.rules import Activity, Deposit, FirstDeposit, Fraud, Programme, Standing, Ties
from cryptowatch.referrals.terms import Terms, read_terms

SQL = load_queries(__package__, "facts.sql")


class Promises:
    """Programmes by version, each read once: a version never changes. One for each transaction."""

    def __init__(self, decimals: Mapping[str, int]) -> None:
        self._decimals = decimals
        self._read: dict[tuple[UUID, int], Programme] = {}

    def of(self, row: asyncpg.Record) -> Programme:
        """Of a row with `programme_id`, `terms_version` and `terms`."""
        key = (row["programme_id"], row["terms_version"])
        if key not in self._read:
            terms = msgspec.json.decode(row["terms"], type=Terms)
            self._read[key] = read_terms(terms, self._decimals)
        return self._read[key]


async def lock_referrals(conn: Connection, account_ids: Collection[UUID]) -> Sequence[asyncpg.Record]:
    return await conn.fetch(SQL["lock_referrals"], list(account_ids))


async def gone_deposits(conn: Connection, deposit_ids: Collection[UUID]) -> frozenset[UUID]:
    if not deposit_ids:
        return frozenset()
    return frozenset(row["id"] for row in await conn.fetch(SQL["gone"], list(deposit_ids)))


async def standings(
    conn: Connection, referrals: Sequence[tuple[asyncpg.Record, Programme]]
) -> Mapping[UUID, Standing]:
    """By account. Only what the programme's act looks at is read."""
    wanted = [
        (row["account_id"], asset, minimum)
        for row, programme in referrals
        if isinstance(programme.act, FirstDeposit)
        for asset, minimum in programme.act.minimum.items()
    ]
    deposits: defaultdict[UUID, list[Deposit]] = defaultdict(list)
    if wanted:
        for row in await conn.fetch(SQL["deposits"], *map(list, zip(*wanted, strict=True))):
            deposits[row["account_id"]].append(Deposit(row["id"], row["asset"], row["amount"]))
    played = [(r["account_id"], p.act.asset) for r, p in referrals if isinstance(p.act, Activity)]
    bets: dict[UUID, int] = {}
    if played:
        rows = await conn.fetch(SQL["bets"], *map(list, zip(*played, strict=True)))
        bets = {row["account_id"]: row["bet"] for row in rows}
    return {
        row["account_id"]: Standing(
            row["kyc_level"], deposits.get(row["account_id"], ()), bets.get(row["account_id"], 0)
        )
        for row, _ in referrals
    }


async def ties(conn: Connection, pairs: Sequence[tuple[UUID, UUID, Fraud]]) -> list[Ties]:
    """Of (referred account, ancestor) pairs, in order."""
    if not pairs:
        return []
    rows = await conn.fetch(
        SQL["ties"],
        [account for account, _, _ in pairs],
        [ancestor for _, ancestor, _ in pairs],
        [fraud.pace_count for _, _, fraud in pairs],
        [int(fraud.pace.total_seconds()) for _, _, fraud in pairs],
    )
    return [
        Ties(
            shared=frozenset(row["shared"]),
            crossed=row["crossed"],
            siblings=row["siblings"],
            recent=row["recent"],
            circular=row["circular"],
            both_active=row["both_active"],
        )
        for row in rows
    ]
