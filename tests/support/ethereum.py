"""The devnet's chains of Ethereum's kind: their currencies, a house that can pay, and what the nodes say of it all."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptowatch.chains.ethereum.address import address_of
from cryptowatch.devnet.ethereum.actor import Actor
from cryptowatch.settings.chains import EthereumSettings
from cryptowatch.signing.messages import KeyPath
from tests.support.books import house_balance
from tests.support.running import Currency, Player, Site
from tests.support.spending import wallet_keys

ETH = Currency("ethereum", "ETH", 18)
#: Counts in 6 decimals on this chain, in 18 in the ledger.
USDT = Currency("ethereum", "USDT", 18)
USDC = Currency("ethereum", "USDC", 6)
BSC_ETH = Currency("bsc", "ETH", 18)
BSC_USDT = Currency("bsc", "USDT", 18)
BSC_USDC = Currency("bsc", "USDC", 6)
CURRENCIES = {"ethereum": (ETH, USDT, USDC), "bsc": (BSC_ETH, BSC_USDT, BSC_USDC)}
#: Every deposit and payout is final after so many blocks, whatever its size.
FINAL = 6
#: What a player pays for a withdrawal, in whole coins.
FEES = {"ETH": "0.0005", "USDT": "0.5", "USDC": "0.5"}
#: Nothing is swept and nothing is replaced: only what a test asks for makes transactions.
CALM: dict[str, Any] = {
    "chains": {"ethereum": {"wallet": {"sweep_gas_max_gwei": 0, "bump_after_blocks": 100}}}
}


def stranger() -> str:
    """An account of nobody: what is paid there stays there, so that it can be counted."""
    return address_of(os.urandom(20))


def fee_of(currency: Currency) -> int:
    """What a player pays for a withdrawal, in base units."""
    return currency.units(FEES[currency.asset])


@dataclass
class House:
    """The casino's side of one chain: what it brought into the wallet, and what must be there in the end."""

    site: Site
    chain: str = "ethereum"
    brought: Counter[Currency] = field(default_factory=Counter)

    @property
    def vault(self) -> str:
        return self.site.senders(self.chain)[0]

    async def brings(self, currency: Currency, amount: str) -> None:
        """Money of its own into the vault; pending."""
        await self.site.net.send(self.vault, amount, chain=self.chain, asset=currency.asset)
        self.brought[currency] += currency.units(amount)

    async def opens(self, own_coin: str = "50", tokens: str = "5000", setups: int = 2) -> None:
        """Brings gas and money, until the wallet has set itself up for its tokens, and nothing is on its way."""
        own, *others = CURRENCIES[self.chain]
        await self.brings(own, own_coin)
        for currency in others:
            await self.brings(currency, tokens)

        async def ready() -> bool:
            await self.site.mine(2, self.chain)
            rows = await lineages(self.site, chain=self.chain)
            done = Counter(row["kind"] for row in rows if row["state"] == "finalized")
            return (
                done["setup"] >= setups
                and done["refill"] >= 1
                and {row["state"] for row in rows} == {"finalized"}
            )

        await self.site.until(ready)

    async def serves(self, currency: Currency, amount: str) -> Player:
        """A player whose only deposit is final."""
        return await deposited(self.site, currency, amount)

    async def assert_balanced(self, *, gone: Mapping[Currency, int] | None = None) -> None:
        """To the last unit: nodes = what we think we hold = the books and what the house brought. All is final.

        `gone`: what left the wallet without the books.
        """
        for currency in CURRENCIES[self.chain]:
            if currency.asset not in self.site.settings.chains[self.chain].asset_settings:
                continue
            custody = -await house_balance(self.site, f"custody:{self.chain}", currency.asset)
            # What the house brought is booked when it is final, so here or there.
            custody -= await house_balance(self.site, f"house_funds:{self.chain}", currency.asset)
            expected = custody + self.brought[currency] - (gone or {}).get(currency, 0)
            there = await held(self.site, currency)
            thought = await self.site.pool.fetchval(
                "SELECT coalesce(sum(amount), 0)::text FROM holding WHERE chain = $1 AND asset = $2",
                self.chain,
                currency.asset,
            )
            assert (there, int(thought)) == (expected, expected), currency


