"""The fault proxy: transparent without faults, and each fault does what its name says and nothing more."""

import asyncio
import http.client
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from cryptowatch.devnet.blocks import merkle_root, parse_block, shown
from cryptowatch.devnet.client import Net
from cryptowatch.devnet.faults import Fault
from cryptowatch.devnet.rpc import RpcError
from cryptowatch.errors import OperatorError

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def http_session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def batch(session: aiohttp.ClientSession, url: str, *calls: tuple[str, list[Any]]) -> Any:
    body = [
        {"jsonrpc": "2.0", "id": n, "method": name, "params": params}
        for n, (name, params) in enumerate(calls)
    ]
    async with session.post(url, json=body) as answer:
        return await answer.json()


async def rest_bytes(session: aiohttp.ClientSession, url: str, path: str) -> tuple[int, bytes]:
    async with session.get(url + path) as answer:
        return answer.status, await answer.read()


async def new_address(net: Net) -> str:
    return str(await net.bitcoin[0].rpc("getnewaddress"))


async def test_without_faults_answers_are_the_nodes_own(
    net: Net, http_session: aiohttp.ClientSession
) -> None:
    node = net.bitcoin[1]
    head = await node.rpc("getbestblockhash")
    assert await node.proxied("getbestblockhash") == head
    with pytest.raises(RpcError, match="out of range"):
        await node.proxied("getblockhash", 10_000_000)
    answers = await batch(http_session, node.rpc_url, ("getbestblockhash", []), ("nonsense", []))
    assert answers[0]["result"] == head
    assert answers[1]["error"]["code"] == -32601
    for path in (f"/rest/block/{head}.bin", "/rest/chaininfo.json", "/rest/block/00.bin"):
        direct = await rest_bytes(http_session, node.direct_rpc_url, path)
        assert await rest_bytes(http_session, node.rpc_url, path) == direct


async def test_without_the_nodes_password_the_proxy_lets_nobody_in(
    net: Net, http_session: aiohttp.ClientSession
) -> None:
    bare = "http://" + net.bitcoin[0].rpc_url.partition("@")[2]
    async with http_session.post(bare, json={"method": "getblockcount", "id": 1}) as answer:
        assert answer.status == 401


async def test_delay_lets_one_node_answer_late_and_the_others_in_time(net: Net) -> None:
    await net.fault(1, "delay", seconds=0.5)
    started_s = time.monotonic()
    await net.bitcoin[1].proxied("getblockcount")
    late_s = time.monotonic() - started_s
    started_s = time.monotonic()
    await net.bitcoin[0].proxied("getblockcount")
    assert late_s >= 0.5
    assert time.monotonic() - started_s < 0.5


async def test_drop_closes_the_connection_without_an_answer(net: Net) -> None:
    await net.fault(1, "drop")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        await net.bitcoin[1].proxied("getblockcount")
    await net.clear_faults()
    assert await net.bitcoin[1].proxied("getblockcount") > 0


async def test_error_answers_instead_of_the_node(net: Net, http_session: aiohttp.ClientSession) -> None:
    await net.fault(1, "error")
    with pytest.raises(RpcError, match="injected"):
        await net.bitcoin[1].proxied("getblockcount")
    assert (await rest_bytes(http_session, net.bitcoin[1].rpc_url, "/rest/chaininfo.json"))[0] == 500
    assert await net.bitcoin[1].rpc("getblockcount") > 0


async def test_a_fault_can_be_limited_to_some_methods(net: Net) -> None:
    await net.fault(1, "error", methods=["getblockcount"])
    with pytest.raises(RpcError):
        await net.bitcoin[1].proxied("getblockcount")
    assert await net.bitcoin[1].proxied("getbestblockhash")


async def test_a_fault_ends_by_itself_after_its_seconds(net: Net) -> None:
    await net.fault(1, "error", seconds=0.3)
    with pytest.raises(RpcError):
        await net.bitcoin[1].proxied("getblockcount")
    await asyncio.sleep(0.35)
    assert await net.bitcoin[1].proxied("getblockcount") > 0


@pytest.mark.parametrize("answer", ["error", "drop"])
async def test_error_after_send_lets_the_transaction_through(net: Net, answer: str) -> None:
    wallet = net.bitcoin[0].rpc
    original = await net.send(await new_address(net), "0.1")
    raw = (await net.double_spend(original, broadcast=False))["raw"]
    name = (await wallet("decoderawtransaction", raw))["txid"]
    await net.fault(1, "error_after_send", answer=answer)
    with pytest.raises((RpcError, ConnectionError, http.client.HTTPException)):
        await net.bitcoin[1].proxied("sendrawtransaction", raw)
    assert name in await net.bitcoin[1].rpc("getrawmempool")
    assert await net.bitcoin[1].proxied("getblockcount") > 0, "other calls are not concerned"


