"""Any programme, any history of deposits and reorgs, read in any portions: referrals end where the facts are (P2)."""

import asyncio
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptowatch.db.pool import Pool, open_pool
from cryptowatch.money import format_amount
from tests.support.referrals import Platform

ACCOUNTS = 6
AMOUNTS = st.integers(1, 500)
#: In the order of `_BEYOND`; None does not limit.
CAPS = st.none() | st.lists(st.none() | st.integers(0, 700), min_size=3, max_size=3)
CAP_NAMES = ("per_referrer", "per_level", "per_day")
#: Account n is referred by one of those before it.
PARENTS = st.tuples(*(st.integers(0, n - 1) for n in range(1, ACCOUNTS)))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["deposit", "deposit", "small", "turn", "turn", "follow", "follow", "follow", "pay", "again"]
        ),
        st.integers(0, 99),
    ),
    min_size=12,
    max_size=24,
)

#: What a referrer has that is open or paid, beyond the lowest cap of its kind.
_BEYOND = """
SELECT w.referrer_id, sum(w.amount) FROM referral_reward w
WHERE w.programme_id = $1 AND w.state IN ('held', 'flagged', 'paid')
GROUP BY GROUPING SETS ((w.referrer_id), (w.referrer_id, w.level), (w.referrer_id, w.day))
HAVING sum(w.amount) > CASE WHEN GROUPING(w.level) = 0 THEN $3::numeric
                            WHEN GROUPING(w.day) = 0 THEN $4::numeric ELSE $2::numeric END
"""


async def _play(
    pool: Pool,
    rewards: list[int],
    caps: list[int | None] | None,
    parents: tuple[int, ...],
    steps: list[tuple[str, int]],
) -> None:
    platform = Platform(pool, batch_max=3)
    levels = [{"kind": "fixed", "asset": "BTC", "amount": format_amount(amount, 8)} for amount in rewards]
    limits = caps or [None] * 3
    told = {
        name: None if cap is None else format_amount(cap, 8)
        for name, cap in zip(CAP_NAMES, limits, strict=True)
    }
    programme = await platform.programme(platform.new_id().hex, levels=levels, hold_s=0, caps={"BTC": told})
    accounts = [await platform.account()]
    for parent in parents:
        accounts.append(await platform.account(accounts[parent]))
    final: dict[UUID, tuple[int, bool]] = {}
    for step, number in steps:
        if step in ("deposit", "small"):
            owner = number % ACCOUNTS
            deposit = await platform.deposit(accounts[owner], 1000 if step == "deposit" else 999)
            if step == "deposit":
                final[deposit] = owner, True
        elif step == "turn" and final:
            deposit = list(final)[number % len(final)]
            owner, is_final = final[deposit]
            await (platform.reverse if is_final else platform.finalize)(deposit)
            final[deposit] = owner, not is_final
        elif step == "follow":
            await platform.with_batches_of(1 + number % 4).follow()
        elif step == "pay":
            await platform.worker.pay()
        elif step == "again":
            await platform.look_again(*accounts)
        assert await pool.fetch(_BEYOND, UUID(hex=programme.id.partition("_")[2]), *limits) == []
    await platform.settle()
    if caps is None:
        expected = [0] * ACCOUNTS
        for owner in {owner for owner, is_final in final.values() if is_final}:
            above = owner
            for amount in rewards:
                if above == 0:
                    break
                above = parents[above - 1]
                expected[above] += amount
        assert [await platform.balance(account) for account in accounts] == expected
    await platform.look_again(*accounts)
    await platform.settle()
    await platform.assert_sound()


def test_p2_any_history_ends_where_the_facts_are_and_never_beyond_a_cap(database: str) -> None:
    with asyncio.Runner() as runner:
        opened = open_pool(database, application_name="test", size_max=2)
        pool = runner.run(opened.__aenter__())

        @settings(
            max_examples=30,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.tuples(st.lists(AMOUNTS, min_size=1, max_size=3), CAPS, PARENTS, STEPS))
        def every(drawn: Any) -> None:
            runner.run(_play(pool, *drawn))

        every()
        for happened in ("state = 'reversed'", "state = 'paid'", "reason LIKE 'cap%'"):
            query = f"SELECT count(*) FROM referral_reward WHERE {happened}"
            assert runner.run(pool.fetchval(query)) > 2, f"the histories never came to {happened}"
        runner.run(opened.__aexit__(None, None, None))
