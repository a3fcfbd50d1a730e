"""Refills on real nodes: what cold is asked to sign, what is taken as its answer, and what never is."""

import asyncio
import json
from typing import Any

import pytest
from embit.psbt import PSBT

from cryptowatch.chains.bitcoin.address import script_of
from cryptowatch.chains.bitcoin.transaction import read_transaction
from tests.api.world import Caller
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, house_balance
from tests.support.cold import (
    Cold,
    assert_solvent,
    booked,
    reaches,
    rebalances,
    sign_offline,
    treasurer,
)
from tests.support.ethereum import ETH, USDT, House, paid_to
from tests.support.running import CHAIN, FINAL, Site, sat, strangers_address


async def restarted(site: Site) -> None:
    await site.stop_daemon()
    await site.start_daemon()


async def unsigned_of(desk: Caller, rebalance: dict[str, Any]) -> dict[str, Any]:
    answer = await desk.get(f"/v1/rebalances/{rebalance['id']}/unsigned")
    assert answer.status == 200, answer
    return dict(answer.body)


async def handed_in(desk: Caller, rebalance: dict[str, Any], signed: str) -> Any:
    return await desk.post(f"/v1/rebalances/{rebalance['id']}/signed", {"signed": signed})


async def signed_offline(cold: Cold, site: Site, unsigned: dict[str, Any]) -> str:
    done = await asyncio.to_thread(
        sign_offline, cold, site.folder, unsigned, "--pay-to", unsigned["address"], "--fee-max", "0.05"
    )
    assert done.returncode == 0, done.stderr
    assert unsigned["address"] in done.stdout
    return str(json.loads((site.folder / "signed.json").read_text())["signed"])


async def cold_bitcoin(make_site: MakeSite, cold: Cold, amount: str = "1") -> Site:
    """With so much in the cold wallet, final, and a player whose money is hot."""
    site = await make_site(**cold.bitcoin())
    await site.start()
    player = await site.rich_player("0.4", "0.4", amount)
    assert player
    desk = await treasurer(site)
    body = {"chain": CHAIN, "asset": "BTC", "direction": "overflow", "amount": amount}
    assert (await desk.post("/v1/rebalances", body)).status == 202
    await reaches(site, "broadcast")
    await site.mine(FINAL)
    await reaches(site, "finalized")
    return site


async def test_bitcoin_refill_comes_back_by_the_band_through_restarts_and_a_reorg(
    make_site: MakeSite,
) -> None:
    cold = Cold()
    site = await cold_bitcoin(make_site, cold)
    desk = await treasurer(site)
    before = await booked(site, "custody")
    await site.stop_daemon()
    site.reconfigure(
        chains={CHAIN: {"assets": {"BTC": {"band": {"low": "0.9", "target": "1.3", "high": "2"}}}}}
    )
    await site.start_daemon()
    proposed = await reaches(site, "proposed")
    amount = sat("1.3") - before
    assert (proposed["direction"], sat(proposed["amount"])) == ("refill", amount)
    await restarted(site)
    unsigned = await unsigned_of(desk, proposed)
    psbt = PSBT.from_base64(unsigned["unsigned"])
    assert psbt.verify()
    assert all(scope.witness_utxo and scope.bip32_derivations for scope in psbt.inputs)
    signed = await signed_offline(cold, site, unsigned)
    taken = await handed_in(desk, proposed, signed)
    assert (taken.status, taken.body["state"]) == (200, "signed")
    await restarted(site)
    await reaches(site, "broadcast")
    tx_hash = read_transaction(bytes.fromhex(signed)).txid.hex()
    await site.pending_everywhere(tx_hash)
    await assert_solvent(site)
    assert await booked(site, "in_transit") == amount
    await site.mine(1)
    await restarted(site)
    await assert_solvent(site)
    await site.reorg(1, drop=[tx_hash])
    await assert_solvent(site)
    await site.pending_everywhere(tx_hash)
    await site.mine(FINAL)
    done = await reaches(site, "finalized")
    assert done["id"] == proposed["id"]
    assert await site.story(done["id"]) == ["requested", "proposed", "signed", "broadcast", "finalized"]
    assert await booked(site, "in_transit") == 0
    assert await booked(site, "custody") == before + amount
    assert await booked(site, "cold") == await cold.coins(site)
    await assert_balanced(site)
    await assert_solvent(site)
    # Cold's change is watched, and what came back pays players.
    player = await site.rich_player("0.01")
    await site.finished(await player.withdraw(sat("0.005"), strangers_address()))
    assert len(await rebalances(site)) == 2


