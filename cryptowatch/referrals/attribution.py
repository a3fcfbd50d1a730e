"""Who referred whom: written once, at the sign-up or by a code that is entered later, within the programme's window.

Called by the API inside its transactions. The ancestors are kept with the referral, so that neither rewards nor counts
walk up a tree; a circle can only be closed by a code that is entered later, and only there one is looked for. Keeps P8:
one event, `referral.attributed`, by which the worker counts it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ledger.events import append_events
from cryptowatch.referrals.refusal import Refusal
from cryptowatch.referrals.spelling import fold
from cryptowatch.referrals.terms import ActivityTerms, Terms
from cryptowatch.referrals.view import ReferralView, referral_event, referral_view

SQL = load_queries(__package__, "attribution.sql")


@dataclass(frozen=True, slots=True)
class Bounds:
    """`levels_max`: of ancestors that are kept. `circle_steps_max`: how far up a circle is looked for."""

    levels_max: int
    circle_steps_max: int


@dataclass(frozen=True, slots=True)
class Newcomer:
    """`signed_up_at` None: just now, in this transaction."""

    account_id: UUID
    signed_up_at: datetime | None


async def attribute(
    conn: Connection, newcomer: Newcomer, text: str, bounds: Bounds, now: datetime
) -> ReferralView | Refusal:
    """After a Refusal nothing is written."""
    found = await conn.fetchrow(SQL["code"], fold(text))
    if found is None:
        return Refusal("unknown_referral_code", "there is no such code, or it refers nobody any more")
    if found["referrer_id"] == newcomer.account_id:
        return Refusal("own_referral_code", "an account cannot refer itself")
    terms = None if found["terms"] is None else msgspec.json.decode(found["terms"], type=Terms)
    circular = False
    if newcomer.signed_up_at is not None:
        window_s = 0 if terms is None else terms.window_s
        if now > newcomer.signed_up_at + timedelta(seconds=window_s):
            return Refusal("referral_window_over", f"a code is taken for {window_s} s after the sign-up")
        await conn.execute(SQL["one_at_a_time"])
        circular = await _closes_circle(conn, newcomer.account_id, found["referrer_id"], bounds)
    row = await conn.fetchrow(
        SQL["insert"],
        newcomer.account_id,
        found["referrer_id"],
        _ancestors(found, newcomer.account_id, bounds),
        found["code"],
        found["programme_id"],
        found["terms_version"],
        circular,
        now if terms is not None and isinstance(terms.act, ActivityTerms) else None,
        now,
    )
    if row is None:
        return Refusal("already_referred", "the account was referred before")
    await append_events(conn, [referral_event(row, "attributed", 1, now)])
    return referral_view(row)


async def referrer_of(conn: Connection, account_id: UUID) -> UUID | None:
    found: UUID | None = await conn.fetchval(SQL["referrer"], account_id)
    return found


def _ancestors(found: asyncpg.Record, account_id: UUID, bounds: Bounds) -> list[UUID]:
    """In a circle nobody stands above themselves: whoever is the account itself, and who follows, is left out."""
    above = [found["referrer_id"], *(found["ancestors"] or ())][: bounds.levels_max]
    return above[: above.index(account_id)] if account_id in above else above


async def _closes_circle(conn: Connection, account_id: UUID, referrer_id: UUID, bounds: Bounds) -> bool:
    if not await conn.fetchval(SQL["has_referred"], account_id):
        return False
    return bool(await conn.fetchval(SQL["stands_above"], account_id, referrer_id, bounds.circle_steps_max))
