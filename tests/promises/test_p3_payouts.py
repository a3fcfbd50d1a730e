"""P3: whatever becomes of a payout's transaction, nobody is paid twice, and in the end everybody is paid."""

from typing import Any

import pytest

from cryptowatch.chains.bitcoin.transaction import read_transaction
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, paid_to
from tests.support.running import FINAL, Player, Site, sat, strangers_address
from tests.support.spending import script, signed, wallet_coins, wallet_keys

ALL_NODES = None
SEND = ["sendrawtransaction"]


async def attempts(site: Site) -> list[dict[str, Any]]:
    """Every transaction that the site ever made, oldest first."""
    rows = await site.pool.fetch("SELECT * FROM attempt ORDER BY created_at, number")
    return [dict(row) for row in rows]


async def lineages(site: Site) -> list[str]:
    rows = await site.pool.fetch("SELECT state FROM lineage ORDER BY created_at")
    return [row["state"] for row in rows]


async def signed_withdrawal(site: Site, player: Player, amount: int, address: str) -> str:
    """A withdrawal whose signed transaction is committed, whether or not a node has it."""
    withdrawal = await player.withdraw(amount, address)

    async def written() -> bool:
        made = [one for one in await attempts(site) if one["raw"] is not None]
        return bool(made) and (await site.withdrawal(withdrawal))["state"] == "sending"

    await site.until(written)
    return withdrawal


async def test_a_payout_waits_for_the_signer_and_is_sent_once_when_it_is_back(site: Site) -> None:
    player, address = await site.rich_player("0.5"), strangers_address()
    await site.stop_signer()
    withdrawal = await player.withdraw(sat("0.2"), address)
    await site.reaches(withdrawal, "sending")
    await site.polled(5)
    assert await site.net.bitcoin[0].rpc("getrawmempool") == []
    await site.start_signer()
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.2")]
    assert len(await attempts(site)) == 1
    await assert_balanced(site)


@pytest.mark.parametrize("answer", ["error", "drop"])
async def test_a_send_whose_outcome_is_unknown_is_not_paid_again(site: Site, answer: str) -> None:
    player, address = await site.rich_player("0.3", "0.3"), strangers_address()
    await site.net.fault(ALL_NODES, "error_after_send", answer=answer)
    withdrawal = await player.withdraw(sat("0.2"), address)
    await site.sent(withdrawal)
    await site.polled(5)
    await site.mine(2)
    await site.reaches(withdrawal, "confirmed")
    await site.net.clear_faults()
    await site.mine(FINAL)
    await site.reaches(withdrawal, "finalized")
    assert await paid_to(site, address) == [sat("0.2")]
    assert len(await attempts(site)) == 1
    await assert_balanced(site)


async def test_nodes_that_take_nothing_for_a_while_get_the_same_bytes_later(site: Site) -> None:
    player, address = await site.rich_player("0.3", "0.3"), strangers_address()
    await site.net.fault(ALL_NODES, "error", methods=SEND)
    withdrawal = await signed_withdrawal(site, player, sat("0.2"), address)
    await site.polled(10)
    [made] = await attempts(site)
    await site.net.clear_faults()
    assert await site.sent(withdrawal) == made["tx_hash"].hex()
    assert await site.net.bitcoin[0].rpc("getrawtransaction", made["tx_hash"].hex()) == made["raw"].hex()
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.2")]
    assert len(await attempts(site)) == 1


async def test_one_node_that_takes_payouts_is_enough(site: Site) -> None:
    player, address = await site.rich_player("0.3"), strangers_address()
    for deaf in (0, 1):
        await site.net.fault(deaf, "drop", methods=SEND)
    withdrawal = await player.withdraw(sat("0.2"), address)
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.2")]


@pytest.mark.parametrize("depth", [1, 5])
async def test_a_payout_that_a_reorg_drops_is_sent_again_as_it_is_and_confirms_once(
    site: Site, depth: int
) -> None:
    player, address = await site.rich_player("0.5"), strangers_address()
    withdrawal = await player.withdraw(sat("0.2"), address)
    tx_hash = await site.sent(withdrawal)
    raw = await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash)
    await site.mine(depth)
    await site.reaches(withdrawal, "confirmed")
    await site.reorg(depth, drop=[tx_hash])
    assert await site.sent(withdrawal) == tx_hash
    assert await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash) == raw
    await site.finished(withdrawal)
    told = ["requested", "queued", "sending", "confirmed", "sending", "confirmed", "finalized"]
    assert await site.story(withdrawal) == told
    assert await paid_to(site, address) == [sat("0.2")]
    await assert_balanced(site)


async def test_a_payout_that_a_reorg_moves_to_another_block_is_settled_once(site: Site) -> None:
    player, address = await site.rich_player("0.5"), strangers_address()
    withdrawal = await player.withdraw(sat("0.2"), address)
    await site.sent(withdrawal)
    await site.mine(3)
    for depth in (3, 2, 4):
        await site.reorg(depth)
    await site.mine(FINAL)
    await site.reaches(withdrawal, "finalized")
    assert await paid_to(site, address) == [sat("0.2")]
    assert len(await attempts(site)) == 1
    await assert_balanced(site)


