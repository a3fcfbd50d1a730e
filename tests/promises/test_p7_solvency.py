"""P7: what the chain holds is compared with what the ledger owes; a gap stops payouts before it pages."""

import json

from cryptowatch.ledger.rules import Balance
from cryptowatch.treasury.reconcile import read_positions
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, on_chain, paid_to
from tests.support.running import FINAL, Site, sat, strangers_address
from tests.support.spending import script, signed, wallet_coins, wallet_keys


async def told(site: Site, kind: str) -> list[dict[str, str]]:
    rows = await site.pool.fetch("SELECT data FROM event WHERE type = $1 ORDER BY id", kind)
    return [json.loads(row["data"]) for row in rows]


async def until_told(site: Site, kind: str) -> dict[str, str]:
    async def there() -> list[dict[str, str]]:
        return await told(site, kind)

    return (await site.until(there))[-1]


async def test_a_stolen_coin_stops_payouts_until_a_person_resumes_them(site: Site) -> None:
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

    # The house makes up for it, to an address of its own.
    change = await site.pool.fetchval(
        "SELECT address FROM address WHERE branch = 1 AND assigned_at IS NULL LIMIT 1"
    )
    await site.net.send(change, "0.3")
    await site.mine()
    await until_told(site, "reconciliation.balanced")
    await site.resume()
    await site.mine_until_final([withdrawal])
    assert await paid_to(site, address) == [sat("0.1")]
    assert len(await told(site, "chain.halted")) == 1
    await assert_balanced(site)


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
