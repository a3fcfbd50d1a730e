"""Faults of Ethereum nodes: each does what its name says, and the lies that shall be consistent are."""

import asyncio
import secrets
import time
from typing import Any

import aiohttp
import pytest
import rlp

from cryptowatch.devnet.client import EvmNodeAddress, Net
from cryptowatch.devnet.ethereum.actor import Actor
from cryptowatch.devnet.ethereum.rpc import EthereumRefused
from cryptowatch.devnet.ethereum.transactions import parse_transaction
from cryptowatch.devnet.ethereum.tries import bloom, header_hash, receipts_root, transactions_root
from cryptowatch.errors import OperatorError

pytestmark = pytest.mark.asyncio

CHAIN = "ethereum"
TRACER = {"tracer": "callTracer"}


def new_address() -> str:
    return "0x" + secrets.token_hex(20)


def node_of(net: Net, index: int = 1) -> EvmNodeAddress:
    return net.evm[CHAIN].nodes[index]


async def head(node: EvmNodeAddress, tag: str = "latest", *, proxied: bool = True) -> str:
    ask = node.proxied if proxied else node.rpc
    return str((await ask("eth_getBlockByNumber", tag, False))["hash"])


async def is_consistent(node: EvmNodeAddress, block_hash: str) -> bool:
    """Whether what the node tells of a block fits the hash, as far as a reader can compute it."""
    block = await node.proxied("eth_getBlockByHash", block_hash, True)
    receipts = await node.proxied("eth_getBlockReceipts", block_hash)
    raws = [raw_of(tx) for tx in block["transactions"]]
    return bool(
        header_hash(block) == block_hash == block["hash"]
        and transactions_root(raws) == block["transactionsRoot"]
        and receipts_root(receipts) == block["receiptsRoot"]
        and bloom([log for receipt in receipts for log in receipt["logs"]]) == block["logsBloom"]
    )


def raw_of(tx: dict[str, Any]) -> str:
    """A transaction's bytes from its fields (type 2 without an access list, as all here are)."""
    names = ["chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas"]
    signature = [tx[name] for name in ("yParity", "r", "s")]
    fields: list[Any] = [number(tx[name]) for name in names] + [bytes.fromhex((tx["to"] or "0x")[2:])]
    fields += [number(tx["value"]), bytes.fromhex(tx["input"][2:]), []]
    encoded: bytes = rlp.encode([*fields, *map(number, signature)])
    return "0x02" + encoded.hex()


def number(text: str) -> bytes:
    value = int(text, 16)
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


async def busy_block(net: Net) -> str:
    """With coins, two tokens and an internal payment."""
    await net.send(new_address(), "1", chain=CHAIN)
    for asset in ("USDT", "USDC"):
        await net.send(new_address(), "1", chain=CHAIN, asset=asset)
    await net.send(new_address(), "1", chain=CHAIN, internal=True)
    [block] = await net.mine(chain=CHAIN)
    return "0x" + block


async def test_without_faults_answers_are_the_nodes_own_and_consistent(evm_net: Net) -> None:
    block = await busy_block(evm_net)
    assert await head(node_of(evm_net)) == block
    assert await is_consistent(node_of(evm_net), block)


async def test_delay_drop_and_error_hit_one_node_only(evm_net: Net) -> None:
    node = node_of(evm_net)
    await evm_net.fault(1, "delay", chain=CHAIN, seconds=0.3)
    started_s = time.monotonic()
    await node.proxied("eth_blockNumber")
    assert time.monotonic() - started_s >= 0.3
    await evm_net.clear_faults()
    await evm_net.fault(1, "drop", chain=CHAIN)
    with pytest.raises(aiohttp.ClientError):
        await node.proxied("eth_blockNumber")
    await evm_net.clear_faults()
    await evm_net.fault(1, "error", chain=CHAIN)
    with pytest.raises(EthereumRefused, match="injected"):
        await node.proxied("eth_blockNumber")
    assert await node_of(evm_net, 0).proxied("eth_blockNumber")


async def test_a_batch_that_errs_has_an_error_for_each_call(evm_net: Net) -> None:
    await evm_net.fault(1, "error", chain=CHAIN)
    calls = [{"jsonrpc": "2.0", "id": n, "method": "eth_blockNumber"} for n in (7, 8)]
    async with (
        aiohttp.ClientSession() as session,
        session.post(node_of(evm_net).rpc_url, json=calls) as answer,
    ):
        assert [(entry["id"], "error" in entry) for entry in await answer.json()] == [(7, True), (8, True)]


