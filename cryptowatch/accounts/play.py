"""The games' side of the ledger: bets, wins, refunds, bonuses and corrections, in batches of any size.

Called by the API inside its transaction. A batch takes the same few statements as one transfer; each stands for itself,
in the order given. Keeps P1 and P2 by the ledger's postings, each under a key of its own. What an account played is
added up by day in the same transaction (`play_day`), so that limits, commissions and rules need no sums of postings.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import repeat
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.accounts.limits import LimitKind, Played, PlayLimit, Rates, earliest, reached
from cryptowatch.accounts.players import Status
from cryptowatch.accounts.rates import read_rates
from cryptowatch.db import arrays
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.accounts import ensure_accounts, house, player
from cryptowatch.ledger.postings import named
from cryptowatch.ledger.rules import Balance
from cryptowatch.ledger.rules import Kind as PostingKind
from cryptowatch.ledger.rules import Status as PostingStatus
from cryptowatch.money import BaseUnits

SQL = load_queries(__package__, "play.sql")


class TransferKind(StrEnum):
    BET = "bet"
    WIN = "win"
    REFUND = "refund"
    BONUS = "bonus"
    ADJUSTMENT = "adjustment"  # a person's correction; a negative amount takes


#: kind -> (posting, the house's side)
_POSTINGS = {
    TransferKind.BET: (PostingKind.BET, "game"),
    TransferKind.WIN: (PostingKind.WIN, "game"),
    TransferKind.REFUND: (PostingKind.REFUND, "game"),
    TransferKind.BONUS: (PostingKind.BONUS, "bonus"),
    TransferKind.ADJUSTMENT: (PostingKind.ADJUSTMENT_CREDIT, "adjustment"),
}
#: An account's standing, limits and terms as they are stored.
_LIMITS = msgspec.json.Decoder(list[PlayLimit])
_NO_LIMITS = "[]"


class Transfer(msgspec.Struct, frozen=True, gc=False):
    """One to be made. `key` is the posting's; `product` and `round` are the platform's words for what and when."""

    key: str
    account_id: UUID
    asset: str
    kind: TransferKind
    amount: BaseUnits
    #: A correction that takes.
    takes: bool = False
    product: str = ""
    round: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` is one of the API's; nothing was written."""

    code: str
    detail: str


class Made(msgspec.Struct, frozen=True, gc=False):
    """`created`: by this batch, or else since `created_at`. `balance` is the player's just after it."""

    created: bool
    balance: Balance
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PlayRules:
    """`rate_max_age_s`: a rate older than this is not known."""

    decimals: Mapping[str, int]
    rate_max_age_s: float


@dataclass(frozen=True, slots=True)
class _Standing:
    status: Status
    excluded_until: datetime | None
    cooling_off_until: datetime | None
    limits: Sequence[PlayLimit]

    def refusal(self, now: datetime) -> Refusal | None:
        """Why it may not bet at all."""
        if self.status is not Status.ACTIVE:
            return Refusal("account_not_active", f"the account is {self.status}")
        for until, what in ((self.excluded_until, "self-excluded"), (self.cooling_off_until, "cooling off")):
            if until is not None and until > now:
                return Refusal("account_not_active", f"the account is {what} until {until.isoformat()}")
        return None


async def make_transfers(
    conn: Connection, transfers: Sequence[Transfer], rules: PlayRules, now: datetime
) -> list[Made | Refusal]:
    """In order. In a transaction; raises as `post_each` does.

    Who is not active cannot bet; what was bet before can still be won, refunded, corrected, and a bet that comes again
    is there, whatever became of the account since. Within one batch a bet counts for the limits of the ones behind it
    even when the balance does not cover it.
    """
    standings = await _standings(conn, {one.account_id for one in transfers}, now)
    made_before = await _made_before(conn, transfers, standings, now)
    denials = await _denials(conn, transfers, standings, made_before, rules, now)
    asked = [one for one, denial in zip(transfers, denials, strict=True) if denial is None]
    made = iter(await _post(conn, asked, now))
    return [next(made) if denial is None else denial for denial in denials]


async def _standings(
    conn: Connection, accounts: Iterable[UUID], now: datetime
) -> Mapping[UUID, _Standing | None]:
    """Of accounts that something may keep from playing; None where there is no such account.

    Those with limits are held until the transaction ends, so that two bets at once see each other.
    """
    rows = await conn.fetch(SQL["standings"], list(accounts))
    limited = [row["id"] for row in rows if row["limited"]]
    if limited:
        held = {row["id"]: row for row in await conn.fetch(SQL["hold_standings"], limited)}
        rows = [held.get(row["id"], row) for row in rows]
    return {row["id"]: None if row["status"] is None else _standing(row, now) for row in rows}


def _standing(row: Any, now: datetime) -> _Standing:
    text = row["play_limits"]
    if row["next_play_limits_at"] is not None and row["next_play_limits_at"] <= now:
        text = row["next_play_limits"]
    return _Standing(
        Status(row["status"]),
        row["excluded_until"],
        row["cooling_off_until"],
        () if text == _NO_LIMITS else _LIMITS.decode(text),
    )


async def _made_before(
    conn: Connection,
    transfers: Sequence[Transfer],
    standings: Mapping[UUID, _Standing | None],
    now: datetime,
) -> frozenset[str]:
    """Keys that the ledger knows. Only of accounts whose standing may refuse a bet: for others it decides alone."""
    restricted = {id_ for id_, one in standings.items() if one and (one.limits or one.refusal(now))}
    asked = [one.key for one in transfers if one.account_id in restricted]
    return frozenset(row["key"] for row in await conn.fetch(SQL["times"], asked)) if asked else frozenset()


