"""Payouts on chains of Ethereum's kind: batches by contract, each payment settled by what the chain says of it."""

from typing import Any

import pytest

from cryptowatch.devnet.ethereum.artifacts import contract
from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.ethereum import (
    CALM,
    ETH,
    FINAL,
    USDC,
    USDT,
    House,
    attempts,
    faucet,
    fee_of,
    lineages,
    paid_to,
    sent,
    settled,
    stranger,
)
from tests.support.running import Currency, Player, merged

#: As many as a test asks for leave together.
TOGETHER: dict[str, Any] = merged(
    CALM, {"chains": {"ethereum": {"batching": {"wait_max_s": 4, "count_max": 4}}}}
)


async def opened(make_site: MakeSite, settings: dict[str, Any]) -> House:
    house = House(await make_site(**settings))
    await house.site.start()
    await house.opens()
    return house


async def four_payouts(player: Player, currency: Currency, amount: str, addresses: list[str]) -> list[str]:
    """Withdrawals of one batch: the fourth fills it."""
    return [await player.withdraw(currency.units(amount), address) for address in addresses]


@pytest.mark.parametrize("currency", [ETH, USDT, USDC], ids=lambda c: c.asset)
async def test_a_batch_of_withdrawals_is_paid_by_one_transaction_and_settled(
    make_ethereum_site: MakeSite, currency: Currency
) -> None:
    house = await opened(make_ethereum_site, TOGETHER)
    site, addresses = house.site, [stranger() for _ in range(4)]
    player = await house.serves(currency, "12")
    for address in addresses:
        await site.net.send(address, "0.1", chain="ethereum")  # accounts that exist are paid together
    await site.mine(1, "ethereum")
    ids = await four_payouts(player, currency, "2", addresses)
    await settled(site, ids)
    assert len({(await site.withdrawal(one))["tx_hash"] for one in ids}) == 1
    assert len({(await site.withdrawal(one))["position"] for one in ids}) == 4
    for address in addresses:
        already = currency.units("0.1") if currency == ETH else 0
        assert await paid_to(site, currency, address) == currency.units("2") + already
    assert await player.balance() == Balance(total=currency.units("4") - 4 * fee_of(currency))
    await house.assert_balanced()


async def test_who_refuses_a_coin_is_tried_again_alone_once_and_keeps_nobody_from_being_paid(
    make_ethereum_site: MakeSite,
) -> None:
    house = await opened(make_ethereum_site, TOGETHER)
    site, other = house.site, stranger()
    refusing = [await site.net.deploy("ethereum", name) for name in ("Refuser", "GasBurner", "ReturnBomb")]
    await site.net.send(other, "0.1", chain="ethereum")
    player = await house.serves(ETH, "9")
    *refused, paid = await four_payouts(player, ETH, "1", [*refusing, other])
    await settled(site, [paid])
    [batch] = [row for row in await lineages(site, "payout") if len(row["outcomes"] or ()) == 4]
    assert batch["outcomes"][:3] == [None] * 3
    assert (await site.withdrawal(paid))["position"] == batch["outcomes"][3]
    await settled(site, refused, "failed")
    for one in refused:
        told = ["requested", "queued", "sending", "queued", "sending", "failed"]
        assert await site.story(one) == told
    assert await paid_to(site, ETH, other) == ETH.units("1.1")
    assert sum([await paid_to(site, ETH, address) for address in refusing]) == 0
    # Nothing is taken for a payment that was not made.
    assert await player.balance() == Balance(total=ETH.units("8") - fee_of(ETH))
    assert len(await lineages(site, "payout")) == 4
    await house.assert_balanced()


async def test_a_recipient_that_a_token_refuses_fails_alone(make_ethereum_site: MakeSite) -> None:
    house, token = await with_hostile_token(make_ethereum_site)
    site, others = house.site, [stranger() for _ in range(3)]
    hostile, refused_address = Currency("ethereum", "HOST", 6), stranger()
    player = await site.player(hostile)
    await faucet(site).execute(
        token, contract("HostileToken").call("mint", [await player.address()], 9_000_000)
    )
    await site.mine(FINAL, "ethereum")
    await faucet(site).execute(token, contract("HostileToken").call("refuse", refused_address, True))
    ids = await four_payouts(player, hostile, "1", [refused_address, *others])
    await settled(site, ids[1:])
    await settled(site, ids[:1], "failed")
    for address in others:
        assert await paid_to(site, hostile, address) == hostile.units("1")
    assert await paid_to(site, hostile, refused_address) == 0
    assert await player.balance() == Balance(total=hostile.units("6"))
    await house.assert_balanced()


