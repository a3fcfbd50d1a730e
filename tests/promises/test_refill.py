"""Refills on real Bitcoin nodes: what cold is asked to sign, what is taken as its answer, and what never is."""

import asyncio
import json
from typing import Any

from embit.psbt import PSBT

from cryptowatch.chains.bitcoin.transaction import read_transaction
from tests.api.world import Caller
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced
from tests.support.cold import (
    Cold,
    assert_solvent,
    booked,
    reaches,
    rebalances,
    sign_offline,
    signed_by,
    treasurer,
)
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
    signed = signed_by(cold, unsigned)
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


async def test_what_was_not_to_be_signed_changes_nothing_and_the_command_signs_what_was(
    make_site: MakeSite,
) -> None:
    cold = Cold()
    site = await cold_bitcoin(make_site, cold)
    desk = await treasurer(site)
    body = {"chain": CHAIN, "asset": "BTC", "direction": "refill", "amount": "0.3"}
    # One that nobody signs is canceled; what was signed of it is then too late.
    assert (await desk.post("/v1/rebalances", body)).status == 202
    first = await reaches(site, "proposed")
    late = signed_by(cold, await unsigned_of(desk, first))
    assert (await desk.post(f"/v1/rebalances/{first['id']}/cancel")).body["state"] == "canceled"
    assert (await handed_in(desk, first, late)).code == "wrong_state"

    assert (await desk.post("/v1/rebalances", body)).status == 202
    proposed = await reaches(site, "proposed")
    unsigned = await unsigned_of(desk, proposed)
    assert (await site.backend.get(f"/v1/rebalances/{proposed['id']}/unsigned")).status == 403
    psbt = PSBT.from_base64(unsigned["unsigned"])
    psbt.outputs[0].value += 1
    for wrong in (late, unsigned["unsigned"], psbt.to_base64(), "00"):
        answer = await handed_in(desk, proposed, wrong)
        assert (answer.status, answer.code) == (422, "wrong_signature"), wrong
    assert await site.story(proposed["id"]) == ["requested", "proposed"]
    assert await booked(site, "in_transit") == 0

    folder = site.folder
    done = await asyncio.to_thread(sign_offline, cold, folder, unsigned, "--pay-to", unsigned["address"])
    assert done.returncode == 0, done.stderr
    assert unsigned["address"] in done.stdout and "0.30000000" in done.stdout
    signed = json.loads((folder / "signed.json").read_text())["signed"]
    assert (await handed_in(desk, proposed, signed)).status == 200
    again = await handed_in(desk, proposed, signed)
    assert (again.status, again.code) == (409, "wrong_state")
    await reaches(site, "broadcast")
    await site.mine(FINAL)
    await reaches(site, "finalized")
    await assert_balanced(site)

    # Without an answer it ends by itself.
    await site.stop_daemon()
    site.reconfigure(treasury={"rebalance_expires_s": 0.5})
    await site.start_daemon()
    assert (await desk.post("/v1/rebalances", body)).status == 202
    expired = await reaches(site, "expired")
    assert (await site.story(expired["id"]))[-1] == "expired"
    assert await booked(site, "in_transit") == 0