@pytest.mark.parametrize("answer", ["error", "drop"])
async def test_error_after_send_lets_the_transaction_through(evm_net: Net, answer: str) -> None:
    rich = Actor(evm_net, CHAIN, evm_net.ethereum_private_key)
    transaction = await rich.sign(new_address(), value_wei=1, gas=21_000)
    await evm_net.fault(1, "error_after_send", chain=CHAIN, answer=answer)
    with pytest.raises((EthereumRefused, aiohttp.ClientError)):
        await node_of(evm_net).proxied("eth_sendRawTransaction", transaction.raw)
    assert await node_of(evm_net).proxied("eth_getTransactionByHash", transaction.hash)
    [block] = await evm_net.mine(chain=CHAIN)
    receipt = await node_of(evm_net, 0).rpc("eth_getTransactionReceipt", transaction.hash)
    assert receipt["blockHash"] == "0x" + block


async def test_a_stale_head_stays_while_the_chain_goes_on_and_is_replaced(evm_net: Net) -> None:
    old = await busy_block(evm_net)
    node = node_of(evm_net)
    height = int(await node.rpc("eth_blockNumber"), 16)
    finalized = await head(node, "finalized")
    await evm_net.fault(1, "stale_head", chain=CHAIN)
    await evm_net.reorg(1, chain=CHAIN)
    new = await busy_block(evm_net)
    assert await head(node) == old
    assert await head(node, "finalized") == finalized
    assert int(await node.proxied("eth_blockNumber"), 16) == height
    assert await is_consistent(node, old), "it still knows all of the block that is gone"
    assert await node.proxied("eth_getBlockByHash", new, False) is None
    assert await node.proxied("eth_getBlockReceipts", new) is None
    assert await node.proxied("eth_getBlockByNumber", hex(height + 1), False) is None
    name = (await node.rpc("eth_getBlockByHash", new, False))["transactions"][0]
    assert await node.proxied("eth_getTransactionReceipt", name) is None
    assert (await node.proxied("eth_getTransactionByHash", name))["blockHash"] is None
    logs = await node.proxied("eth_getLogs", {"fromBlock": "0x1", "toBlock": "latest"})
    assert logs
    assert max(int(log["blockNumber"], 16) for log in logs) <= height
    for call in (
        ("eth_getBalance", new_address(), {"blockHash": new}),
        ("debug_traceBlockByHash", new, TRACER),
    ):
        with pytest.raises(EthereumRefused, match="not found"):
            await node.proxied(*call)
    await evm_net.clear_faults()
    assert await head(node) == new


async def test_hidden_logs_are_in_no_receipt_and_no_search(evm_net: Net) -> None:
    node = node_of(evm_net)
    block = await busy_block(evm_net)
    await evm_net.fault(1, "hidden_logs", chain=CHAIN)
    receipts = await node.proxied("eth_getBlockReceipts", block)
    assert [receipt["logs"] for receipt in receipts] == [[]] * 4
    assert await node.proxied("eth_getLogs", {"blockHash": block}) == []
    assert int((await node.proxied("eth_getBlockByHash", block, False))["logsBloom"], 16) > 0
    assert not await is_consistent(node, block)
    await evm_net.clear_faults()
    await evm_net.fault(1, "hidden_logs", chain=CHAIN, variant="bloom_emptied")
    assert int((await node.proxied("eth_getBlockByHash", block, False))["logsBloom"], 16) == 0
    assert {int(r["logsBloom"], 16) for r in await node.proxied("eth_getBlockReceipts", block)} == {0}
    assert not await is_consistent(node, block)


async def test_hidden_traces_show_no_inner_call(evm_net: Net) -> None:
    block = await busy_block(evm_net)
    inner = [
        "calls" in entry["result"]
        for entry in await node_of(evm_net).rpc("debug_traceBlockByHash", block, TRACER)
    ]
    assert sum(inner) == 1
    await evm_net.fault(1, "hidden_traces", chain=CHAIN)
    told = await node_of(evm_net).proxied("debug_traceBlockByHash", block, TRACER)
    assert ["calls" in entry["result"] for entry in told] == [False] * 4
    name = told[inner.index(True)]["txHash"]
    assert "calls" not in await node_of(evm_net).proxied("debug_traceTransaction", name, TRACER)


async def test_finality_that_stands_still_or_jumps(evm_net: Net) -> None:
    await evm_net.mine(3, chain=CHAIN)
    node = node_of(evm_net)
    finalized = await head(node, "finalized")
    assert finalized != await head(node)
    await evm_net.fault(1, "stale_finalized", chain=CHAIN)
    await evm_net.mine(3, chain=CHAIN)
    assert await head(node, "finalized") == finalized != await head(node, "finalized", proxied=False)
    await evm_net.clear_faults()
    await evm_net.fault(1, "jumping_finalized", chain=CHAIN)
    assert await head(node, "finalized") == await head(node)


