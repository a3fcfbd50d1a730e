"""P4 for money between hot and cold: SIGKILL between, and in the middle of, all steps there and back.

As in `test_p4_half_done`, a locked table holds the daemon where its work is half done. In the end chain, ledger and
reconciliation agree to the last unit, and each movement happened once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.context import ForkServerProcess
from typing import Any

import aiohttp

from tests.api.world import Caller
from tests.promises.conftest import MakeSite
from tests.promises.test_p4_half_done import replace_daemon, until_waiting, write_locked
from tests.support import processes
from tests.support.books import assert_balanced
from tests.support.cold import Cold, assert_solvent, booked, reaches, rebalances, signed_by, treasurer
from tests.support.ethereum import ETH, USDT, House, deposited, paid_to
from tests.support.running import BTC, FINAL, Currency, Site

ALL_NODES = None
WHOLE_STORY = ["requested", "proposed", "signed", "broadcast", "finalized"]


@dataclass
class Movements:
    """Of one currency, by a person's word, at a daemon and a signer that are processes."""

    site: Site
    cold: Cold
    currency: Currency
    #: What its nodes are sent transactions by.
    send: Sequence[str]
    amount: str
    #: What came without the books.
    surplus: dict[str, int] = field(default_factory=dict)

    async def ask(self, direction: str) -> Any:
        body = {"chain": self.currency.chain, "asset": self.currency.asset, "amount": self.amount}
        desk = await treasurer(self.site)
        return await desk.post("/v1/rebalances", {**body, "direction": direction})

    async def asked(self, direction: str) -> None:
        assert (await self.ask(direction)).status == 202

    async def state(self) -> str | None:
        """By the database: no daemon may be there to ask."""
        found: str | None = await self.site.pool.fetchval(
            "SELECT state FROM rebalance ORDER BY id DESC LIMIT 1"
        )
        return found

    async def until_state(self, state: str) -> None:
        async def there() -> bool:
            return await self.state() == state

        await self.site.until(there)

    async def attempt(self) -> tuple[bool, bool]:
        """Of the newest transaction: whether its bytes are there, and whether it is noted that a node has them."""
        row = await self.site.pool.fetchrow(
            "SELECT raw IS NOT NULL, broadcast_at IS NOT NULL FROM attempt ORDER BY created_at DESC LIMIT 1"
        )
        assert row is not None
        return row[0], row[1]

    async def in_a_pool(self) -> int:
        """Transactions that wait at the first node: all, or those of the accounts that send."""
        chain = self.currency.chain
        if chain not in self.site.net.evm:
            return len(await self.site.net.bitcoin[0].rpc("getrawmempool"))
        rpc, found = self.site.net.evm[chain].nodes[0].rpc, 0
        for account in (*self.site.senders(chain), self.cold.account):
            pending, latest = [
                int(await rpc("eth_getTransactionCount", account, at), 16) for at in ("pending", "latest")
            ]
            found += pending - latest
        return found

    async def until_signed(self) -> None:
        async def there() -> bool:
            return (await self.attempt())[0]

        await self.site.until(there)

    async def restarted(self) -> None:
        await replace_daemon(self.site)
        await self.site.until(self.site.is_ready)

    async def killed(self) -> None:
        processes.kill(self.site.daemons[-1])

    async def killed_while_it_writes(self, table: str, act: Callable[[], Awaitable[Any]]) -> None:
        """`act` makes it write there."""
        async with write_locked(self.site, table):
            await act()
            await until_waiting(self.site, table)
            await self.killed()

    async def killed_while_it_answers(self, table: str, request: Callable[[], Awaitable[Any]]) -> None:
        """Whoever asked never hears of it."""
        async with write_locked(self.site, table):
            asking = asyncio.ensure_future(request())
            await until_waiting(self.site, table)
            await self.killed()
            outcome: Any = (await asyncio.gather(asking, return_exceptions=True))[0]
        assert isinstance(outcome, aiohttp.ClientError), outcome

    async def sends(self, *, works: bool) -> None:
        if works:
            await self.site.net.clear_faults()
        else:
            chain, methods = self.currency.chain, list(self.send)
            await self.site.net.fault(ALL_NODES, "drop", chain=chain, methods=methods)

    async def sent_and_final(self) -> None:
        """With its bytes committed and no daemon: killed with them sent and not noted, and while they become final."""
        chain = self.currency.chain
        assert (await self.attempt(), await self.in_a_pool()) == ((True, False), 0)
        await self.sends(works=True)
        await self.killed_while_it_writes("attempt", lambda: replace_daemon(self.site))
        assert (await self.attempt(), await self.in_a_pool()) == ((True, False), 1)
        # It is mined while nobody looks.
        await self.site.net.mine(2, chain=chain)
        await self.restarted()
        await self.site.caught_up(chain)
        await self.until_state("broadcast")
        await assert_solvent(self.site, self.surplus)
        await self.killed_while_it_writes("posting", lambda: self.site.net.mine(FINAL, chain=chain))
        assert await self.state() == "broadcast"
        await self.restarted()
        await self.site.mine(1, chain)
        await reaches(self.site, "finalized", self.currency.asset)
        await assert_solvent(self.site, self.surplus)

    async def to_cold(self) -> None:
        """The signer is away."""
        await self.killed_while_it_writes("attempt", lambda: self.asked("overflow"))
        assert await self.state() == "requested"
        await self.restarted()
        await self.until_state("proposed")
        await self.killed()
        assert await self.attempt() == (False, False)

        async def signer_comes() -> None:
            self.site.spawn_signer()
            await replace_daemon(self.site)

        await self.killed_while_it_writes("attempt", signer_comes)
        # Signed, and not committed: no node has it.
        assert (await self.attempt(), await self.in_a_pool()) == ((False, False), 0)
        await self.sends(works=False)
        await self.restarted()
        await self.until_signed()
        await assert_solvent(self.site, self.surplus)
        await self.killed()
        await self.sent_and_final()

    async def back(self, desk: Caller) -> None:
        before = await self.site.pool.fetchval("SELECT count(*) FROM rebalance")
        await self.killed_while_it_answers("rebalance", lambda: self.ask("refill"))
        await self.restarted()
        assert await self.site.pool.fetchval("SELECT count(*) FROM rebalance") == before
        await self.asked("refill")
        await self.until_state("proposed")
        await self.killed()
        await self.restarted()
        proposed = await reaches(self.site, "proposed", self.currency.asset)
        path = f"/v1/rebalances/{proposed['id']}"
        body = {"signed": signed_by(self.cold, (await desk.get(f"{path}/unsigned")).body)}
        lineages = await self.site.pool.fetchval("SELECT count(*) FROM lineage")
        await self.killed_while_it_answers("attempt", lambda: desk.post(f"{path}/signed", body))
        assert await self.in_a_pool() == 0
        await self.sends(works=False)
        await self.restarted()
        assert await self.state() == "proposed"
        assert await self.site.pool.fetchval("SELECT count(*) FROM lineage") == lineages
        assert (await desk.post(f"{path}/signed", body)).body["state"] == "signed"
        await self.killed()
        await self.sent_and_final()

    async def happened_once(self) -> None:
        """There and back."""
        for one in await rebalances(self.site, self.currency.asset):
            assert await self.site.story(one["id"]) == WHOLE_STORY
        kinds = await self.site.pool.fetch(
            "SELECT kind, count(*) FROM lineage WHERE kind IN ('overflow', 'cold_refill') GROUP BY kind"
        )
        assert dict(map(tuple, kinds)) == {"overflow": 1, "cold_refill": 1}
        for place in ("in_transit", "cold"):
            left = await booked(self.site, place, self.currency.chain, self.currency.asset)
            assert left >= 0 if place == "cold" else left == 0