async def test_what_was_not_to_be_signed_is_refused_and_changes_nothing(make_site: MakeSite) -> None:
    cold, foreign = Cold(), Cold()
    site = await cold_bitcoin(make_site, cold)
    desk = await treasurer(site)
    body = {"chain": CHAIN, "asset": "BTC", "direction": "refill", "amount": "0.3"}
    assert (await desk.post("/v1/rebalances", body)).status == 202
    proposed = await reaches(site, "proposed")
    unsigned = await unsigned_of(desk, proposed)
    assert (await site.backend.get(f"/v1/rebalances/{proposed['id']}/unsigned")).status == 403
    raw = bytes.fromhex(await signed_offline(cold, site, unsigned))

    def tampered(change: Any) -> str:
        psbt = PSBT.from_base64(unsigned["unsigned"])
        change(psbt)
        return str(psbt.to_base64())

    def pay_somebody(psbt: Any) -> None:
        psbt.outputs[0].script_pubkey.data = script_of(strangers_address(), "regtest")

    def pay_more(psbt: Any) -> None:
        psbt.outputs[0].value += 1

    def another_sequence(psbt: Any) -> None:
        psbt.inputs[0].sequence = 0xFFFFFFFF

    def another_locktime(psbt: Any) -> None:
        psbt.locktime = 7

    def one_output_less(psbt: Any) -> None:
        psbt.outputs.pop()

    def another_input(psbt: Any) -> None:
        psbt.inputs[0].vout += 1

    refused = [
        *map(tampered, (pay_somebody, pay_more, another_sequence, another_locktime, one_output_less)),
        tampered(another_input),
        unsigned["unsigned"],  # nobody signed
        "cHNidP8=",
        "00",
        raw[:-5].hex(),
        raw[:-40].hex() + bytes([raw[-40] ^ 1]).hex() + raw[-39:].hex(),  # the key of the last witness
        (raw[:-60] + bytes([raw[-60] ^ 1]) + raw[-59:]).hex(),  # its signature
    ]
    for signed in refused:
        answer = await handed_in(desk, proposed, signed)
        assert (answer.status, answer.code) == (422, "wrong_signature"), signed
    # What pays somebody else, or is of another wallet, the cold side signs neither.
    for change, options, reason in [
        (pay_somebody, ["--pay-to", unsigned["address"]], "it pays"),
        (lambda psbt: None, ["--pay-to", strangers_address()], "it pays"),
        (lambda psbt: None, ["--pay-to", unsigned["address"], "--fee-max", "0.00000001"], "the fee is"),
        (lambda psbt: None, [], "give --pay-to"),
    ]:
        file = {**unsigned, "unsigned": tampered(change)}
        done = await asyncio.to_thread(sign_offline, cold, site.folder, file, *options)
        assert (done.returncode, reason in done.stderr) == (1, True), done.stderr
        assert not (site.folder / "signed.json").exists()
    (site.folder / "cold.json").unlink()
    (site.folder / "cold-passphrase").unlink()
    done = await asyncio.to_thread(sign_offline, foreign, site.folder, unsigned, "--pay-to", "x")
    assert "does not belong to this keystore" in done.stderr
    assert await site.story(proposed["id"]) == ["requested", "proposed"]
    assert await booked(site, "in_transit") == 0
    # The right one, as a device gives it: a PSBT with its partial signatures.
    psbt = PSBT.from_base64(unsigned["unsigned"])
    for scope, given in zip(psbt.inputs, read_transaction(raw).inputs, strict=True):
        [key] = scope.bip32_derivations
        scope.partial_sigs[key] = given.witness[0]
    assert (await handed_in(desk, proposed, psbt.to_base64())).status == 200
    again = await handed_in(desk, proposed, raw.hex())
    assert (again.status, again.code) == (409, "wrong_state")
    await reaches(site, "broadcast")
    await site.mine(FINAL)
    await reaches(site, "finalized")
    await assert_balanced(site)


async def test_a_refill_that_nobody_signs_ends_and_can_be_canceled(make_site: MakeSite) -> None:
    cold = Cold()
    site = await cold_bitcoin(make_site, cold)
    desk = await treasurer(site)
    body = {"chain": CHAIN, "asset": "BTC", "direction": "refill", "amount": "0.3"}
    assert (await desk.post("/v1/rebalances", body)).status == 202
    proposed = await reaches(site, "proposed")
    signed = await signed_offline(cold, site, await unsigned_of(desk, proposed))
    assert (await desk.post(f"/v1/rebalances/{proposed['id']}/cancel")).body["state"] == "canceled"
    assert (await handed_in(desk, proposed, signed)).code == "wrong_state"
    await site.stop_daemon()
    site.reconfigure(treasury={"rebalance_expires_s": 0.5})
    await site.start_daemon()
    assert (await desk.post("/v1/rebalances", body)).status == 202
    expired = await reaches(site, "expired")
    assert (await site.story(expired["id"]))[-1] == "expired"
    assert (await booked(site, "in_transit"), await booked(site, "cold")) == (0, sat("1"))


