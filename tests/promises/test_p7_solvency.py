"""P7: what the chain holds is compared with what the ledger owes; a gap stops payouts before it pages."""

import asyncio
import json
import subprocess
import sys
from subprocess import CompletedProcess
from typing import Any

from cryptowatch.ledger.rules import Balance
from cryptowatch.treasury.reconcile import read_positions
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, house_balance, on_chain, paid_to
from tests.support.running import FINAL, Site, sat, strangers_address
from tests.support.spending import script, signed, wallet_coins, wallet_keys


async def told(site: Site, kind: str) -> list[dict[str, str]]:
    rows = await site.pool.fetch("SELECT data FROM event WHERE type = $1 ORDER BY id", kind)
    return [json.loads(row["data"]) for row in rows]


async def until_told(site: Site, kind: str) -> dict[str, str]:
    async def there() -> list[dict[str, str]]:
        return await told(site, kind)

    return (await site.until(there))[-1]


async def stopped(site: Site) -> list[str]:
    """Assets whose payouts are stopped."""
    assets: list[str] = await site.pool.fetchval("SELECT stopped_assets FROM chain WHERE chain = 'bitcoin'")
    return assets


async def shown(site: Site) -> dict[str, Any]:
    """`/v1/reconciliation`."""
    [found] = (await site.backend.get("/v1/reconciliation")).body
    return dict(found)


async def write_off(site: Site, **options: str) -> CompletedProcess[str]:
    """`cryptowatch reconcile --write-off`, as an operator runs it."""
    named = [word for key, value in options.items() for word in (f"--{key}", value)]
    command = [sys.executable, "-m", "cryptowatch", "reconcile", "--config", str(site.settings_file)]
    return await asyncio.to_thread(
        subprocess.run,
        [*command, "--write-off", "bitcoin/BTC", *named],
        capture_output=True,
        text=True,
        check=False,
    )


async def test_a_stolen_coin_stops_payouts_until_a_person_explains_it(site: Site) -> None:
    player, address = await site.rich_player("0.3", "0.4"), strangers_address()
    [coin] = [owned for owned in await wallet_coins(site) if owned.coin.amount == sat("0.3")]
    _, raw = signed(wallet_keys(site), [coin], [(script(strangers_address()), sat("0.3") - 1_000)])
    await site.net.broadcast(raw)
    await site.mine()
    halted = await until_told(site, "chain.halted")
    assert "not ours" in halted["reason"]
    missing = await until_told(site, "reconciliation.mismatch")
    assert missing["difference_base_units"] == str(-sat("0.3"))
    # The players' money is what it was; only leaving it cannot.
    assert await player.balance() == Balance(total=sat("0.7"))
    withdrawal = await player.withdraw(sat("0.1"), address, priority="urgent")
    await site.mine(FINAL)
    await site.polled(5)
    assert (await site.withdrawal(withdrawal))["state"] == "queued"

    found = await shown(site)
    assert (found["difference"], found["state"], found["payouts_stopped"]) == (
        "-0.30000000",
        "mismatch",
        True,
    )

    # The thief is shut out: a person lets the chain go on. What is missing is not explained by that.
    await site.resume()
    await site.polled(5)
    assert await stopped(site) == ["BTC"]
    assert (await site.withdrawal(withdrawal))["state"] == "queued"
    for wrong in ("0", "-0.3", "0.3000000001", "3e-1", "all", "9" * 90):
        assert (await write_off(site, amount=wrong, reason="stolen")).returncode in (1, 2), wrong
    assert (await write_off(site, amount="0.3")).returncode == 2
    guessed = await write_off(site, amount="0.2", reason="stolen")
    assert guessed.returncode == 1
    assert guessed.stderr == (
        "cryptowatch: 0.30000000 BTC is missing on bitcoin, not 0.2: nothing was booked\n"
    )
    done = await write_off(site, amount="0.3", reason="stolen, case 7")
    assert (done.returncode, done.stderr) == (0, "")
    await until_told(site, "reconciliation.balanced")
    assert [one["reason"] for one in await told(site, "reconciliation.booked")] == ["stolen, case 7"]
    assert await house_balance(site, "losses:bitcoin") == -sat("0.3")
    await site.mine_until_final([withdrawal])
    assert await paid_to(site, address) == [sat("0.1")]
    assert len(await told(site, "chain.halted")) == 1
    await assert_balanced(site)


