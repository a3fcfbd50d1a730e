"""P9 on Ethereum: the accounts that send have their keys in KMS, deposits have theirs in the keystore."""

from collections.abc import Iterator

import pytest

from tests.promises.conftest import MakeSite
from tests.support.ethereum import ETH, USDT, House, attempts, paid_to, settled, stranger, swept
from tests.support.kms import FakeKms, fake_kms


@pytest.fixture
def kms() -> Iterator[FakeKms]:
    with fake_kms() as running:
        yield running


async def test_payouts_and_sweeps_are_signed_in_kms_and_wait_while_it_is_away(
    kms: FakeKms, make_ethereum_site: MakeSite
) -> None:
    keys = [kms.make_key(), kms.make_key()]
    site = await make_ethereum_site(
        signer={"kms": {"ethereum": kms.settings(keys)}},
        chains={"ethereum": {"wallet": {"sending_accounts": [key.address for key in keys]}}},
    )
    await site.start()
    house = House(site)
    assert house.vault == keys[0].address
    await house.opens()
    coins, tokens = await house.serves(ETH, "3"), await house.serves(USDT, "20")
    await swept(site, USDT)

    address = stranger()
    with kms.away():
        asked = [
            await coins.withdraw(ETH.units("1"), address, priority="urgent"),
            await tokens.withdraw(USDT.units("5"), address, priority="urgent"),
        ]
        for withdrawal in asked:
            await site.reaches(withdrawal, "sending")
        await site.polled(5)
        assert [row["raw"] for row in await attempts(site)] == [None, None]
    await settled(site, asked)
    assert await paid_to(site, ETH, address) == ETH.units("1")
    assert await paid_to(site, USDT, address) == USDT.units("5")
    await house.assert_balanced()
