"""The devnet's chain: nodes that agree, a faucet that pays, reorgs that drop what they are told to."""

import asyncio

import pytest

from cryptowatch.devnet.blocks import merkle_root, parse_block, shown
from cryptowatch.devnet.client import Net
from cryptowatch.devnet.rpc import RpcError
from cryptowatch.errors import OperatorError

pytestmark = pytest.mark.asyncio


async def address(net: Net) -> str:
    return str(await net.bitcoin[0].rpc("getnewaddress"))


async def everywhere(net: Net, method: str, *params: object) -> list[object]:
    return list(await asyncio.gather(*(node.rpc(method, *params) for node in net.bitcoin)))


async def confirmations(net: Net, tx_hash: str) -> list[int]:
    """Per node; 0 where it is pending, -1 where it is neither in the chain nor pending.

    A node with -txindex answers for transactions of blocks that it left, too: with the old block and 0
    confirmations.
    """
    found = []
    for node in net.bitcoin:
        if tx_hash in await node.rpc("getrawmempool"):
            found.append(0)
            continue
        try:
            found.append(int((await node.rpc("getrawtransaction", tx_hash, True))["confirmations"]) or -1)
        except RpcError:
            found.append(-1)
    return found


async def test_mined_blocks_are_on_every_node_when_mine_answers(net: Net) -> None:
    height = await net.bitcoin[0].rpc("getblockcount")
    mined = await net.mine(3)
    assert await everywhere(net, "getbestblockhash") == [mined[-1]] * 3
    assert await everywhere(net, "getblockcount") == [height + 3] * 3


async def test_nodes_talk_to_loopback_only(net: Net) -> None:
    for node in net.bitcoin:
        peers = await node.rpc("getpeerinfo")
        assert peers
        assert all(peer["addr"].startswith("127.0.0.1:") for peer in peers)
        listening = (await node.rpc("getnetworkinfo"))["localaddresses"]
        assert listening == []


async def test_payments_of_the_faucet_do_not_depend_on_one_another(net: Net) -> None:
    targets = [await address(net) for _ in range(8)]
    names = await asyncio.gather(*(net.send(target, "0.5") for target in targets))
    for name in names:
        entry = await net.bitcoin[0].rpc("getmempoolentry", name)
        assert entry["ancestorcount"] == entry["descendantcount"] == 1


async def test_a_payment_is_in_the_next_block_of_every_node(net: Net) -> None:
    name = await net.send(await address(net), "0.1")
    await net.mine()
    assert await confirmations(net, name) == [1, 1, 1]


async def test_a_faucet_that_cannot_pay_says_so(net: Net) -> None:
    with pytest.raises(OperatorError, match="asked for"):
        await net.send(await address(net), "20000000")
    with pytest.raises(OperatorError):
        await net.send("not-an-address", "1")


async def test_a_reorg_replaces_the_last_blocks_by_one_more(net: Net) -> None:
    mined = await net.mine(3)
    height = await net.bitcoin[0].rpc("getblockcount")
    done = await net.reorg(2)
    assert done["old_blocks"] == mined[1:]
    assert len(done["new_blocks"]) == 3
    assert not set(done["new_blocks"]) & set(mined)
    assert await everywhere(net, "getbestblockhash") == [done["new_blocks"][-1]] * 3
    assert await everywhere(net, "getblockcount") == [height + 1] * 3
    assert await everywhere(net, "getblockhash", height - 2) == [mined[0]] * 3


async def test_the_old_branch_stays_a_valid_fork_as_on_a_real_network(net: Net) -> None:
    mined = await net.mine(2)
    await net.reorg(1)
    for node in net.bitcoin:
        tips = {tip["hash"]: tip["status"] for tip in await node.rpc("getchaintips")}
        assert tips[mined[-1]] in ("valid-fork", "valid-headers")


async def test_a_reorg_mines_again_what_it_does_not_drop(net: Net) -> None:
    kept = await net.send(await address(net), "0.1")
    await net.mine()
    done = await net.reorg(1)
    assert await confirmations(net, kept) == [2, 2, 2]
    block = await net.bitcoin[2].rpc("getrawtransaction", kept, True)
    assert block["blockhash"] == done["new_blocks"][0]


