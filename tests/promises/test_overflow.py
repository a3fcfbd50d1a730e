"""Overflow on real Bitcoin nodes: what is too much for the hot wallet goes to cold, nowhere else, and is booked."""

from datetime import timedelta
from typing import Any

from cryptowatch.chains.bitcoin.address import script_of
from cryptowatch.clock import SystemClock
from cryptowatch.ids import derived_id
from cryptowatch.signing.messages import KeyPath
from cryptowatch.treasury.rebalances import SQL
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced
from tests.support.cold import Cold, assert_solvent, booked, reaches, rebalances, treasurer
from tests.support.running import CHAIN, FINAL, Site, merged, sat, strangers_address

BAND = {"low": "0.5", "target": "1", "high": "2"}


async def restarted(site: Site) -> None:
    await site.stop_daemon()
    await site.start_daemon()


async def transaction(site: Site, kind: str = "overflow") -> str:
    """Wait until the only transaction of the kind is with the nodes; its hash."""

    async def there() -> str | None:
        found: bytes | None = await site.pool.fetchval(
            "SELECT a.tx_hash FROM attempt a JOIN lineage l ON l.id = a.lineage_id "
            "WHERE l.kind = $1 AND a.broadcast_at IS NOT NULL",
            kind,
        )
        return None if found is None else found.hex()

    return await site.until(there)


async def test_bitcoin_overflow_survives_a_restart_at_every_step_and_a_reorg(make_site: MakeSite) -> None:
    cold = Cold()
    site = await make_site(**cold.bitcoin(**BAND))
    await site.start()
    await site.rich_player("1", "1.5")
    # Above the high mark: all but the target leaves, in one movement, for a fresh address of the cold key.
    await site.stop_signer()
    [begun] = await rebalances(site) or [await reaches(site, "proposed")]
    await reaches(site, "proposed")
    await assert_solvent(site)
    await restarted(site)
    await site.start_signer()
    await reaches(site, "broadcast")
    tx_hash = await transaction(site)
    await restarted(site)
    await site.pending_everywhere(tx_hash)
    await assert_solvent(site)
    await site.mine(2)
    await assert_solvent(site)
    await site.reorg(2, drop=[tx_hash])
    await assert_solvent(site)
    assert (await booked(site, "in_transit"), await booked(site, "cold")) == (sat("1.5"), 0)
    await site.pending_everywhere(tx_hash)
    await restarted(site)
    await site.mine(FINAL)
    done = await reaches(site, "finalized")
    assert done["id"] == begun["id"]
    assert script_of(done["address"], "regtest") == cold.keys.key(KeyPath("bip84", 0, 0)).script
    assert await site.story(done["id"]) == ["requested", "proposed", "signed", "broadcast", "finalized"]
    assert (await booked(site, "in_transit"), await booked(site, "cold")) == (0, sat("1.5"))
    assert await cold.coins(site) == sat("1.5")
    await assert_balanced(site)
    await assert_solvent(site)
    [wallet] = (await site.backend.get("/v1/wallets")).body
    assert (wallet["cold"], wallet["in_transit"], wallet["state"]) == ("1.50000000", "0.00000000", "within")
    assert (await site.metric("wallet_band_base_units", by="state", asset="BTC"))["target"] == sat("1")
    # What is cold pays nobody, and the band is content.
    player = await site.rich_player("0.1")
    withdrawal = await player.withdraw(sat("0.05"), strangers_address())
    await site.finished(withdrawal)
    assert await cold.coins(site) == sat("1.5")
    assert len(await rebalances(site)) == 1


