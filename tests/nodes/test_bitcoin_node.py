"""The adapter and the pool on real bitcoinds: blocks, mempools, broadcasts, and nodes that lie, lag or are
away.
"""

import asyncio
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.bitcoin.address import script_of
from cryptowatch.chains.bitcoin.node import BitcoinNode
from cryptowatch.chains.bitcoin.rpc import RpcClient
from cryptowatch.chains.bitcoin.transaction import TxInput
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.port import BroadcastOutcome, NodeState, RawPending
from cryptowatch.chains.standing import ChangeKind
from cryptowatch.chains.watchset import WatchList
from cryptowatch.clock import SystemClock
from cryptowatch.devnet.client import Net
from cryptowatch.errors import NodeLied, NodeUnavailable
from cryptowatch.money import BaseUnits
from tests.support.spending import Owned, signed, strangers_coin

NOTHING: frozenset[bytes] = frozenset()
QUARANTINE_S = 1.0


@pytest_asyncio.fixture
async def nodes(net: Net) -> AsyncIterator[list[BitcoinNode]]:
    """The devnet's nodes as the daemon reaches them: through their fault proxies."""
    settings = tomllib.loads(net.settings_file.read_text())["chains"]["bitcoin"]
    opened = [
        BitcoinNode(
            RpcClient(node["name"], node["url"], Path(node["auth_file"]), timeout_s=3),
            network="regtest",
            asset="BTC",
        )
        for node in settings["nodes"]
    ]
    yield opened
    for node in opened:
        await node.close()


@pytest_asyncio.fixture
async def pool(nodes: list[BitcoinNode]) -> NodePool:
    return NodePool(
        "bitcoin",
        nodes,
        quorum=len(nodes) // 2 + 1,
        clock=SystemClock(),
        lag_blocks_max=3,
        quarantine_s=QUARANTINE_S,
    )


async def new_script(net: Net) -> tuple[str, bytes]:
    address = str(await net.bitcoin[0].rpc("getnewaddress"))
    script = script_of(address, "regtest")
    assert isinstance(script, bytes)
    return address, script


async def raw_of(net: Net, tx_hash: str) -> bytes:
    return bytes.fromhex(await net.bitcoin[0].rpc("getrawtransaction", tx_hash))


async def in_every_mempool(nodes: list[BitcoinNode], tx_hash: str) -> None:
    for node in nodes:
        while bytes.fromhex(tx_hash) not in (await node.pending(NOTHING, NOTHING))[0]:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


def state(pool: NodePool, name: str) -> NodeState:
    return next(status.state for status in pool.statuses() if status.name == name)


# --- reading ------------------------------------------------------------------------------------------------


async def test_head_and_hashes_are_the_nodes_own(net: Net, nodes: list[BitcoinNode]) -> None:
    (newest,) = await net.mine(1)
    height, block_hash = await nodes[0].head()
    assert block_hash.hex() == newest
    assert await nodes[0].hash_at(height) == block_hash
    assert await nodes[0].hash_at(height + 1) is None


async def test_a_deposit_in_a_block_is_found_with_everything_it_uses(
    net: Net, nodes: list[BitcoinNode]
) -> None:
    address, script = await new_script(net)
    tx_hash = await net.send(address, "0.12345678")
    (newest,) = await net.mine(1)
    height, _ = await nodes[0].head()
    block = await nodes[0].block(bytes.fromhex(newest), height)
    found = block.contents(WatchList([script]))
    (transfer,) = found.transfers
    decoded = await net.bitcoin[0].rpc("getrawtransaction", tx_hash, True)
    assert (transfer.tx_hash.hex(), transfer.amount) == (tx_hash, 12_345_678)
    assert decoded["vout"][transfer.position]["scriptPubKey"]["hex"] == script.hex()
    assert found.resources[transfer.tx_hash] == tuple(
        bytes.fromhex(spent["txid"]) + spent["vout"].to_bytes(4, "big") for spent in decoded["vin"]
    )
    header = await net.bitcoin[0].rpc("getblock", newest)
    assert (found.ref.prev_hash.hex(), found.transactions) == (header["previousblockhash"], header["nTx"])
    assert (found.ref.time.timestamp(), found.size_bytes) == (header["time"], header["size"])


