"""Sweeping on Ethereum: what players sent comes into the vault, its gas into the books, and nothing gets lost."""

from typing import Any

from cryptowatch.devnet.ethereum.artifacts import contract
from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.books import house_balance
from tests.support.ethereum import (
    ETH,
    FINAL,
    USDC,
    USDT,
    House,
    faucet,
    lineages,
    paid_to,
    settled,
    stranger,
    swept,
)
from tests.support.running import Player, Site

CHAIN = "ethereum"
#: No sweep until a test allows it.
NOT_YET: dict[str, Any] = {"chains": {CHAIN: {"wallet": {"sweep_gas_max_gwei": 0}}}}
NOW: dict[str, Any] = {CHAIN: {"wallet": {"sweep_gas_max_gwei": 50}}}


async def opened(make_site: MakeSite, **settings: Any) -> House:
    house = House(await make_site(**settings))
    await house.site.start()
    await house.opens()
    return house


async def sweeping(site: Site) -> None:
    """From now on."""
    await site.stop_daemon()
    site.reconfigure(chains=NOW)
    await site.start_daemon()


async def final(house: House) -> None:
    """Until all our transactions are."""

    async def done() -> bool:
        await house.site.mine(1, CHAIN)
        return {row["state"] for row in await lineages(house.site)} == {"finalized"}

    await house.site.until(done)


async def on_deposit_accounts(site: Site, asset: str) -> int:
    held: str = await site.pool.fetchval(
        "SELECT coalesce(sum(h.amount), 0)::text FROM holding h JOIN address a "
        "ON a.chain = h.chain AND a.destination = h.account "
        "WHERE h.chain = $1 AND h.asset = $2 AND a.branch = 0",
        CHAIN,
        asset,
    )
    return int(held)


async def pay_in(player: Player, amount: str, address: str | None = None) -> str:
    """One more deposit; pending."""
    currency = player.currency
    return await player.site.net.send(
        address or await player.address(), amount, chain=currency.chain, asset=currency.asset
    )


async def test_many_accounts_are_swept_by_one_transaction_at_first_and_later(
    make_ethereum_site: MakeSite,
) -> None:
    house = await opened(make_ethereum_site, **NOT_YET)
    site = house.site
    players = [await site.player(currency) for currency in (USDT, USDT, ETH, USDC)]
    addresses = [await player.address() for player in players]
    for player, address in zip(players, addresses, strict=True):
        await pay_in(player, "20", address)
    # One account has everything: its delegation comes with the first sweep, or with both in one block.
    both = players[0].using(ETH)
    await pay_in(both, "1", addresses[0])
    await site.mine(FINAL, CHAIN)
    await sweeping(site)
    for currency in (ETH, USDT, USDC):
        await swept(site, currency)
    await final(house)
    assert len(await lineages(site, "sweep")) == 3  # one for each asset
    # Later: some have delegated, one has not.
    fresh = await site.player(USDT)
    await pay_in(players[0], "30", addresses[0])
    await pay_in(fresh, "40")
    await site.mine(FINAL, CHAIN)
    await swept(site, USDT)
    await final(house)
    assert len(await lineages(site, "sweep")) in (4, 5)
    assert await players[0].balance() == Balance(total=USDT.units("50"))
    assert await on_deposit_accounts(site, "USDT") == 0
    assert -await house_balance(site, "network_fees:ethereum", "ETH") == sum(
        [row["fee_paid"] for row in await lineages(site)]
    )
    await house.assert_balanced()


async def test_dust_stays_where_it_is_and_dear_gas_is_waited_out(make_ethereum_site: MakeSite) -> None:
    house = await opened(make_ethereum_site)
    site = house.site
    dusty, player = await site.player(USDT), await site.player(USDT)
    await pay_in(dusty, "4.999999")
    await site.mine(2, CHAIN)
    await site.net.mine(chain=CHAIN, base_fee_wei=200 * 10**9)
    await pay_in(player, "20")
    await site.net.mine(chain=CHAIN, base_fee_wei=200 * 10**9)
    await site.caught_up(CHAIN)
    await site.polled(5)
    assert await lineages(site, "sweep") == []
    await site.net.mine(chain=CHAIN, base_fee_wei=10**9)
    await swept_but(house, USDT.units("4.999999"))
    assert len(await lineages(site, "sweep")) == 1
    await house.assert_balanced()


async def swept_but(house: House, left: int) -> None:
    """Until so many USDT are left on deposit accounts, and all is final."""

    async def there() -> bool:
        await house.site.mine(1, CHAIN)
        return await on_deposit_accounts(house.site, "USDT") == left

    await house.site.until(there)
    await final(house)


