"""Deposits on chains of Ethereum's kind: coins and tokens, by whatever way they come, once each."""

import pytest

from cryptowatch.ledger.rules import Balance
from tests.support.ethereum import BSC_USDT, ETH, USDC, USDT
from tests.support.running import Currency, Site


@pytest.mark.parametrize("currency", [ETH, USDT, USDC, BSC_USDT], ids=lambda c: f"{c.chain}-{c.asset}")
async def test_a_deposit_is_credited_at_once_and_unlocked_when_final(
    evm_site: Site, currency: Currency
) -> None:
    player = await evm_site.player(currency)
    await evm_site.net.send(await player.address(), "7.5", chain=currency.chain, asset=currency.asset)
    await evm_site.mine(1, currency.chain)
    amount = currency.units("7.5")
    assert await player.balance() == Balance(total=amount, unfinalized=amount)
    await evm_site.mine(1, currency.chain)
    assert await player.state() == "credited"
    await evm_site.mine(1, currency.chain)
    assert await player.balance() == Balance(total=amount)
    assert await player.story() == ["credited", "finalized"]


async def test_a_coin_that_a_contract_sends_is_a_deposit(evm_site: Site) -> None:
    player = await evm_site.player(ETH)
    await evm_site.net.send(await player.address(), "1.5", chain="ethereum", internal=True)
    await evm_site.mine(3, "ethereum")
    assert await player.balance() == Balance(total=ETH.units("1.5"))
