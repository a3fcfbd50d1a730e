"""Hot to cold and back on real Ethereum nodes, of coins and of a token, through restarts and reorgs."""

import json
from typing import Any

from cryptowatch.devnet.ethereum.artifacts import contract
from tests.promises.conftest import MakeSite
from tests.support.books import house_balance
from tests.support.cold import Cold, assert_solvent, booked, reaches, rebalances, signed_by, treasurer
from tests.support.ethereum import (
    ETH,
    USDT,
    House,
    deposited,
    faucet,
    lineages,
    paid_to,
    settled,
    stranger,
)
from tests.support.running import Currency, Site

CHAIN = "ethereum"
BOTH = (ETH, USDT)
#: Below the cap of 300, far above what any bid of a quiet market outlasts.
DEAR_WEI = 250 * 10**9


async def restarted(site: Site) -> None:
    await site.stop_daemon()
    await site.start_daemon()


async def mined_until(site: Site, state: str) -> None:
    """Until the newest rebalance of both assets is in the state."""

    async def there() -> bool:
        await site.mine(1, CHAIN)
        return {(await rebalances(site, one.asset))[-1]["state"] for one in BOTH} == {state}

    await site.until(there)


async def sent(site: Site, kind: str) -> list[str]:
    rows = await site.pool.fetch(
        "SELECT a.tx_hash FROM attempt a JOIN lineage l ON l.id = a.lineage_id WHERE l.kind = $1", kind
    )
    return [row["tx_hash"].hex() for row in rows]


async def in_cold(site: Site, cold: Cold, currency: Currency) -> int:
    return await paid_to(site, currency, cold.account)


async def test_coins_and_tokens_go_to_cold_and_come_back(make_ethereum_site: MakeSite) -> None:
    cold = Cold()
    site = await make_ethereum_site(**cold.ethereum({}, ETH="1000", USDT="100000"))
    # The cold account has gas before we first look.
    await site.net.send(cold.account, "5", chain=CHAIN, asset="ETH")
    await site.start()
    house = House(site)
    await house.opens()
    surplus = {one.asset: amount for one, amount in house.brought.items()}
    surplus["ETH"] += ETH.units("5")
    desk, player = await treasurer(site), await deposited(site, USDT, "10")
    await assert_solvent(site, surplus)

    async def ask(direction: str, currency: Currency, amount: str) -> Any:
        body = {"chain": CHAIN, "asset": currency.asset, "direction": direction, "amount": amount}
        return await desk.post("/v1/rebalances", body)

    # --- to cold, straight from the vault
    await site.stop_signer()
    for currency in BOTH:
        assert (await ask("overflow", currency, "20")).status == 202
        await reaches(site, "proposed", currency.asset)
    await assert_solvent(site, surplus)
    await restarted(site)
    await site.start_signer()
    for currency in BOTH:
        await reaches(site, "broadcast", currency.asset)
    await site.mine(1, CHAIN)
    await restarted(site)
    await assert_solvent(site, surplus)
    await site.reorg(1, drop=await sent(site, "overflow"), chain=CHAIN)
    await assert_solvent(site, surplus)
    for currency in BOTH:
        assert await booked(site, "in_transit", CHAIN, currency.asset) == currency.units("20")
    # A player is paid beside it.
    await settled(site, [await player.withdraw(USDT.units("1"), stranger())])
    await mined_until(site, "finalized")
    assert await in_cold(site, cold, ETH) == ETH.units("25")
    assert await in_cold(site, cold, USDT) == USDT.units("20")
    for currency in BOTH:
        assert await booked(site, "cold", CHAIN, currency.asset) == currency.units("20")
        [done] = await rebalances(site, currency.asset)
        assert done["address"] == cold.account
        assert await site.story(done["id"]) == ["requested", "proposed", "signed", "broadcast", "finalized"]
    await assert_solvent(site, surplus)

    # --- and back, signed by the cold account; one after the other, since each has its nonce
    vault = {currency: await paid_to(site, currency, house.vault) for currency in BOTH}
    for currency in BOTH:
        assert (await ask("refill", currency, "2")).status == 202
        proposed = await reaches(site, "proposed", currency.asset)
        path = f"/v1/rebalances/{proposed['id']}"
        await restarted(site)
        unsigned = (await desk.get(f"{path}/unsigned")).body
        signed = signed_by(cold, unsigned)
        refused = await desk.post(f"{path}/signed", {"signed": signed[:-2] + "00"})
        assert (refused.status, refused.code) == (422, "wrong_signature")
        assert (await desk.post(f"{path}/signed", {"signed": signed})).body["state"] == "signed"
        await reaches(site, "broadcast", currency.asset)
        # Nobody can raise it any more: it is in a block all the same, though the base fee has risen to near the cap.
        await site.net.mine(chain=CHAIN, base_fee_wei=DEAR_WEI)
        await site.caught_up(CHAIN)
        assert (await lineages(site, "cold_refill"))[-1]["state"] == "confirmed"
        await assert_solvent(site, surplus)
    await restarted(site)
    await site.reorg(1, drop=(await sent(site, "cold_refill"))[-1:], chain=CHAIN)
    await assert_solvent(site, surplus)
    await mined_until(site, "finalized")
    for currency in BOTH:
        assert await paid_to(site, currency, house.vault) == vault[currency] + currency.units("2")
        assert await booked(site, "in_transit", CHAIN, currency.asset) == 0
    # Cold has paid for the gas of its own transactions; the house's books show it as what it cost.
    cold_eth = await booked(site, "cold", CHAIN, "ETH")
    assert await in_cold(site, cold, ETH) == cold_eth + ETH.units("5")
    assert -await house_balance(site, "network_fees:ethereum", "ETH") == sum(
        [row["fee_paid"] for row in await lineages(site)]
    )
    await assert_solvent(site, surplus)


