"""A platform with referrals on a real database: accounts, codes and deposits in few words, and the worker by hand."""

import os
import uuid
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from cryptowatch.accounts.players import LimitRules, PlayerPatch, Profile, Status, create_player, patch_player
from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.ids import derived_id
from cryptowatch.ledger.accounts import ensure_players
from cryptowatch.ledger.balances import account_balance
from cryptowatch.ledger.events import NewEvent, append_events, sequence_events
from cryptowatch.ledger.verify import verify
from cryptowatch.referrals.attribution import Bounds, Newcomer, attribute
from cryptowatch.referrals.codes import own_code
from cryptowatch.referrals.facts import Promises
from cryptowatch.referrals.machine import Event
from cryptowatch.referrals.programmes import Given, ProgrammeView, create_programme
from cryptowatch.referrals.qualify import reconsider
from cryptowatch.referrals.refusal import Refusal
from cryptowatch.referrals.reviews import review
from cryptowatch.referrals.terms import Terms
from cryptowatch.referrals.view import ReferralView
from cryptowatch.referrals.worker import ReferralWorker
from tests.support.moving_clock import MovingClock

DECIMALS = {"BTC": 8}
BOUNDS = Bounds(levels_max=5, circle_steps_max=20)
HOLD_S = 3600
#: Ten percent of the first deposit of at least 1000 satoshi for the referrer, five for theirs.
TERMS: dict[str, Any] = {
    "act": {"kind": "first_deposit", "minimum": {"BTC": "0.00001"}},
    "levels": [
        {"kind": "percentage", "parts_per_million": 100_000},
        {"kind": "percentage", "parts_per_million": 50_000},
    ],
    "hold_s": HOLD_S,
    "window_s": 3600,
}


