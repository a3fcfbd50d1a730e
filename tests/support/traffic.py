"""A busy casino: deposits, bets, withdrawals, blocks and small reorgs while the daemon comes and goes.

Each party keeps its own account of what it did, so that the end can be compared with ledger, chain and
webhooks. A request whose answer was cut off is repeated under its key until there is one (P2).
"""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp

from tests.api.world import Answer
from tests.support.running import WITHDRAWAL_FEE, Player, Site, btc, strangers_address

#: Deep enough to undo credits, and never what is final.
REORG_DEPTH_MAX = 2
_TRY_AGAIN_S = 0.05


async def answered(ask: Callable[[str], Awaitable[Answer]]) -> Answer:
    """Ask under one idempotency key until the daemon, or its successor, gives an answer that stands."""
    key = uuid.uuid4().hex
    while True:
        with suppress(aiohttp.ClientError, TimeoutError):
            answer = await ask(key)
            if answer.status not in (409, 503):
                return answer
        await asyncio.sleep(_TRY_AGAIN_S)


@dataclass
class Traffic:
    """`expected` is what each player must own in the end, `paid` what each stranger's address must hold."""

    site: Site
    players: list[Player]
    chance: random.Random
    expected: Counter[str] = field(default_factory=Counter)
    deposits: dict[str, tuple[str, int]] = field(default_factory=dict)
    withdrawals: dict[str, tuple[str, int]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    _stopped: bool = False

    async def run(self, parties: int = 2) -> None:
        """Until `stop`; each party ends what it began."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(parties):
                tasks.create_task(self._again_and_again(self._deposit, 0.2))
                tasks.create_task(self._again_and_again(self._play, 0.1))
                tasks.create_task(self._again_and_again(self._withdraw, 0.3))
            tasks.create_task(self._again_and_again(self._block, 0.5))

    def stop(self) -> None:
        self._stopped = True

    async def _again_and_again(self, step: Callable[[], Awaitable[None]], pause_s: float) -> None:
        while not self._stopped:
            await step()
            await asyncio.sleep(self.chance.uniform(0, 2 * pause_s))

    async def _deposit(self) -> None:
        player = self.chance.choice(self.players)
        path = f"/v1/accounts/{player.id}/addresses"
        asked = await answered(lambda key: self.site.backend.post(path, {"chain": "bitcoin"}))
        if asked.status != 201:
            return  # none is derived: more are on their way
        amount = self.chance.randrange(100_000, 20_000_000)
        tx_hash = await self.site.net.send(asked.body["address"], btc(amount))
        self.deposits[tx_hash] = (player.id, amount)
        self.expected[player.id] += amount
        self.counts["deposits"] += 1

    async def _play(self) -> None:
        player, amount = self.chance.choice(self.players), self.chance.randrange(1, 3_000_000)
        kind = self.chance.choice(["bet", "bet", "win"])
        body = {"account_id": player.id, "asset": "BTC", "amount": btc(amount), "kind": kind}
        done = await answered(lambda key: self.site.backend.post("/v1/transfers", body, idempotency_key=key))
        assert done.status in (201, 422), done
        if done.status == 201:
            self.expected[player.id] += amount if kind == "win" else -amount
            self.counts[kind] += 1

    async def _withdraw(self) -> None:
        player, address = self.chance.choice(self.players), strangers_address()
        amount = self.chance.randrange(20_000, 2_000_000)
        done = await answered(lambda key: player.ask_withdrawal(amount, address, idempotency_key=key))
        assert done.status in (202, 422), done
        if done.status == 202:
            self.withdrawals[str(done.body["id"])] = (address, amount)
            self.expected[player.id] -= amount + WITHDRAWAL_FEE
            self.counts["withdrawals"] += 1

    async def _block(self) -> None:
        await self.site.net.mine()
        self.counts["blocks"] += 1
        if self.chance.random() < 0.25:
            await self._reorg(self.chance.randint(1, REORG_DEPTH_MAX))

    async def _reorg(self, depth: int) -> None:
        """Some of the deposits in the blocks that are left do not come back."""
        node = self.site.net.bitcoin[0].rpc
        height = int(await node("getblockcount"))
        blocks = [
            await node("getblock", await node("getblockhash", number))
            for number in range(height - depth + 1, height + 1)
        ]
        mined = [tx_hash for block in blocks for tx_hash in block["tx"] if tx_hash in self.deposits]
        drop = [tx_hash for tx_hash in mined if self.chance.random() < 0.3]
        done = await self.site.net.reorg(depth, drop)
        gone = [tx_hash for tx_hash in done["dropped"] if tx_hash in self.deposits]
        for tx_hash in gone:
            player_id, amount = self.deposits.pop(tx_hash)
            self.expected[player_id] -= amount
        self.counts["reorgs"] += 1
        self.counts["dropped deposits"] += len(gone)
