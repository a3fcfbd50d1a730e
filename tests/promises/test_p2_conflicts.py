"""P2 when a deposit's money is spent twice: in the mempool, before the credit, or after it by a reorg."""

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced
from tests.support.running import Player, Site, sat, strangers_address

MINIMUM = {"chains": {"bitcoin": {"assets": {"BTC": {"deposit_min": "0.001"}}}}}


async def detected_deposit(site: Site, amount: str = "0.5") -> tuple[Player, str]:
    player = await site.player()
    tx_hash = await site.net.send(await player.address(), amount)
    await site.pending_everywhere(tx_hash)
    await player.has_deposit()
    return player, tx_hash


async def test_a_conflict_in_one_mempool_is_shown_and_its_block_replaces_the_deposit(site: Site) -> None:
    player, tx_hash = await detected_deposit(site)
    other = await site.net.double_spend(tx_hash, strangers_address(), broadcast=False)
    # The third node holds on to the original: to it the replacement pays too little.
    await site.net.bitcoin[2].rpc("prioritisetransaction", tx_hash, 0, 100_000_000)
    await site.net.bitcoin[0].rpc("sendrawtransaction", other["raw"])

    async def warned() -> bool:
        return bool((await player.has_deposit())["conflict_tx_hash"])

    await site.until(warned)
    shown = await player.has_deposit()
    assert (shown["state"], shown["conflict_tx_hash"]) == ("detected", other["tx_hash"])
    assert await player.balance() == Balance()
    await site.mine()
    await player.reaches("replaced")
    await site.mine(3)
    assert await player.story() == ["detected", "replaced"]
    assert await player.balance() == Balance()
    await assert_balanced(site)


async def test_a_deposit_beside_a_conflict_is_not_suspected(site: Site) -> None:
    innocent, _ = await detected_deposit(site)
    player, tx_hash = await detected_deposit(site)
    await site.net.double_spend(tx_hash, strangers_address())
    await player.reaches("replaced")
    found = await innocent.deposit()
    assert found is not None
    assert (found["state"], found["conflict_tx_hash"]) == ("detected", None)


async def test_a_deposit_replaced_in_every_mempool_is_replaced_and_never_credited(site: Site) -> None:
    player, tx_hash = await detected_deposit(site)
    other = await site.net.double_spend(tx_hash, strangers_address())
    shown = await player.reaches("replaced")
    assert shown["conflict_tx_hash"] == other["tx_hash"]
    await site.mine(3)
    assert await player.story() == ["detected", "replaced"]
    assert await player.balance() == Balance()


async def test_a_replaced_deposit_that_a_miner_takes_after_all_is_credited(site: Site) -> None:
    player, tx_hash = await detected_deposit(site)
    raw = await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash)
    await site.net.double_spend(tx_hash, strangers_address())
    await player.reaches("replaced")
    await site.net.bitcoin[0].rpc("generateblock", strangers_address(), [raw])
    await site.mine(2)
    assert await player.story() == ["detected", "replaced", "credited", "finalized"]
    shown = await player.reaches("finalized")
    assert shown["conflict_tx_hash"] is None
    assert await player.balance() == Balance(total=sat("0.5"))
    await assert_balanced(site)


async def test_a_double_spend_that_a_reorg_brings_in_reverses_the_credit_for_good(site: Site) -> None:
    player, tx_hash = await detected_deposit(site)
    raw = await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash)
    await site.mine(2)
    assert await player.state() == "credited"
    other = await site.net.double_spend(tx_hash, strangers_address(), broadcast=False)
    await site.reorg(2, include=[other["raw"]])
    assert await player.story() == ["detected", "credited", "reversed", "replaced"]
    assert await player.balance() == Balance()
    verdict = await site.net.bitcoin[0].rpc("testmempoolaccept", [raw])
    assert not verdict[0]["allowed"]
    await site.mine(3)
    assert await player.state() == "replaced"
    await assert_balanced(site)


async def test_a_double_spend_to_another_player_moves_the_money_to_that_one_alone(site: Site) -> None:
    loser, tx_hash = await detected_deposit(site)
    winner = await site.player()
    await site.mine()
    other = await site.net.double_spend(tx_hash, await winner.address(), broadcast=False)
    await site.reorg(1, include=[other["raw"]])
    await site.mine(6)
    assert await loser.balance() == Balance()
    found = await winner.deposit()
    assert found is not None
    assert await winner.balance() == Balance(total=sat(found["amount"]))
    await assert_balanced(site)


async def test_a_quarantined_deposit_can_be_replaced_and_waits_for_a_person_again_when_it_returns(
    make_site: MakeSite,
) -> None:
    site = await make_site(**MINIMUM)
    await site.start()
    player, tx_hash = await detected_deposit(site, "0.0005")
    raw = await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash)
    assert await player.state() == "quarantined"
    await site.net.double_spend(tx_hash, strangers_address())
    await player.reaches("replaced")
    await site.net.bitcoin[0].rpc("generateblock", strangers_address(), [raw])
    await site.mine(2)
    assert await player.state() == "quarantined"
    assert await player.balance() == Balance()
    found = await player.deposit()
    assert found is not None
    released = await site.approver.post(f"/v1/deposits/{found['id']}/release")
    assert released.body["state"] == "finalized"
    assert await player.balance() == Balance(total=sat("0.0005"))
    await assert_balanced(site)


async def test_a_deposit_that_returns_is_held_against_its_players_limit_as_any_other(site: Site) -> None:
    player, tx_hash = await detected_deposit(site)
    raw = await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash)
    await site.net.double_spend(tx_hash, strangers_address())
    await player.reaches("replaced")
    limits = [{"kind": "deposit", "period": "day", "asset": "BTC", "amount": "0.6"}]
    await site.backend.patch(f"/v1/accounts/{player.id}", {"play_limits": limits})
    await site.net.send(await player.address(), "0.4")

    async def is_seen() -> bool:
        return len(await player.deposits()) == 2

    await site.until(is_seen)
    await site.net.bitcoin[0].rpc("generateblock", strangers_address(), [raw])
    await site.mine(3)
    assert sorted(
        (one["amount"], one["state"], one["quarantine_reason"]) for one in await player.deposits()
    ) == [
        ("0.40000000", "finalized", None),
        ("0.50000000", "quarantined", "deposit_limit"),
    ]
    assert await player.balance() == Balance(total=sat("0.4"))
    await assert_balanced(site, uncredited=sat("0.5"))
