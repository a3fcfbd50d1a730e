"""P3 when fees rise: what is stuck is replaced under its own nonce for an eighth more, up to the cap, no further."""

from typing import Any

import pytest

from cryptowatch.devnet.ethereum.transactions import Transaction, parse_transaction
from tests.promises.conftest import MakeSite
from tests.support.ethereum import ETH, USDT, House, attempts, lineages, paid_to, sent, settled, stranger
from tests.support.running import Currency, Site, merged

CHAIN = "ethereum"
GWEI = 10**9
BUMP_AFTER = 2
IMPATIENT: dict[str, Any] = {
    "chains": {
        CHAIN: {
            "fees": {
                "cap_gwei": 100,
                "target_blocks": dict.fromkeys(("economy", "normal", "urgent"), BUMP_AFTER),
            },
            "wallet": {"sweep_gas_max_gwei": 0, "bump_after_blocks": BUMP_AFTER},
        }
    }
}


async def opened(make_site: MakeSite, settings: dict[str, Any] = IMPATIENT, own_coin: str = "50") -> House:
    house = House(await make_site(**settings))
    await house.site.start()
    await house.opens(own_coin)
    return house


async def dear_blocks(site: Site, count: int, base_fee_gwei: int) -> None:
    """Blocks that take only what bids so much."""
    for _ in range(count):
        await site.net.mine(chain=CHAIN, base_fee_wei=base_fee_gwei * GWEI)
    await site.caught_up(CHAIN)


async def versions(site: Site) -> list[Transaction]:
    """What was signed for the only payout, oldest first."""
    return [parse_transaction(one["raw"].hex()) for one in await attempts(site) if one["raw"] is not None]


@pytest.mark.parametrize("currency", [ETH, USDT], ids=lambda c: c.asset)
async def test_a_payout_below_the_base_fee_is_replaced_under_its_nonce_and_pays_once(
    make_ethereum_site: MakeSite, currency: Currency
) -> None:
    house = await opened(make_ethereum_site)
    site, address = house.site, stranger()
    player = await house.serves(currency, "9")
    withdrawal = await player.withdraw(currency.units("5"), address)
    first = await sent(site, withdrawal)
    await dear_blocks(site, BUMP_AFTER, 30)

    async def replaced() -> bool:
        return len(await versions(site)) == 2 and await sent(site, withdrawal) != first

    await site.until(replaced)
    old, new = await versions(site)
    assert (new.sender, new.nonce) == (old.sender, old.nonce)
    assert new.fee_cap_wei * 8 >= old.fee_cap_wei * 9
    assert new.tip_cap_wei * 8 >= old.tip_cap_wei * 9
    await settled(site, [withdrawal])
    assert await paid_to(site, currency, address) == currency.units("5")
    assert (await site.withdrawal(withdrawal))["tx_hash"] == new.hash[2:]
    await house.assert_balanced()


async def test_an_older_version_that_is_mined_after_all_pays_once(make_ethereum_site: MakeSite) -> None:
    house = await opened(make_ethereum_site)
    site, address = house.site, stranger()
    player = await house.serves(USDT, "9")
    withdrawal = await player.withdraw(USDT.units("5"), address)
    await sent(site, withdrawal)
    await dear_blocks(site, BUMP_AFTER, 30)

    async def replaced() -> bool:
        return len(await versions(site)) == 2

    await site.until(replaced)
    old, new = await versions(site)
    await sent(site, withdrawal)
    # Gas is cheap again, and the proposer has not heard of the replacement.
    unheard = {node: [new.hash] for node in range(3)}
    await site.net.mine(2, chain=CHAIN, withhold=unheard, base_fee_wei=GWEI)
    await site.net.reorg(1, include=[old.raw], chain=CHAIN)
    await settled(site, [withdrawal])
    assert (await site.withdrawal(withdrawal))["tx_hash"] == old.hash[2:]
    assert await paid_to(site, USDT, address) == USDT.units("5")
    assert len(await lineages(site, "payout")) == 1
    await house.assert_balanced()


