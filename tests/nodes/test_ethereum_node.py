"""The adapter on real anvils: blocks of every kind, balances that agree with movements, broadcasts, fees, finality."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from eth_account import Account
from eth_account.signers.local import LocalAccount

from cryptowatch.chains.ethereum.facts import ChainFacts, Token
from cryptowatch.chains.ethereum.node import EthereumNode
from cryptowatch.chains.ethereum.rpc import RpcClient
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.port import (
    OWN_COIN_POSITION,
    AccountNode,
    AccountState,
    BlockContents,
    BroadcastOutcome,
)
from cryptowatch.chains.watchset import WatchList
from cryptowatch.clock import SystemClock
from cryptowatch.devnet.client import Net
from cryptowatch.devnet.ethereum.artifacts import contract
from cryptowatch.devnet.ethereum.transactions import Transaction, parse_transaction
from cryptowatch.errors import NodeLied, NodeRejected, NodeUnavailable

pytestmark = pytest.mark.asyncio

CHAIN = "ethereum"
ETHER = 10**18
NOTHING: frozenset[bytes] = frozenset()
USDT_SCALE = 12


def unhex(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def facts_of(net: Net, **more: Any) -> ChainFacts:
    chain = net.evm[CHAIN]
    tokens = {
        unhex(chain.tokens["USDT"]): Token("USDT", USDT_SCALE),
        unhex(chain.tokens["USDC"]): Token("USDC", 12),
    }
    return ChainFacts(chain_id=chain.chain_id, asset="ETH", tokens=tokens, **more)


def node_of(net: Net, facts: ChainFacts, *, number: int = 0, finality_tag: bool = True) -> EthereumNode:
    """As the daemon reaches it: through its fault proxy."""
    url = net.evm[CHAIN].nodes[number].rpc_url
    return EthereumNode(RpcClient(f"node{number}", url, None, timeout_s=5), facts, finality_tag=finality_tag)


@pytest_asyncio.fixture
async def node(evm_net: Net) -> AsyncIterator[AccountNode]:
    opened = node_of(evm_net, facts_of(evm_net))
    yield opened
    await opened.close()


async def head_block(node: AccountNode, *ours: bytes, resources: Sequence[bytes] = ()) -> BlockContents:
    height, block_hash = await node.head()
    return (await node.block(block_hash, height)).contents(WatchList(ours, resources))


@dataclass
class Wallet:
    """A key with coins, and the count of what it sent."""

    net: Net
    key: LocalAccount = field(default_factory=lambda: Account.from_key(secrets.token_bytes(32)))
    nonce: int = 0

    @property
    def address(self) -> str:
        return str(self.key.address)

    @property
    def account(self) -> bytes:
        return unhex(self.address)

    def sign(self, to: str | None, value: int = 0, data: bytes = b"", **fields: Any) -> Transaction:
        wanted = {"nonce": self.nonce, "value": value, "data": data, "gas": 1_000_000, **fields}
        wanted |= {"chainId": self.net.evm[CHAIN].chain_id} | ({} if to is None else {"to": unhex(to)})
        if "gasPrice" not in wanted:
            fees = {"type": 2, "maxFeePerGas": 100 * 10**9, "maxPriorityFeePerGas": 10**9}
            wanted = fees | wanted
        self.nonce = int(wanted["nonce"]) + 1
        return parse_transaction("0x" + bytes(self.key.sign_transaction(wanted).raw_transaction).hex())

    async def send(self, to: str | None, value: int = 0, data: bytes = b"", **fields: Any) -> bytes:
        made = self.sign(to, value, data, **fields)
        await self.net.broadcast(made.raw, chain=CHAIN)
        return unhex(made.hash)


async def funded(net: Net, *assets: str) -> Wallet:
    """A new wallet with 100 ether and 1,000 of each token."""
    wallet = Wallet(net)
    await net.send(wallet.address, "100", chain=CHAIN)
    for asset in assets:
        await net.send(wallet.address, "1000", chain=CHAIN, asset=asset)
    await net.mine(chain=CHAIN)
    return wallet


def raw(transaction: Transaction) -> bytes:
    return bytes.fromhex(transaction.raw[2:])


def tx_hash(transaction: Transaction) -> bytes:
    return bytes.fromhex(transaction.hash[2:])


# --- blocks -------------------------------------------------------------------------------------------------


async def test_deposits_of_coins_and_tokens_are_found_in_a_real_block(
    evm_net: Net, node: AccountNode
) -> None:
    player = Wallet(evm_net)
    sent = {
        asset: bytes.fromhex(await evm_net.send(player.address, amount, chain=CHAIN, asset=asset))
        for asset, amount in (("ETH", "1.5"), ("USDT", "2"), ("USDC", "0.000001"))
    }
    await evm_net.mine(chain=CHAIN)
    found = await head_block(node, player.account)
    assert {(t.tx_hash, t.position, t.asset, t.amount) for t in found.transfers} == {
        (sent["ETH"], OWN_COIN_POSITION, "ETH", 15 * 10**17),
        (sent["USDT"], 0, "USDT", 2 * 10**18),
        (sent["USDC"], 0, "USDC", 10**12),
    }
    assert found.resources.keys() == set(sent.values())
    assert found.transactions == 3


async def test_who_paid_a_deposit_is_its_sender_and_the_payer_that_a_token_names(
    evm_net: Net, node: AccountNode
) -> None:
    payer, player = await funded(evm_net, "USDC"), Wallet(evm_net)
    usdc = evm_net.evm[CHAIN].tokens["USDC"]
    data = unhex("0xa9059cbb") + bytes(12) + player.account + (5).to_bytes(32, "big")
    token, coin = await payer.send(usdc, 0, data), await payer.send(player.address, 7)
    await evm_net.mine(chain=CHAIN)
    _, block_hash = await node.head()
    for tx_hash, position in ((token, 0), (coin, OWN_COIN_POSITION)):
        found = await node.funders(tx_hash, position, block_hash)
        assert found is not None
        assert [one.lower() for one in found] == [payer.address.lower()]
        assert await node.funders(tx_hash, position, bytes(32)) is None
    assert await node.funders(bytes(32), 0, block_hash) is None
    with pytest.raises(NodeUnavailable, match="without the transfer's log"):
        await node.funders(token, 1, block_hash)


async def test_every_type_of_transaction_is_proven_in_a_real_block(evm_net: Net, node: AccountNode) -> None:
    """Among them the creation of a contract, an access list, and one that failed."""
    wallet, signer = await funded(evm_net), Wallet(evm_net)
    chain_id = evm_net.evm[CHAIN].chain_id
    delegation = signer.key.sign_authorization({"chainId": chain_id, "address": "0x" + "11" * 20, "nonce": 0})
    accessed = [{"address": signer.address, "storageKeys": ["0x" + "01" * 32, "0x" + "02" * 32]}]
    price = 50 * 10**9
    sent = [
        await wallet.send(signer.address, 1, gasPrice=price),
        await wallet.send(signer.address, 2, type=1, gasPrice=price, accessList=accessed),
        await wallet.send(signer.address, 3, accessList=accessed),
        await wallet.send(None, 0, contract("Refuser").creation(), gas=3_000_000),
        await wallet.send(signer.address, 5, type=4, authorizationList=[delegation]),
        await wallet.send(evm_net.evm[CHAIN].tokens["USDC"], 6),
    ]
    await evm_net.mine(chain=CHAIN)
    found = await head_block(node, wallet.account, signer.account)
    assert [spend.tx_hash for spend in found.spends if spend.resource[:20] == wallet.account] == sent
    assert [spend.tx_hash for spend in found.spends if spend.resource[:20] == signer.account] == [sent[4]]
    assert [(t.tx_hash, t.amount) for t in found.transfers] == [
        (name, amount) for name, amount in zip(sent, (1, 2, 3, None, 5), strict=False) if amount
    ]
    assert [one.outcomes for one in found.executions] == [
        (OWN_COIN_POSITION,),
        (OWN_COIN_POSITION,),
        (OWN_COIN_POSITION,),
        (),
        (OWN_COIN_POSITION,),
        (None,),
    ]


async def test_a_block_that_the_node_lacks_is_unavailable(node: AccountNode) -> None:
    with pytest.raises(NodeUnavailable, match="does not have block"):
        await node.block(b"\x01" * 32, 1)


async def test_a_block_at_another_height_than_asked_for_is_a_lie(evm_net: Net, node: AccountNode) -> None:
    await evm_net.mine(chain=CHAIN)
    height, block_hash = await node.head()
    with pytest.raises(NodeLied, match="another height"):
        await node.block(block_hash, height + 1)


async def test_the_hash_at_each_height_is_that_of_the_block_and_none_above(
    evm_net: Net, node: AccountNode
) -> None:
    mined = await evm_net.mine(3, chain=CHAIN)
    height, block_hash = await node.head()
    assert block_hash.hex() == mined[-1]
    assert [await node.hash_at(height - back) for back in (2, 1, 0)] == [bytes.fromhex(h) for h in mined]
    assert await node.hash_at(height + 1) is None


async def test_a_node_of_another_chain_is_a_liar(evm_net: Net) -> None:
    wrong = facts_of(evm_net)
    node = node_of(evm_net, ChainFacts(chain_id=1, asset="ETH", tokens=wrong.tokens))
    with pytest.raises(NodeLied, match="serves the chain"):
        await node.head()
    await node.close()


# --- our contracts ------------------------------------------------------------------------------------------


@dataclass
class House:
    """Our contracts on the chain, and the wallet that works them."""

    wallet: Wallet
    payouts: str
    sweeper: str
    delegate: str

    def facts(self, net: Net, *, traces: bool) -> ChainFacts:
        return facts_of(
            net,
            traces=traces,
            payouts=unhex(self.payouts),
            vault=self.wallet.account,
            sweeper=unhex(self.sweeper),
            sweep_destination=self.wallet.account,
        )


@pytest_asyncio.fixture
async def house(evm_net: Net) -> House:
    wallet = await funded(evm_net, "USDT", "USDC")
    payouts = await evm_net.deploy(CHAIN, "Payouts", [wallet.address, [wallet.address]])
    sweeper = await evm_net.deploy(CHAIN, "Sweeper", [[wallet.address]])
    delegate = await evm_net.deploy(CHAIN, "SweepDelegate", [sweeper, wallet.address])
    tokens = evm_net.evm[CHAIN].tokens
    for asset in ("USDT", "USDC"):
        await wallet.send(tokens[asset], 0, contract("StandardToken").call("approve", payouts, 2**255))
    await evm_net.mine(chain=CHAIN)
    return House(wallet, payouts, sweeper, delegate)


async def states(
    node: AccountNode, found: BlockContents, ours: Sequence[bytes]
) -> tuple[Sequence[AccountState], Sequence[AccountState]]:
    """Before and after the block."""
    before = await node.accounts(ours, found.ref.prev_hash)
    return before, await node.accounts(ours, found.ref.hash)


async def assert_movements_explain_balances(
    node: AccountNode, found: BlockContents, ours: Sequence[bytes]
) -> None:
    """P7: what the block changed of our accounts is what we say that it did, to the last unit."""
    assert found.movements is not None
    for account, before, after in zip(ours, *await states(node, found, ours), strict=True):
        changed = {asset: after.balances[asset] - before.balances[asset] for asset in after.balances}
        told = dict.fromkeys(changed, 0)
        for movement in found.movements:
            if movement.account == account:
                told[movement.asset] += movement.delta
        assert told == changed


@pytest.mark.parametrize("traces", [False, True])
async def test_batches_with_failures_are_told_item_by_item(evm_net: Net, house: House, traces: bool) -> None:
    refuser = await evm_net.deploy(CHAIN, "Refuser")
    wallet, player, other = house.wallet, Wallet(evm_net), Wallet(evm_net)
    usdt = evm_net.evm[CHAIN].tokens["USDT"]
    call = contract("Payouts").call
    people = [player.address, other.address, player.address]
    too_much = 5_000 * 10**6
    tokens = await wallet.send(house.payouts, 0, call("payTokens", usdt, people, [10, too_much, 10]))
    coins = await wallet.send(
        house.payouts, 6, call("payNative", [player.address, refuser, other.address], [1, 2, 3])
    )
    await evm_net.mine(chain=CHAIN)
    node = node_of(evm_net, house.facts(evm_net, traces=traces))
    ours = [wallet.account, player.account]
    found = await head_block(node, *ours)
    outcomes = {one.tx_hash: one.outcomes for one in found.executions}
    # The failure's own log stands between the two payments.
    assert outcomes[tokens] == (0, None, 2)
    assert outcomes[coins] == (OWN_COIN_POSITION + 1, None, OWN_COIN_POSITION + 3)
    to_player = [(t.asset, t.amount) for t in found.transfers if t.destination == player.account]
    assert to_player == [("USDT", 10 * 10**12)] * 2 + [("ETH", 1)]
    await assert_movements_explain_balances(node, found, ours)
    await node.close()


@pytest.mark.parametrize("traces", [False, True])
async def test_sweeps_of_coins_and_tokens_are_told(evm_net: Net, house: House, traces: bool) -> None:
    wallet, players = house.wallet, [Wallet(evm_net), Wallet(evm_net)]
    for player in players:
        await evm_net.send(player.address, "2", chain=CHAIN)
        await evm_net.send(player.address, "3", chain=CHAIN, asset="USDT")
    await evm_net.mine(chain=CHAIN)
    chain = evm_net.evm[CHAIN]
    authorizations = [
        player.key.sign_authorization({"chainId": chain.chain_id, "address": house.delegate, "nonce": 0})
        for player in players
    ]
    call = contract("Sweeper").call
    addresses = [player.address for player in players]
    coins = await wallet.send(
        house.sweeper, 0, call("sweep", "0x" + "00" * 20, addresses), type=4, authorizationList=authorizations
    )
    await wallet.send(house.sweeper, 0, call("sweep", chain.tokens["USDT"], addresses))
    await evm_net.mine(chain=CHAIN)
    node = node_of(evm_net, house.facts(evm_net, traces=traces))
    ours = [wallet.account, *(player.account for player in players)]
    found = await head_block(node, *ours)
    swept = [m for m in found.movements or () if m.delta < 0 and m.account != wallet.account]
    assert {(m.account, m.asset, m.delta) for m in swept} == {
        (player.account, asset, -amount)
        for player in players
        for asset, amount in (("ETH", 2 * ETHER), ("USDT", 3 * ETHER))
    }
    used = {(spend.resource[:20], spend.tx_hash) for spend in found.spends}
    assert {(player.account, coins) for player in players} <= used
    assert [one.outcomes for one in found.executions] == [(), ()]
    await assert_movements_explain_balances(node, found, ours)
    await node.close()


async def test_coins_sent_from_within_a_contract_are_found_with_traces(evm_net: Net) -> None:
    player = Wallet(evm_net)
    await evm_net.send(player.address, "0.25", chain=CHAIN, internal=True)
    await evm_net.mine(chain=CHAIN)
    traced = [node_of(evm_net, facts_of(evm_net, traces=True), number=number) for number in (0, 1)]
    plain = node_of(evm_net, facts_of(evm_net))
    found = await head_block(traced[0], player.account)
    assert [(t.asset, t.amount) for t in found.transfers] == [("ETH", 25 * 10**16)]
    assert found.transfers[0].position > OWN_COIN_POSITION
    await assert_movements_explain_balances(traced[0], found, [player.account])
    assert (await head_block(plain, player.account)).transfers == ()
    blocks = [await one.block(found.ref.hash, found.ref.height) for one in traced]
    assert blocks[0].unproven == blocks[1].unproven != b""
    await asyncio.gather(*(one.close() for one in (*traced, plain)))


# --- accounts -----------------------------------------------------------------------------------------------


async def test_accounts_are_told_as_they_were_after_the_block(evm_net: Net, node: AccountNode) -> None:
    wallet, nobody = await funded(evm_net, "USDT"), Wallet(evm_net)
    _, before = await node.head()
    await wallet.send(nobody.address, 7)
    await evm_net.mine(chain=CHAIN)
    _, after = await node.head()
    contract_account = unhex(evm_net.evm[CHAIN].tokens["USDC"])
    asked = [wallet.account, nobody.account, contract_account]
    rich, empty, token = await node.accounts(asked, before)
    assert (rich.nonce, rich.balances) == (
        0,
        {"ETH": 100 * ETHER, "USDT": 1_000 * ETHER, "USDC": 0},
    )
    assert (empty.nonce, empty.balances["ETH"], empty.exists) == (0, 0, False)
    assert (token.balances["ETH"], token.exists, rich.exists) == (0, True, True)
    rich, empty, _ = await node.accounts(asked, after)
    assert (rich.nonce, empty.balances["ETH"], empty.exists) == (1, 7, True)


async def test_more_accounts_than_one_request_takes_come_in_order(evm_net: Net, node: AccountNode) -> None:
    wallet = await funded(evm_net)
    _, block_hash = await node.head()
    asked = [secrets.token_bytes(20) for _ in range(60)]
    asked[41] = wallet.account
    told = await node.accounts(asked, block_hash)
    assert [one.balances["ETH"] for one in told] == [100 * ETHER if n == 41 else 0 for n in range(60)]


async def test_accounts_at_a_block_that_is_gone_are_refused(evm_net: Net, node: AccountNode) -> None:
    with pytest.raises((NodeRejected, NodeUnavailable)):
        await node.accounts([b"\x01" * 20], b"\x01" * 32)


# --- broadcasts ---------------------------------------------------------------------------------------------


async def test_a_transaction_is_accepted_then_known_then_in_the_chain(
    evm_net: Net, node: AccountNode
) -> None:
    wallet = await funded(evm_net)
    sent = wallet.sign("0x" + "11" * 20, 1)
    for _ in range(2):
        answer = await node.broadcast(raw(sent))
        assert answer.outcome is BroadcastOutcome.ACCEPTED, answer.detail
    await evm_net.mine(chain=CHAIN)
    answer = await node.broadcast(raw(sent))
    assert answer.outcome is BroadcastOutcome.CONFIRMED, answer.detail


async def test_a_nonce_that_another_transaction_used_says_nothing_of_this_one(
    evm_net: Net, node: AccountNode
) -> None:
    wallet = await funded(evm_net)
    await wallet.send("0x" + "11" * 20, 1)
    await evm_net.mine(chain=CHAIN)
    answer = await node.broadcast(raw(wallet.sign("0x" + "22" * 20, 1, nonce=0)))
    assert answer.outcome is BroadcastOutcome.UNKNOWN, answer.detail


async def test_what_is_refused_for_itself_is_rejected(evm_net: Net, node: AccountNode) -> None:
    wallet, poor = await funded(evm_net), Wallet(evm_net)
    first = wallet.sign("0x" + "11" * 20, 1)
    assert (await node.broadcast(raw(first))).outcome is BroadcastOutcome.ACCEPTED
    refused = {
        "no funds": poor.sign("0x" + "11" * 20, 1),
        "too little gas": wallet.sign("0x" + "11" * 20, 1, gas=20_000, nonce=1),
        "a replacement that offers less": wallet.sign("0x" + "22" * 20, 1, nonce=0, maxFeePerGas=50 * 10**9),
        "beyond the gas of a block": wallet.sign("0x" + "11" * 20, 1, gas=10**9, nonce=1),
    }
    for why, transaction in refused.items():
        answer = await node.broadcast(raw(transaction))
        assert answer.outcome is BroadcastOutcome.REJECTED, f"{why}: {answer.detail}"


async def test_bytes_that_are_no_transaction_are_unknown(node: AccountNode) -> None:
    assert (await node.broadcast(b"\x02\x01")).outcome is BroadcastOutcome.UNKNOWN


async def test_only_tracked_transactions_that_wait_are_pending(evm_net: Net, node: AccountNode) -> None:
    wallet = await funded(evm_net)
    waiting = wallet.sign("0x" + "11" * 20, 1)
    await node.broadcast(raw(waiting))
    tracked = frozenset({tx_hash(waiting), b"\x01" * 32})
    assert await node.pending(NOTHING, tracked) == (frozenset({tx_hash(waiting)}), ())
    assert await node.pending(NOTHING, NOTHING) == (NOTHING, ())
    await evm_net.broadcast(waiting.raw, chain=CHAIN)
    await evm_net.mine(chain=CHAIN)
    assert await node.pending(NOTHING, tracked) == (NOTHING, ())
    assert await node.spenders([wallet.account + bytes(8)]) == {}


# --- fees, finality -----------------------------------------------------------------------------------------


async def test_tips_and_the_next_base_fee_are_told(evm_net: Net, node: AccountNode) -> None:
    wallet = await funded(evm_net)
    await wallet.send("0x" + "11" * 20, 1, maxPriorityFeePerGas=3 * 10**9)
    await evm_net.mine(chain=CHAIN)
    market = await node.fee_market()
    assert market.estimates.keys() == {1, 3, 10}
    assert all(0 < tip <= 3 * 10**9 for tip in market.estimates.values())
    await evm_net.mine(chain=CHAIN)
    height, _ = await node.head()
    direct = evm_net.evm[CHAIN].nodes[0].rpc
    block = await direct("eth_getBlockByNumber", hex(height), False)
    assert int(block["baseFeePerGas"], 16) == market.floor


async def test_the_final_block_is_told_where_the_settings_say_that_there_is_one(
    evm_net: Net, node: AccountNode
) -> None:
    mined = await evm_net.mine(4, chain=CHAIN)
    height, _ = await node.head()
    assert await node.finalized() == (height - 2, bytes.fromhex(mined[1]))
    without = node_of(evm_net, facts_of(evm_net), finality_tag=False)
    assert await without.finalized() is None
    await without.close()


# --- nodes that lie -----------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def pool(evm_net: Net) -> AsyncIterator[NodePool]:
    """All three nodes through their fault proxies, with traces, of which two must agree."""
    facts = facts_of(evm_net, traces=True)
    made = NodePool(
        CHAIN,
        [node_of(evm_net, facts, number=number) for number in range(3)],
        quorum=2,
        clock=SystemClock(),
        lag_blocks_max=3,
        quarantine_s=60,
    )
    yield made
    await made.close()


async def deposit_block(evm_net: Net, node: AccountNode) -> tuple[Wallet, int, bytes]:
    """(who was paid a token and, from within a contract, coins; the block)."""
    player = Wallet(evm_net)
    await evm_net.send(player.address, "3", chain=CHAIN, asset="USDC")
    await evm_net.send(player.address, "2", chain=CHAIN, internal=True)
    await evm_net.mine(chain=CHAIN)
    return player, *(await node.head())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("hidden_logs", {}),
        ("hidden_logs", {"variant": "bloom_emptied"}),
        ("forged_block", {"variant": "body"}),
    ],
)
async def test_a_node_that_tells_another_block_under_the_hash_is_a_liar(
    evm_net: Net, node: AccountNode, kind: str, options: dict[str, Any]
) -> None:
    player, height, block_hash = await deposit_block(evm_net, node)
    if kind == "forged_block":
        options = options | {
            "height": height - 1,
            "address": player.address,
            "amount": "1000",
            "asset": "USDC",
        }
    await evm_net.fault(0, kind, chain=CHAIN, **options)
    with pytest.raises(NodeLied):
        await node.block(block_hash, height)


async def test_a_node_that_hides_what_moved_within_a_transaction_differs_from_others(
    evm_net: Net, node: AccountNode
) -> None:
    _, height, block_hash = await deposit_block(evm_net, node)
    await evm_net.fault(0, "hidden_traces", chain=CHAIN)
    facts = facts_of(evm_net, traces=True)
    nodes = [node_of(evm_net, facts, number=number) for number in range(3)]
    told = [(await one.block(block_hash, height)).unproven for one in nodes]
    assert told[1] == told[2] != told[0]
    await asyncio.gather(*(one.close() for one in nodes))


@pytest.mark.parametrize("kind", ["hidden_logs", "hidden_traces", "forged_block"])
async def test_one_liar_among_three_neither_hides_nor_forges_a_deposit(
    evm_net: Net, node: AccountNode, pool: NodePool, kind: str
) -> None:
    player, height, _ = await deposit_block(evm_net, node)
    forged = {"height": height - 1, "address": player.address, "amount": "1000"}
    await evm_net.fault(0, kind, chain=CHAIN, **(forged if kind == "forged_block" else {}))
    head = await pool.agreed_head()
    assert head is not None
    block = await pool.block(head.hash, head.height)
    found = block.contents(WatchList([player.account]))
    assert {(t.asset, t.amount) for t in found.transfers} == {("USDC", 3 * ETHER), ("ETH", 2 * ETHER)}
