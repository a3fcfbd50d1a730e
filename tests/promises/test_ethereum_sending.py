"""P3 on Ethereum: whatever becomes of a transaction, nobody is paid twice, and in the end everybody is paid."""

import pytest

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.ethereum import (
    CALM,
    ETH,
    USDT,
    House,
    attempts,
    deposited,
    fee_of,
    known_to_most,
    lineages,
    paid_to,
    sent,
    settled,
    stranger,
)
from tests.support.running import Currency

ALL_NODES = None
SEND = ["eth_sendRawTransaction"]


@pytest.mark.parametrize(
    ("currency", "answer"), [(ETH, "error"), (USDT, "drop")], ids=["ETH-error", "USDT-drop"]
)
async def test_a_send_whose_outcome_is_unknown_is_not_paid_again(
    house: House, currency: Currency, answer: str
) -> None:
    site, address = house.site, stranger()
    player = await house.serves(currency, "9")
    await site.net.fault(ALL_NODES, "error_after_send", chain="ethereum", answer=answer)
    withdrawal = await player.withdraw(currency.units("5"), address)
    await sent(site, withdrawal)
    await site.polled(5)
    await site.mine(2, "ethereum")
    await site.reaches(withdrawal, "confirmed")
    await site.net.clear_faults()
    await settled(site, [withdrawal])
    assert await paid_to(site, currency, address) == currency.units("5")
    assert len(await attempts(site)) == 1
    assert await player.balance() == Balance(total=currency.units("4") - fee_of(currency))
    await house.assert_balanced()


async def test_nodes_that_take_nothing_for_a_while_get_the_same_bytes_later(house: House) -> None:
    site, address = house.site, stranger()
    player = await house.serves(USDT, "9")
    await site.net.fault(ALL_NODES, "error", chain="ethereum", methods=SEND)
    withdrawal = await player.withdraw(USDT.units("5"), address)

    async def signed() -> bool:
        return any(one["raw"] is not None for one in await attempts(site))

    await site.until(signed)
    await site.polled(5)
    [made] = await attempts(site)
    assert not await known_to_most(site, made["tx_hash"].hex())
    await site.net.clear_faults()
    assert await sent(site, withdrawal) == made["tx_hash"].hex()
    await settled(site, [withdrawal])
    assert await paid_to(site, USDT, address) == USDT.units("5")
    assert len(await attempts(site)) == 1


async def test_one_node_that_takes_payouts_is_enough(house: House) -> None:
    site, address = house.site, stranger()
    player = await house.serves(USDT, "9")
    for deaf in (0, 1):
        await site.net.fault(deaf, "drop", chain="ethereum", methods=SEND)
    withdrawal = await player.withdraw(USDT.units("5"), address)
    await settled(site, [withdrawal])
    assert await paid_to(site, USDT, address) == USDT.units("5")


async def test_a_payout_waits_for_the_signer_and_is_sent_once_when_it_is_back(house: House) -> None:
    site, address = house.site, stranger()
    player = await house.serves(ETH, "9")
    await site.stop_signer()
    withdrawal = await player.withdraw(ETH.units("5"), address)
    await site.reaches(withdrawal, "sending")
    await site.polled(5)
    assert [one["raw"] for one in await attempts(site)] == [None]
    await site.start_signer()
    await settled(site, [withdrawal])
    assert await paid_to(site, ETH, address) == ETH.units("5")
    assert len(await attempts(site)) == 1
    await house.assert_balanced()


