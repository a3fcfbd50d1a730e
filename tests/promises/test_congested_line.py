"""P3 and the fee policy when full mempools drop a line of payouts: raised through its last, it is taken back whole."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cryptowatch.devnet import network
from tests.promises.conftest import making_sites
from tests.promises.test_congestion import Crowd
from tests.support.books import assert_balanced, paid_to
from tests.support.running import FINAL, Site, sat, strangers_address

#: Of the crowd's: more than a mempool of five megabytes holds.
CROWD = 42


@pytest_asyncio.fixture
async def crowded(short_dir: Path, database: str) -> AsyncIterator[Site]:
    folder = short_dir / f"crowded-{os.urandom(4).hex()}"
    async with (
        network.up(folder, bitcoin_nodes=1, ethereum={}, node_options={"maxmempool": "5"}) as net,
        making_sites(net, database, short_dir, ["bitcoin"]) as make,
    ):
        yield await make(
            chains={
                "bitcoin": {
                    "market": {"survey_interval_s": 0.1},
                    "wallet": {"bump_after_blocks": 1, "change": {"outputs_max": 1}},
                }
            }
        )


@pytest.mark.slow
async def test_a_line_that_was_dropped_comes_back_when_its_last_pays_for_both(crowded: Site) -> None:
    site, crowd = crowded, Crowd(crowded.net)
    await crowd.gathers()
    await site.start()
    player, addresses = await site.rich_player("1"), [strangers_address(), strangers_address()]
    withdrawals, line = [], []
    for address in addresses:
        withdrawals.append(await player.withdraw(sat("0.1"), address, priority="urgent"))
        line.append(await site.sent(withdrawals[-1]))
    await crowd.sends(CROWD, 20)
    pool = await site.net.bitcoin[0].rpc("getrawmempool")
    assert not set(line).intersection(pool), "it was never dropped"
    await site.mine_empty(2)
    again = await site.sent(withdrawals[1])
    assert again != line[1]
    assert await site.sent(withdrawals[0]) == line[0]
    await site.mine_until_final(withdrawals)
    for address in addresses:
        assert await paid_to(site, address) == [sat("0.1")]
    await site.mine(FINAL)
    await assert_balanced(site)
