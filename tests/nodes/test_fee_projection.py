"""What we say gets into the next block is what a real bitcoind then mines, when not everything does."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cryptowatch import devnet
from cryptowatch.chains.backlog import projection
from cryptowatch.chains.bitcoin.node import BitcoinNode
from cryptowatch.chains.bitcoin.packages import Waiting, packages
from cryptowatch.chains.bitcoin.rpc import RpcClient
from cryptowatch.devnet.client import Net

#: Room for the faucet's own first payments, and for no more than a part of what waits.
BLOCK_WEIGHT, RESERVED_WEIGHT = 60_000, 4_000
PAYMENTS, RECIPIENTS = 24, 25


@pytest_asyncio.fixture
async def small_blocks(short_dir: Path) -> AsyncIterator[Net]:
    options = {"blockmaxweight": str(BLOCK_WEIGHT), "blockreservedweight": str(RESERVED_WEIGHT)}
    async with devnet.up(
        short_dir / "small", bitcoin_nodes=1, fast_unsafe_postgres=True, node_options=options
    ) as net:
        yield net


@pytest.mark.slow
async def test_the_projection_is_the_next_block_with_parents_and_children(small_blocks: Net) -> None:
    net = small_blocks
    await crowd(net)
    pool = {
        tx_id: Waiting(int(entry["fees"]["base"] * 100_000_000), entry["weight"], tuple(entry["depends"]))
        for tx_id, entry in (await net.bitcoin[0].rpc("getrawmempool", True)).items()
    }
    rpc = RpcClient("one", net.bitcoin[0].direct_rpc_url, None, timeout_s=10)
    node = BitcoinNode(rpc, network="regtest", asset="BTC", block_weight=BLOCK_WEIGHT - RESERVED_WEIGHT)
    (lowest,) = projection(await node.backlog(), 1)
    await node.close()
    (block_hash,) = await net.mine(1)
    mined = set((await net.bitcoin[0].rpc("getblock", block_hash))["tx"][1:])

    chosen = [package for package in packages(pool) if mined.issuperset(package.members)]
    left = [package for package in packages(pool) if mined.isdisjoint(package.members)]
    assert len(chosen) + len(left) == len(list(packages(pool))), "no package is taken apart"
    assert len(chosen) > 5 and len(left) > 5, "the test is about competition"
    assert any(len(package.members) > 1 for package in chosen), "and about children that pay for parents"
    # All that pays as much fits; the next one that waits does not, and so is no dearer.
    assert {package.members for package in chosen} >= {
        package.members for package in (*chosen, *left) if package.rate >= lowest
    }
    assert max(package.rate for package in left) < lowest


async def crowd(net: Net) -> None:
    """Payments at many rates, the poorest of which has a child that pays for it."""
    rpc = net.bitcoin[0].rpc
    for number in range(PAYMENTS):
        addresses = [str(await rpc("getnewaddress")) for _ in range(RECIPIENTS if number else 1)]
        outputs = dict.fromkeys(addresses, "0.001")
        options = {"fee_rate": str(2 + 3 * number), "minconf": 1}
        sent = await rpc("send", outputs, None, "unset", None, options)
        if number == 0:
            parent = str(sent["txid"])
            coins = (await rpc("getrawtransaction", parent, 1))["vout"]
            place = max(coins, key=lambda coin: coin["value"])["n"]
            child = {"fee_rate": "150", "inputs": [{"txid": parent, "vout": place}], "add_inputs": False}
            await rpc("send", {str(await rpc("getnewaddress")): "0.1"}, None, "unset", None, child)
