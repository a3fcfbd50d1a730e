"""P3 when fees are raised: all attempts conflict with one another; whichever is mined pays, and pays once."""

from typing import Any

from cryptowatch.chains.bitcoin.transaction import ReadTransaction, read_transaction
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, paid_to
from tests.support.running import FINAL, Site, sat, strangers_address
from tests.support.spending import wallet_coins

BUMP_AFTER = 2
#: A payout is stuck when the target of its bid has passed as well.
_TARGETS = dict.fromkeys(("economy", "normal", "urgent"), BUMP_AFTER)
IMPATIENT: dict[str, Any] = {
    "chains": {"bitcoin": {"fees": {"target_blocks": _TARGETS}, "wallet": {"bump_after_blocks": BUMP_AFTER}}}
}
#: The bid is 5 sat/vB on a chain that knows no fees; a replacement would have to bid more than this.
AT_THE_CAP: dict[str, Any] = {
    "chains": {
        "bitcoin": {
            "fees": {"cap_sat_vb": 6, "target_blocks": _TARGETS},
            "wallet": {"bump_after_blocks": BUMP_AFTER},
        }
    }
}


async def attempts(site: Site) -> list[tuple[int, ReadTransaction]]:
    """(fee, transaction) of each signed attempt, oldest first."""
    rows = await site.pool.fetch(
        "SELECT fee::text, raw FROM attempt WHERE raw IS NOT NULL ORDER BY created_at, number"
    )
    return [(int(row["fee"]), read_transaction(row["raw"])) for row in rows]


async def until_attempts(site: Site, count: int) -> list[tuple[int, ReadTransaction]]:
    async def there() -> list[tuple[int, ReadTransaction]] | None:
        found = await attempts(site)
        return found if len(found) == count else None

    return await site.until(there)


def coins_of(transaction: ReadTransaction) -> set[tuple[bytes, int]]:
    return {(coin.prev_hash, coin.prev_index) for coin in transaction.inputs}


async def stuck(site: Site, amount: int, address: str, *coins: str) -> str:
    """A withdrawal that was sent and raised once: two attempts are known, the newer one is pending."""
    player = await site.rich_player(*coins)
    withdrawal = await player.withdraw(amount, address)
    await site.sent(withdrawal)
    await site.mine_empty(BUMP_AFTER)
    [_, (_, newer)] = await until_attempts(site, 2)
    await site.pending_everywhere(newer.txid.hex())
    return withdrawal


async def test_a_stuck_payout_is_replaced_by_one_that_keeps_every_input_and_pays_once(
    make_site: MakeSite,
) -> None:
    site, address = await make_site(**IMPATIENT), strangers_address()
    await site.start()
    withdrawal = await stuck(site, sat("0.35"), address, "0.2", "0.2")
    [(old_fee, old), (new_fee, new)] = await attempts(site)
    assert coins_of(old) == coins_of(new)
    assert new_fee >= old_fee + new.vsize
    assert not await site.is_pending(old.txid.hex())
    await site.finished(withdrawal)
    assert (await site.withdrawal(withdrawal))["tx_hash"] == new.txid.hex()
    assert await paid_to(site, address) == [sat("0.35")]
    transaction = (await site.withdrawal(withdrawal))["transaction_id"]
    assert await site.story(transaction) == ["broadcast", "stuck", "replaced", "confirmed", "finalized"]
    assert await site.metric("fee_bumps_total") == {"bitcoin": 1}
    await assert_balanced(site)


async def test_a_payout_is_not_replaced_before_its_time(make_site: MakeSite) -> None:
    site, address = await make_site(**IMPATIENT), strangers_address()
    await site.start()
    player = await site.rich_player("0.5")
    await site.sent(await player.withdraw(sat("0.2"), address))
    await site.mine_empty(BUMP_AFTER - 1)
    await site.polled(10)
    assert len(await attempts(site)) == 1