async def halted_by_theft(site: Site) -> None:
    """P7: who else uses the wallet's coins has its key. Payouts wait for a person, who lets them go on."""

    async def there() -> bool:
        [chain] = (await site.backend.get("/v1/chains")).body
        return chain["halted"] is not None and "not ours" in chain["halted"]["reason"]

    await site.until(there)
    await site.polled(3)


async def steal(site: Site) -> tuple[str, str, int]:
    """Another holder of the wallet's key uses the coins of its open payout: (hash, raw, what is gone)."""
    coins = await wallet_coins(site, "reserved_by IS NOT NULL AND spent_by IS NULL")
    assert coins
    amount = sum(owned.coin.amount for owned in coins)
    tx_hash, raw = signed(wallet_keys(site), coins, [(script(strangers_address()), amount - 10_000)])
    return tx_hash, raw, amount


async def test_a_payout_whose_coin_is_gone_for_good_is_paid_by_a_new_transaction(site: Site) -> None:
    player, address = await site.rich_player("0.3", "0.3"), strangers_address()
    await site.net.fault(ALL_NODES, "error", methods=SEND)
    withdrawal = await signed_withdrawal(site, player, sat("0.2"), address)
    _, raw, gone = await steal(site)
    await site.net.broadcast(raw)
    for _ in range(FINAL - 1):
        await site.mine()
        await site.polled(2)
        assert (await site.withdrawal(withdrawal))["state"] == "sending"
        assert len(await lineages(site)) == 1
    await site.mine()
    await site.net.clear_faults()
    await site.reaches(withdrawal, "queued")
    await halted_by_theft(site)
    assert await lineages(site) == ["dead"]
    await site.resume()
    assert await site.writes_off() == gone
    await site.finished(withdrawal)
    assert await lineages(site) == ["dead", "finalized"]
    told = ["requested", "queued", "sending", "queued", "sending", "confirmed", "finalized"]
    assert await site.story(withdrawal) == told
    assert await paid_to(site, address) == [sat("0.2")]
    await assert_balanced(site)


async def test_a_conflict_that_a_reorg_takes_back_lets_the_payout_confirm_as_it_is(site: Site) -> None:
    player, address = await site.rich_player("0.3", "0.3"), strangers_address()
    await site.net.fault(ALL_NODES, "error", methods=SEND)
    withdrawal = await signed_withdrawal(site, player, sat("0.2"), address)
    thief, raw, _ = await steal(site)
    await site.net.broadcast(raw)
    await site.mine(3)
    await site.reorg(3, drop=[thief])
    await site.net.clear_faults()
    await halted_by_theft(site)
    assert not await site.net.bitcoin[0].rpc("getrawmempool")
    await site.resume()
    await site.finished(withdrawal)
    assert await lineages(site) == ["finalized"]
    assert await paid_to(site, address) == [sat("0.2")]
    await assert_balanced(site)


async def test_a_confirmed_payout_that_dies_while_the_sender_is_down_is_paid_by_a_new_transaction(
    site: Site,
) -> None:
    player, address = await site.rich_player("0.3", "0.3"), strangers_address()
    withdrawal = await player.withdraw(sat("0.2"), address)
    await site.sent(withdrawal)
    _, raw, gone = await steal(site)
    await site.mine()
    await site.reaches(withdrawal, "confirmed")
    await site.stop_daemon()
    await site.start_daemon(["watch", "api"])
    await site.reorg(1, include=[raw])
    await site.mine(FINAL)
    assert await lineages(site) == ["dead"]
    await site.stop_daemon()
    await site.start_daemon()
    await site.reaches(withdrawal, "queued")
    await halted_by_theft(site)
    await site.resume()
    assert await site.writes_off() == gone
    await site.finished(withdrawal)
    assert await lineages(site) == ["dead", "finalized"]
    assert await paid_to(site, address) == [sat("0.2")]
    await assert_balanced(site)


async def test_a_withdrawal_requested_during_catch_up_waits_for_the_head_and_is_not_bumped(
    make_site: MakeSite,
) -> None:
    site = await make_site(chains={"bitcoin": {"wallet": {"bump_after_blocks": 2}}})
    await site.start()
    player, address = await site.rich_player("0.5"), strangers_address()
    await site.stop_daemon()
    await site.start_daemon(["watch", "api"])
    withdrawal = await player.withdraw(sat("0.2"), address)
    await site.stop_daemon()
    await site.net.mine(40)
    await site.start_daemon()
    await site.sent(withdrawal)
    await site.polled(5)
    [made] = await attempts(site)
    assert made["planned_height"] == await site.caught_up()
    # Signed for real: every input has its witness.
    assert all(read_transaction(made["raw"]).inputs)
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.2")]


async def test_a_payout_is_not_built_on_money_that_a_reorg_could_take_back(site: Site) -> None:
    """It could then neither confirm nor be proven dead, and its payee would wait for ever."""
    player, address = await site.rich_player("0.1"), strangers_address()
    assert (await player.transfer("win", sat("0.5"))).status == 201
    other, tx_hash = await site.deposited("0.6", 2)
    withdrawal = await player.withdraw(sat("0.4"), address)
    await site.polled(5)
    assert (await site.withdrawal(withdrawal))["state"] == "queued"
    await site.reorg(2, drop=[tx_hash])
    assert (await other.balance()).total == 0
    await site.net.send(await other.address(), "0.6")
    await site.mine(3)
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.4")]
    await assert_balanced(site)