async def _denials(
    conn: Connection,
    transfers: Sequence[Transfer],
    standings: Mapping[UUID, _Standing | None],
    made_before: Collection[str],
    rules: PlayRules,
    now: datetime,
) -> list[Refusal | None]:
    if not standings:
        return [None] * len(transfers)
    today = now.date()
    limits = {id_: standing.limits for id_, standing in standings.items() if standing and standing.limits}
    history = await _history(conn, limits, today) if limits else {}
    needs_rates = any(limit.asset is None for own in limits.values() for limit in own)
    known = await read_rates(conn, now - timedelta(seconds=rules.rate_max_age_s)) if needs_rates else {}
    rates = Rates(rules.decimals, known)
    found = list[Refusal | None]()
    for one in transfers:
        if one.account_id not in standings or one.key in made_before:
            found.append(None)  # nothing to ask of; it counts already, on its day
            continue
        standing = standings[one.account_id]
        if standing is None:
            found.append(Refusal("unknown_account", "no such account"))
            continue
        denial = None
        if one.kind is TransferKind.BET:
            played = history.get(one.account_id, [])
            denial = standing.refusal(now) or _over(standing.limits, one, played, rates, today)
        if denial is None and standing.limits:
            history.setdefault(one.account_id, []).append(_played(one, today))
        found.append(denial)
    return found


def _over(
    limits: Sequence[PlayLimit], one: Transfer, played: Sequence[Played], rates: Rates, today: date
) -> Refusal | None:
    for kind in (LimitKind.LOSS, LimitKind.WAGER):
        over = reached(limits, kind, one.asset, one.amount, played, rates, today)
        if over is not None:
            return Refusal("rate_unknown" if over.limit is None else "limit_exceeded", over.detail)
    return None


def _played(one: Transfer, today: date) -> Played:
    empty = Played(today, one.asset)
    match one.kind:
        case TransferKind.BET:
            return replace(empty, bet=one.amount)
        case TransferKind.WIN:
            return replace(empty, win=one.amount)
        case TransferKind.REFUND:
            return replace(empty, refund=one.amount)
    return empty


async def _history(
    conn: Connection, limits: Mapping[UUID, Sequence[PlayLimit]], today: date
) -> dict[UUID, list[Played]]:
    begins = [earliest(own, today) for own in limits.values()]
    rows = await conn.fetch(SQL["played"], list(limits), begins)
    found: defaultdict[UUID, list[Played]] = defaultdict(list)
    for row in rows:
        found[row["account_id"]].append(
            Played(row["day"], row["asset"], int(row["bet"]), int(row["win"]), int(row["refund"]))
        )
    return dict(found)


async def _post(conn: Connection, transfers: Sequence[Transfer], now: datetime) -> list[Made | Refusal]:
    """The ledger, the day and the rounds, in one round trip."""
    if not transfers:
        return []
    sides = [_POSTINGS[one.kind] for one in transfers]
    pairs = dict.fromkeys((role, one.asset) for (_, role), one in zip(sides, transfers, strict=True))
    houses = dict(zip(pairs, await ensure_accounts(conn, [house(*pair) for pair in pairs]), strict=True))
    keys = [one.key for one in transfers]
    columns = (
        arrays.texts(keys),
        arrays.texts(
            [
                PostingKind.ADJUSTMENT_DEBIT if one.takes else kind
                for (kind, _), one in zip(sides, transfers, strict=True)
            ]
        ),
        [one.account_id for one in transfers],
        arrays.texts([one.asset for one in transfers]),
        arrays.numbers(
            [str(houses[role, one.asset]) for (_, role), one in zip(sides, transfers, strict=True)]
        ),
        arrays.numbers([str(one.amount) for one in transfers]),
        arrays.texts([one.reference for one in transfers]),
        arrays.texts([one.product for one in transfers]),
        arrays.texts([one.round for one in transfers]),
        now,
        len(set(keys)) < len(keys),
    )
    try:
        row = await conn.fetchrow(SQL["post"], *columns)
        if row is None:
            players = dict.fromkeys(player(one.account_id, one.asset) for one in transfers)
            await ensure_accounts(conn, list(players))
            row = await conn.fetchrow(SQL["post"], *columns)
    except asyncpg.PostgresError as error:
        raise named(error) from error
    assert row is not None
    totals, unfinalized, held = (map(int, row[name].split(" ")) for name in ("totals", "unfinalized", "held"))
    balances = map(Balance, totals, unfinalized, held)
    made_at = row["made_at"] or repeat(now, len(transfers))
    return [_outcome(*one) for one in zip(row["statuses"], balances, made_at, strict=True)]


def _outcome(status: str, balance: Balance, made_at: datetime) -> Made | Refusal:
    match status:
        case PostingStatus.CREATED:
            return Made(True, balance, made_at)
        case PostingStatus.EXISTS:
            return Made(False, balance, made_at)
        case PostingStatus.INSUFFICIENT_FUNDS:
            return Refusal("insufficient_funds", "the playable balance does not cover the amount")
    assert status == PostingStatus.CONFLICT
    return Refusal("idempotency_key_reused", "use a new key for a new transfer")


@dataclass(frozen=True, slots=True)
class RoundEntry:
    """One move of one account in a round."""

    account_id: UUID
    product: str
    asset: str
    kind: TransferKind
    amount: int
    created_at: datetime


async def read_round(conn: Connection, name: str, limit: int) -> Sequence[RoundEntry]:
    """What was moved in a round, oldest first; at most `limit`."""
    rows = await conn.fetch(SQL["round"], name, limit)
    return [
        RoundEntry(
            row["account_id"],
            row["product"],
            row["asset"],
            TransferKind(row["kind"]),
            int(row["amount"]),
            row["created_at"],
        )
        for row in rows
    ]
