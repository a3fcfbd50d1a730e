"""P3 by nonces: each is used by one transaction ever, none stays unused, and who else uses one has our key."""

from typing import Any

import pytest

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.ethereum import (
    CALM,
    ETH,
    FINAL,
    USDT,
    House,
    attempts,
    fee_of,
    halted,
    lineages,
    paid_to,
    sent,
    settled,
    stranger,
    thief,
    until_halted,
)
from tests.support.running import merged

ALL_NODES = None
SEND = ["eth_sendRawTransaction"]
#: The signer pays at most so much in one transaction.
STRICT: dict[str, Any] = merged(
    CALM, {"signer": {"policy": {"ethereum": {"assets": {"ETH": {"transaction_amount_max": "10"}}}}}}
)


async def strict_house(make_site: MakeSite) -> House:
    house = House(await make_site(**STRICT))
    await house.site.start()
    await house.opens("100")
    return house


async def nonces_of_the_vault(house: House) -> list[dict[str, Any]]:
    rows = await house.site.pool.fetch(
        "SELECT n.nonce, n.spent_by, l.kind, l.state FROM nonce n LEFT JOIN lineage l ON l.id = n.reserved_by "
        "WHERE n.chain = 'ethereum' AND n.account = $1 ORDER BY n.nonce",
        bytes.fromhex(house.vault[2:]),
    )
    return [dict(row) for row in rows]


async def test_a_nonce_that_the_signer_refused_is_used_by_the_next_payout(
    make_ethereum_site: MakeSite,
) -> None:
    house = await strict_house(make_ethereum_site)
    site, address = house.site, stranger()
    player = await house.serves(ETH, "30")
    refused = await player.withdraw(ETH.units("11"), stranger())
    reviewed = await site.reaches(refused, "in_review")
    assert "signer_refused" in reviewed["reason"]
    given_up = (await nonces_of_the_vault(house))[-1]
    assert (given_up["kind"], given_up["spent_by"]) == (None, None)
    withdrawal = await player.withdraw(ETH.units("5"), address)
    await settled(site, [withdrawal])
    used = (await nonces_of_the_vault(house))[-1]
    assert used["nonce"] == given_up["nonce"]
    assert (await site.withdrawal(withdrawal))["tx_hash"] == used["spent_by"].hex()
    assert await paid_to(site, ETH, address) == ETH.units("5")
    assert (await site.approver.post(f"/v1/withdrawals/{refused}/reject")).status == 200
    assert await player.balance() == Balance(total=ETH.units("25") - fee_of(ETH))
    await house.assert_balanced()


async def test_a_gap_before_payouts_on_their_way_is_filled_by_a_transaction_that_does_nothing(
    make_ethereum_site: MakeSite,
) -> None:
    house = await strict_house(make_ethereum_site)
    site, address = house.site, stranger()
    player = await house.serves(ETH, "30")
    await site.stop_signer()
    refused = await player.withdraw(ETH.units("11"), stranger())
    await site.reaches(refused, "sending")
    withdrawal = await player.withdraw(ETH.units("5"), address)
    await site.reaches(withdrawal, "sending")
    await site.start_signer()
    await site.reaches(refused, "in_review")
    await settled(site, [withdrawal])
    [filling] = await lineages(site, "void")
    assert filling["state"] in ("confirmed", "finalized")
    nonces = [row["nonce"] for row in await nonces_of_the_vault(house)]
    assert nonces == list(range(len(nonces)))
    assert await paid_to(site, ETH, address) == ETH.units("5")
    await site.mine(FINAL, "ethereum")
    await house.assert_balanced()


async def signed_and_not_sent(house: House, address: str) -> str:
    """A withdrawal of 5 ETH whose signed transaction no node takes, for as long as the fault stands."""
    site, player = house.site, await house.serves(ETH, "9")
    await site.net.fault(ALL_NODES, "error", chain="ethereum", methods=SEND)
    withdrawal = await player.withdraw(ETH.units("5"), address)
    await site.reaches(withdrawal, "sending")

    async def signed() -> bool:
        return any(one["raw"] is not None for one in await attempts(site))

    await site.until(signed)
    return withdrawal


