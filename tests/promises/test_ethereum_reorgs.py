"""P2 and P5 on Ethereum: a deposit's money is there once, or not at all, whichever branch the quorum takes."""

from typing import Any

import pytest
import pytest_asyncio

from cryptowatch.devnet.ethereum.artifacts import contract
from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.ethereum import CALM, ETH, USDC, USDT, faucet, stranger
from tests.support.running import Currency, Player, Site, merged

CHAIN = "ethereum"
#: Deeper than any reorg here.
FINAL = 12
_TIERS = {"tiers": [{"credit_confirmations": 1, "finalize_confirmations": FINAL}]}
PATIENT: dict[str, Any] = merged(
    CALM, {"chains": {CHAIN: {"assets": dict.fromkeys(("ETH", "USDT", "USDC"), _TIERS)}}}
)
#: Currency, and whether it comes from within a contract's call.
WAYS = [(ETH, False), (ETH, True), (USDT, False), (USDC, False)]


@pytest_asyncio.fixture
async def site(make_ethereum_site: MakeSite) -> Site:
    """Where nothing is final before it is deep."""
    made = await make_ethereum_site(**PATIENT)
    await made.start()
    return made


async def deposits_by_all_ways(site: Site) -> list[tuple[Player, str]]:
    """Pending: (player, hash) of each."""
    found = []
    for currency, internal in WAYS:
        player = await site.player(currency)
        tx_hash = await site.net.send(
            await player.address(), "1.5", chain=CHAIN, asset=currency.asset, internal=internal
        )
        found.append((player, tx_hash))
    return found


def of(currency: Currency, amount: str, *, final: bool = False) -> Balance:
    units = currency.units(amount)
    return Balance(total=units, unfinalized=0 if final else units)


async def raw_transaction(site: Site, tx_hash: str) -> str:
    return str(await site.net.evm[CHAIN].nodes[0].rpc("eth_getRawTransactionByHash", "0x" + tx_hash))


@pytest.mark.parametrize(
    "depth",
    [depth if depth in (1, 2, 10) else pytest.param(depth, marks=pytest.mark.slow) for depth in range(1, 11)],
)
async def test_deposits_are_credited_once_whether_a_reorg_mines_them_again_or_drops_them(
    site: Site, depth: int
) -> None:
    kept, dropped = await deposits_by_all_ways(site), await deposits_by_all_ways(site)
    hashes = [tx_hash for _, tx_hash in dropped]
    await site.mine(depth, CHAIN)
    raws = [await raw_transaction(site, tx_hash) for tx_hash in hashes]
    await site.reorg(depth, drop=hashes, chain=CHAIN)
    for player, _ in kept:
        assert await player.story() == ["credited", "reversed", "credited"]
        assert await player.balance() == of(player.currency, "1.5")
    for player, _ in dropped:
        await player.reaches("replaced")
        assert await player.story() == ["credited", "reversed", "replaced"]
        assert await player.balance() == Balance()
    for raw in raws:
        await site.net.broadcast(raw, chain=CHAIN)
    await site.mine(FINAL, CHAIN)
    for player, _ in [*kept, *dropped]:
        assert await player.balance() == of(player.currency, "1.5", final=True)
        assert (await player.story())[-2:] == ["credited", "finalized"]


async def test_a_reversal_of_money_that_was_bet_leaves_a_debt_and_the_re_mined_deposit_pays_it(
    site: Site,
) -> None:
    player = await site.player(USDT)
    tx_hash = await site.net.send(await player.address(), "5", chain=CHAIN, asset="USDT")
    await site.mine(2, CHAIN)
    raw = await raw_transaction(site, tx_hash)
    assert (await player.bet(USDT.units("3"))).status == 201
    await site.reorg(2, drop=[tx_hash], chain=CHAIN)
    assert (await player.balance()).debt == USDT.units("3")
    assert (await player.bet(1)).status == 422
    await site.net.broadcast(raw, chain=CHAIN)
    await site.mine(FINAL, CHAIN)
    assert await player.balance() == Balance(total=USDT.units("2"))


