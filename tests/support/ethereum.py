"""Currencies of the devnet's chains of Ethereum's kind, as the devnet's settings have them."""

from tests.support.running import Currency, Player, Site

ETH = Currency("ethereum", "ETH", 18)
#: Counts in 6 decimals on this chain, in 18 in the ledger.
USDT = Currency("ethereum", "USDT", 18)
USDC = Currency("ethereum", "USDC", 6)
BSC_USDT = Currency("bsc", "USDT", 18)


async def fund_wallet(site: Site, chain: str = "ethereum") -> None:
    """Gas for the vault, by which the wallet sets itself up; until tokens can be paid out."""
    [vault, *_] = site.keys.senders(1)
    await site.net.send(vault, "100", chain=chain)

    async def ready() -> bool:
        await site.mine(1, chain)
        found = await site.pool.fetchval(
            "SELECT count(*) FROM lineage WHERE chain = $1 AND kind = 'setup' AND state <> 'open'", chain
        )
        return bool(found == 2)

    await site.until(ready)


async def deposited(site: Site, currency: Currency, amount: str) -> Player:
    """A player whose only deposit is final."""
    player = await site.player(currency)
    await site.net.send(await player.address(), amount, chain=currency.chain, asset=currency.asset)
    await site.mine(6, currency.chain)
    assert (await player.balance()).withdrawable == currency.units(amount)
    return player


async def swept(site: Site, currency: Currency) -> None:
    """Until no deposit account has anything of the asset worth sweeping."""

    async def nothing_left() -> bool:
        await site.mine(1, currency.chain)
        left = await site.pool.fetchval(
            "SELECT count(*) FROM holding h JOIN address a ON a.chain = h.chain AND a.destination = h.account "
            "WHERE h.chain = $1 AND h.asset = $2 AND a.branch = 0 AND h.amount > 0",
            currency.chain,
            currency.asset,
        )
        return bool(left == 0)

    await site.until(nothing_left)


async def paid_to(site: Site, currency: Currency, address: str) -> int:
    """What an account has, in the ledger's base units, by a node's word."""
    evm = site.net.evm[currency.chain]
    rpc = evm.nodes[0].rpc
    if currency.asset == "ETH":
        return int(await rpc("eth_getBalance", address, "latest"), 16)
    data = "0x70a08231" + address[2:].rjust(64, "0").lower()
    held = int(await rpc("eth_call", {"to": evm.tokens[currency.asset], "data": data}, "latest"), 16)
    on_chain = 18 if currency.chain == "bsc" and currency.asset == "USDT" else 6
    return held * int(10 ** (currency.decimals - on_chain))