async def test_a_stale_head_stays_while_the_chain_goes_on(
    net: Net, http_session: aiohttp.ClientSession
) -> None:
    node = net.bitcoin[1]
    old_head, old_height = await node.rpc("getbestblockhash"), await node.rpc("getblockcount")
    await net.fault(1, "stale_head")
    [new] = await net.mine()
    assert await node.proxied("getbestblockhash") == old_head
    assert await node.proxied("getblockcount") == old_height
    assert (await node.proxied("getblockchaininfo"))["bestblockhash"] == old_head
    with pytest.raises(RpcError) as refusal:
        await node.proxied("getblockhash", old_height + 1)
    assert refusal.value.code == -8
    with pytest.raises(RpcError) as refusal:
        await node.proxied("getblock", new, 0)
    assert refusal.value.code == -5
    header = await node.proxied("getblockheader", old_head)
    assert header["confirmations"] == 1
    assert "nextblockhash" not in header
    status, _ = await rest_bytes(http_session, node.rpc_url, f"/rest/block/{new}.bin")
    assert status == 404
    status, raw = await rest_bytes(http_session, node.rpc_url, f"/rest/block/{old_head}.bin")
    assert (status, shown(parse_block(raw).hash)) == (200, old_head)
    answers = await batch(
        http_session, node.rpc_url, ("getblockhash", [old_height + 1]), ("getbestblockhash", [])
    )
    assert answers[0]["error"]["code"] == -8
    assert answers[1]["result"] == old_head
    await net.clear_faults()
    assert await node.proxied("getbestblockhash") == new


async def test_a_stale_head_stays_when_a_reorg_replaces_it(net: Net) -> None:
    await net.mine(2)
    node = net.bitcoin[1]
    old_head, old_height = await node.rpc("getbestblockhash"), await node.rpc("getblockcount")
    await net.fault(1, "stale_head")
    await net.reorg(2)
    assert await node.proxied("getbestblockhash") == old_head
    assert await node.proxied("getblockhash", old_height) == old_head
    assert (await node.proxied("getblock", old_head))["confirmations"] == 1


async def test_forged_blocks_are_consistent_and_pay_what_no_honest_node_knows(
    net: Net, http_session: aiohttp.ClientSession
) -> None:
    victim = await new_address(net)
    node = net.bitcoin[2]
    fork = await node.rpc("getbestblockhash")
    await net.fault(2, "forged_block", address=victim, amount="7.5")
    assert await node.proxied("getbestblockhash") == fork, "nothing is forged yet"
    kept = await net.send(await new_address(net), "0.1")
    real = await net.mine(2)
    head, height = await node.proxied("getbestblockhash"), await node.proxied("getblockcount")
    assert head not in real
    first = await node.proxied("getblockhash", height - 1)
    block = await node.proxied("getblock", first, 2)
    assert block["previousblockhash"] == fork
    assert block["nextblockhash"] == head
    assert kept in [tx["txid"] for tx in block["tx"]]
    paid = {out["scriptPubKey"].get("address"): out["value"] for tx in block["tx"] for out in tx["vout"]}
    assert str(paid[victim]) == "7.5"
    status, raw = await rest_bytes(http_session, node.rpc_url, f"/rest/block/{first}.bin")
    parsed = parse_block(raw)
    assert (status, shown(parsed.hash)) == (200, first)
    assert shown(merkle_root([tx.txid for tx in parsed.transactions])) == block["merkleroot"]
    assert parsed.header[36:68] == merkle_root([tx.txid for tx in parsed.transactions])
    assert (await node.proxied("getblockheader", head))["previousblockhash"] == first
    status, found = await rest_bytes(http_session, node.rpc_url, f"/rest/blockhashbyheight/{height}.json")
    assert json.loads(found)["blockhash"] == head
    assert await net.bitcoin[0].proxied("getbestblockhash") == real[-1], "the other nodes are honest"


async def test_a_forged_body_does_not_fit_its_true_hash(
    net: Net, http_session: aiohttp.ClientSession
) -> None:
    node = net.bitcoin[2]
    await net.fault(2, "forged_block", variant="body", address=await new_address(net))
    [real] = await net.mine()
    assert await node.proxied("getbestblockhash") == real
    for raw in (
        bytes.fromhex(await node.proxied("getblock", real, 0)),
        (await rest_bytes(http_session, node.rpc_url, f"/rest/block/{real}.bin"))[1],
    ):
        block = parse_block(raw)
        assert shown(block.hash) == real
        assert merkle_root([tx.txid for tx in block.transactions]) != block.header[36:68]


async def test_wrong_faults_are_refused(net: Net) -> None:
    wrong: list[tuple[int, str, dict[str, Any]]] = [
        (7, "drop", {}),
        (0, "nonsense", {}),
        (0, "drop", {"probability": 2}),
    ]
    for node, kind, options in wrong:
        with pytest.raises(OperatorError):
            await net.fault(node, kind, **options)
    with pytest.raises(OperatorError, match="Ethereum"):
        await net.fault(0, "hidden_logs")
    assert await net.bitcoin[0].proxied("getblockcount") > 0


async def test_chance_decides_the_same_way_for_the_same_seed() -> None:
    fault = Fault("drop", probability=0.5)

    def drawn(seed: int) -> list[bool]:
        randomness = random.Random(seed)
        return [fault.strikes(["getblock"], randomness) for _ in range(64)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert 16 < sum(drawn(1)) < 48


async def test_a_certain_fault_draws_no_chance_and_seconds_are_a_delays_length() -> None:
    randomness = random.Random(1)
    before = randomness.getstate()
    assert Fault("drop").strikes(["getblock"], randomness)
    assert randomness.getstate() == before
    assert not Fault("error_after_send").strikes(["getblock"], randomness)
    assert Fault("delay", seconds=3).ends_at_s(100) == float("inf")
    assert Fault("drop", seconds=3).ends_at_s(100) == 103