async def test_a_deposits_funders_are_the_addresses_of_all_its_inputs(
    net: Net, nodes: list[BitcoinNode]
) -> None:
    address, _ = await new_script(net)
    tx_hash = bytes.fromhex(await net.send(address, "0.1"))
    (newest,) = await net.mine(1)
    block_hash = bytes.fromhex(newest)
    spent = (await net.bitcoin[0].rpc("getrawtransaction", tx_hash.hex(), 2, newest))["vin"]
    expected = {one["prevout"]["scriptPubKey"]["address"] for one in spent}
    found = await nodes[0].funders(tx_hash, 0, block_hash)
    assert found is not None
    assert (set(found), len(found)) == (expected, len(expected))
    coinbase = (await net.bitcoin[0].rpc("getblock", newest))["tx"][0]
    assert await nodes[0].funders(bytes.fromhex(coinbase), 0, block_hash) == []
    assert await nodes[0].funders(bytes(32), 0, block_hash) is None
    assert await nodes[0].funders(tx_hash, 0, bytes(32)) is None


async def test_every_block_of_the_chain_reads_as_the_node_reads_it(
    net: Net, nodes: list[BitcoinNode]
) -> None:
    height, _ = await nodes[0].head()
    everything = WatchList()
    for at in range(max(0, height - 15), height + 1):
        block_hash = await nodes[0].hash_at(at)
        assert block_hash is not None
        found = (await nodes[0].block(block_hash, at)).contents(everything)
        assert (found.ref.hash, found.transfers, found.spends) == (block_hash, (), ())


