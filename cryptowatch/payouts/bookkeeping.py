"""The ledger's side of withdrawals: hold at the request, then settle or release, never both (P2, P3).

Called by `requests` and `worker` inside their transactions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.ledger.accounts import ensure_accounts, ensure_players, house
from cryptowatch.ledger.postings import post, post_all
from cryptowatch.ledger.rules import HouseAccount, Kind, customer_posting, house_transfer
from cryptowatch.money import BaseUnits


async def hold(
    conn: Connection,
    account_id: UUID,
    asset: str,
    withdrawal_id: UUID,
    amount: int,
    now: datetime,
) -> bool:
    """Take amount and fee out of what can be withdrawn; False when final money does not cover it (P6)."""
    player = (await ensure_players(conn, [(account_id, asset)]))[account_id, asset]
    posting = customer_posting(Kind.HOLD, _key(withdrawal_id, "hold"), player, None, BaseUnits(amount))
    return (await post(conn, posting, now)).done


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