async def held(site: Site, currency: Currency) -> int:
    """What all accounts of the wallet have together, by a node's word."""
    rows = await site.pool.fetch(
        "SELECT address FROM address WHERE chain = $1 AND (branch = 1 OR assigned_at IS NOT NULL)",
        currency.chain,
    )
    return sum([await paid_to(site, currency, row["address"]) for row in rows])


async def paid_to(site: Site, currency: Currency, address: str) -> int:
    """What an account has, in the ledger's base units, by a node's word."""
    evm = site.net.evm[currency.chain]
    rpc = evm.nodes[0].rpc
    if currency.asset == "ETH":
        return int(await rpc("eth_getBalance", address, "latest"), 16)
    chain = site.settings.chains[currency.chain]
    assert isinstance(chain, EthereumSettings)
    settings = chain.assets[currency.asset]
    data = "0x70a08231" + address[2:].rjust(64, "0").lower()
    units = int(await rpc("eth_call", {"to": settings.contract, "data": data}, "latest"), 16)
    return units * int(10**settings.scale)


async def deposited(site: Site, currency: Currency, amount: str) -> Player:
    """A player whose only deposit is final."""
    player = await site.player(currency)
    await site.net.send(await player.address(), amount, chain=currency.chain, asset=currency.asset)
    await site.mine(FINAL, currency.chain)
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


async def lineages(site: Site, kind: str | None = None, chain: str = "ethereum") -> list[dict[str, Any]]:
    """Our own transactions, oldest first."""
    rows = await site.pool.fetch(
        "SELECT * FROM lineage WHERE chain = $1 AND ($2::text IS NULL OR kind = $2) ORDER BY created_at, id",
        chain,
        kind,
    )
    return [dict(row) for row in rows]


async def attempts(site: Site, kind: str = "payout") -> list[dict[str, Any]]:
    """Every version of them, oldest first."""
    rows = await site.pool.fetch(
        "SELECT a.* FROM attempt a JOIN lineage l ON l.id = a.lineage_id WHERE l.kind = $1 "
        "ORDER BY a.created_at, a.lineage_id, a.number",
        kind,
    )
    return [dict(row) for row in rows]


async def sent(site: Site, withdrawal: str, chain: str = "ethereum") -> str:
    """Wait until most nodes have a withdrawal's transaction; its hash."""

    async def there() -> str | None:
        found = await site.withdrawal(withdrawal)
        if found["state"] != "sending" or found["tx_hash"] is None:
            return None
        # Read anew each time: a replacement has another hash.
        tx_hash = str(found["tx_hash"])
        return tx_hash if await known_to_most(site, tx_hash, chain) else None

    return await site.until(there)


async def known_to_most(site: Site, tx_hash: str, chain: str = "ethereum") -> bool:
    """Whether most nodes hold a transaction, in a block or not."""
    nodes = site.net.evm[chain].nodes
    held = [await node.rpc("eth_getTransactionByHash", "0x" + tx_hash) is not None for node in nodes]
    return sum(held) > len(held) // 2


async def settled(
    site: Site, ids: Sequence[str], state: str = "finalized", chain: str = "ethereum", *, blocks_max: int = 60
) -> None:
    """Mine until all of the withdrawals are in this state."""
    for _ in range(blocks_max):
        states = {(await site.withdrawal(one))["state"] for one in ids}
        if states == {state}:
            return
        await site.polled(2)
        await site.mine(1, chain)
    raise AssertionError(states)


async def halted(site: Site, chain: str = "ethereum") -> str | None:
    """Why payouts are stopped, or None."""
    reason: str | None = await site.pool.fetchval("SELECT halted FROM chain WHERE chain = $1", chain)
    return reason


async def until_halted(site: Site, reason: str, chain: str = "ethereum") -> None:
    async def there() -> bool:
        return reason in (await halted(site, chain) or "")

    await site.until(there)


def faucet(site: Site, chain: str = "ethereum") -> Actor:
    """Who owns the tokens, and has some of everything."""
    return Actor(site.net, chain, site.net.ethereum_private_key)


def thief(site: Site, index: int = 0, branch: int = 1, chain: str = "ethereum") -> Actor:
    """Another holder of the wallet's keys; at first, of the vault's."""
    private = wallet_keys(site).key(KeyPath("bip44", 1 if branch else 0, index)).private
    return Actor(site.net, chain, "0x" + private.secret.hex())
