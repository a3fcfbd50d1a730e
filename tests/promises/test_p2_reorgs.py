"""P2 under reorgs: whatever branch the chain takes, a deposit's money is there once, or not at all.

A deposit of c confirmations is touched by a reorg of depth c or more. Depths go from 1 to 5, around the
thresholds of both tiers; what is final is in test_p6_finality.
"""

import random
import secrets

import pytest

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, assert_sound
from tests.support.running import FINAL, LARGE, SMALL, Player, Site, sat, story_until

AMOUNTS = {SMALL: "0.4", LARGE: "1.5"}


def not_final(depth: int) -> list[tuple[int, int]]:
    """The tiers whose deposits of so many confirmations are not final."""
    return [tier for tier in (SMALL, LARGE) if depth < tier[1]]


async def deposits_of_all_tiers(site: Site, depth: int) -> dict[tuple[int, int], tuple[Player, str]]:
    """By tier: a player and the hash of a deposit that was seen in the mempool and is not final."""
    found = {}
    for tier in not_final(depth):
        player = await site.player()
        found[tier] = player, await site.net.send(await player.address(), AMOUNTS[tier])
    for player, _ in found.values():
        await player.reaches("detected")
    await site.mine(depth)
    return found


async def test_a_reorg_of_the_blocks_that_were_there_at_the_first_start_is_followed(
    make_site: MakeSite,
) -> None:
    site = await make_site()
    await site.start()
    await site.net.reorg(FINAL - 1)
    player, _ = await site.deposited("0.4", 1)
    assert await player.state() == "credited"
    assert await site.pool.fetchval("SELECT halted FROM chain") is None


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
async def test_a_reorged_and_re_mined_deposit_is_credited_once(site: Site, depth: int) -> None:
    found = await deposits_of_all_tiers(site, depth)
    await site.reorg(depth)
    after = depth + 1
    for tier, (player, _) in found.items():
        undone = ["reversed"] if depth >= tier[0] else ["detected"]
        assert await player.story() == [
            "detected",
            *story_until(tier, depth),
            *undone,
            *story_until(tier, after),
        ]
        amount = sat(AMOUNTS[tier])
        assert await player.balance() == Balance(total=amount, unfinalized=0 if after >= tier[1] else amount)
    await site.mine(FINAL)
    for tier, (player, _) in found.items():
        assert await player.balance() == Balance(total=sat(AMOUNTS[tier]))
    await assert_balanced(site)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
async def test_a_deposit_that_a_reorg_drops_is_reversed_and_credited_again_when_mined_again(
    site: Site, depth: int
) -> None:
    found = await deposits_of_all_tiers(site, depth)
    hashes = [tx_hash for _, tx_hash in found.values()]
    raws = [await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash) for tx_hash in hashes]
    await site.reorg(depth, drop=hashes)
    for tier, (player, _) in found.items():
        await player.reaches("replaced")
        gone = ["reversed" if depth >= tier[0] else "detected", "replaced"]
        assert await player.story() == ["detected", *story_until(tier, depth), *gone]
        assert await player.balance() == Balance()

    for raw in raws:
        await site.net.broadcast(raw)
    for player, _ in found.values():
        await player.reaches("detected")
    await site.mine(FINAL)
    for tier, (player, _) in found.items():
        told = ["detected", *story_until(tier, FINAL)]
        assert (await player.story())[-len(told) :] == told
        assert await player.balance() == Balance(total=sat(AMOUNTS[tier]))
    await assert_balanced(site)


@pytest.mark.parametrize("tier", [SMALL, LARGE])
async def test_a_reorg_above_a_deposit_leaves_it_alone(site: Site, tier: tuple[int, int]) -> None:
    player, _ = await site.deposited(AMOUNTS[tier], tier[1])
    before = await player.balance()
    await site.reorg(tier[1] - 1)
    assert await player.balance() == before
    assert await player.story() == ["detected", *story_until(tier, tier[1])]


async def test_a_reversal_of_money_that_was_bet_leaves_a_debt_and_the_re_mined_deposit_pays_it(
    site: Site,
) -> None:
    player, tx_hash = await site.deposited("0.5", 1)
    raw = await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash)
    assert (await player.bet(sat("0.3"))).status == 201
    await site.reorg(1, drop=[tx_hash])
    owing = await player.balance()
    assert (owing.total, owing.debt, owing.playable, owing.withdrawable) == (sat("-0.3"), sat("0.3"), 0, 0)
    assert (await player.bet(1)).status == 422
    assert (await player.transfer("win", sat("0.1"))).status == 201
    assert (await player.balance()).debt == sat("0.2")

    await site.net.broadcast(raw)
    await site.mine(SMALL[1])
    paid = await player.balance()
    assert (paid.total, paid.debt, paid.withdrawable) == (sat("0.3"), 0, sat("0.3"))
    await assert_balanced(site)


async def test_a_deposit_beside_a_dropped_one_is_not_touched(site: Site) -> None:
    first, second = await site.player(), await site.player()
    dropped = await site.net.send(await first.address(), "0.1")
    await site.net.send(await second.address(), "0.2")
    await site.mine()
    await site.reorg(1, drop=[dropped])
    assert await first.balance() == Balance()
    assert await second.balance() == Balance(total=sat("0.2"), unfinalized=sat("0.2"))


async def test_a_reorg_while_the_daemon_was_down_is_followed_at_the_next_start(site: Site) -> None:
    kept, tx_kept = await site.deposited("0.5", 1)
    lost = await site.player()
    tx_lost = await site.net.send(await lost.address(), "0.5")
    await site.mine()
    await site.stop_daemon()
    await site.net.reorg(2, drop=[tx_lost])
    await site.net.mine(2)
    await site.start_daemon()
    await site.caught_up()
    assert await kept.balance() == Balance(total=sat("0.5"))
    assert await lost.balance() == Balance()
    assert [deposit["tx_hash"] for deposit in await kept.deposits()] == [tx_kept]


async def test_each_reorg_is_told_once_and_measured(site: Site) -> None:
    await site.mine(3)
    await site.reorg(2)
    rows = await site.pool.fetch(
        "SELECT data::json->>'depth' AS depth FROM event WHERE type = 'chain.reorged'"
    )
    assert [row["depth"] for row in rows] == ["2"]
    assert await site.metric("reorg_depth_blocks_count") == {"bitcoin": 1}


async def test_a_storm_of_reorgs_credits_every_deposit_that_stayed_once(site: Site) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    players = [await site.player() for _ in range(4)]
    sent: dict[str, tuple[int, int]] = {}
    for _ in range(20):
        number = chance.randrange(len(players))
        amount = chance.randrange(10_000, 50_000_000)
        address = await players[number].address()
        text = f"{amount // 10**8}.{amount % 10**8:08}"
        sent[await site.net.send(address, text)] = (number, amount)
        await site.net.mine(chance.randrange(1, 3))
        if chance.random() < 0.7:
            # Deep enough to undo credits, and never what is final: then payouts would halt.
            depth = chance.choice([1, 2])
            fresh = [name for name in sent if 1 <= await confirmations(site, name) <= depth]
            dropped = [name for name in fresh if chance.random() < 0.4]
            await site.net.reorg(depth, drop=dropped)
            for name in dropped:
                del sent[name]
    await site.mine(FINAL)
    for number, player in enumerate(players):
        expected = sum(amount for owner, amount in sent.values() if owner == number)
        assert await player.balance() == Balance(total=expected), f"player {number}"
    await assert_balanced(site)
    await assert_sound(site)


async def confirmations(site: Site, tx_hash: str) -> int:
    found = await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash, True)
    return int(found.get("confirmations", 0))
