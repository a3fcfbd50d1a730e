"""The facts that `rules` decides on, read for many referrals at once, by index. Called by `qualify` and `worker`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.referrals.rules import Activity, Deposit, FirstDeposit, Fraud, Programme, Standing, Ties
from cryptowatch.referrals.tallies import TallyKey
from cryptowatch.referrals.terms import Terms, read_terms

SQL = load_queries(__package__, "facts.sql")

#: A programme's id and the version of its terms.
Version: TypeAlias = tuple[UUID, int]
#: More versions than these are not kept from one transaction to the next.
_KNOWN_MAX = 200


class Promises:
    """Programmes by version, each read once by a process: a version never changes.

    `decimals` are the settings': for terms that were given before they kept their own.

    `known` is replaced and never changed, so that whoever holds it may go on with it.
    """

    def __init__(self, decimals: Mapping[str, int]) -> None:
        self.decimals = decimals
        self.known: Mapping[Version, Programme] = {}

    async def learn(self, conn: Connection, rows: Collection[asyncpg.Record]) -> Mapping[Version, Programme]:
        """What is known with these rows: those that were not are read."""
        known, named = self.known, {version_of(row) for row in rows}
        new = named - known.keys()
        if not new:
            return known
        read = dict(known)
        for row in await conn.fetch(SQL["terms"], *map(list, zip(*new, strict=True))):
            terms = msgspec.json.decode(row["terms"], type=Terms)
            kept = (
                {} if row["decimals"] is None else msgspec.json.decode(row["decimals"], type=dict[str, int])
            )
            read[version_of(row)] = read_terms(terms, {**self.decimals, **kept})
        self.known = read if len(read) <= _KNOWN_MAX else {version: read[version] for version in named}
        return read


def version_of(row: asyncpg.Record) -> Version:
    return row["programme_id"], row["terms_version"]


async def lock_referrals(
    conn: Connection, account_ids: Collection[UUID], promises: Promises
) -> Sequence[tuple[asyncpg.Record, Programme]]:
    """What may change of the referrals of these accounts, held, and under which terms.

    What their deposits are is of the moment before they are held: whoever asks is the one reader of the feed.
    """
    asked, known = list(account_ids), promises.known
    while True:
        rows = await conn.fetch(SQL["lock_referrals"], asked, *_minima(known))
        learned = await promises.learn(conn, rows)
        if learned is known:
            return [(row, known[version_of(row)]) for row in rows]
        known = learned


def _minima(known: Mapping[Version, Programme]) -> Sequence[list[Any]]:
    """Which first deposits are enough: programme, version, asset and base units, in four columns."""
    asked = [
        (*version, asset, minimum)
        for version, programme in known.items()
        if isinstance(programme.act, FirstDeposit)
        for asset, minimum in programme.act.minimum.items()
    ]
    return [list(column) for column in zip(*asked, strict=True)] if asked else [[], [], [], []]


async def standings(
    conn: Connection, referrals: Sequence[tuple[asyncpg.Record, Programme]]
) -> Mapping[UUID, Standing]:
    """By account, of referrals that are held."""
    played = [(r["account_id"], p.act.asset) for r, p in referrals if isinstance(p.act, Activity)]
    bets: dict[UUID, int] = {}
    if played:
        rows = await conn.fetch(SQL["bets"], *map(list, zip(*played, strict=True)))
        bets = {row["account_id"]: row["bet"] for row in rows}
    return {
        row["account_id"]: Standing(row["kyc_level"], _deposits(row), bets.get(row["account_id"], 0))
        for row, _ in referrals
    }


def _deposits(row: asyncpg.Record) -> Sequence[Deposit]:
    if row["enough_id"] is None:
        return ()
    return (Deposit(row["enough_id"], row["enough_asset"], row["enough_amount"]),)


class Pair(msgspec.Struct, frozen=True):
    """A referred account and one of its ancestors, and which rules look at them."""

    account_id: UUID
    referrer_id: UUID
    fraud: Fraud


async def weigh(
    conn: Connection, keys: Collection[TallyKey], pairs: Sequence[Pair]
) -> tuple[dict[TallyKey, int], Sequence[Ties]]:
    """What is open or paid in each tally, until the transaction ends for nobody else to change; the ties of each pair.

    Raises ConcurrentUpdate when another writer begins one of the tallies at this moment.
    """
    asked = sorted(set(keys))
    rows = await conn.fetch(
        SQL["weigh"],
        *([key[column] for key in asked] for column in range(4)),
        [pair.account_id for pair in pairs],
        [pair.referrer_id for pair in pairs],
        [pair.fraud.pace_count for pair in pairs],
        [int(pair.fraud.pace.total_seconds()) for pair in pairs],
    )
    counted = {TallyKey(*row[:4]): row["counted"] for row in rows if row["place"] is None}
    if len(counted) < len(asked):
        raise ConcurrentUpdate("another writer begins one of these tallies")
    tied = {row["place"]: _ties(row) for row in rows if row["place"] is not None}
    return counted, [tied[place] for place in range(1, len(pairs) + 1)]


def _ties(row: asyncpg.Record) -> Ties:
    return Ties(
        shared=frozenset(row["shared"]),
        crossed=row["crossed"],
        siblings=row["siblings"],
        recent=row["recent"],
        circular=row["circular"],
        both_active=row["both_active"],
    )
