"""Payouts on chains of Ethereum's kind: batches by contract, each payment settled by what the chain says of it."""

import os
from collections.abc import Sequence

import pytest

from cryptowatch.chains.ethereum.address import address_of
from cryptowatch.ledger.rules import Balance
from tests.support.ethereum import ETH, USDC, USDT, deposited, fund_wallet, paid_to, swept
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
