"""Compliance on a whole cryptowatch: money that leaves unplayed waits for a person, and goes on when cleared."""

from pathlib import Path

from aiohttp import web

from cryptowatch.api.keys import Scope
from cryptowatch.outbound.signature import show_secret
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced
from tests.support.running import FINAL, Player, Site, sat, strangers_address
from tests.webhooks.receiver import Received, receiving

RAPID = {"amount_from": "0.1", "played_percent": 50}


async def test_a_withdrawal_of_unplayed_money_is_held_through_a_restart_and_paid_once_cleared(
    make_site: MakeSite,
) -> None:
    rules = {"interval_s": 0.05, "assets": {"BTC": {"rapid_withdrawal": RAPID}}}
    site = await make_site(compliance=rules)
    # Nothing is sent yet, so that the rule is there first.
    await site.start(["watch", "api"])
    player, officer = await site.rich_player("0.5"), await site.caller([Scope.COMPLIANCE])
    asked = await player.withdraw(sat("0.2"), strangers_address())

    async def opened() -> str | None:
        found = (await officer.get("/v1/cases?state=open")).body["data"]
        return found[0]["id"] if found else None

    case = await site.until(opened)
    await site.stop_daemon()
    await site.start_daemon()
    assert (await site.reaches(asked, "in_review"))["reason"] == "compliance"
    await site.polled(3)
    assert await site.pool.fetchval("SELECT count(*) FROM lineage") == 0
    decided = await officer.post(f"/v1/cases/{case}/decide", {"decision": "cleared", "reason": "known"})
    assert decided.status == 200
    await site.finished(asked)
    assert await site.story(case) == ["opened", "cleared"]
    assert (await site.story(asked))[:4] == ["requested", "queued", "in_review", "queued"]
    await assert_balanced(site)


async def pay_from(site: Site, coin: dict[str, object], player: Player) -> str:
    """A deposit of this coin of the faucet's and of no other; its hash."""
    rpc = site.net.bitcoin[0].rpc
    inputs = [{"txid": coin["txid"], "vout": coin["vout"]}]
    raw = await rpc("createrawtransaction", inputs, [{await player.address(): "0.5"}])
    funded = await rpc("fundrawtransaction", raw, {"add_inputs": False, "fee_rate": 5})
    signed = await rpc("signrawtransactionwithwallet", funded["hex"])
    return await site.net.broadcast(signed["hex"])


async def test_a_deposit_from_a_denied_address_holds_its_account_and_one_from_elsewhere_does_not(
    make_site: MakeSite, tmp_path: Path
) -> None:
    deny_list = tmp_path / "denied.txt"
    site = await make_site(
        withdrawals={"deny_list": str(deny_list)}, compliance={"interval_s": 0.05, "sources_at_once": 1}
    )
    coins = await site.net.bitcoin[0].rpc("listunspent", 1, 9999999, [], True, {"minimumAmount": 1})
    denied = coins[0]
    other = next(coin for coin in coins if coin["address"] != denied["address"])
    deny_list.write_text(f"{denied['address']}\n")
    await site.start()
    officer, listed, clean = await site.caller([Scope.COMPLIANCE]), await site.player(), await site.player()
    await pay_from(site, denied, listed)
    await pay_from(site, other, clean)
    await site.mine(FINAL)

    async def known() -> bool:
        return bool(await site.pool.fetchval("SELECT count(*) = 2 FROM deposit_source"))

    await site.until(known)
    [case] = (await officer.get("/v1/cases")).body["data"]
    assert (case["account_id"], case["rule"], case["action"]) == (listed.id, "denied_source", "hold")
    assert case["compared"] == {"chain": "bitcoin", "address": denied["address"]}
    traits = await site.pool.fetch(
        "SELECT value FROM account_trait WHERE kind = 'funding_address' ORDER BY value"
    )
    assert [row["value"] for row in traits] == sorted(
        f"bitcoin:{coin['address']}" for coin in (denied, other)
    )
    held = await listed.ask_withdrawal(sat("0.1"), strangers_address())
    free = await clean.ask_withdrawal(sat("0.1"), strangers_address())
    assert (held.body["state"], held.body["reason"]) == ("in_review", "compliance")
    assert free.body["state"] == "queued"


async def test_a_withdrawal_is_sent_once_the_provider_lets_it_pass(
    make_site: MakeSite, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(show_secret(bytes(range(32))))
    async with receiving() as provider:
        provider.answer = lambda _: web.Response(text='{"verdict": "pass"}')
        asked = {"url": provider.url, "secret_file": str(secret), "allow_private_addresses": True}
        site = await make_site(compliance={"interval_s": 0.05, "screening": asked})
        await site.start()
        player = await site.rich_player("0.5")
        withdrawal = await player.withdraw(sat("0.2"), strangers_address())
        await site.finished(withdrawal)
        assert (await site.story(withdrawal))[:3] == ["requested", "in_review", "queued"]
        assert [got.event["id"] for got in provider.received] == [withdrawal]
    await assert_balanced(site)


async def test_a_deposit_whose_source_the_provider_refuses_holds_its_account_and_another_does_not(
    make_site: MakeSite, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(show_secret(bytes(range(32))))
    async with receiving() as provider:
        asked = {"url": provider.url, "secret_file": str(secret), "allow_private_addresses": True}
        screening = {**asked, "deposits": True, "default": "pass"}
        site = await make_site(compliance={"interval_s": 0.05, "screening": screening})
        coins = await site.net.bitcoin[0].rpc("listunspent", 1, 9999999, [], True, {"minimumAmount": 1})
        bad = coins[0]
        good = next(coin for coin in coins if coin["address"] != bad["address"])

        def verdict(got: Received) -> web.Response:
            refused = bad["address"] in got.event.get("addresses", [])
            return web.Response(text=f'{{"verdict": "{"refuse" if refused else "pass"}"}}')

        provider.answer = verdict
        await site.start()
        officer, caught, clean = (
            await site.caller([Scope.COMPLIANCE]),
            await site.player(),
            await site.player(),
        )
        await pay_from(site, bad, caught)
        await pay_from(site, good, clean)
        await site.mine(FINAL)

        async def known() -> bool:
            return bool(await site.pool.fetchval("SELECT count(*) = 2 FROM source_screening"))

        await site.until(known)
        [case] = (await officer.get("/v1/cases")).body["data"]
        assert (case["account_id"], case["rule"], case["action"]) == (caught.id, "screened_source", "hold")
        held = await caught.ask_withdrawal(sat("0.1"), strangers_address())
        free = await clean.ask_withdrawal(sat("0.1"), strangers_address())
        assert "compliance" in held.body["reason"]
        assert "compliance" not in free.body["reason"]
    await assert_balanced(site)