async def test_at_the_cap_nothing_more_is_bid_and_it_is_said_once(
    make_ethereum_site: MakeSite, capsys: pytest.CaptureFixture[str]
) -> None:
    house = await opened(
        make_ethereum_site, merged(IMPATIENT, {"chains": {CHAIN: {"fees": {"cap_gwei": 21}}}})
    )
    site, address = house.site, stranger()
    player = await house.serves(USDT, "9")
    withdrawal = await player.withdraw(USDT.units("5"), address)
    await sent(site, withdrawal)
    await dear_blocks(site, BUMP_AFTER, 18)

    async def raised() -> bool:
        return len(await versions(site)) == 2

    await site.until(raised)
    capsys.readouterr()
    await dear_blocks(site, 2 * BUMP_AFTER, 23)
    await site.polled(10)
    *_, last = await versions(site)
    assert len(await versions(site)) == 2
    assert last.fee_cap_wei <= 21 * GWEI
    assert capsys.readouterr().out.count("stuck at the fee cap") == 1
    await settled(site, [withdrawal])
    assert await paid_to(site, USDT, address) == USDT.units("5")


async def test_a_base_fee_beyond_the_cap_is_waited_out(make_ethereum_site: MakeSite) -> None:
    house = await opened(make_ethereum_site)
    site, address = house.site, stranger()
    player = await house.serves(USDT, "9")
    await dear_blocks(site, 1, 200)
    withdrawal = await player.withdraw(USDT.units("5"), address)
    await site.polled(5)
    assert (await site.withdrawal(withdrawal))["state"] == "queued"
    await dear_blocks(site, 1, 10)
    await settled(site, [withdrawal])
    assert await paid_to(site, USDT, address) == USDT.units("5")


async def test_a_fee_is_not_raised_beyond_what_the_account_has_left(make_ethereum_site: MakeSite) -> None:
    """What nodes would refuse for want of money takes the place of what they would have mined."""
    house = await opened(make_ethereum_site)
    site, address = house.site, stranger()
    player = await house.serves(ETH, "60")
    vault_wei = await paid_to(site, ETH, house.vault)
    # Enough for this bid, and not for what the base fee below asks for.
    withdrawal = await player.withdraw(vault_wei - ETH.units("0.0008"), address)
    first = await sent(site, withdrawal)
    await dear_blocks(site, BUMP_AFTER, 30)
    await site.polled(5)
    assert [one.hash[2:] for one in await versions(site)] == [first]
    await settled(site, [withdrawal])
    assert await paid_to(site, ETH, address) == vault_wei - ETH.units("0.0008")
    await house.assert_balanced()


async def test_no_fee_is_raised_of_what_waits_behind_a_nonce_that_no_node_has(
    make_ethereum_site: MakeSite,
) -> None:
    """Raised in every round, it would pay the most that its budget allows once what is before it is let go."""
    house = await opened(make_ethereum_site)
    site, address = house.site, stranger()
    player = await house.serves(ETH, "30")
    await site.stop_signer()
    held = await player.withdraw(ETH.units("1"), stranger())
    await site.reaches(held, "sending")
    withdrawal = await player.withdraw(ETH.units("5"), address)
    await site.reaches(withdrawal, "sending")
    # An asset that no reconciler knows, so that none lets it go.
    await site.pool.execute(
        "UPDATE lineage SET asset = 'HELD' WHERE id = (SELECT lineage_id FROM withdrawal WHERE amount = $1)",
        ETH.units("1"),
    )
    await site.pool.execute("UPDATE chain SET stopped_assets = '{HELD}' WHERE chain = $1", CHAIN)
    await site.start_signer()
    first = await sent(site, withdrawal)
    for _ in range(3):
        await dear_blocks(site, BUMP_AFTER, 1)
        await site.polled(3)
    assert [one.hash[2:] for one in await versions(site)] == [first]
    await site.pool.execute("UPDATE chain SET stopped_assets = '{}' WHERE chain = $1", CHAIN)
    await settled(site, [held, withdrawal])
    assert await paid_to(site, ETH, address) == ETH.units("5")
    await house.assert_balanced()
