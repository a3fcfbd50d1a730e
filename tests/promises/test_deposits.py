"""A deposit's way from the mempool to finality, and the deposits that a person must look at first."""

import pytest

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced
from tests.support.running import LARGE, SMALL, Site, sat, strangers_address
from tests.support.spending import script, signed, strangers_coin

MINIMUM = {"chains": {"bitcoin": {"assets": {"BTC": {"deposit_min": "0.001"}}}}}


async def test_a_small_deposit_is_playable_at_one_block_and_withdrawable_at_three(site: Site) -> None:
    player = await site.player()
    tx_hash = await site.net.send(await player.address(), "1")
    await player.has_deposit()
    assert await player.state() == "detected"
    assert await player.balance() == Balance()
    await site.mine()
    assert await player.state() == "credited"
    assert await player.balance() == Balance(total=sat("1"), unfinalized=sat("1"))
    await site.mine()
    assert await player.state() == "credited"
    await site.mine()
    assert await player.state() == "finalized"
    assert await player.balance() == Balance(total=sat("1"))
    assert await player.story() == ["detected", "credited", "finalized"]
    found = await player.deposit()
    assert found is not None
    assert (found["tx_hash"], found["confirmations"]) == (tx_hash, 3)
    assert found["required"] == {"credit": SMALL[0], "finalize": SMALL[1]}
    await assert_balanced(site)


async def test_a_large_deposit_is_playable_at_two_blocks_and_withdrawable_at_six(site: Site) -> None:
    player = await site.player()
    await site.net.send(await player.address(), "1.00000001")
    amount = sat("1.00000001")
    await player.has_deposit()
    states, balances = [], []
    for _ in range(LARGE[1]):
        await site.mine()
        states.append(await player.state())
        balances.append(await player.balance())
    assert states == ["confirming", "credited", "credited", "credited", "credited", "finalized"]
    playable_only = Balance(total=amount, unfinalized=amount)
    assert balances == [
        Balance(),
        playable_only,
        playable_only,
        playable_only,
        playable_only,
        Balance(total=amount),
    ]
    assert await player.story() == ["detected", "confirming", "credited", "finalized"]
    await assert_balanced(site)


async def test_what_is_credited_can_be_bet_before_it_is_final(site: Site) -> None:
    player = await site.player()
    await site.net.send(await player.address(), "0.5")
    await player.has_deposit()
    assert (await player.bet(1)).status == 422
    await site.mine()
    assert (await player.bet(sat("0.5"))).status == 201
    assert (await player.bet(1)).status == 422


async def test_a_deposit_below_the_minimum_waits_until_a_person_releases_it(make_site: MakeSite) -> None:
    site = await make_site(**MINIMUM)
    await site.start()
    player = await site.player()
    await site.net.send(await player.address(), "0.00099999")
    await player.has_deposit()
    await site.mine(2)
    found = await player.deposit()
    assert found is not None
    assert (found["state"], found["quarantine_reason"]) == ("quarantined", "below_minimum")
    assert await player.balance() == Balance()
    await assert_balanced(site, uncredited=sat("0.00099999"))

    path = f"/v1/deposits/{found['id']}/release"
    assert (await site.backend.post(path)).status == 403
    released = await site.approver.post(path)
    assert (released.status, released.body["state"]) == (200, "credited")
    assert (await site.approver.post(path)).code == "wrong_state"
    await site.mine()
    assert await player.balance() == Balance(total=sat("0.00099999"))
    assert await player.story() == ["quarantined", "released", "credited", "finalized"]
    await assert_balanced(site)


async def test_a_deposit_of_the_minimum_waits_for_nobody(make_site: MakeSite) -> None:
    site = await make_site(**MINIMUM)
    await site.start()
    player = await site.player()
    await site.net.send(await player.address(), "0.001")
    await site.mine()
    assert await player.state() == "credited"


@pytest.mark.parametrize(("status", "state"), [("frozen", "quarantined"), ("self_excluded", "credited")])
async def test_only_a_frozen_players_deposit_waits_for_a_person(site: Site, status: str, state: str) -> None:
    player = await site.player()
    address = await player.address()
    assert (await site.backend.patch(f"/v1/accounts/{player.id}", {"status": status})).status == 200
    await site.net.send(address, "0.1")
    await site.mine()
    found = await player.deposit()
    assert found is not None
    assert (found["state"], found["quarantine_reason"]) == (
        state,
        "account_frozen" if status == "frozen" else None,
    )


