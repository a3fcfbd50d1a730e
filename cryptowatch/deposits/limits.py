"""Which deposits go beyond what their players set themselves: they wait for a person, as nobody can refuse a payment.

Called by `apply` and `pending` inside their transactions, before the machine sees what is new. Only accounts that have
such a limit cost a statement.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from cryptowatch.accounts.limits import LimitKind, Played, PlayLimit, Rates, earliest, reached
from cryptowatch.accounts.players import Player, read_players
from cryptowatch.chains.port import Transfer
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits.policy import AssetPolicy
from cryptowatch.money import BaseUnits

SQL = load_queries(__package__, "limits.sql")


async def beyond_limits(
    conn: Connection,
    owners: Mapping[bytes, Any],
    transfers: Sequence[Transfer],
    assets: Mapping[str, AssetPolicy],
    now: datetime,
) -> frozenset[tuple[bytes, int]]:
    """(transaction, position) of those transfers that, in the order given, are more than their player wanted.

    `owners`: by destination, as `our_destinations` finds them. What is known already counts as deposited, so only new
    ones may be asked about.
    """
    limited = {owner["account_id"] for owner in owners.values() if owner["deposit_limited"]}
    if not limited:
        return frozenset()
    players = {player.id: player for player in await read_players(conn, sorted(limited))}
    limits = {id_: deposit_limits(player, now) for id_, player in players.items()}
    history = await deposited(conn, limits, now)
    rates = Rates({asset: policy.decimals for asset, policy in assets.items()}, {})
    found = set[tuple[bytes, int]]()
    for transfer in transfers:
        owner = owners.get(transfer.destination)
        if owner is None or owner["account_id"] not in limited:
            continue
        own, asset = owner["account_id"], transfer.asset
        before = history.setdefault(own, [])
        if reached(limits[own], LimitKind.DEPOSIT, asset, transfer.amount, before, rates, now.date()):
            found.add((transfer.tx_hash, transfer.position))
        else:
            before.append(Played(now.date(), asset, deposited=transfer.amount))
    return frozenset(found)


def deposit_limits(player: Player, now: datetime) -> Sequence[PlayLimit]:
    return [limit for limit in player.limits_at(now) if limit.kind is LimitKind.DEPOSIT]


async def deposited(
    conn: Connection, limits: Mapping[UUID, Sequence[PlayLimit]], now: datetime
) -> dict[UUID, list[Played]]:
    """What accounts deposited since their limits look at it: what stands, not what waits for a person."""
    begins = [earliest(own, now.date()) for own in limits.values()]
    found = dict[UUID, list[Played]]()
    for row in await conn.fetch(SQL["deposited"], list(limits), begins):
        played = Played(row["day"], row["asset"], deposited=int(row["amount"]))
        found.setdefault(row["account_id"], []).append(played)
    return found


def is_full(
    limits: Sequence[PlayLimit], asset: str, decimals: int, history: Sequence[Played], now: datetime
) -> bool:
    """Whether nothing more can be deposited now."""
    rates = Rates({asset: decimals}, {})
    return reached(limits, LimitKind.DEPOSIT, asset, BaseUnits(1), history, rates, now.date()) is not None