async def started(site: Site, chain: str) -> ForkServerProcess:
    """As processes; the signer's."""
    signer = site.spawn_signer()
    site.spawn_daemon()
    await site.until(site.is_ready)
    await site.until(partial(site.cursor, chain))
    await site.caught_up(chain)
    return signer


async def test_bitcoin_to_cold_and_back_through_sigkills_at_every_step(make_site: MakeSite) -> None:
    cold = Cold()
    site = await make_site(**cold.bitcoin())
    signer = await started(site, BTC.chain)
    await site.rich_player("0.4", "1")
    processes.kill(signer)
    moving = Movements(site, cold, BTC, ["sendrawtransaction"], "0.5")
    await moving.to_cold()
    assert await cold.coins(site) == BTC.units("0.5")
    moving.amount = "0.3"
    await moving.back(await treasurer(site))
    await moving.happened_once()
    assert await cold.coins(site) == await booked(site, "cold")
    await assert_balanced(site)


async def test_tokens_to_cold_and_back_through_sigkills_at_every_step(make_ethereum_site: MakeSite) -> None:
    cold = Cold()
    site = await make_ethereum_site(**cold.ethereum({}, ETH="1000", USDT="100000"))
    # The cold account has gas before we first look.
    await site.net.send(cold.account, "5", chain=ETH.chain, asset="ETH")
    signer = await started(site, ETH.chain)
    house = House(site)
    await house.opens()
    surplus = {one.asset: amount for one, amount in house.brought.items()}
    surplus["ETH"] += ETH.units("5")
    await deposited(site, USDT, "10")
    processes.kill(signer)
    moving = Movements(site, cold, USDT, ["eth_sendRawTransaction"], "20", surplus)
    vault = await paid_to(site, USDT, house.vault)
    await moving.to_cold()
    assert await paid_to(site, USDT, cold.account) == USDT.units("20")
    await moving.back(await treasurer(site))
    await moving.happened_once()
    assert await paid_to(site, USDT, cold.account) == 0 == await booked(site, "cold", USDT.chain, "USDT")
    assert await paid_to(site, USDT, house.vault) >= vault
