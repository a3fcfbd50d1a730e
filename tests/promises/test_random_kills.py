"""Thirty SIGKILLs of the daemon at random moments under traffic: in the end all agrees to the satoshi."""

import asyncio
import random
import secrets
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from tests.promises.conftest import MakeSite
from tests.support import processes
from tests.support.books import assert_balanced, assert_sound, paid_to
from tests.support.running import FINAL, Site
from tests.support.traffic import Traffic
from tests.webhooks.receiver import Received, Receiver, receiving

KILLS = 30
PLAYERS = 5
SETTINGS: dict[str, Any] = {
    "chains": {"bitcoin": {"batching": {"wait_max_s": 0.5}, "wallet": {"addresses_ahead": 200}}}
}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_thirty_kills_at_random_moments_lose_nothing_and_double_nothing(make_site: MakeSite) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    site = await make_site(**SETTINGS)
    daemon = await site.start_processes()
    async with receiving() as receiver:
        # Now and then the receiver is down, too.
        receiver.answer = lambda _: web.Response(status=503 if chance.random() < 0.05 else 204)
        made = await site.backend.post("/v1/webhook-endpoints", {"url": receiver.url, "event_types": []})
        assert made.status == 201, made
        players = [await site.rich_player("0.5") for _ in range(PLAYERS)]
        traffic = Traffic(site, players, chance)
        for player in players:
            traffic.expected[player.id] = (await player.balance()).total
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
        await everybody_agrees(site, traffic)
        await every_event_arrived(site, receiver, made.body["secret"])


async def finish(site: Site, traffic: Traffic) -> None:
    """Debts are paid, people approve what waits for them, and blocks come until all is final."""
    for player in traffic.players:
        debt = (await player.balance()).debt
        if debt:
            assert (await player.transfer("win", debt)).status == 201
            traffic.expected[player.id] += debt
    waiting = await site.backend.get("/v1/withdrawals", params={"state": "in_review", "limit": 200})
    for found in waiting.body["data"]:
        assert (await site.approver.post(f"/v1/withdrawals/{found['id']}/approve")).status == 200
    await site.mine_until_final(traffic.withdrawals)
    # The last deposits are final, too.
    await site.mine(FINAL)


async def everybody_agrees(site: Site, traffic: Traffic) -> None:
    """The parties' own accounts, the ledger and the chain."""
    states = {(await site.withdrawal(withdrawal))["state"] for withdrawal in traffic.withdrawals}
    assert states == {"finalized"}
    for address, amount in traffic.withdrawals.values():
        assert await paid_to(site, address) == [amount]
    kept = await site.pool.fetch("SELECT tx_hash, count(*) AS rows FROM deposit GROUP BY tx_hash")
    rows = {row["tx_hash"].hex(): row["rows"] for row in kept}
    for tx_hash in traffic.deposits:
        on_chain = await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash, True)
        assert rows.get(tx_hash) == 1, (tx_hash, on_chain.get("confirmations"))
    for player in traffic.players:
        balance = await player.balance()
        assert (balance.unfinalized, balance.held) == (0, 0)
        assert balance.total == traffic.expected[player.id]
    await assert_sound(site)
    await assert_balanced(site)
    alarms = "SELECT type FROM event WHERE type IN ('chain.halted', 'reconciliation.mismatch')"
    assert await site.pool.fetch(alarms) == []


async def every_event_arrived(site: Site, receiver: Receiver, secret: str) -> None:
    """At least once, signed, and of each entity in its order."""
    feed: list[dict[str, Any]] = []

    async def all_there() -> bool:
        while page := await events_after(site, feed[-1]["sequence"] if feed else 0):
            feed.extend(page)
        # An endpoint is not told of itself.
        wanted = {event["id"] for event in feed if event["entity"]["kind"] != "webhook_endpoint"}
        return wanted <= {got.event["id"] for got in receiver.received}

    # What a daemon was delivering when it was killed comes again when its lease has run out, one after the other.
    try:
        await site.until(all_there, timeout_s=90)
    except AssertionError:
        rows = await site.pool.fetch(
            "SELECT state, attempts, last_status, last_problem, count(*) FROM webhook_delivery "
            "WHERE state <> 'delivered' GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT 20"
        )
        print(*rows, *await site.pool.fetch("SELECT * FROM webhook_endpoint"), sep="\n")
        raise
    assert [event["sequence"] for event in feed] == list(range(1, len(feed) + 1))
    assert all(got.verified_by(secret) for got in receiver.received)
    assert in_order(receiver.received)


async def events_after(site: Site, sequence: int) -> list[dict[str, Any]]:
    answer = await site.backend.get("/v1/events", params={"after": sequence, "limit": 200})
    return list(answer.body["data"])


def in_order(received: Sequence[Received]) -> bool:
    """Whether the first arrivals of each entity's events count upwards."""
    versions: dict[str, list[int]] = defaultdict(list)
    for got in received:
        entity, version = got.entity
        if version not in versions[entity]:
            versions[entity].append(version)
    return all(seen == sorted(seen) for seen in versions.values())