async def test_a_deposit_that_arrives_while_a_sweep_is_on_its_way_is_swept_and_credited(
    make_ethereum_site: MakeSite,
) -> None:
    house = await opened(make_ethereum_site)
    site = house.site
    player = await site.player(USDT)
    address = await player.address()
    await pay_in(player, "20", address)
    await site.mine(1, CHAIN)

    async def under_way() -> bool:
        return bool(
            await site.pool.fetchval(
                "SELECT count(*) FROM attempt a JOIN lineage l ON l.id = a.lineage_id "
                "WHERE l.kind = 'sweep' AND a.broadcast_at IS NOT NULL"
            )
        )

    await site.until(under_way)
    await pay_in(player, "30", address)
    await site.mine(FINAL, CHAIN)
    await swept(site, USDT)
    await final(house)
    assert await player.balance() == Balance(total=USDT.units("50"))
    assert [row["amount"] for row in await player.deposits()] == [
        "20.000000000000000000",
        "30.000000000000000000",
    ]
    await house.assert_balanced()


async def test_a_sweep_that_a_reorg_takes_back_is_made_again_with_what_is_there_then(
    make_ethereum_site: MakeSite,
) -> None:
    deep = {"tiers": [{"credit_confirmations": 1, "finalize_confirmations": 30}]}
    house = await opened(make_ethereum_site, chains={CHAIN: {"assets": {"USDT": deep}}})
    site = house.site
    kept, lost = await site.player(USDT), await site.player(USDT)
    await pay_in(kept, "20")
    dropped = await pay_in(lost, "30")
    await site.mine(1, CHAIN)

    async def in_a_block() -> bool:
        # In between, so that few blocks are needed: nodes go back by few only.
        await site.polled(2)
        await site.mine(1, CHAIN)
        return [row["state"] for row in await lineages(site, "sweep")][:1] == ["confirmed"]

    await site.until(in_a_block)
    [sweep, *_] = await lineages(site, "sweep")
    height, _ = await site.cursor(CHAIN) or (0, "")
    # With the sweep goes one of the deposits that it collected.
    found = await lost.has_deposit()
    depth = height - min(sweep["block_height"], found["block"]["height"]) + 1
    await site.reorg(depth, drop=[sweep["tx_hash"].hex(), dropped], chain=CHAIN)
    await lost.reaches("replaced")
    await swept(site, USDT)
    await final(house)
    await site.mine(30, CHAIN)
    assert await kept.balance() == Balance(total=USDT.units("20"))
    assert await lost.balance() == Balance()
    await house.assert_balanced()


async def test_where_accounts_cannot_delegate_each_gets_gas_and_pays_by_its_own_key(
    make_ethereum_site: MakeSite,
) -> None:
    house = await opened(make_ethereum_site, chains={CHAIN: {"delegation": False}})
    site = house.site
    token, coin = await site.player(USDT), await site.player(ETH)
    await pay_in(token, "20")
    await pay_in(coin, "2")
    await site.mine(FINAL, CHAIN)
    await swept(site, USDT)
    await final(house)
    assert {len(row["outcomes"] or ()) for row in await lineages(site, "sweep")} == {1}
    # The gas that was brought is no deposit.
    assert await token.using(ETH).deposits() == []
    assert await token.balance() == Balance(total=USDT.units("20"))
    assert await coin.balance() == Balance(total=ETH.units("2"))
    assert await on_deposit_accounts(site, "ETH") < ETH.units("0.01")
    # Money goes on coming in by the same address.
    again = await site.pool.fetchval(
        "SELECT address FROM address WHERE account_id IS NOT NULL ORDER BY assigned_at"
    )
    await pay_in(token, "25", again)
    await site.mine(FINAL, CHAIN)
    await swept(site, USDT)
    await final(house)
    assert await token.balance() == Balance(total=USDT.units("45"))
    await house.assert_balanced()


async def test_an_account_that_cannot_be_swept_costs_gas_once_in_a_while_and_not_in_every_round(
    make_ethereum_site: MakeSite,
) -> None:
    """A token's issuer has locked it: nobody can move what is there."""
    house = await opened(make_ethereum_site, **NOT_YET)
    site = house.site
    locked, other = await site.player(USDT), await site.player(USDT)
    address = await locked.address()
    await pay_in(locked, "20", address)
    await pay_in(other, "30")
    usdt = site.net.evm[CHAIN].tokens["USDT"]
    await faucet(site).execute(usdt, contract("TetherLike").call("setBlackListed", address, True))
    await site.mine(FINAL, CHAIN)
    await sweeping(site)

    async def tried() -> bool:
        # In between, so that what is to be swept is looked at while the chain stands still.
        await site.polled(2)
        await site.mine(1, CHAIN)
        return await on_deposit_accounts(site, "USDT") == USDT.units("20")

    await site.until(tried)
    for _ in range(5):
        await site.polled(3)
        await site.mine(1, CHAIN)
    assert len(await lineages(site, "sweep")) == 1
    assert await paid_to(site, USDT, address) == USDT.units("20")
    address_paid, player = stranger(), other
    withdrawal = await player.withdraw(USDT.units("10"), address_paid)
    await settled(site, [withdrawal])
    await house.assert_balanced()