async def with_hostile_token(make_site: MakeSite) -> tuple[House, str]:
    """A third token, by settings alone: (the house, the token)."""
    site = await make_site(**TOGETHER)
    token = await site.net.deploy("ethereum", "HostileToken")
    asset = {
        "contract": token,
        "decimals": 6,
        "withdrawal_min": "1",
        "withdrawal_max": "1000",
        "tiers": [{"credit_confirmations": 1, "finalize_confirmations": 3}],
    }
    site.reconfigure(chains={"ethereum": {"assets": {"HOST": asset}}}, signer=allowing("HOST"))
    await site.start()
    house = House(site)
    await house.opens(setups=3)
    await faucet(site).execute(token, contract("HostileToken").call("mint", [house.vault], 100_000_000))
    await site.caught_up("ethereum")
    return house, token


def allowing(asset: str) -> dict[str, Any]:
    limits = {"transaction_amount_max": "1000", "hourly_amount_max": "10000"}
    return {"policy": {"ethereum": {"assets": {asset: limits}}}}


async def test_payouts_of_a_token_that_is_paused_for_a_while_are_paid_when_it_works_again(
    make_ethereum_site: MakeSite,
) -> None:
    house = await opened(make_ethereum_site, TOGETHER)
    site, addresses = house.site, [stranger() for _ in range(4)]
    player = await house.serves(USDT, "9")
    usdt = site.net.evm["ethereum"].tokens["USDT"]
    await faucet(site).execute(usdt, contract("TetherLike").call("setPaused", True))
    try:
        ids = await four_payouts(player, USDT, "1", addresses)
        await sent(site, ids[-1])
        await site.mine(1, "ethereum")
        [batch] = await lineages(site, "payout")
        assert (batch["state"], batch["outcomes"]) == ("confirmed", [None] * 4)
    finally:
        await faucet(site).execute(usdt, contract("TetherLike").call("setPaused", False))
    await settled(site, ids)
    for address in addresses:
        assert await paid_to(site, USDT, address) == USDT.units("1")
    assert len(await attempts(site)) == 5
    assert await player.balance() == Balance(total=USDT.units("5") - 4 * fee_of(USDT))
    await house.assert_balanced()


async def test_a_batch_that_is_undone_whole_pays_nobody_and_each_is_tried_again_alone(
    make_ethereum_site: MakeSite,
) -> None:
    """With so little gas the call cannot end well."""
    house = await opened(make_ethereum_site, TOGETHER)
    site, addresses = house.site, [stranger() for _ in range(4)]
    player = await house.serves(USDT, "9")
    await site.stop_daemon()
    site.reconfigure(chains={"ethereum": {"gas": {"call": 21_000, "token_payment": 9_000}}})
    await site.start_daemon()
    ids = await four_payouts(player, USDT, "1", addresses)
    await sent(site, ids[-1])
    await site.mine(1, "ethereum")
    [batch] = await lineages(site, "payout")
    assert batch["outcomes"] == [None] * 4
    await site.stop_daemon()
    site.reconfigure(chains={"ethereum": {"gas": {"call": 60_000, "token_payment": 90_000}}})
    await site.start_daemon()
    await settled(site, ids)
    for address in addresses:
        assert await paid_to(site, USDT, address) == USDT.units("1")
    await house.assert_balanced()


async def test_a_reorg_that_turns_a_failed_payment_into_one_that_is_made_pays_once(
    make_ethereum_site: MakeSite,
) -> None:
    house = await opened(make_ethereum_site, TOGETHER)
    site, addresses = house.site, [stranger() for _ in range(4)]
    player = await house.serves(USDT, "9")
    usdt = site.net.evm["ethereum"].tokens["USDT"]
    paused = await faucet(site).execute(usdt, contract("TetherLike").call("setPaused", True))
    ids = await four_payouts(player, USDT, "1", addresses)
    await sent(site, ids[-1])
    await site.mine(2, "ethereum")
    [batch] = await lineages(site, "payout")
    assert batch["outcomes"] == [None] * 4
    await site.reorg(3, drop=[paused["transactionHash"][2:]], chain="ethereum")
    await settled(site, ids)
    for address in addresses:
        assert await paid_to(site, USDT, address) == USDT.units("1")
    assert len(await attempts(site)) == 1
    assert await player.balance() == Balance(total=USDT.units("5") - 4 * fee_of(USDT))
    await house.assert_balanced()


async def test_what_the_vault_cannot_pay_waits_and_holds_up_nobody(make_ethereum_site: MakeSite) -> None:
    house = await opened(make_ethereum_site, CALM)
    site = house.site
    rich, other = await house.serves(ETH, "50"), await house.serves(USDT, "9")
    vault_wei = await paid_to(site, ETH, house.vault)
    # All that the vault has: it could not pay the gas.
    everything = await rich.withdraw(vault_wei, stranger())
    small, token = stranger(), stranger()
    second = await rich.withdraw(ETH.units("0.01"), small)
    third = await other.withdraw(USDT.units("5"), token)
    await settled(site, [second, third])
    assert (await site.withdrawal(everything))["state"] == "queued"
    assert await paid_to(site, ETH, small) == ETH.units("0.01")
    assert await paid_to(site, USDT, token) == USDT.units("5")
    await house.brings(ETH, "10")
    await settled(site, [everything])
    await house.assert_balanced()