async def test_what_a_contract_holds_comes_back_when_its_owners_have_made_it_pay(
    make_ethereum_site: MakeSite,
) -> None:
    """As a Safe: it is told what to do, signs nothing itself, and is believed when a final block shows it."""
    cold = Cold()
    site = await make_ethereum_site(**cold.ethereum({}, ETH="1000", USDT="100000"))
    safe = await site.net.deploy(CHAIN, "Owners")
    site.reconfigure(
        chains={CHAIN: {"cold": {"accounts": [safe]}}},
        signer={"policy": {CHAIN: {"cold": {"accounts": [safe]}}}},
    )
    await site.start()
    house = House(site)
    await house.opens()
    surplus = {one.asset: amount for one, amount in house.brought.items()}
    desk = await treasurer(site)
    for currency in BOTH:
        body = {"chain": CHAIN, "asset": currency.asset, "direction": "overflow", "amount": "20"}
        assert (await desk.post("/v1/rebalances", body)).status == 202
        await reaches(site, "broadcast", currency.asset)
    await mined_until(site, "finalized")
    vault = {currency: await paid_to(site, currency, house.vault) for currency in BOTH}
    for currency in BOTH:
        body = {"chain": CHAIN, "asset": currency.asset, "direction": "refill", "amount": "2"}
        assert (await desk.post("/v1/rebalances", body)).status == 202
        proposed = await reaches(site, "proposed", currency.asset)
        unsigned = (await desk.get(f"/v1/rebalances/{proposed['id']}/unsigned")).body
        assert unsigned["format"] == "call"
        refused = await desk.post(f"/v1/rebalances/{proposed['id']}/signed", {"signed": "00"})
        assert refused.code == "wrong_state"
        call = json.loads(unsigned["unsigned"])
        data = bytes.fromhex(call["data"][2:])
        act = contract("Owners").call("act", call["to"], int(call["value"]), data)
        await faucet(site).execute(safe, act)
        await site.mine(1, CHAIN)
        await assert_solvent(site, surplus)
        assert (await rebalances(site, currency.asset))[-1]["state"] == "proposed"
    await mined_until(site, "finalized")
    for currency in BOTH:
        assert await paid_to(site, currency, house.vault) == vault[currency] + currency.units("2")
        assert await booked(site, "cold", CHAIN, currency.asset) == currency.units("18")
        done = (await rebalances(site, currency.asset))[-1]
        assert await site.story(done["id"]) == ["requested", "proposed", "finalized"]
    await assert_solvent(site, surplus)


async def test_what_waits_for_the_hour_of_cold_takes_no_nonce_that_payouts_stand_behind(
    make_ethereum_site: MakeSite,
) -> None:
    cold = Cold()
    site = await make_ethereum_site(**cold.ethereum({}, ETH="30"))
    await site.start()
    await House(site).opens()
    desk, player = await treasurer(site), await deposited(site, ETH, "10")

    async def finalized() -> bool:
        await site.mine(1, CHAIN)
        return str((await rebalances(site, "ETH"))[-1]["state"]) == "finalized"

    body = {"chain": CHAIN, "asset": "ETH", "direction": "overflow", "amount": "20"}
    assert (await desk.post("/v1/rebalances", body)).status == 202
    await site.until(finalized)
    second = (await desk.post("/v1/rebalances", body)).body
    await site.polled(5)
    await settled(site, [await player.withdraw(ETH.units("1"), stranger())])
    # Nobody needs to wait for the hour's end to be rid of it.
    assert (await desk.post(f"/v1/rebalances/{second['id']}/cancel")).body["state"] == "canceled"
    assert await in_cold(site, cold, ETH) == ETH.units("20")