async def test_queued_payouts_come_before_cold_and_a_person_can_ask_and_cancel(make_site: MakeSite) -> None:
    cold = Cold()
    # No batch leaves in this test: what is queued stays there.
    waiting = {"chains": {CHAIN: {"batching": {"count_max": 100, "wait_max_s": 3600}}}}
    site = await make_site(**merged(cold.bitcoin(hourly="1"), waiting))
    await site.start()
    player, desk = await site.rich_player("1", "1"), await treasurer(site)
    await player.withdraw(sat("1.5"), strangers_address())

    async def ask(amount: str, **more: Any) -> Any:
        body = {"chain": CHAIN, "asset": "BTC", "direction": "overflow", "amount": amount, **more}
        return await desk.post("/v1/rebalances", body)

    assert (await site.backend.post("/v1/rebalances", {})).status == 403
    for amount, code in [
        ("0.00000001", "amount_below_minimum"),
        ("1.00000001", "limit_exceeded"),
        ("0.000000001", "invalid_amount"),
    ]:
        assert (await ask(amount)).code == code
    assert (await ask("1", chain="litecoin")).code == "unknown_chain"
    asked = await ask("0.6")
    assert (asked.status, asked.body["state"]) == (202, "requested")
    assert (await ask("0.1")).code == "rebalance_open"
    await site.polled(5)
    assert (await desk.get(f"/v1/rebalances/{asked.body['id']}")).body["state"] == "requested"
    canceled = await desk.post(f"/v1/rebalances/{asked.body['id']}/cancel")
    assert (canceled.status, canceled.body["state"]) == (200, "canceled")
    assert (await desk.post(f"/v1/rebalances/{asked.body['id']}/cancel")).code == "wrong_state"
    # What nobody waits for may go.
    assert (await ask("0.4")).status == 202
    sent = await reaches(site, "broadcast")
    assert (await desk.post(f"/v1/rebalances/{sent['id']}/cancel")).code == "wrong_state"
    await site.mine(FINAL)
    await reaches(site, "finalized")
    assert await cold.coins(site) == sat("0.4")
    await assert_balanced(site)


async def test_p9_the_signer_lets_nothing_to_a_cold_wallet_that_is_not_its_own(make_site: MakeSite) -> None:
    cold, foreign = Cold(), Cold()
    # Without marks, by the days' net outflow: there is none, and the least that is aimed at decides.
    site = await make_site(**cold.bitcoin(target_min="1"))
    await site.start_signer()
    # The daemon was told of another cold wallet than the signer.
    site.reconfigure(chains={CHAIN: {"cold": {"xpub": foreign.xpub}}}, signer={"policy": {CHAIN: {}}})
    await site.start_daemon()
    await site.rich_player("1", "1.5")
    refused = await reaches(site, "failed")
    assert refused["reason"].startswith("signer_refused: foreign_cold")
    assert await site.story(refused["id"]) == ["requested", "proposed", "failed"]
    assert refused["amount"] == "1.50000000"
    week_ago = derived_id(SystemClock().now() - timedelta(days=7))
    assert await site.pool.fetchval(SQL["outflow"], CHAIN, "BTC", week_ago) == -sat("2.5")
    await site.polled(5)
    assert len(await rebalances(site)) == 1  # it is not asked again at once
    assert (await booked(site, "in_transit"), await booked(site, "cold")) == (0, 0)
    assert await foreign.coins(site) == 0
    await assert_balanced(site)
    await assert_solvent(site)


async def test_cold_waits_for_its_own_hour_and_payouts_do_not(make_site: MakeSite) -> None:
    cold = Cold()
    site = await make_site(**cold.bitcoin(hourly="0.5"))
    await site.start()
    player, desk = await site.rich_player("1", "1", "1"), await treasurer(site)
    body = {"chain": CHAIN, "asset": "BTC", "direction": "overflow", "amount": "0.4"}
    for state in ("broadcast", "requested"):
        assert (await desk.post("/v1/rebalances", body)).status == 202
        await reaches(site, state)
        if state == "broadcast":
            await site.mine(FINAL)
            await reaches(site, "finalized")
    withdrawal = await player.withdraw(sat("0.3"), strangers_address())
    await site.finished(withdrawal)
    assert (await rebalances(site))[-1]["state"] == "requested"
    await assert_solvent(site)
    assert await cold.coins(site) == sat("0.4")
