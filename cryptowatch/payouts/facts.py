"""What the policy needs to know of requests, gathered in few statements whatever their number, and held until commit.

Called by `requests`, once for each group that is decided together; no account stands in a group twice. What is locked
(accounts, then balances, then assets with a limit for all, each in order) stays as it was found until the transaction
ends: two requests at once, in whatever processes, cannot both use what there is once.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.accounts.players import OwnLimits
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.accounts import ensure_players
from cryptowatch.ledger.rules import Balance, CustomerAccount
from cryptowatch.money import parse_amount
from cryptowatch.payouts.policy import (
    Facts,
    Limit,
    Owner,
    Used,
    WithdrawalPolicy,
    account_limits,
    window,
)

SQL = load_queries(__package__, "facts.sql")

#: Of an account that has none of its own, as most.
_NO_LIMITS: Final = "{}"


class Asked(msgspec.Struct, frozen=True):
    """Of one request, what facts are looked up by."""

    account_id: UUID
    chain: str
    asset: str
    destination: bytes
    denied: bool
    policy: WithdrawalPolicy


class Found(msgspec.Struct, frozen=True):
    """`recipient` is the player whose address it is, None for a stranger."""

    facts: Facts
    recipient: UUID | None
    #: The ledger's account of whoever asks.
    player: CustomerAccount


async def gather(conn: Connection, asked: Sequence[Asked], now: datetime) -> list[Found | None]:
    """In order; None where there is no such account."""
    rows = await conn.fetch(
        SQL["lock_accounts"],
        [one.account_id for one in asked],
        [one.chain for one in asked],
        [one.destination for one in asked],
    )
    accounts = {row["id"]: row for row in rows}
    known = [one for one in asked if one.account_id in accounts]
    if not known:
        return [None] * len(asked)
    # Those of the recipients are held too, as they may be credited: in one order, so that nobody waits in a ring.
    pairs = {(one.account_id, one.asset) for one in known}
    owners = [(accounts[one.account_id]["owner"], one.asset) for one in known]
    pairs |= {(owner, asset) for owner, asset in owners if owner is not None}
    players = await _lock_balances(conn, pairs)
    facts = [
        _facts(one, accounts[one.account_id], players[one.account_id, one.asset].balance) for one in known
    ]
    facts = await _with_wagers(conn, known, facts, players)
    facts = await _with_usage(conn, known, facts, now)
    found = {
        one.account_id: Found(
            fact, accounts[one.account_id]["owner"], players[one.account_id, one.asset].account
        )
        for one, fact in zip(known, facts, strict=True)
    }
    return [found.get(one.account_id) for one in asked]


class _Player(msgspec.Struct, frozen=True):
    account: CustomerAccount
    balance: Balance


_Players = Mapping[tuple[UUID, str], _Player]


async def _lock_balances(conn: Connection, pairs: Collection[tuple[UUID, str]]) -> _Players:
    """Two statements: one that joins them is planned badly while the tables are new."""
    players = await ensure_players(conn, sorted(pairs))
    rows = await conn.fetch(SQL["lock_balances"], list(players.values()))
    balances = {account: Balance(*parts) for account, *parts in rows}
    return {pair: _Player(account, balances[account]) for pair, account in players.items()}


def _facts(one: Asked, account: asyncpg.Record, balance: Balance) -> Facts:
    return Facts(
        status=account["status"],
        kyc_level=account["kyc_level"],
        balance=balance,
        owner=_owner(account),
        owner_status=account["owner_status"],
        denied=one.denied,
        under_review=account["under_review"],
        allow_list=account["allow_list"],
        usable_at=account["usable_at"],
        own_limits=own_limits(account["limits"], one.asset, one.policy.decimals),
    )


def _owner(found: asyncpg.Record) -> Owner:
    if found["branch"] is None:
        return Owner.STRANGER
    return Owner.WALLET if found["owner"] is None else Owner.PLAYER


def own_limits(text: str, asset: str, decimals: int) -> Sequence[Limit] | None:
    """The account's own of the asset; None when it has none, so that the settings' hold."""
    if text == _NO_LIMITS:
        return None
    given = msgspec.json.decode(text, type=OwnLimits).get(asset)
    if given is None:
        return None
    return tuple(
        Limit(one.hours, None if one.amount is None else parse_amount(one.amount, decimals), one.count)
        for one in given
    )


async def _with_wagers(
    conn: Connection,
    known: Sequence[Asked],
    facts: Sequence[Facts],
    players: _Players,
) -> list[Facts]:
    places = [place for place, one in enumerate(known) if one.policy.wager_thousandths]
    whole = list(facts)
    if places:
        ids = [players[known[place].account_id, known[place].asset].account for place in places]
        for place, row in zip(places, await conn.fetch(SQL["wagered"], ids), strict=True):
            whole[place] = msgspec.structs.replace(
                facts[place], deposited=row["deposited"], wagered=row["wagered"]
            )
    return whole


async def _with_usage(
    conn: Connection, known: Sequence[Asked], facts: Sequence[Facts], now: datetime
) -> list[Facts]:
    """What was asked for within each window that some limit has."""
    wanted = [
        (place, limit.hours)
        for place, (one, fact) in enumerate(zip(known, facts, strict=True))
        for limit in account_limits(fact, one.policy)
    ]
    used: list[dict[int, Used]] = [{} for _ in known]
    if wanted:
        rows = await conn.fetch(
            SQL["used"],
            [known[place].account_id for place, _ in wanted],
            [known[place].asset for place, _ in wanted],
            [now - window(hours) for _, hours in wanted],
        )
        for (place, hours), row in zip(wanted, rows, strict=True):
            used[place][hours] = Used(row["amount"], row["count"])
    by_all = await _used_by_all(conn, known, now)
    return [
        msgspec.structs.replace(fact, used=used[place], used_by_all=by_all.get(known[place].asset, {}))
        for place, fact in enumerate(facts)
    ]


async def _used_by_all(conn: Connection, known: Sequence[Asked], now: datetime) -> dict[str, dict[int, Used]]:
    hours_of = {
        one.asset: {limit.hours for limit in one.policy.global_limits}
        for one in known
        if one.policy.global_limits
    }
    for asset in sorted(hours_of):
        await conn.execute(SQL["lock_asset"], asset)
    wanted = [(asset, hours) for asset in sorted(hours_of) for hours in sorted(hours_of[asset])]
    if not wanted:
        return {}
    rows = await conn.fetch(
        SQL["used_by_all"], [asset for asset, _ in wanted], [now - window(hours) for _, hours in wanted]
    )
    found: dict[str, dict[int, Used]] = {asset: {} for asset in hours_of}
    for (asset, hours), row in zip(wanted, rows, strict=True):
        found[asset][hours] = Used(row["amount"], row["count"])
    return found