async def test_a_payout_whose_nonce_is_gone_for_good_is_paid_by_a_new_transaction(house: House) -> None:
    site, address = house.site, stranger()
    withdrawal = await signed_and_not_sent(house, address)
    stolen = ETH.units("2")
    foreign = await thief(site).sign(stranger(), value_wei=stolen, gas=21_000)
    await site.net.broadcast(foreign.raw, chain="ethereum")
    for _ in range(FINAL - 1):
        await site.mine(1, "ethereum")
        await site.polled(2)
        assert (await site.withdrawal(withdrawal))["state"] == "sending"
        assert len(await lineages(site, "payout")) == 1
    await until_halted(site, "not ours")
    await site.mine(1, "ethereum")
    await site.net.clear_faults()
    await site.reaches(withdrawal, "queued")
    await site.polled(3)
    assert [row["state"] for row in await lineages(site, "payout")] == ["dead"]
    await site.resume("ethereum")
    lost = await site.writes_off("ETH", "ethereum")
    await settled(site, [withdrawal])
    assert [row["state"] for row in await lineages(site, "payout")] == ["dead", "finalized"]
    assert await paid_to(site, ETH, address) == ETH.units("5")
    told = ["requested", "queued", "sending", "queued", "sending", "confirmed", "finalized"]
    assert await site.story(withdrawal) == told
    receipt = await site.net.evm["ethereum"].nodes[0].rpc("eth_getTransactionReceipt", foreign.hash)
    fee = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert lost == stolen + fee
    await house.assert_balanced()


async def test_a_foreign_use_that_a_reorg_takes_back_lets_the_payout_confirm_as_it_is(house: House) -> None:
    site, address = house.site, stranger()
    withdrawal = await signed_and_not_sent(house, address)
    foreign = await thief(site).sign(stranger(), value_wei=1, gas=21_000)
    await site.net.broadcast(foreign.raw, chain="ethereum")
    await site.mine(3, "ethereum")
    await until_halted(site, "not ours")
    await site.reorg(3, drop=[foreign.hash[2:]], chain="ethereum")
    await site.net.clear_faults()
    await site.resume("ethereum")
    await settled(site, [withdrawal])
    assert [row["state"] for row in await lineages(site, "payout")] == ["finalized"]
    assert len(await attempts(site)) == 1
    assert await paid_to(site, ETH, address) == ETH.units("5")
    await house.assert_balanced()


async def test_payouts_share_the_accounts_nonces_and_none_is_used_twice(house: House) -> None:
    site = house.site
    player = await house.serves(USDT, "200")
    asked = []
    for number in range(6):
        address = stranger()
        asked.append((await player.withdraw(USDT.units(f"{number + 2}"), address), address, number + 2))
        await sent(site, asked[-1][0])
    await settled(site, [one for one, _, _ in asked])
    for _, address, amount in asked:
        assert await paid_to(site, USDT, address) == USDT.units(str(amount))
    used = await site.pool.fetch(
        "SELECT account, nonce, count(*) AS times FROM nonce n WHERE chain = 'ethereum' GROUP BY account, nonce"
    )
    assert {row["times"] for row in used} == {1}
    # Both sending accounts were at work.
    assert len({row["account"] for row in used}) == 2
    await house.assert_balanced()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_stranger_who_carries_our_authorization_moves_nothing_and_stops_nothing(
    make_ethereum_site: MakeSite, when: str
) -> None:
    """It was public from the moment that the first sweep was sent; anybody may bring it to the chain, and again."""
    site = await make_ethereum_site()
    await site.start()
    house = House(site)
    await house.opens()
    player = await house.serves(USDT, "50")
    row = await site.pool.fetchrow("SELECT key_index FROM address WHERE assigned_at IS NOT NULL")
    assert row is not None
    account = thief(site, row["key_index"], branch=0)
    delegate = site.contracts["ethereum"].sweep_delegate
    outsider = thief(site, 999, branch=0)
    await site.net.send(outsider.address, "1", chain="ethereum")
    await site.mine(1, "ethereum")
    if when == "after":
        await settled_sweeps(house)
    given = account.authorize(delegate, 0)
    receipt = await outsider.execute(stranger(), value_wei=1, gas=200_000, authorizations=[given, given])
    assert receipt["status"] == "0x1"
    await site.caught_up("ethereum")
    await settled_sweeps(house)
    await site.polled(3)
    assert await halted(site) is None
    assert await player.balance() == Balance(total=USDT.units("50"))
    await site.mine(FINAL, "ethereum")
    await house.assert_balanced()


async def settled_sweeps(house: House) -> None:
    """Until nothing is left to sweep and all sweeps are final."""

    async def done() -> bool:
        await house.site.mine(1, "ethereum")
        states = {row["state"] for row in await lineages(house.site, "sweep")}
        return states == {"finalized"}

    await house.site.until(done)
