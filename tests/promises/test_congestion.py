"""P3 and the fee policy while the nodes' mempools are full and fees rise from block to block."""

import os
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from cryptowatch.chains.bitcoin.transaction import TxInput
from cryptowatch.devnet import network
from cryptowatch.devnet.client import Net
from cryptowatch.devnet.rpc import RpcError
from cryptowatch.money import BaseUnits
from cryptowatch.signing.keys import accounts_from_mnemonic, new_mnemonic
from cryptowatch.signing.messages import KeyPath
from tests.promises.conftest import making_sites
from tests.support.books import assert_balanced, paid_to
from tests.support.running import FINAL, Site, sat, strangers_address
from tests.support.spending import Owned, output_to, script, signed

#: Of the crowd: so many transactions at first, and after each of so many blocks.
FIRST, ROUNDS, FILLERS = 36, 7, 18
#: Each some 87,000 virtual bytes: a block holds eleven, five megabytes of mempool 37.
OUTPUTS, OUTPUT_SAT = 2_800, 1_000
FILLER_VB = 11 + 68 + 31 * (OUTPUTS + 1)
URGENT_TARGET = 2


class Crowd:
    """Strangers who outbid one another with transactions of the largest size."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.keys = accounts_from_mnemonic(new_mnemonic(os.urandom(16)), "regtest")
        self.coins: list[Owned] = []
        self.random = random.Random(7)
        self.to = script(strangers_address())

    async def gathers(self) -> None:
        for first in range(0, FIRST + ROUNDS * FILLERS, 54):
            paths = [KeyPath("bip84", 0, n) for n in range(first, first + 54)]
            scripts = [self.keys.key(path).script for path in paths]
            node = self.net.bitcoin[0].rpc
            addresses = [(await node("decodescript", own.hex()))["address"] for own in scripts]
            tx_hash = await self.net.send_many(dict.fromkeys(addresses, "0.25"))
            for path, own in zip(paths, scripts, strict=True):
                index, value = await output_to(self.net, tx_hash, own)
                coin = TxInput(bytes.fromhex(tx_hash), index, BaseUnits(value), own)
                self.coins.append(Owned(coin, path))
        await self.net.mine()

    async def sends(self, count: int, rate_sat_vb: int) -> None:
        """So many transactions, at about this rate."""
        for _ in range(count):
            coin = self.coins.pop()
            fee = int(FILLER_VB * rate_sat_vb * self.random.uniform(0.9, 1.1))
            rest = coin.coin.amount - OUTPUTS * OUTPUT_SAT - fee
            outputs = [(self.to, OUTPUT_SAT)] * OUTPUTS + [(self.to, rest)]
            _, raw = signed(self.keys, [coin], outputs)
            for node in self.net.bitcoin:
                with suppress(RpcError):  # a full mempool refuses who pays least
                    await node.rpc("sendrawtransaction", raw, 0)


@pytest_asyncio.fixture
async def crowded(short_dir: Path, database: str) -> AsyncIterator[Site]:
    folder = short_dir / f"crowded-{os.urandom(4).hex()}"
    options = {"maxmempool": "5"}
    async with (
        network.up(folder, bitcoin_nodes=3, ethereum={}, node_options=options) as net,
        making_sites(net, database, short_dir, ["bitcoin"]) as make,
    ):
        yield await make(
            chains={
                "bitcoin": {
                    "market": {"survey_interval_s": 0.1},
                    "wallet": {"bump_after_blocks": 1},
                    "fees": {"target_blocks": {"economy": 12, "normal": 4, "urgent": URGENT_TARGET}},
                }
            }
        )


@pytest.mark.slow
async def test_urgent_payouts_confirm_within_their_target_while_mempools_are_full(crowded: Site) -> None:
    site, crowd = crowded, Crowd(crowded.net)
    await crowd.gathers()
    await site.start()
    player = await site.rich_player(*["0.2"] * 12)
    urgent: dict[str, int] = {}
    others: list[str] = []
    addresses: dict[str, str] = {}
    floors = []
    await crowd.sends(FIRST, 8)

    async def asks(priority: str) -> str:
        address = strangers_address()
        withdrawal = await player.withdraw(sat("0.05"), address, priority=priority)
        addresses[withdrawal] = address
        return withdrawal

    for number in range(ROUNDS):
        await crowd.sends(FILLERS, int(10 * 1.35**number))
        pool = await site.net.bitcoin[0].rpc("getmempoolinfo")
        floors.append(pool["mempoolminfee"] / pool["minrelaytxfee"])
        await site.polled(5)
        if number in (0, 2, 4):
            others += [await asks("normal"), await asks("economy")]
        if number in (1, 3, 5):
            withdrawal = await asks("urgent")
            await site.sent(withdrawal)
            urgent[withdrawal] = (await site.cursor() or (0, ""))[0]
        await site.polled(5)
        await site.mine()
    assert max(floors) > 5, f"the mempools were never full: {floors}"

    for withdrawal, sent_height in urgent.items():
        found = await site.pool.fetchrow(
            "SELECT l.block_height FROM withdrawal w JOIN lineage l ON l.id = w.lineage_id "
            "WHERE w.id = $1::text::uuid",
            withdrawal.removeprefix("wd_"),
        )
        assert found is not None and found["block_height"] is not None, "an urgent payout still waits"
        assert found["block_height"] - sent_height <= URGENT_TARGET
    await site.mine_until_final([*urgent, *others])
    for withdrawal, address in addresses.items():
        assert await paid_to(site, address) == [sat("0.05")], withdrawal
    budget = site.settings.chains["bitcoin"].market.fee_growth_max
    spent = await site.pool.fetch(
        "SELECT f.fee AS first, a.fee AS paid FROM lineage l "
        "JOIN attempt f ON f.lineage_id = l.id AND f.number = 1 "
        "JOIN attempt a ON a.lineage_id = l.id AND a.tx_hash = l.tx_hash"
    )
    assert all(row["paid"] <= budget * row["first"] for row in spent)
    await site.mine(FINAL)
    await assert_balanced(site)