async def test_money_that_came_unasked_is_the_houses_when_it_is_final_and_hides_no_loss(site: Site) -> None:
    await site.rich_player("0.4")
    change = await site.pool.fetchval(
        "SELECT address FROM address WHERE branch = 1 AND assigned_at IS NULL LIMIT 1"
    )
    await site.net.send(change, "0.3")
    await site.mine()
    assert (await shown(site))["difference"] == "0.30000000"

    async def watched() -> int | None:
        found: int | None = await site.pool.fetchval("SELECT surplus FROM reconciliation")
        return found

    await site.until(watched)
    await site.mine(FINAL - 2)
    await site.polled(5)
    assert await told(site, "reconciliation.booked") == []
    await site.mine()
    booked = await until_told(site, "reconciliation.booked")
    assert (booked["account"], booked["base_units"]) == ("house_funds:bitcoin", str(sat("0.3")))
    await site.polled(5)
    found = await shown(site)
    assert (found["difference"], found["ledger_holdings"], found["liabilities"]) == (
        "0.00000000",
        "0.70000000",
        "0.40000000",
    )
    assert len(await told(site, "reconciliation.booked")) == 1
    await assert_balanced(site, uncredited=sat("0.3"))


async def test_a_difference_within_the_tolerance_stops_nothing_and_one_beyond_it_does(
    make_site: MakeSite,
) -> None:
    """Made by taking from what the blocks said: no honest chain loses a coin's part."""
    site = await make_site(chains={"bitcoin": {"assets": {"BTC": {"reconcile_tolerance": "0.00000010"}}}})
    await site.start()
    player, address = await site.rich_player("0.4"), strangers_address()
    await site.pool.execute("UPDATE coin SET amount = amount - 10")
    await site.polled(5)
    assert (await stopped(site), (await shown(site))["state"]) == ([], "balanced")
    await site.pool.execute("UPDATE coin SET amount = amount - 1")
    await until_told(site, "reconciliation.mismatch")
    withdrawal = await player.withdraw(sat("0.1"), address, priority="urgent")
    await site.polled(5)
    assert (await stopped(site), (await site.withdrawal(withdrawal))["state"]) == (["BTC"], "queued")
    # Explained by the chain: nobody needs to do anything.
    await site.pool.execute("UPDATE coin SET amount = amount + 11")
    await site.finished(withdrawal)
    assert (await stopped(site), await told(site, "chain.halted")) == ([], [])


async def test_what_was_planned_before_a_stop_is_neither_signed_nor_sent(site: Site) -> None:
    player, address = await site.rich_player("0.4"), strangers_address()
    await site.stop_signer()
    withdrawal = await player.withdraw(sat("0.1"), address, priority="urgent")
    await site.reaches(withdrawal, "sending")
    await site.pool.execute("UPDATE coin SET amount = amount - 1")
    await until_told(site, "reconciliation.mismatch")
    await site.start_signer()
    await site.polled(5)
    assert await site.pool.fetchval("SELECT raw FROM attempt") is None
    await site.pool.execute("UPDATE coin SET amount = amount + 1")
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.1")]


async def test_deposits_payouts_and_reorgs_are_no_gap_at_any_moment(make_site: MakeSite) -> None:
    site = await make_site(chains={"bitcoin": {"wallet": {"bump_after_blocks": 1}}})
    await site.start()
    player = await site.rich_player("0.5", "0.6")
    for number in range(3):
        tx_hash = await site.net.send(await player.address(), "1.5")
        withdrawal = await player.withdraw(sat("0.05"), strangers_address())
        await site.sent(withdrawal)
        await site.mine_empty()
        await site.mine()
        await site.reorg(1, drop=[tx_hash] if number == 1 else [])
        await site.polled(3)
    await site.mine(FINAL)
    await site.polled(5)
    assert await told(site, "reconciliation.mismatch") == []
    assert await told(site, "chain.halted") == []
    async with site.pool.acquire() as conn:
        [position] = await read_positions(conn)
    assert (position.difference, position.on_chain) == (0, await on_chain(site))
    await assert_balanced(site)
