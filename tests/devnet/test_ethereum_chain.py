"""The devnet's Ethereum chains: nodes on one chain, a faucet that pays, reorgs and forks that are real."""

import asyncio
import secrets
from typing import Any

import pytest

from cryptowatch.devnet.client import EvmNodeAddress, Net
from cryptowatch.devnet.ethereum.actor import Actor
from cryptowatch.devnet.ethereum.artifacts import contract
from cryptowatch.devnet.ethereum.rpc import EthereumRefused
from cryptowatch.devnet.ethereum.transactions import Transaction, signed
from cryptowatch.errors import OperatorError

pytestmark = pytest.mark.asyncio

CHAIN = "ethereum"
ANYBODY = "0x" + "a1" * 20


def new_address() -> str:
    return "0x" + secrets.token_hex(20)


async def everywhere(net: Net, method: str, *params: object) -> list[Any]:
    return list(await asyncio.gather(*(node.rpc(method, *params) for node in net.evm[CHAIN].nodes)))


async def heads(net: Net) -> list[str]:
    return [block["hash"][2:] for block in await everywhere(net, "eth_getBlockByNumber", "latest", False)]


async def mined_in(net: Net, tx_hash: str) -> list[str | None]:
    """By node: the block, None where it is not in one."""
    receipts = await everywhere(net, "eth_getTransactionReceipt", "0x" + tx_hash)
    return [receipt and receipt["blockHash"][2:] for receipt in receipts]


async def pooled(node: EvmNodeAddress) -> set[str]:
    pool = await node.rpc("txpool_content")
    return {tx["hash"][2:] for part in pool.values() for queue in part.values() for tx in queue.values()}


async def token_balance(net: Net, asset: str, address: str, chain: str = CHAIN) -> int:
    data = contract("StandardToken").call("balanceOf", address)
    request = {"to": net.evm[chain].tokens[asset], "data": "0x" + data.hex()}
    return int(await net.evm[chain].nodes[0].rpc("eth_call", request, "latest"), 16)


async def test_mined_blocks_are_on_every_node_when_mine_answers(evm_net: Net) -> None:
    mined = await evm_net.mine(3, chain=CHAIN)
    assert await heads(evm_net) == [mined[-1]] * 3


async def test_what_was_sent_to_any_node_is_in_the_next_block_of_all(evm_net: Net) -> None:
    """Whatever order the nodes heard of them in."""
    names = [await evm_net.send(new_address(), "1", chain=CHAIN) for _ in range(3)]
    raws = [
        await evm_net.evm[CHAIN].nodes[0].rpc("eth_getRawTransactionByHash", "0x" + name) for name in names
    ]
    await everywhere(evm_net, "anvil_dropAllTransactions")
    for raw, node in zip(raws, evm_net.evm[CHAIN].nodes, strict=True):
        await node.proxied("eth_sendRawTransaction", raw)
    [block] = await evm_net.mine(chain=CHAIN)
    assert [await mined_in(evm_net, name) for name in names] == [[block] * 3] * 3


async def test_the_faucet_pays_coins_and_tokens(evm_net: Net) -> None:
    player = new_address()
    await evm_net.send(player, "1.5", chain=CHAIN)
    await evm_net.send(player, "0.25", chain=CHAIN, internal=True)
    await evm_net.send(player, "2", chain=CHAIN, asset="USDT")
    await evm_net.send(player, "3", chain=CHAIN, asset="USDC")
    await evm_net.send(player, "4", chain="bsc", asset="USDT")
    await evm_net.mine(chain=CHAIN)
    await evm_net.mine(chain="bsc")
    assert await everywhere(evm_net, "eth_getBalance", player, "latest") == [hex(175 * 10**16)] * 3
    assert await token_balance(evm_net, "USDT", player) == 2_000_000
    assert await token_balance(evm_net, "USDC", player) == 3_000_000
    assert await token_balance(evm_net, "USDT", player, "bsc") == 4 * 10**18


async def test_an_internal_payment_names_its_recipient_in_no_transaction(evm_net: Net) -> None:
    player = new_address()
    name = await evm_net.send(player, "1", chain=CHAIN, internal=True)
    await evm_net.mine(chain=CHAIN)
    node = evm_net.evm[CHAIN].nodes[0]
    assert (await node.rpc("eth_getTransactionByHash", "0x" + name))["to"] != player
    assert (await node.rpc("eth_getTransactionReceipt", "0x" + name))["logs"] == []
    trace = await node.rpc("debug_traceTransaction", "0x" + name, {"tracer": "callTracer"})
    assert [(call["to"], int(call["value"], 16)) for call in trace["calls"]] == [(player, 10**18)]