async def test_without_rest_blocks_come_over_rpc(
    net: Net, nodes: list[BitcoinNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def off(self: RpcClient, path: str) -> None:
        return None

    height, block_hash = await nodes[0].head()
    monkeypatch.setattr(RpcClient, "rest", off)
    assert (await nodes[0].block(block_hash, height)).ref.hash == block_hash


async def test_a_block_that_does_not_exist_is_unavailable(nodes: list[BitcoinNode]) -> None:
    with pytest.raises(NodeUnavailable, match="does not have block"):
        await nodes[0].block(bytes(32), 5)


async def test_a_node_of_another_network_lies(net: Net, nodes: list[BitcoinNode]) -> None:
    wrong = BitcoinNode(nodes[0]._rpc, network="main", asset="BTC")
    with pytest.raises(NodeLied, match="serves network 'regtest', not 'main'"):
        await wrong.head()


async def test_pending_transactions_are_given_once_and_proven(net: Net, nodes: list[BitcoinNode]) -> None:
    address, script = await new_script(net)
    known, _ = await nodes[0].pending(NOTHING, NOTHING)
    tx_hash = bytes.fromhex(await net.send(address, "0.001"))
    await in_every_mempool(nodes, tx_hash.hex())
    ids, new = await nodes[0].pending(known, NOTHING)
    assert tx_hash in ids
    assert [raw.tx_hash for raw in new] == [tx_hash]
    found = new[0].contents(WatchList([script]))
    assert found is not None
    assert [transfer.amount for transfer in found.transfers] == [100_000]
    assert await nodes[0].pending(ids, NOTHING) == (ids, [])


async def test_a_replacement_is_seen_by_the_coins_it_takes(
    net: Net, nodes: list[BitcoinNode], pool: NodePool
) -> None:
    """The replacement need not pay us: only the resources tell."""
    address, script = await new_script(net)
    tx_hash = await net.send(address, "0.002")
    await in_every_mempool(nodes, tx_hash)
    (raw,) = [raw for raw in (await pool.pending(NOTHING)).new if raw.tx_hash.hex() == tx_hash]
    resources = resources_of(raw, script)
    assert set((await pool.spenders(resources)).values()) == {frozenset({bytes.fromhex(tx_hash)})}
    other = (await net.double_spend(tx_hash))["tx_hash"]
    await in_every_mempool(nodes, other)
    assert {bytes.fromhex(other)} in (await pool.spenders(resources)).values()
    assert (await pool.pending(frozenset({bytes.fromhex(tx_hash)}))).gone == {bytes.fromhex(tx_hash)}
    await net.mine(1)
    assert await pool.spenders(resources) == {}


async def test_a_replacement_evicts_what_was_built_on_it_as_well(net: Net, pool: NodePool) -> None:
    keys, coin = await strangers_coin(net, "0.01")
    own, evicted, made = keys.key(coin.path).script, 0, list[bytes]()
    for fee in (10_000, 25_000):
        left = coin.coin.amount - fee
        tx_hash, raw = signed(keys, [coin], [(own, left)])
        for node in net.bitcoin:
            await node.rpc("sendrawtransaction", raw)
        coin, evicted = (
            Owned(TxInput(bytes.fromhex(tx_hash), 0, BaseUnits(left), own), coin.path),
            evicted + fee,
        )
        made.append(bytes.fromhex(tx_hash))
        assert await pool.evicted_fees(made[0]) == evicted
    await net.mine(1)
    assert await pool.evicted_fees(made[0]) == 0


def resources_of(raw: RawPending, script: bytes) -> tuple[bytes, ...]:
    found = raw.contents(WatchList([script]))
    assert found is not None
    return found.resources


async def test_fees_are_whole_satoshi_and_the_floor_is_the_nodes(net: Net, nodes: list[BitcoinNode]) -> None:
    market = await nodes[0].fee_market()
    info = await net.bitcoin[0].rpc("getmempoolinfo")
    assert market.floor == max(info["mempoolminfee"], info["minrelaytxfee"]) * 100_000_000
    assert all(isinstance(rate, int) for rate in market.estimates.values())


# --- broadcasting: what each situation answers (P3)
# ----------------------------------------------------------


async def test_a_transaction_is_accepted_once_and_again(net: Net, nodes: list[BitcoinNode]) -> None:
    address, _ = await new_script(net)
    tx_hash = await net.send(address, "0.001")
    raw = await raw_of(net, tx_hash)
    for node in nodes:
        answers = [await node.broadcast(raw) for _ in range(2)]
        assert [(answer.outcome, answer.detail) for answer in answers] == [
            (BroadcastOutcome.ACCEPTED, tx_hash)
        ] * 2


async def test_a_confirmed_transaction_is_confirmed(net: Net, nodes: list[BitcoinNode]) -> None:
    address, _ = await new_script(net)
    raw = await raw_of(net, await net.send(address, "0.001"))
    await net.mine(1)
    answer = await nodes[0].broadcast(raw)
    assert answer.outcome is BroadcastOutcome.CONFIRMED
    assert "(-27)" in answer.detail


async def test_a_replaced_transaction_is_rejected_for_its_fee(net: Net, nodes: list[BitcoinNode]) -> None:
    address, _ = await new_script(net)
    tx_hash = await net.send(address, "0.001")
    raw = await raw_of(net, tx_hash)
    other = (await net.double_spend(tx_hash))["tx_hash"]
    await in_every_mempool(nodes, other)
    answer = await nodes[0].broadcast(raw)
    assert answer.outcome is BroadcastOutcome.REJECTED
    assert "insufficient fee" in answer.detail
    await net.mine(1)
    answer = await nodes[0].broadcast(raw)
    assert answer.outcome is BroadcastOutcome.UNKNOWN, "the conflict is confirmed: only tracking can tell"
    assert "(-25)" in answer.detail


async def test_bytes_that_are_no_transaction_are_rejected(nodes: list[BitcoinNode]) -> None:
    assert (await nodes[0].broadcast(b"nonsense")).outcome is BroadcastOutcome.REJECTED


async def test_a_send_whose_answer_is_lost_is_unknown_and_sending_again_is_accepted(
    net: Net, nodes: list[BitcoinNode], pool: NodePool
) -> None:
    address, _ = await new_script(net)
    tx_hash = await net.send(address, "0.001")
    raw = await raw_of(net, tx_hash)
    await net.fault(None, "error_after_send")
    lost = await pool.broadcast(raw)
    assert {answer.outcome for answer in lost} == {BroadcastOutcome.UNKNOWN}
    await net.clear_faults()
    again = await pool.broadcast(raw)
    assert {answer.outcome for answer in again} == {BroadcastOutcome.ACCEPTED}


async def test_a_child_brings_parents_that_a_node_has_not_and_no_others(
    net: Net, nodes: list[BitcoinNode]
) -> None:
    keys, coin = await strangers_coin(net, "0.01")
    own, amount = coin.coin.script, coin.coin.amount
    parent, parent_raw = signed(keys, [coin], [(own, amount - 1_000)])
    output = Owned(TxInput(bytes.fromhex(parent), 0, BaseUnits(amount - 1_000), own), coin.path)
    child, child_raw = signed(keys, [output], [(own, amount - 9_000)])
    raw, parents = bytes.fromhex(child_raw), [bytes.fromhex(parent_raw)]
    assert (await nodes[0].broadcast(raw)).outcome is BroadcastOutcome.UNKNOWN
    assert (await nodes[0].broadcast(raw, [b"nonsense"])).outcome is BroadcastOutcome.UNKNOWN
    assert (await nodes[0].broadcast(raw, parents)).outcome is BroadcastOutcome.ACCEPTED
    assert {parent, child} <= set(await net.bitcoin[0].rpc("getrawmempool"))
    assert (await nodes[0].broadcast(raw, parents)).outcome is BroadcastOutcome.ACCEPTED


# --- the pool, with nodes that misbehave (P5) ---------------------------------------------------------------


async def test_p5_a_node_with_altered_contents_is_found_out_and_the_next_one_read(
    net: Net, nodes: list[BitcoinNode], pool: NodePool
) -> None:
    address, script = await new_script(net)
    height, _ = await nodes[0].head()
    await net.fault(0, "forged_block", variant="body", height=height, address=address, amount="5")
    (newest,) = await net.mine(1)
    with pytest.raises(NodeLied, match="merkle root"):
        await nodes[0].block(bytes.fromhex(newest), height + 1)
    alone = NodePool(
        "bitcoin", [nodes[0]], quorum=1, clock=SystemClock(), lag_blocks_max=3, quarantine_s=QUARANTINE_S
    )
    assert await alone.agreed_head() == BlockPoint(height + 1, bytes.fromhex(newest))
    with pytest.raises(NodeUnavailable):
        await alone.block(bytes.fromhex(newest), height + 1)
    assert state(alone, nodes[0].name) is NodeState.QUARANTINED
    block = await pool.block(bytes.fromhex(newest), height + 1)
    assert block.contents(WatchList([script])).transfers == ()


async def test_p5_a_node_with_a_forged_branch_moves_nothing_and_recovers_when_it_agrees(
    net: Net, nodes: list[BitcoinNode], pool: NodePool
) -> None:
    height, _ = await nodes[0].head()
    await net.fault(0, "forged_block", variant="chain", height=height)
    mined = await net.mine(2)
    for _ in range(3):
        assert await pool.agreed_head() == BlockPoint(height + 2, bytes.fromhex(mined[1]))
        assert await pool.agreed_hash(height + 1) == bytes.fromhex(mined[0])
    assert state(pool, nodes[0].name) is NodeState.QUARANTINED
    await net.clear_faults()
    await pool.agreed_head()
    assert state(pool, nodes[0].name) is NodeState.QUARANTINED
    await asyncio.sleep(QUARANTINE_S)
    await pool.agreed_head()
    assert state(pool, nodes[0].name) is NodeState.HEALTHY
    assert [change.kind for change in pool.changes()] == [ChangeKind.QUARANTINED, ChangeKind.RECOVERED]


async def test_p5_a_stale_node_lags_and_holds_up_nobody(
    net: Net, nodes: list[BitcoinNode], pool: NodePool
) -> None:
    await net.fault(1, "stale_head")
    mined = await net.mine(4)
    head = await pool.agreed_head()
    assert head is not None
    assert head.hash.hex() == mined[3]
    assert state(pool, nodes[1].name) is NodeState.LAGGING
    status = next(status for status in pool.statuses() if status.name == nodes[1].name)
    assert (status.height, status.lag_blocks) == (head.height - 4, 4)


async def test_p10_a_slow_node_holds_up_nobody(net: Net, pool: NodePool) -> None:
    await net.fault(0, "delay", seconds=2.5)
    async with asyncio.timeout(2):
        head = await pool.agreed_head()
        assert head is not None
        assert await pool.agreed_hash(head.height) == head.hash
    await pool.close()


async def test_a_quorum_lost_gives_nothing_and_regained_everything(
    net: Net, nodes: list[BitcoinNode], pool: NodePool
) -> None:
    head = await pool.agreed_head()
    assert head is not None
    for index in range(len(nodes) // 2 + 1):
        await net.fault(index, "drop")
    assert await pool.agreed_head() is None
    assert await pool.agreed_hash(head.height) is None
    assert pool.disagreement is not None
    assert "must agree" in pool.disagreement
    await net.clear_faults()
    assert await pool.agreed_head() == head


async def test_a_reorg_is_followed_by_hash(net: Net, pool: NodePool) -> None:
    mined = await net.mine(2)
    before = await pool.agreed_head()
    assert before is not None
    await net.reorg(2)
    after = await pool.agreed_head()
    assert after is not None
    assert after.height == before.height + 1
    assert await pool.agreed_hash(before.height - 1) != bytes.fromhex(mined[0])
    assert await pool.agreed_hash(before.height - 2) is not None
    assert (await pool.block(before.hash, before.height)).ref.hash == before.hash, "still readable by hash"


async def test_a_restarted_node_is_used_again_with_its_new_credentials(
    net: Net, nodes: list[BitcoinNode]
) -> None:
    await nodes[2].head()
    await net.kill("bitcoin:2")
    with pytest.raises(NodeUnavailable):
        await nodes[2].head()
    await net.start("bitcoin:2")
    height, _ = await nodes[2].head()
    assert height > 0