@pytest.mark.parametrize(("currency", "depth"), [(ETH, 1), (USDT, 5)], ids=["ETH-1", "USDT-5"])
async def test_a_payout_that_a_reorg_drops_is_sent_again_as_it_is_and_confirms_once(
    house: House, currency: Currency, depth: int
) -> None:
    site, address = house.site, stranger()
    player = await house.serves(currency, "9")
    withdrawal = await player.withdraw(currency.units("5"), address)
    tx_hash = await sent(site, withdrawal)
    await site.mine(depth, "ethereum")
    await site.reaches(withdrawal, "confirmed")
    await site.reorg(depth, drop=[tx_hash], chain="ethereum")
    assert await sent(site, withdrawal) == tx_hash
    await settled(site, [withdrawal])
    told = ["requested", "queued", "sending", "confirmed", "sending", "confirmed", "finalized"]
    assert await site.story(withdrawal) == told
    assert await paid_to(site, currency, address) == currency.units("5")
    assert len(await attempts(site)) == 1
    await house.assert_balanced()


async def test_a_payout_that_reorgs_move_about_is_settled_once_and_its_fee_is_booked_once(
    house: House,
) -> None:
    site, address = house.site, stranger()
    player = await house.serves(USDT, "9")
    withdrawal = await player.withdraw(USDT.units("5"), address)
    await sent(site, withdrawal)
    await site.mine(3, "ethereum")
    for depth in (3, 2, 4):
        await site.reorg(depth, chain="ethereum")
    await settled(site, [withdrawal])
    assert await paid_to(site, USDT, address) == USDT.units("5")
    assert len(await attempts(site)) == 1
    [payout] = await lineages(site, "payout")
    assert payout["fee_paid"] == await fee_on_chain(house, payout["tx_hash"].hex())
    await house.assert_balanced()


async def fee_on_chain(house: House, tx_hash: str) -> int:
    receipt = await house.site.net.evm["ethereum"].nodes[0].rpc("eth_getTransactionReceipt", "0x" + tx_hash)
    return int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)


async def test_tokens_are_not_paid_on_an_allowance_that_a_reorg_could_take_away(
    make_ethereum_site: MakeSite,
) -> None:
    site, address = await make_ethereum_site(**CALM), stranger()
    await site.start()
    house, player = House(site), await deposited(site, USDT, "9")
    await house.brings(USDT, "100")
    await house.brings(ETH, "5")
    withdrawal = await player.withdraw(USDT.units("5"), address)

    async def allowed() -> str | None:
        await site.mine(1, "ethereum")
        rows = await lineages(site, "setup")
        found = [row["tx_hash"] for row in rows if row["subject"].startswith("USDT") and row["tx_hash"]]
        return found[0].hex() if found else None

    allowance = await site.until(allowed)
    await site.polled(5)
    assert (await site.withdrawal(withdrawal))["state"] == "queued"
    await site.reorg(1, drop=[allowance], chain="ethereum")
    await settled(site, [withdrawal])
    assert len(await attempts(site)) == 1
    assert await paid_to(site, USDT, address) == USDT.units("5")


async def test_another_payouts_contract_gets_an_allowance_of_its_own(house: House) -> None:
    site, address = house.site, stranger()
    player = await house.serves(USDT, "9")
    payouts = await site.net.deploy("ethereum", "Payouts", [house.vault, site.keys.senders(2)])
    await site.stop_daemon()
    await site.stop_signer()
    site.reconfigure(chains={"ethereum": {"contracts": {"payouts": payouts}}})
    await site.start()
    withdrawal = await player.withdraw(USDT.units("5"), address)
    await settled(site, [withdrawal])
    assert await paid_to(site, USDT, address) == USDT.units("5")
    assert len(await attempts(site)) == 1


async def test_a_restart_between_signing_and_the_block_sends_the_same_bytes(house: House) -> None:
    site, address = house.site, stranger()
    player = await house.serves(USDT, "9")
    await site.net.fault(ALL_NODES, "drop", chain="ethereum", methods=SEND)
    withdrawal = await player.withdraw(USDT.units("5"), address)

    async def signed() -> bool:
        return any(one["raw"] is not None for one in await attempts(site))

    await site.until(signed)
    await site.stop_daemon()
    await site.net.clear_faults()
    await site.start_daemon()
    await settled(site, [withdrawal])
    assert len(await attempts(site)) == 1
    assert await paid_to(site, USDT, address) == USDT.units("5")
    await house.assert_balanced()