async def test_a_released_deposit_that_is_not_mined_yet_goes_the_usual_way(make_site: MakeSite) -> None:
    site = await make_site(**MINIMUM)
    await site.start()
    player = await site.player()
    await site.net.send(await player.address(), "0.0005")
    await player.has_deposit()
    found = await player.deposit()
    assert found is not None
    released = await site.approver.post(f"/v1/deposits/{found['id']}/release")
    assert released.body["state"] == "detected"
    await site.mine(3)
    assert await player.story() == ["quarantined", "released", "credited", "finalized"]


async def test_one_transaction_pays_several_players_and_one_of_them_twice(site: Site) -> None:
    first, second = await site.player(), await site.player()
    twice, once, other = [script(await player.address()) for player in (first, first, second)]
    keys, coin = await strangers_coin(site.net, "2")
    strange = [(b"\x6a\x04memo", 0), (b"\x00\x20" + bytes(32), 5_000), (b"\x51", 6_000)]
    outputs = [(twice, 11_000), strange[0], (other, 22_000), (twice, 33_000), (once, 44_000), *strange[1:]]
    tx_hash, raw = signed(keys, [coin], outputs)
    await site.net.bitcoin[0].rpc("generateblock", strangers_address(), [raw])
    await site.caught_up()

    found = [(one["tx_hash"], one["position"], sat(one["amount"])) for one in await first.deposits()]
    assert sorted(found) == [(tx_hash, 0, 11_000), (tx_hash, 3, 33_000), (tx_hash, 4, 44_000)]
    assert await first.balance() == Balance(total=88_000, unfinalized=88_000)
    assert await second.balance() == Balance(total=22_000, unfinalized=22_000)
    await site.mine(2)
    assert await first.balance() == Balance(total=88_000)
    await assert_balanced(site)
    assert await site.pool.fetchval("SELECT count(*) FROM deposit") == 4


async def test_an_address_that_nobody_was_given_makes_no_deposit_and_nobody_richer(site: Site) -> None:
    player = await site.player()
    own = await player.address()
    free = await site.pool.fetchval(
        "SELECT address FROM address WHERE assigned_at IS NULL AND branch = 0 LIMIT 1"
    )
    change = await site.pool.fetchval("SELECT address FROM address WHERE branch = 1 LIMIT 1")
    await site.net.send_many({own: "0.1", free: "0.2", change: "0.3"})
    await site.mine(3)
    assert await site.pool.fetchval("SELECT count(*) FROM deposit") == 1
    assert await player.balance() == Balance(total=sat("0.1"))
    await assert_balanced(site, uncredited=sat("0.5"))


async def test_what_is_more_than_a_player_wanted_to_deposit_waits_for_a_person(site: Site) -> None:
    player = await site.player()
    limits = [{"kind": "deposit", "period": "day", "asset": "BTC", "amount": "0.5"}]
    await site.backend.patch(f"/v1/accounts/{player.id}", {"play_limits": limits})
    address = await player.address()
    await site.net.send(address, "0.4")
    await player.has_deposit()
    await site.net.send(address, "0.2")
    await site.mine(3)
    assert sorted(
        (one["amount"], one["state"], one["quarantine_reason"]) for one in await player.deposits()
    ) == [
        ("0.20000000", "quarantined", "deposit_limit"),
        ("0.40000000", "finalized", None),
    ]
    assert await player.balance() == Balance(total=sat("0.4"))
    await site.net.send(address, "0.1")
    await site.mine(3)
    assert await player.balance() == Balance(total=sat("0.5"))
    full = await site.backend.post(f"/v1/accounts/{player.id}/addresses", {"chain": "bitcoin"})
    assert (full.status, full.code) == (422, "deposit_limit_reached")
    [waiting] = [one for one in await player.deposits() if one["state"] == "quarantined"]
    await site.approver.post(f"/v1/deposits/{waiting['id']}/release")
    assert await player.balance() == Balance(total=sat("0.7"))
    await assert_balanced(site)
