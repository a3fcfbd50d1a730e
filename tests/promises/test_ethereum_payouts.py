"""Payouts on chains of Ethereum's kind: batches by contract, each payment settled by what the chain says of it."""

import os
from collections.abc import Sequence

import pytest

from cryptowatch.chains.ethereum.address import address_of
from cryptowatch.ledger.rules import Balance
from tests.support.ethereum import BSC_USDT, ETH, USDC, USDT, deposited, fund_wallet, paid_to, swept
from tests.support.running import Currency, Site


def stranger() -> str:
    return address_of(os.urandom(20))


@pytest.mark.parametrize("currency", [ETH, USDT, USDC], ids=lambda c: c.asset)
async def test_a_batch_of_withdrawals_is_paid_by_one_transaction_and_settled(
    evm_site: Site, currency: Currency
) -> None:
    await fund_wallet(evm_site)
    player = await deposited(evm_site, currency, "90")
    await swept(evm_site, currency)
    addresses = [stranger() for _ in range(4)]
    for address in addresses:
        await evm_site.net.send(address, "0.1", chain="ethereum")  # accounts that exist are paid together
    await evm_site.mine(1, "ethereum")
    ids = [await player.withdraw(currency.units("20"), address) for address in addresses]
    await settled(evm_site, ids)
    hashes = {(await evm_site.withdrawal(one))["tx_hash"] for one in ids}
    assert len(hashes) < len(ids)
    for address in addresses:
        got = await paid_to(evm_site, currency, address)
        assert got == currency.units("20") + (currency.units("0.1") if currency == ETH else 0)
    fee = currency.units("0.0005" if currency == ETH else "0.5")
    assert await player.balance() == Balance(total=currency.units("10") - 4 * fee)


async def settled(site: Site, ids: Sequence[str], state: str = "finalized") -> None:
    """Mine until all of the withdrawals are in this state."""
    for _ in range(40):
        states = {(await site.withdrawal(one))["state"] for one in ids}
        if states == {state}:
            return
        await site.polled(2)
        await site.mine(1, "ethereum")
    raise AssertionError(states)


async def test_one_asset_on_two_chains_is_one_balance(evm_site: Site) -> None:
    """USDT counts in 6 decimals on one chain and in 18 on the other: the ledger loses nothing of either."""
    await fund_wallet(evm_site)
    rich = await deposited(evm_site, USDT, "50")
    await swept(evm_site, USDT)
    player = await deposited(evm_site, BSC_USDT, "20.000000000000000001")
    asked = await player.using(USDT).ask_withdrawal(USDT.units("19.000000000000000001"), stranger())
    assert (asked.status, asked.body["code"]) == (422, "amount_too_precise")
    address = stranger()
    await settled(evm_site, [await player.using(USDT).withdraw(USDT.units("19"), address)])
    assert await paid_to(evm_site, USDT, address) == USDT.units("19")
    assert await player.balance() == Balance(total=USDT.units("0.500000000000000001"))
    assert (await rich.balance()).total == USDT.units("50")