async def test_a_dropped_transaction_is_in_no_block_and_no_mempool_and_stays_away(net: Net) -> None:
    dropped = await net.send(await address(net), "0.1")
    kept = await net.send(await address(net), "0.1")
    await net.mine()
    done = await net.reorg(1, drop=[dropped])
    assert done["dropped"] == [dropped]
    assert await confirmations(net, dropped) == [-1, -1, -1]
    await net.mine(2)
    assert await confirmations(net, dropped) == [-1, -1, -1]
    assert await confirmations(net, kept) == [4, 4, 4]


async def test_a_dropped_transaction_that_is_sent_again_is_mined_again(net: Net) -> None:
    dropped = await net.send(await address(net), "0.1")
    raw = await net.bitcoin[0].rpc("getrawtransaction", dropped)
    await net.mine()
    await net.reorg(1, drop=[dropped])
    await net.bitcoin[1].rpc("sendrawtransaction", raw)
    await net.mine()
    assert await confirmations(net, dropped) == [1, 1, 1]


async def test_what_spends_from_a_dropped_transaction_goes_with_it(net: Net) -> None:
    wallet = net.bitcoin[0].rpc
    parent = await net.send(await address(net), "1")
    output = next(
        n
        for n, out in enumerate((await wallet("getrawtransaction", parent, True))["vout"])
        if out["value"] == 1
    )
    spend = await wallet(
        "createrawtransaction", [{"txid": parent, "vout": output}], {await address(net): "0.9999"}
    )
    signed = await wallet("signrawtransactionwithwallet", spend)
    child = await net.broadcast(signed["hex"])
    await net.mine()
    done = await net.reorg(1, drop=[parent])
    assert sorted(done["dropped"]) == sorted([parent, child])
    assert await confirmations(net, child) == [-1, -1, -1]


async def test_pending_transactions_survive_a_reorg(net: Net) -> None:
    await net.mine()
    pending = await net.send(await address(net), "0.1")
    await net.reorg(1)
    assert await confirmations(net, pending) == [0, 0, 0]
    await net.mine()
    assert await confirmations(net, pending) == [1, 1, 1]


async def test_a_reorg_can_mine_a_conflicting_transaction_instead(net: Net) -> None:
    original = await net.send(await address(net), "0.1")
    await net.mine()
    other = await net.double_spend(original, broadcast=False)
    done = await net.reorg(1, include=[other["raw"]])
    assert done["dropped"] == [original]
    assert await confirmations(net, other["tx_hash"]) == [2, 2, 2]
    assert await confirmations(net, original) == [-1, -1, -1]


async def test_a_double_spend_replaces_the_pending_transaction_on_every_node(net: Net) -> None:
    original = await net.send(await address(net), "0.1")
    other = await net.double_spend(original)
    assert other["tx_hash"] != original
    assert await confirmations(net, original) == [-1, -1, -1]
    assert await confirmations(net, other["tx_hash"]) == [0, 0, 0]


async def test_impossible_reorgs_are_refused_and_change_nothing(net: Net) -> None:
    elsewhere = await net.send(await address(net), "0.1")
    await net.mine(2)
    head = await net.bitcoin[0].rpc("getbestblockhash")
    with pytest.raises(OperatorError, match="must be in the blocks"):
        await net.reorg(1, drop=[elsewhere])
    with pytest.raises(OperatorError, match="depth"):
        await net.reorg(0)
    assert await everywhere(net, "getbestblockhash") == [head] * 3


async def test_a_deep_reorg_keeps_every_transaction_in_order(net: Net) -> None:
    names = []
    for _ in range(6):
        names.append(await net.send(await address(net), "0.1"))
        await net.mine()
    await net.reorg(6, drop=[names[2]])
    found = [await confirmations(net, name) for name in names]
    assert found == [[7] * 3, [6] * 3, [-1] * 3, [4] * 3, [3] * 3, [2] * 3]


async def test_blocks_can_be_taken_apart_and_have_the_hashes_that_nodes_say(net: Net) -> None:
    await net.send(await address(net), "0.1")
    [name] = await net.mine()
    raw = bytes.fromhex(await net.bitcoin[1].rpc("getblock", name, 0))
    block = parse_block(raw)
    said = await net.bitcoin[1].rpc("getblock", name, 2)
    assert block.raw == raw
    assert shown(block.hash) == name
    assert [shown(tx.txid) for tx in block.transactions] == [tx["txid"] for tx in said["tx"]]
    assert shown(merkle_root([tx.txid for tx in block.transactions])) == said["merkleroot"]
    with pytest.raises(ValueError, match="cut short"):
        parse_block(raw[:-1])