async def test_a_deposit_keeps_its_identity_when_its_log_has_another_number_in_the_block(site: Site) -> None:
    player, rpc = await site.player(USDT), site.net.evm[CHAIN].nodes[0].rpc
    tx_hash = await site.net.send(await player.address(), "5", chain=CHAIN, asset="USDT")
    await site.mine(1, CHAIN)

    async def number() -> int:
        receipt = await rpc("eth_getTransactionReceipt", "0x" + tx_hash)
        return int(receipt["logs"][0]["logIndex"], 16)

    before, first = await number(), await player.has_deposit()
    usdt = site.net.evm[CHAIN].tokens["USDT"]
    other = await faucet(site).sign(usdt, contract("TetherLike").call("transfer", stranger(), 1))
    await site.reorg(1, include=[other.raw], chain=CHAIN)
    assert await number() != before
    again = await player.has_deposit()
    assert (again["id"], again["position"]) == (first["id"], first["position"])
    assert await player.story() == ["credited", "reversed", "credited"]
    assert await player.balance() == of(USDT, "5")


async def test_a_contract_that_pays_something_else_after_a_reorg_made_another_deposit(site: Site) -> None:
    fickle = await site.net.deploy(CHAIN, "Fickle")
    player = await site.player(ETH)
    await site.caught_up(CHAIN)
    call = contract("Fickle").call("pay", await player.address())
    receipt = await faucet(site).execute(fickle, call, value_wei=10**18)
    await site.caught_up(CHAIN)
    [first] = await player.deposits()
    assert first["tx_hash"] == receipt["transactionHash"][2:]
    await site.reorg(1, chain=CHAIN)

    async def other_one() -> list[str] | None:
        states = [deposit["state"] for deposit in await player.deposits()]
        return states if states == ["replaced", "credited"] else None

    await site.until(other_one)
    old, new = await player.deposits()
    assert (old["tx_hash"], old["position"]) == (new["tx_hash"], new["position"])
    assert old["amount"] != new["amount"]
    assert await player.balance() == of(ETH, new["amount"])
    assert await site.story(old["id"]) == ["credited", "reversed", "replaced"]
    await site.mine(FINAL, CHAIN)
    assert await player.balance() == of(ETH, new["amount"], final=True)


@pytest.mark.parametrize("depth", range(1, 11))
async def test_a_deposit_that_only_one_node_has_in_its_chain_is_not_credited(site: Site, depth: int) -> None:
    player = await site.player(USDT)
    tx_hash = await site.net.send(await player.address(), "5", chain=CHAIN, asset="USDT")
    await site.net.mine(depth, chain=CHAIN, withhold={1: [tx_hash], 2: [tx_hash]})
    receipt = await site.net.evm[CHAIN].nodes[0].rpc("eth_getTransactionReceipt", "0x" + tx_hash)
    assert receipt["status"] == "0x1"
    await caught_up_with(site, 1)
    await site.polled(3)
    assert await player.deposits() == []
    await site.net.heal(CHAIN)
    await site.mine(FINAL, CHAIN)
    assert await player.story() == ["credited", "finalized"]
    assert await player.balance() == of(USDT, "5", final=True)


@pytest.mark.parametrize("depth", range(1, 11))
async def test_a_deposit_that_one_node_does_not_have_is_credited_once(site: Site, depth: int) -> None:
    player = await site.player(USDT)
    tx_hash = await site.net.send(await player.address(), "5", chain=CHAIN, asset="USDT")
    await site.net.mine(depth, chain=CHAIN, withhold={2: [tx_hash]})
    await caught_up_with(site, 0)
    assert await player.balance() == of(USDT, "5")
    await site.net.heal(CHAIN)
    await site.mine(FINAL, CHAIN)
    assert await player.story() == ["credited", "finalized"]
    assert await player.balance() == of(USDT, "5", final=True)


async def caught_up_with(site: Site, node: int) -> None:
    """Until the daemon has applied this node's best block."""
    block = await site.net.evm[CHAIN].nodes[node].rpc("eth_getBlockByNumber", "latest", False)

    async def there() -> bool:
        return await site.cursor(CHAIN) == (int(block["number"], 16), block["hash"][2:])

    await site.until(there)
