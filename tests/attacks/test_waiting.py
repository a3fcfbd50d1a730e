"""What waits is seen to wait, with its reason, and told once."""

from datetime import timedelta

from prometheus_client import CollectorRegistry

from cryptowatch.chains.port import FeeMarket
from cryptowatch.instruments import DatabaseInstruments, chain_instruments
from cryptowatch.telemetry.metrics import create_metrics
from cryptowatch.treasury.consolidate import ConsolidationRules
from tests.attacks.world import ASSET, CHAIN, PATIENCE, World


async def test_withdrawals_that_are_held_are_counted_by_their_reason(world: World) -> None:
    metrics = create_metrics(CollectorRegistry())
    gauges = DatabaseInstruments(world.pool, metrics, world.clock)
    worker = world.worker(count_max=3)
    worker.observer = chain_instruments(CHAIN, metrics, world.clock)

    async def held() -> dict[str, float]:
        """Of each reason that holds up any."""
        await worker.step()
        await gauges.step()
        reasons = ("halted", "stopped", "uncovered", "cheaper_fees")
        labels = {"chain": CHAIN, "asset": ASSET}
        found = {
            reason: metrics.registry.get_sample_value(
                "cryptowatch_withdrawals_held", {**labels, "state": reason}
            )
            for reason in reasons
        }
        return {reason: count for reason, count in found.items() if count}

    account, destination = await world.rich()
    await world.coin(50_000_000, destination)
    await world.mine(3)
    assert await held() == {}
    await world.cheap_day()
    for _ in range(7):  # more than are looked at
        await world.withdraw(account, 100_000, "economy")
    await world.withdraw(account, 100_000_000)
    assert await held() == {"cheaper_fees": 7, "uncovered": 1}
    await world.pool.execute("UPDATE chain SET stopped_assets = $1", [ASSET])
    assert await held() == {"stopped": 8}
    await world.pool.execute("UPDATE chain SET halted = 'says the test', halted_at = now()")
    assert await held() == {"halted": 8}
    await world.pool.execute("UPDATE chain SET halted = NULL, halted_at = NULL, stopped_assets = '{}'")
    await world.pool.execute("UPDATE withdrawal SET created_at = now() - $1::interval", timedelta(days=1))
    # Three have left with the only coin.
    assert await held() == {"uncovered": 5}


async def test_a_withdrawal_on_a_chain_whose_nodes_never_agreed_waits_and_ends_no_daemon(
    world: World,
) -> None:
    metrics = create_metrics(CollectorRegistry())
    account, _ = await world.rich()
    await world.withdraw(account, 100_000)
    await world.pool.execute("UPDATE withdrawal SET chain = 'later'")
    await DatabaseInstruments(world.pool, metrics, world.clock).step()
    shown = [
        metrics.registry.get_sample_value(
            f"cryptowatch_withdrawals_{name}", {"chain": "later", "asset": ASSET, "state": state}
        )
        for name, state in (("waiting", "queued"), ("held", "halted"), ("held", "uncovered"))
    ]
    assert shown == [1, 0, 0]


async def test_a_refill_that_no_block_takes_is_told_once_and_never_raised(world: World) -> None:
    account, destination = await world.rich()
    await world.coin(50_000_000, destination)
    await world.mine(3)
    await world.withdraw(account, 100_000)
    await world.pay()
    [attempt] = await world.attempts()
    await world.pool.execute("UPDATE lineage SET kind = 'cold_refill', asset = NULL")
    world.nodes.market = FeeMarket({2: 50_000}, 1_000)

    async def told() -> list[str]:
        rows = await world.pool.fetch(
            "SELECT data ->> 'reason' AS reason FROM event WHERE type = 'transaction.stuck'"
        )
        return [row["reason"] for row in rows]

    await world.mine(PATIENCE - 1)
    await world.sender.step()
    assert await told() == []
    for _ in range(2):
        await world.mine(1)
        await world.sender.step()
    assert await told() == ["the fee that cold signed stays what it is"]
    assert await world.attempts() == [attempt]
    # In a block it is stuck no more; when that is left, its time begins anew.
    await world.mine_plans(attempt.plan)
    await world.back_to(world.at.height - 1)
    await world.mine(PATIENCE)
    await world.sender.step()
    await world.mine(1)
    await world.sender.step()
    assert len(await told()) == 2


async def test_coins_are_merged_in_the_cheapest_hours_of_the_day_alone(world: World) -> None:
    _, destination = await world.rich()
    for _ in range(4):
        await world.coin(1_000_000, destination)
    await world.mine(3)
    await world.cheap_day()
    consolidator = world.consolidator(ConsolidationRules(1, 2, 1, 100_000, 60))
    assert await consolidator.step() == 0
    await world.pool.execute("UPDATE fee_level SET level = 5000")
    await world.market.step()
    assert await consolidator.step() == 1
