"""Thirty SIGKILLs of the daemon at random moments under traffic on Ethereum: in the end all agrees to the last wei."""

import asyncio
import random
import secrets
from typing import Any

import pytest
from aiohttp import web

from tests.promises.conftest import MakeSite
from tests.promises.test_random_kills import KILLS, every_event_arrived
from tests.support import processes
from tests.support.books import assert_sound
from tests.support.ethereum import ETH, FINAL, USDC, USDT, House, lineages, paid_to
from tests.support.ethereum_traffic import EthereumTraffic
from tests.support.running import Site
from tests.webhooks.receiver import receiving

PLAYERS = 3
SETTINGS: dict[str, Any] = {
    "chains": {
        "ethereum": {
            "batching": {"wait_max_s": 0.5},
            "wallet": {"addresses_ahead": 200, "sweep_interval_s": 0.5},
        }
    }
}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_thirty_kills_at_random_moments_lose_nothing_and_double_nothing(
    make_ethereum_site: MakeSite,
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    site = await make_ethereum_site(**SETTINGS)
    daemon = await site.start_processes()
    house = House(site)
    async with receiving() as receiver:
        # Now and then the receiver is down, too.
        receiver.answer = lambda _: web.Response(status=503 if chance.random() < 0.05 else 204)
        made = await site.backend.post("/v1/webhook-endpoints", {"url": receiver.url, "event_types": []})
        assert made.status == 201, made
        await house.opens("500", "20000")
        players = await rich_players(site)
        traffic = EthereumTraffic(site, players, chance)
        for player in players:
            for currency in (ETH, USDT, USDC):
                balance = await player.using(currency).balance()
                traffic.expected[player.id, currency.asset] = balance.total
        running = asyncio.create_task(traffic.run())
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.1, 2.0))
            assert not running.done(), running
            processes.kill(daemon)
            daemon = site.spawn_daemon()
        await site.until(site.is_ready)
        traffic.stop()
        await running
        print(dict(traffic.counts))
        await finish(site, traffic)
        await everybody_agrees(house, traffic)
        await every_event_arrived(site, receiver, made.body["secret"])


async def rich_players(site: Site) -> list[Any]:
    """With something final of everything."""
    players = [await site.player(ETH) for _ in range(PLAYERS)]
    for player in players:
        for currency in (ETH, USDT, USDC):
            await site.net.send(await player.address(), "9", chain="ethereum", asset=currency.asset)
    await site.mine(FINAL, "ethereum")
    return players


async def finish(site: Site, traffic: EthereumTraffic) -> None:
    """Debts are paid, and blocks come until all is final and nothing is left to sweep."""
    for player in traffic.players:
        for currency in (ETH, USDT, USDC):
            owing = player.using(currency)
            debt = (await owing.balance()).debt
            if debt:
                assert (await owing.transfer("win", debt)).status == 201
                traffic.expected[player.id, currency.asset] += debt
    waiting = await site.backend.get("/v1/withdrawals", params={"state": "in_review", "limit": 200})
    for found in waiting.body["data"]:
        assert (await site.approver.post(f"/v1/withdrawals/{found['id']}/approve")).status == 200

    async def all_final() -> bool:
        await site.mine(1, "ethereum")
        await site.polled(2)
        unfinished = "SELECT count(*) FROM withdrawal WHERE state <> 'finalized'"
        states = {row["state"] for row in await lineages(site)}
        return states <= {"finalized", "dead"} and not await site.pool.fetchval(unfinished)

    await site.until(all_final, timeout_s=120)
    await site.mine(FINAL, "ethereum")


async def everybody_agrees(house: House, traffic: EthereumTraffic) -> None:
    """The parties' own accounts, the ledger and the chain."""
    site = house.site
    for currency, address, amount in traffic.withdrawals.values():
        assert await paid_to(site, currency, address) == amount
    kept = await site.pool.fetch(
        "SELECT tx_hash, count(*) AS rows FROM deposit WHERE block_height IS NOT NULL GROUP BY tx_hash"
    )
    rows = {row["tx_hash"].hex(): row["rows"] for row in kept}
    for tx_hash in traffic.deposits:
        assert rows.get(tx_hash) == 1, tx_hash
    for player in traffic.players:
        for currency in (ETH, USDT, USDC):
            balance = await player.using(currency).balance()
            assert (balance.unfinalized, balance.held) == (0, 0)
            assert balance.total == traffic.expected[player.id, currency.asset]
    used = await site.pool.fetch("SELECT reserved_by FROM nonce WHERE reserved_by IS NOT NULL")
    assert len({row["reserved_by"] for row in used}) == len(used)
    await assert_sound(site)
    await house.assert_balanced()
    alarms = "SELECT type, data FROM event WHERE type IN ('chain.halted', 'reconciliation.mismatch')"
    assert await site.pool.fetch(alarms) == []