@pytest.mark.parametrize("currency", [ETH, USDT], ids=["ETH", "USDT"])
async def test_ethereum_refill_is_signed_by_the_cold_account_and_by_nobody_else(
    make_ethereum_site: MakeSite, currency: Any
) -> None:
    cold, asset = Cold(), currency.asset
    site = await make_ethereum_site(**cold.ethereum({}, ETH="1000", USDT="100000"))
    # The cold account has money before we first look, and gas.
    await site.net.send(cold.account, "5", chain="ethereum", asset="ETH")
    await site.net.send(cold.account, "300", chain="ethereum", asset="USDT")
    await site.net.mine(1, chain="ethereum")
    await site.start()
    house = House(site)
    await house.opens()
    surplus = {one.asset: amount for one, amount in house.brought.items()}
    surplus["ETH"] += ETH.units("5")
    surplus["USDT"] += USDT.units("300")
    vault_before = await paid_to(site, currency, house.vault)
    custody_before = await booked(site, "custody", "ethereum", asset)
    await site.until(lambda: opened(site, cold))
    await assert_solvent(site, surplus)
    desk = await treasurer(site)
    body = {"chain": "ethereum", "asset": asset, "direction": "refill", "amount": "2"}
    assert (await desk.post("/v1/rebalances", body)).status == 202
    proposed = await reaches(site, "proposed", asset)
    unsigned = await unsigned_of(desk, proposed)
    signed = await signed_offline(cold, site, unsigned)
    document = json.loads(unsigned["unsigned"])
    raw = bytes.fromhex(signed[2:])
    for wrong in [
        signed[:-2],
        signed + "00",
        document["unsigned_hex"],
        "0x" + (raw[:-1] + bytes([raw[-1] ^ 1])).hex(),
        "0x" + (raw[:12] + bytes([raw[12] ^ 1]) + raw[13:]).hex(),
        "00",
    ]:
        answer = await handed_in(desk, proposed, wrong)
        assert (answer.status, answer.code) == (422, "wrong_signature"), wrong
    for field, value in [("value", "0x1"), ("nonce", "0x9"), ("chain_id", "0x1"), ("gas", "0x1")]:
        # The two forms of one transaction must agree: one is shown to people, the other is signed.
        changed = {**document, "transaction": {**document["transaction"], field: value}}
        file = {**unsigned, "unsigned": json.dumps(changed)}
        done = await asyncio.to_thread(
            sign_offline, cold, site.folder, file, "--pay-to", unsigned["address"], "--fee-max", "1"
        )
        assert (done.returncode, "forms differ" in done.stderr) == (1, True), done.stderr
    assert await site.story(proposed["id"]) == ["requested", "proposed"]
    await restarted(site)
    assert (await handed_in(desk, proposed, signed)).body["state"] == "signed"
    await reaches(site, "broadcast", asset)
    await site.mine(1, "ethereum")
    await restarted(site)
    await assert_solvent(site, surplus)
    tx_hash = await site.pool.fetchval(
        "SELECT encode(tx_hash, 'hex') FROM lineage WHERE kind = 'cold_refill'"
    )
    await site.reorg(1, drop=[tx_hash], chain="ethereum")
    await assert_solvent(site, surplus)

    async def final() -> bool:
        await site.mine(1, "ethereum")
        return bool((await rebalances(site, asset))[-1]["state"] == "finalized")

    await site.until(final)
    assert await paid_to(site, currency, house.vault) == vault_before + currency.units("2")
    assert await booked(site, "custody", "ethereum", asset) == custody_before + currency.units("2")
    assert await booked(site, "in_transit", "ethereum", asset) == 0
    await assert_solvent(site, surplus)
    assert await house_balance(site, "network_fees:ethereum", "ETH") < 0


async def opened(site: Site, cold: Cold) -> bool:
    """Whether what the cold account had is known."""
    found = await site.pool.fetchval(
        "SELECT count(*) FROM holding h JOIN address a ON a.chain = h.chain AND a.destination = h.account "
        "WHERE a.address = $1 AND h.amount > 0",
        cold.account,
    )
    return bool(found == 2)