@pytest.mark.parametrize(
    ("address", "options", "why"),
    [
        ("nonsense", {}, "pay"),
        ("nonsense", {"asset": "USDT"}, "pay"),
        (ANYBODY, {"asset": "DOGE"}, "has no DOGE"),
        (ANYBODY, {"asset": "USDT", "internal": True}, "always has its log"),
        (ANYBODY, {"chain": "dogecoin"}, "no Ethereum chain dogecoin"),
    ],
)
async def test_a_faucet_that_cannot_pay_says_so(
    evm_net: Net, address: str, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(OperatorError, match=why):
        await evm_net.send(address, "1", **{"chain": CHAIN, **options})


async def test_payments_of_the_faucet_do_not_depend_on_one_another(evm_net: Net) -> None:
    names = [await evm_net.send(new_address(), "1", chain=CHAIN) for _ in range(5)]
    await evm_net.mine(chain=CHAIN)
    done = await evm_net.reorg(1, [names[0]], chain=CHAIN)
    assert done["dropped"] == [names[0]]
    for name in names[1:]:
        assert None not in await mined_in(evm_net, name)


async def test_a_reorg_replaces_the_last_blocks_by_one_more(evm_net: Net) -> None:
    kept = await evm_net.send(new_address(), "1", chain=CHAIN)
    old = await evm_net.mine(2, chain=CHAIN)
    height = int((await everywhere(evm_net, "eth_blockNumber"))[0], 16)
    done = await evm_net.reorg(2, chain=CHAIN)
    assert done["old_blocks"] == old
    assert done["fork_height"] == height - 2
    assert len(done["new_blocks"]) == 3
    assert not set(done["new_blocks"]) & set(old)
    assert await heads(evm_net) == [done["new_blocks"][-1]] * 3
    assert await mined_in(evm_net, kept) == [done["new_blocks"][0]] * 3


async def test_dropped_transactions_are_nowhere_and_can_be_sent_again(evm_net: Net) -> None:
    name = await evm_net.send(new_address(), "1", chain=CHAIN)
    raw = await evm_net.evm[CHAIN].nodes[0].rpc("eth_getRawTransactionByHash", "0x" + name)
    await evm_net.mine(chain=CHAIN)
    await evm_net.reorg(1, ["0x" + name], chain=CHAIN)
    assert await everywhere(evm_net, "eth_getTransactionByHash", "0x" + name) == [None] * 3
    assert await evm_net.broadcast(raw, chain=CHAIN) == name
    [block] = await evm_net.mine(chain=CHAIN)
    assert await mined_in(evm_net, name) == [block] * 3


async def test_pending_transactions_stay_pending_over_a_reorg(evm_net: Net) -> None:
    await evm_net.mine(chain=CHAIN)
    name = await evm_net.send(new_address(), "1", chain=CHAIN)
    await evm_net.reorg(1, chain=CHAIN)
    assert [name in await pooled(node) for node in evm_net.evm[CHAIN].nodes] == [True] * 3


async def test_what_cannot_be_dropped_leaves_the_chain_as_it_was(evm_net: Net) -> None:
    [head] = await evm_net.mine(chain=CHAIN)
    for depth, drop in [(1, ["ab" * 32]), (0, []), (100_000, [])]:
        with pytest.raises(OperatorError):
            await evm_net.reorg(depth, drop, chain=CHAIN)
    assert await heads(evm_net) == [head] * 3


async def test_a_withheld_transaction_makes_a_node_mine_alone_until_it_is_healed(evm_net: Net) -> None:
    name = await evm_net.send(new_address(), "1", chain=CHAIN)
    await evm_net.mine(2, chain=CHAIN, withhold={2: [name]})
    one, two, three = await heads(evm_net)
    assert one == two != three
    assert (await mined_in(evm_net, name))[2] is None
    with pytest.raises(OperatorError, match="heal"):
        await evm_net.reorg(1, chain=CHAIN)
    await evm_net.mine(chain=CHAIN)
    assert len(set(await heads(evm_net))) == 2, "the fork goes on"
    await evm_net.heal(CHAIN)
    assert len(set(await heads(evm_net))) == 1
    assert len(set(await mined_in(evm_net, name))) == 1


async def test_what_only_a_lonely_node_had_mined_is_pending_again_when_it_is_healed(evm_net: Net) -> None:
    nodes = evm_net.evm[CHAIN].nodes
    away, mine = [await evm_net.send(new_address(), "1", chain=CHAIN) for _ in range(2)]
    await evm_net.mine(chain=CHAIN, withhold={0: [mine], 1: [mine], 2: [away]})
    assert [hash is not None for hash in await mined_in(evm_net, mine)] == [False, False, True]
    await evm_net.heal(CHAIN)
    assert mine in await pooled(nodes[2])
    [block] = await evm_net.mine(chain=CHAIN)
    assert await mined_in(evm_net, mine) == [block] * 3


async def test_only_pending_transactions_can_be_withheld(evm_net: Net) -> None:
    with pytest.raises(OperatorError, match="pending"):
        await evm_net.mine(chain=CHAIN, withhold={0: ["ab" * 32]})


async def test_a_killed_node_comes_back_to_what_happened_meanwhile(evm_net: Net) -> None:
    await evm_net.mine(2, chain=CHAIN)
    await evm_net.kill("ethereum:1")
    name = await evm_net.send(new_address(), "1", chain=CHAIN)
    await evm_net.mine(2, chain=CHAIN)
    await evm_net.reorg(3, chain=CHAIN)
    await evm_net.start("ethereum:1")
    assert len(set(await heads(evm_net))) == 1
    assert None not in await mined_in(evm_net, name)


async def test_a_chain_whose_nodes_were_all_killed_goes_on(evm_net: Net) -> None:
    name = await evm_net.send(new_address(), "1", chain=CHAIN)
    await evm_net.mine(chain=CHAIN)
    for n in range(3):
        await evm_net.kill(f"ethereum:{n}")
    with pytest.raises(OperatorError, match="no node of ethereum is running"):
        await evm_net.mine(chain=CHAIN)
    for n in range(3):
        await evm_net.start(f"ethereum:{n}")
    [block] = await evm_net.mine(chain=CHAIN)
    assert await heads(evm_net) == [block] * 3
    assert None not in await mined_in(evm_net, name)


async def test_a_transaction_that_bids_too_little_waits_until_the_base_fee_has_fallen(evm_net: Net) -> None:
    name = await evm_net.send(new_address(), "1", chain=CHAIN)
    await evm_net.mine(chain=CHAIN, base_fee_wei=5_000_000_000)
    assert await mined_in(evm_net, name) == [None] * 3
    assert [name in await pooled(node) for node in evm_net.evm[CHAIN].nodes] == [True] * 3
    await evm_net.mine(20, chain=CHAIN)
    assert None not in await mined_in(evm_net, name)


async def test_pools_take_what_geth_would_take(evm_net: Net) -> None:
    """Not what anvil would: it refuses what bids less than the base fee, and replaces for a twentieth more."""
    rich, node = Actor(evm_net, CHAIN, evm_net.ethereum_private_key), evm_net.evm[CHAIN].nodes[1]
    nonce = await rich.next_nonce()

    def bid(cap_gwei: float, tip_gwei: float) -> Transaction:
        return signed(
            rich.key,
            evm_net.evm[CHAIN].chain_id,
            nonce=nonce,
            gas=21_000,
            to=bytes.fromhex(ANYBODY[2:]),
            maxFeePerGas=int(cap_gwei * 1e9),
            maxPriorityFeePerGas=int(tip_gwei * 1e9),
        )

    await evm_net.mine(chain=CHAIN, base_fee_wei=100_000_000_000)
    first = bid(10, 1)
    assert await node.proxied("eth_sendRawTransaction", first.raw) == first.hash
    with pytest.raises(EthereumRefused, match="already known"):
        await node.proxied("eth_sendRawTransaction", first.raw)
    for cap, tip in [(10.9, 1.2), (11.2, 1.09)]:
        with pytest.raises(EthereumRefused, match="replacement transaction underpriced"):
            await node.proxied("eth_sendRawTransaction", bid(cap, tip).raw)
    second = bid(11, 1.1)
    assert await node.proxied("eth_sendRawTransaction", second.raw) == second.hash
    third = bid(1_000, 2)
    assert await node.proxied("eth_sendRawTransaction", third.raw) == third.hash
    await evm_net.mine(chain=CHAIN)
    assert None not in await mined_in(evm_net, third.hash[2:])
    with pytest.raises(EthereumRefused, match="nonce too low"):
        await node.proxied("eth_sendRawTransaction", first.raw)
    with pytest.raises(EthereumRefused):
        await node.proxied("eth_sendRawTransaction", "0x02c0")


async def test_the_faucets_key_is_funded_and_deploys_contracts(evm_net: Net) -> None:
    address = await evm_net.deploy(CHAIN, "StandardToken", ["Some coin", "SOME", 4])
    code = await everywhere(evm_net, "eth_getCode", address, "latest")
    assert len(set(code)) == 1
    assert len(code[0]) > 2
    with pytest.raises(OperatorError, match="takes 3 arguments"):
        await evm_net.deploy(CHAIN, "StandardToken", ["Some coin"])
    with pytest.raises(OperatorError, match="no contract"):
        await evm_net.deploy(CHAIN, "Nonsense")