async def test_a_payout_at_the_fee_cap_waits_and_is_not_replaced(make_site: MakeSite) -> None:
    site, address = await make_site(**AT_THE_CAP), strangers_address()
    await site.start()
    player = await site.rich_player("0.5")
    withdrawal = await player.withdraw(sat("0.2"), address)
    await site.sent(withdrawal)
    transaction = (await site.withdrawal(withdrawal))["transaction_id"]
    await site.mine_empty(BUMP_AFTER - 1)
    await site.polled(5)
    assert await site.story(transaction) == ["broadcast"]
    await site.mine_empty(2)
    await site.polled(10)
    # Told once, whatever comes after: rounds, blocks, a restart.
    await site.stop_daemon()
    await site.start_daemon()
    await site.mine_empty()
    await site.polled(10)
    assert len(await attempts(site)) == 1
    assert await site.story(transaction) == ["broadcast", "stuck"]
    told = await site.pool.fetchval("SELECT data ->> 'reason' FROM event WHERE type = 'transaction.stuck'")
    assert told == "stuck at the fee cap"
    await site.gauge("transactions_stuck", {"bitcoin": 1})
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.2")]
    assert await site.story(transaction) == ["broadcast", "stuck", "confirmed", "finalized"]
    await site.gauge("transactions_stuck", {"bitcoin": 0})


async def test_a_payout_that_stays_stuck_is_raised_again_and_all_attempts_share_their_inputs(
    make_site: MakeSite,
) -> None:
    site, address = await make_site(**IMPATIENT), strangers_address()
    await site.start()
    withdrawal = await stuck(site, sat("0.2"), address, "0.5")
    await site.mine_empty(BUMP_AFTER)
    made = await until_attempts(site, 3)
    await site.pending_everywhere(made[-1][1].txid.hex())
    assert set.intersection(*(coins_of(one) for _, one in made))
    assert [fee for fee, _ in made] == sorted({fee for fee, _ in made})
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.2")]
    await assert_balanced(site)


async def test_when_the_older_attempt_is_mined_the_payee_is_paid_once(make_site: MakeSite) -> None:
    site, address = await make_site(**IMPATIENT), strangers_address()
    await site.start()
    withdrawal = await stuck(site, sat("0.2"), address, "0.5")
    row = await site.pool.fetchval("SELECT raw FROM attempt WHERE number = 1")
    await site.mine_only([row.hex()])
    await site.reaches(withdrawal, "confirmed")
    [(_, old), _] = await attempts(site)
    assert (await site.withdrawal(withdrawal))["tx_hash"] == old.txid.hex()
    await site.mine(FINAL)
    await site.reaches(withdrawal, "finalized")
    assert await paid_to(site, address) == [sat("0.2")]
    await assert_balanced(site)


async def test_a_payout_without_change_is_not_raised_with_coins_that_its_first_attempt_had_not(
    make_site: MakeSite,
) -> None:
    site, address = await make_site(**IMPATIENT), strangers_address()
    await site.start()
    player = await site.rich_player("0.1", "0.2")
    # All of one coin but its fee: there is no change to raise the fee from.
    withdrawal = await player.withdraw(sat("0.1") - 600, address)
    await site.sent(withdrawal)
    await site.mine_empty(2 * BUMP_AFTER)
    await site.polled(10)
    [(_, only)] = await attempts(site)
    assert len(coins_of(only)) == 1
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.1") - 600]
    assert len(await wallet_coins(site, "reserved_by IS NULL AND spent_by IS NULL")) == 1
    await assert_balanced(site)


async def test_a_payout_of_a_replaced_payouts_change_is_paid_once_by_a_new_transaction(
    make_site: MakeSite,
) -> None:
    site, first, second = await make_site(**IMPATIENT), strangers_address(), strangers_address()
    await site.start()
    parent = await stuck(site, sat("0.2"), first, "0.9")
    old, new = [row["raw"].hex() for row in await site.pool.fetch("SELECT raw FROM attempt ORDER BY number")]
    await site.mine_only([old])
    await site.reaches(parent, "confirmed")
    # Only the change of the attempt that a block holds covers this one.
    player = await site.player()
    assert (await player.transfer("win", sat("0.5"))).status == 201
    child = await player.withdraw(sat("0.4"), second)
    await site.sent(child)
    await site.reorg(1, include=[new])
    assert (await site.withdrawal(child))["state"] == "sending"
    await site.mine(FINAL - 2)
    await site.reaches(parent, "finalized")
    await site.finished(child)
    assert await paid_to(site, first) == [sat("0.2")]
    assert await paid_to(site, second) == [sat("0.4")]
    assert (await site.story(child))[2:] == ["sending", "queued", "sending", "confirmed", "finalized"]
    await assert_balanced(site)
