"""Many small coins become few while fees are low, within limits, and nobody waits for it."""

from typing import Any

import pytest

from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, paid_to
from tests.support.running import FINAL, Site, sat, strangers_address
from tests.support.spending import script, signed, strangers_coin

#: Dust costs more than a quarter of itself to spend at two satoshi per virtual byte.
COIN, DUST = 30_000, 500
INPUTS, KEPT, IN_FLIGHT = 400, 100, 4


async def rains_coins(site: Site, amounts: list[int]) -> None:
    """So many deposits at one address of the player, in transactions of strangers; pending."""
    to = script(
        await site.pool.fetchval(
            "SELECT address FROM address WHERE account_id IS NOT NULL ORDER BY assigned_at LIMIT 1"
        )
    )
    for first in range(0, len(amounts), 2_500):
        part = amounts[first : first + 2_500]
        keys, coin = await strangers_coin(site.net, "1")
        _, raw = signed(keys, [coin], [(to, amount) for amount in part])
        await site.net.bitcoin[0].rpc("sendrawtransaction", raw, 0)


async def free_coins(site: Site) -> list[int]:
    rows = await site.pool.fetch(
        "SELECT amount FROM coin WHERE spent_by IS NULL AND reserved_by IS NULL ORDER BY amount"
    )
    return [int(row["amount"]) for row in rows]


async def merging(site: Site) -> list[dict[str, Any]]:
    """Every consolidation: state, inputs, fee and size."""
    rows = await site.pool.fetch(
        "SELECT l.state, a.fee, a.size, json_array_length(a.plan -> 'input_paths') AS inputs, l.attempts "
        "FROM lineage l JOIN attempt a ON a.lineage_id = l.id WHERE l.kind = 'consolidation'"
    )
    return [dict(row) for row in rows]


@pytest.mark.slow
async def test_twenty_thousand_coins_are_merged_within_limits_while_players_are_paid(
    make_site: MakeSite,
) -> None:
    wallet = {"coins_max": KEPT, "inputs": INPUTS, "in_flight_max": IN_FLIGHT, "interval_s": 0.3}
    site = await make_site(
        # Each look adds up twenty thousand coins.
        treasury={"reconcile_interval_s": 2},
        chains={
            "bitcoin": {
                "wallet": {"consolidation": wallet, "bump_after_blocks": 2},
                "fees": {"floor_sat_vb": 2, "target_blocks": {"economy": 2, "normal": 2, "urgent": 1}},
            }
        },
    )
    await site.start()
    player, address = await site.player(), strangers_address()
    await player.address()
    await site.stop_daemon()  # so that nobody asks for each of these before it is in a block
    await rains_coins(site, [COIN] * 20_000 + [DUST] * 50)
    await site.net.mine(FINAL)
    await site.start_daemon(timeout_s=120)
    total = 20_000 * COIN + 50 * DUST
    assert (await player.balance()).withdrawable == total

    async def some() -> bool:
        return len(await merging(site)) >= IN_FLIGHT

    await site.until(some)
    withdrawal = await player.withdraw(sat("0.1"), address, priority="urgent")
    await site.reaches(withdrawal, "sending")
    # Nobody mines: what is merged is as much as may be on its way, and its fee is not raised.
    await site.mine_empty(4)
    await site.polled(5)
    on_their_way = [one for one in await merging(site) if one["state"] == "open"]
    assert (len(on_their_way), {one["attempts"] for one in on_their_way}) == (IN_FLIGHT, {1})

    async def no_more_can_begin() -> bool:
        on_their_way = sum(one["state"] == "open" for one in await merging(site))
        assert on_their_way <= IN_FLIGHT
        return on_their_way == IN_FLIGHT or len(await free_coins(site)) - 50 < KEPT + INPUTS

    # A block holds those that were signed and sent by then: not always as many as may be on their way.
    for _ in range(100):
        await site.until(no_more_can_begin)
        if all(one["state"] != "open" for one in await merging(site)):
            break
        await site.mine()
    done = []
    for _ in range(20):
        # What becomes final may be enough for one more.
        await site.mine(FINAL)
        await site.polled(10)
        done = await merging(site)
        if {one["state"] for one in done} == {"finalized"}:
            break
    left = await free_coins(site)
    assert len(left) - 50 < KEPT + INPUTS
    merged_dust = await site.pool.fetchval(
        "SELECT count(*) FROM coin c JOIN lineage l ON l.tx_hash = c.spent_by "
        "WHERE l.kind = 'consolidation' AND c.amount = $1",
        DUST,
    )
    assert merged_dust == 0
    assert {(one["state"], one["inputs"]) for one in done} == {("finalized", INPUTS)}
    assert all(one["fee"] <= 10 * one["size"] for one in done)
    assert await paid_to(site, address) == [sat("0.1")]
    await assert_balanced(site)


async def test_coins_stay_as_they_are_while_fees_are_high_and_while_the_queue_needs_them(
    make_site: MakeSite,
) -> None:
    wallet = {"coins_max": 2, "inputs": 4, "interval_s": 0.05, "rate_max_sat_vb": 2}
    site = await make_site(chains={"bitcoin": {"wallet": {"consolidation": wallet}}})
    await site.start()
    player = await site.player()
    await player.address()
    await rains_coins(site, [COIN] * 8)
    await site.mine(FINAL)
    await site.polled(5)
    assert await merging(site) == []  # the fallback rate is 5 sat/vB

    await site.stop_daemon()
    site.rewrite_settings(wallet={"consolidation": wallet | {"rate_max_sat_vb": 5}})
    await site.start_daemon(["watch", "api"])
    withdrawal = await player.withdraw(7 * COIN, strangers_address())
    await site.stop_daemon()
    await site.start_daemon()
    await site.reaches(withdrawal, "sending")
    assert await merging(site) == []
    await site.finished(withdrawal)
    await assert_balanced(site)