@dataclass
class Platform:
    pool: Pool
    clock: MovingClock = field(default_factory=MovingClock)
    batch_max: int = 100
    promises: Promises = field(default_factory=lambda: Promises(DECIMALS))

    @property
    def worker(self) -> ReferralWorker:
        return ReferralWorker(self.pool, self.clock, self.promises, self.batch_max, activity_interval_s=60)

    async def programme(self, name: str = "it", *, is_default: bool = True, **terms: Any) -> ProgrammeView:
        wanted = Given(msgspec.convert(TERMS | terms, Terms), self.promises.decimals)
        async with transaction(self.pool) as conn:
            view = await create_programme(
                conn, self.new_id(), name, wanted, is_default=is_default, now=self.clock.now()
            )
        assert isinstance(view, ProgrammeView)
        return view

    def new_id(self) -> UUID:
        return derived_id(self.clock.now(), os.urandom(16))

    async def account(self, referrer: UUID | None = None) -> UUID:
        """A new player, by the referrer's code where one is given."""
        account_id, now = self.new_id(), self.clock.now()
        code = None if referrer is None else await self.code(referrer)
        async with transaction(self.pool) as conn:
            await create_player(conn, account_id, uuid.uuid4().hex, Profile(), now)
            if code is not None:
                view = await attribute(conn, Newcomer(account_id, None), code, BOUNDS, now)
                assert isinstance(view, ReferralView), view
        return account_id

    async def chain(self, length: int) -> list[UUID]:
        """Accounts of which each referred the next."""
        accounts = [await self.account()]
        while len(accounts) < length:
            accounts.append(await self.account(accounts[-1]))
        return accounts

    async def code(self, account_id: UUID) -> str:
        async with transaction(self.pool) as conn:
            return await own_code(conn, account_id, os.urandom, self.clock.now())

    async def enter(self, account_id: UUID, code: str) -> ReferralView | Refusal:
        """A code that is entered later."""
        async with transaction(self.pool) as conn:
            signed_up = await conn.fetchval("SELECT created_at FROM account WHERE id = $1", account_id)
            return await attribute(conn, Newcomer(account_id, signed_up), code, BOUNDS, self.clock.now())

    async def verified(self, account_id: UUID, kyc_level: int = 1, status: Status | None = None) -> None:
        patch, rules = PlayerPatch(status=status, kyc_level=kyc_level), LimitRules(0, {})
        async with transaction(self.pool) as conn:
            await patch_player(conn, account_id, patch, rules, self.clock.now())

    async def deposit(self, account_id: UUID, amount: int = 10_000, asset: str = "BTC") -> UUID:
        """A final deposit, as far as referrals see it: its row and its event."""
        deposit_id, now = self.new_id(), self.clock.now()
        async with transaction(self.pool) as conn:
            await conn.execute(
                "INSERT INTO deposit (id, chain, tx_hash, position, account_id, asset, amount, destination, state,"
                " block_height, block_hash, inclusion, credit_confirmations, finalize_confirmations, version,"
                " created_at, updated_at) VALUES"
                " ($1, 'bitcoin', $2, 0, $3, $4, $5, $2, 'finalized', 1, $2, 1, 1, 3, 1, $6, $6)",
                deposit_id,
                os.urandom(32),
                account_id,
                asset,
                amount,
                now,
            )
            await self._tell(conn, deposit_id, "finalized")
        return deposit_id

    async def reverse(self, deposit_id: UUID) -> None:
        await self._become(deposit_id, "reversed", "NULL")

    async def finalize(self, deposit_id: UUID) -> None:
        """Once more, in another block."""
        await self._become(deposit_id, "finalized", "1")

    async def _become(self, deposit_id: UUID, state: str, height: str) -> None:
        block = "NULL" if height == "NULL" else "tx_hash"
        async with transaction(self.pool) as conn:
            await conn.execute(
                f"UPDATE deposit SET state = $2, block_height = {height}, block_hash = {block},"
                " version = version + 1 WHERE id = $1",
                deposit_id,
                state,
            )
            await self._tell(conn, deposit_id, state)

    async def _tell(self, conn: Any, deposit_id: UUID, state: str) -> None:
        version, account_id = await conn.fetchrow(
            "SELECT version, account_id FROM deposit WHERE id = $1", deposit_id
        )
        event = NewEvent(
            f"deposit.{state}", "deposit", deposit_id.hex, version, account_id, "{}", self.clock.now()
        )
        await append_events(conn, [event])

    async def trait(self, kind: str, value: str, *accounts: UUID) -> None:
        async with connection(self.pool) as conn:
            for account_id in accounts:
                await conn.execute(
                    "INSERT INTO account_trait VALUES ($1, $2, $3, $4, $4)",
                    account_id,
                    kind,
                    value,
                    self.clock.now(),
                )

    async def plays(self, account_id: UUID, bet: int) -> None:
        async with connection(self.pool) as conn:
            await conn.execute(
                "INSERT INTO play_day (account_id, day, asset, product, bet) VALUES ($1, $2, 'BTC', 'slots', $3)",
                account_id,
                self.clock.now().date(),
                bet,
            )

    async def follow(self) -> None:
        """The whole feed, as far as it is told."""
        async with connection(self.pool) as conn:
            await sequence_events(conn)
        while await self.worker.follow():
            pass
        while await self.worker.look_at_play():
            pass

    async def settle(self) -> None:
        """The feed, and then every payment whose hold period is over by now."""
        await self.follow()
        while await self.worker.pay():
            pass

    async def after_hold(self) -> None:
        """What is decided by now is paid, and what came before that is."""
        await self.settle()
        self.clock.move(HOLD_S + 1)
        await self.settle()

    async def look_again(self, *accounts: UUID) -> None:
        async with transaction(self.pool) as conn:
            await reconsider(conn, accounts, self.promises, self.clock.now())

    async def review(self, reward_id: UUID, event: Any = Event.APPROVE) -> object:
        async with transaction(self.pool) as conn:
            return await review(
                conn, reward_id, event, by="key_1", reason=None, decimals=DECIMALS, now=self.clock.now()
            )

    async def rewards(self) -> list[asyncpg.Record]:
        query = "SELECT * FROM referral_reward ORDER BY account_id, round, level"
        return list(await self.pool.fetch(query))

    async def states(self) -> list[tuple[int, str]]:
        return [(row["amount"], row["state"]) for row in await self.rewards()]

    async def balance(self, account_id: UUID) -> int:
        async with transaction(self.pool) as conn:
            account = (await ensure_players(conn, [(account_id, "BTC")]))[account_id, "BTC"]
            found = await account_balance(conn, account)
        assert found is not None
        return found.total

    async def counts(self, account_id: UUID) -> list[tuple[int, int]]:
        query = "SELECT referred, qualified FROM referral_count WHERE referrer_id = $1 ORDER BY level"
        return [tuple(row) for row in await self.pool.fetch(query, account_id)]

    async def story(self, entity_kind: str) -> list[str]:
        query = "SELECT type FROM event WHERE entity_kind = $1 ORDER BY id"
        return [row["type"] for row in await self.pool.fetch(query, entity_kind)]

    async def assert_sound(self) -> None:
        """Ledger and events keep their rules; tallies are the sums of the rewards, and the ledger's of those paid."""
        async with connection(self.pool) as conn:
            report = await verify(conn)
            assert report.sound, report.findings[:5]
            wrong = await conn.fetch(_WRONG_TALLIES)
            assert wrong == []
            wrong = await conn.fetch(_WRONG_COUNTS)
            assert wrong == []

    def with_batches_of(self, batch_max: int) -> "Platform":
        return replace(self, batch_max=batch_max)


_WRONG_TALLIES = """
WITH counted AS (
    SELECT w.referrer_id, w.programme_id, w.asset, s.scope,
           sum(w.amount) FILTER (WHERE w.state IN ('held', 'flagged')) AS open,
           sum(w.amount) FILTER (WHERE w.state = 'paid') AS paid
    FROM referral_reward w
    CROSS JOIN LATERAL unnest(ARRAY['all', 'level:' || w.level, 'day:' || w.day]) AS s (scope)
    GROUP BY 1, 2, 3, 4
)
SELECT t.*, c.* FROM referral_tally t FULL JOIN counted c USING (referrer_id, programme_id, asset, scope)
WHERE coalesce(t.open, 0) <> coalesce(c.open, 0) OR coalesce(t.paid, 0) <> coalesce(c.paid, 0)
"""
_WRONG_COUNTS = """
WITH counted AS (
    SELECT u.referrer_id, u.level, count(*) AS referred, count(*) FILTER (WHERE r.state = 'qualified') AS qualified
    FROM referral r CROSS JOIN LATERAL unnest(r.ancestors) WITH ORDINALITY AS u (referrer_id, level)
    GROUP BY 1, 2
)
SELECT * FROM referral_count t FULL JOIN counted c USING (referrer_id, level)
WHERE (t.referred, t.qualified) IS DISTINCT FROM (c.referred, c.qualified)
"""
