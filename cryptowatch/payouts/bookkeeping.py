"""The ledger's side of withdrawals: hold at the request, then settle or release, never both (P2, P3).

Called by `requests`, `moves` and `worker` inside their transactions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.ledger.accounts import ensure_accounts, ensure_players, house
from cryptowatch.ledger.postings import post_all
from cryptowatch.ledger.rules import CustomerAccount, HouseAccount, Kind, customer_posting, house_transfer
from cryptowatch.money import BaseUnits


class Hold(msgspec.Struct, frozen=True):
    """What a withdrawal takes out of what can be withdrawn: amount and fee, in base units."""

    withdrawal_id: UUID
    player: CustomerAccount
    amount: int


async def hold_all(conn: Connection, holds: Sequence[Hold], now: datetime) -> None:
    """Raises PostingRefused when final money does not cover one (P6): its caller holds the balances and has looked."""
    postings = [
        customer_posting(Kind.HOLD, _key(one.withdrawal_id, "hold"), one.player, None, BaseUnits(one.amount))
        for one in holds
    ]
    await post_all(conn, postings, now)


@dataclass(frozen=True, slots=True)
class Payment:
    """A withdrawal to another player of the platform, or to the own deposit address. Base units; it has no fee."""

    withdrawal_id: UUID
    account_id: UUID
    recipient: UUID
    asset: str
    amount: int


async def pay_inside(conn: Connection, payments: Sequence[Payment], now: datetime) -> None:
    """The holds leave, and arrive as final deposits, by way of a house account that is always left at zero."""
    if not payments:
        return
    pairs = [(p.account_id, p.asset) for p in payments] + [(p.recipient, p.asset) for p in payments]
    players = await ensure_players(conn, pairs)
    assets = sorted({p.asset for p in payments})
    ids = await ensure_accounts(conn, [house("internal", asset) for asset in assets])
    between = {asset: HouseAccount(account) for asset, account in zip(assets, ids, strict=True)}
    postings = []
    for p in payments:
        sender, recipient = players[p.account_id, p.asset], players[p.recipient, p.asset]
        house_account, amount = between[p.asset], BaseUnits(p.amount)
        settled, held = _key(p.withdrawal_id, "settle"), _key(p.withdrawal_id, "hold")
        postings.append(
            customer_posting(Kind.HOLD_SETTLE, settled, sender, house_account, amount, resolves=held)
        )
        received = _key(p.withdrawal_id, "receive")
        postings.append(
            customer_posting(Kind.DEPOSIT_CREDIT_FINAL, received, recipient, house_account, amount)
        )
    await post_all(conn, postings, now)


async def release(
    conn: Connection,
    account_id: UUID,
    asset: str,
    withdrawal_id: UUID,
    amount: int,
    now: datetime,
) -> None:
    """Give the hold back, whole. Raises PostingRefused when it was settled: then it must not be."""
    player = (await ensure_players(conn, [(account_id, asset)]))[account_id, asset]
    await post_all(
        conn,
        [
            customer_posting(
                Kind.HOLD_RELEASE,
                _key(withdrawal_id, "release"),
                player,
                None,
                BaseUnits(amount),
                resolves=_key(withdrawal_id, "hold"),
            )
        ],
        now,
    )


@dataclass(frozen=True, slots=True)
class Settlement:
    """A withdrawal that is paid for good. Amounts in base units; `fee` is what the player paid for it."""

    withdrawal_id: UUID
    account_id: UUID
    asset: str
    amount: int
    fee: int


async def settle(conn: Connection, chain: str, settlements: Sequence[Settlement], now: datetime) -> None:
    """The holds leave for custody; the players' fees stay with us, as fee income."""
    if not settlements:
        return
    players = await ensure_players(conn, [(s.account_id, s.asset) for s in settlements])
    assets = sorted({s.asset for s in settlements})
    refs = [ref for asset in assets for ref in (house(f"custody:{chain}", asset), house("fee_income", asset))]
    ids = [HouseAccount(account) for account in await ensure_accounts(conn, refs)]
    sides = {asset: (ids[2 * n], ids[2 * n + 1]) for n, asset in enumerate(assets)}
    postings = []
    for s in settlements:
        custody, income = sides[s.asset]
        postings.append(
            customer_posting(
                Kind.HOLD_SETTLE,
                _key(s.withdrawal_id, "settle"),
                players[s.account_id, s.asset],
                custody,
                BaseUnits(s.amount + s.fee),
                resolves=_key(s.withdrawal_id, "hold"),
            )
        )
        if s.fee:
            postings.append(house_transfer(_key(s.withdrawal_id, "fee"), custody, income, BaseUnits(s.fee)))
    await post_all(conn, postings, now)


def _key(withdrawal_id: UUID, what: str) -> str:
    return f"wd:{withdrawal_id.hex}:{what}"
