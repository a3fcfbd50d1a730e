"""A busy casino on Ethereum: coins and tokens come in, are played with, swept and paid out, amid small reorgs.

Each party keeps its own account of what it did, as in `traffic`, so that the end can be compared with ledger, chain and
webhooks.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.support.ethereum import ETH, USDC, USDT, fee_of, stranger
from tests.support.running import Currency, Player, Site
from tests.support.traffic import answered

CHAIN = "ethereum"
#: Deep enough to undo credits, sweeps and payouts, and never what is final.
REORG_DEPTH_MAX = 2


@dataclass
class EthereumTraffic:
    """`expected`: by player and asset, what must be owned in the end. `withdrawals`: by id, what a stranger gets."""

    site: Site
    players: list[Player]
    chance: random.Random
    expected: Counter[tuple[str, str]] = field(default_factory=Counter)
    deposits: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    withdrawals: dict[str, tuple[Currency, str, int]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    _stopped: bool = False

    async def run(self) -> None:
        """Until `stop`; each party ends what it began."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again_and_again(self._deposit, 0.2))
            tasks.create_task(self._again_and_again(self._play, 0.1))
            tasks.create_task(self._again_and_again(self._withdraw, 0.2))
            tasks.create_task(self._again_and_again(self._block, 0.4))

    def stop(self) -> None:
        self._stopped = True

    async def _again_and_again(self, step: Callable[[], Awaitable[None]], pause_s: float) -> None:
        while not self._stopped:
            await step()
            await asyncio.sleep(self.chance.uniform(0, 2 * pause_s))

    def _somebody(self) -> Player:
        return self.chance.choice(self.players).using(self.chance.choice([ETH, USDT, USDC]))

    async def _deposit(self) -> None:
        player = self._somebody()
        currency, path = player.currency, f"/v1/accounts/{player.id}/addresses"
        asked = await answered(lambda key: self.site.backend.post(path, {"chain": CHAIN}))
        if asked.status != 201:
            return  # none is derived: more are on their way
        amount = currency.units(f"{self.chance.randrange(1_000, 9_000_000) / 1_000_000:.6f}")
        tx_hash = await self.site.net.send(
            asked.body["address"],
            currency.text(amount),
            chain=CHAIN,
            asset=currency.asset,
            internal=currency == ETH and self.chance.random() < 0.5,
        )
        self.deposits[tx_hash] = (player.id, currency.asset, amount)
        self.expected[player.id, currency.asset] += amount
        self.counts[f"deposits of {currency.asset}"] += 1

    async def _play(self) -> None:
        player = self._somebody()
        currency, amount = player.currency, player.currency.units(f"0.{self.chance.randrange(1, 999_999):06}")
        kind = self.chance.choice(["bet", "bet", "win"])
        body = {
            "account_id": player.id,
            "asset": currency.asset,
            "amount": currency.text(amount),
            "kind": kind,
        }
        done = await answered(lambda key: self.site.backend.post("/v1/transfers", body, idempotency_key=key))
        assert done.status in (201, 422), done
        if done.status == 201:
            self.expected[player.id, currency.asset] += amount if kind == "win" else -amount
            self.counts[kind] += 1

    async def _withdraw(self) -> None:
        player, address = self._somebody(), stranger()
        currency = player.currency
        amount = currency.units(f"{self.chance.randrange(1_000_000, 3_000_000) / 1_000_000:.6f}")
        done = await answered(lambda key: player.ask_withdrawal(amount, address, idempotency_key=key))
        assert done.status in (202, 422), done
        if done.status == 202:
            self.withdrawals[str(done.body["id"])] = (currency, address, amount)
            self.expected[player.id, currency.asset] -= amount + fee_of(currency)
            self.counts[f"withdrawals of {currency.asset}"] += 1

    async def _block(self) -> None:
        await self.site.net.mine(chain=CHAIN)
        self.counts["blocks"] += 1
        if self.chance.random() < 0.25:
            await self._reorg(self.chance.randint(1, REORG_DEPTH_MAX))

    async def _reorg(self, depth: int) -> None:
        """Some of the deposits in the blocks that are left do not come back."""
        rpc = self.site.net.evm[CHAIN].nodes[0].rpc
        height = int(await rpc("eth_blockNumber"), 16)
        mined: list[str] = []
        for number in range(height - depth + 1, height + 1):
            block = await rpc("eth_getBlockByNumber", hex(number), False)
            mined += [name.removeprefix("0x") for name in block["transactions"]]
        drop = [name for name in mined if name in self.deposits and self.chance.random() < 0.3]
        done = await self.site.net.reorg(depth, drop, chain=CHAIN)
        gone = [tx_hash for tx_hash in done["dropped"] if tx_hash in self.deposits]
        for tx_hash in gone:
            player_id, asset, amount = self.deposits.pop(tx_hash)
            self.expected[player_id, asset] -= amount
        self.counts["reorgs"] += 1
        self.counts["dropped deposits"] += len(gone)