@pytest.mark.parametrize("asset", [None, "USDT"])
async def test_forged_blocks_are_consistent_and_pay_what_no_honest_node_knows(
    evm_net: Net, asset: str | None
) -> None:
    victim, node = new_address(), node_of(evm_net, 2)
    fork = await head(node)
    await evm_net.fault(2, "forged_block", chain=CHAIN, address=victim, amount="7.5", asset=asset)
    assert await head(node) == fork, "nothing is forged yet"
    real = [await busy_block(evm_net) for _ in range(2)]
    told = await head(node)
    assert told not in real
    assert await is_consistent(node, told)
    block = await node.proxied("eth_getBlockByHash", told, True)
    assert block["parentHash"] not in real
    assert await is_consistent(node, block["parentHash"])
    below = await node.proxied("eth_getBlockByHash", block["parentHash"], True)
    assert below["parentHash"] == fork
    added = block["transactions"][-1]
    assert parse_transaction(raw_of(added)).sender == added["from"], "its signature is good"
    receipt = await node.proxied("eth_getTransactionReceipt", added["hash"])
    assert receipt["blockHash"] == told
    traces = await node.proxied("debug_traceBlockByHash", told, TRACER)
    assert [entry["txHash"] for entry in traces] == [tx["hash"] for tx in block["transactions"]]
    assert await node.proxied("eth_getBalance", victim, {"blockHash": told}) == "0x0"
    if asset is None:
        assert (added["to"], int(added["value"], 16)) == (victim, 75 * 10**17)
    else:
        token = evm_net.evm[CHAIN].tokens[asset]
        [log] = receipt["logs"]
        assert (log["address"], int(log["data"], 16)) == (token, 7_500_000)
        wanted = {
            "fromBlock": "latest",
            "toBlock": "latest",
            "address": token,
            "topics": [None, None, log["topics"][2]],
        }
        assert await node.proxied("eth_getLogs", wanted) == [log]
        assert await node.proxied("eth_getLogs", {"blockHash": told}) != [log]
    assert await head(node_of(evm_net, 0)) == real[-1], "the other nodes are honest"


async def test_a_forged_body_does_not_fit_its_true_hash(evm_net: Net) -> None:
    victim, node = new_address(), node_of(evm_net, 2)
    await evm_net.fault(
        2, "forged_block", chain=CHAIN, variant="body", address=victim, amount="1", asset="USDC"
    )
    real = await busy_block(evm_net)
    assert await head(node) == real
    assert header_hash(await node.proxied("eth_getBlockByHash", real, True)) == real
    receipts = await node.proxied("eth_getBlockReceipts", real)
    assert any(victim[2:] in topic for log in receipts[-1]["logs"] for topic in log["topics"])
    assert not await is_consistent(node, real)


async def test_lies_are_told_in_batches_too(evm_net: Net) -> None:
    node = node_of(evm_net)
    block = await busy_block(evm_net)
    await evm_net.fault(1, "hidden_logs", chain=CHAIN)
    calls = [
        {"jsonrpc": "2.0", "id": n, "method": method, "params": [block, *rest]}
        for n, (method, rest) in enumerate([("eth_getBlockByHash", [True]), ("eth_getBlockReceipts", [])])
    ]
    async with aiohttp.ClientSession() as session, session.post(node.rpc_url, json=calls) as answer:
        told, receipts = (entry["result"] for entry in await answer.json())
    assert told["hash"] == block
    assert [receipt["logs"] for receipt in receipts] == [[]] * 4


async def test_wrong_faults_are_refused(evm_net: Net) -> None:
    wrong: list[dict[str, Any]] = [
        {"kind": "forged_block", "address": "nonsense"},
        {"kind": "forged_block", "asset": "DOGE"},
        {"kind": "nonsense"},
    ]
    for options in wrong:
        with pytest.raises(OperatorError):
            await evm_net.fault(0, chain=CHAIN, **options)
    with pytest.raises(OperatorError, match="no node 3"):
        await evm_net.fault(3, "drop", chain=CHAIN)
    with pytest.raises(OperatorError, match="no Ethereum chain"):
        await evm_net.fault(0, "drop", chain="dogecoin")


async def test_nobody_sees_half_a_reorg(evm_net: Net) -> None:
    """A head that is once seen is known with all its receipts, until the next look finds another one."""
    stop = False
    seen: set[str] = set()

    async def look() -> None:
        while not stop:
            for node in evm_net.evm[CHAIN].nodes:
                seen.add(await head(node))

    looking = asyncio.create_task(look())
    known = {await head(node_of(evm_net))}
    for _ in range(10):
        known.add(await busy_block(evm_net))
        done = await evm_net.reorg(1, chain=CHAIN)
        known.add("0x" + done["new_blocks"][-1])
    stop = True
    await looking
    assert seen <= known
