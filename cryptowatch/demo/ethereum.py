"""The play's second part, on Ethereum: coins and tokens in, swept together, out again, and what goes wrong on the way.

Like the first part it holds every outcome against the nodes.
"""

import asyncio
from decimal import Decimal
from typing import Any

from cryptowatch.demo.casino import until
from cryptowatch.demo.story import Story

CHAIN = "ethereum"
#: What the house brings for gas.
GAS_ETH = Decimal(10)


_HIGH_BASE_FEE_WEI = 40 * 10**9
_BLOCK_TIME_S = 0.5


async def deposits(s: Story) -> None:
    """Ethereum: USDT, USDC and ETH come in, one of them out of a contract's call"""
    vault = await until(lambda: _vault(s), "the wallet's vault")
    await s.net.send(vault, str(GAS_ETH), chain=CHAIN)
    await _mine(s, 1)
    s.line.check(await _balance(s, vault, "ETH") == GAS_ETH, f"the house brings {GAS_ETH} ETH for gas")
    paid = {}
    for name, asset, amount, internal in (
        ("grace", "USDT", "500", False),
        ("heidi", "USDC", "300", False),
        ("ivan", "ETH", "2", False),
        ("judy", "ETH", "1", True),
    ):
        account, address = await s.player(name, CHAIN)
        tx_hash = await s.net.send(address, amount, chain=CHAIN, asset=asset, internal=internal)
        paid[name] = (account, address, asset, amount, tx_hash)
    await _mine(s, 1)
    for account, address, asset, amount, tx_hash in paid.values():
        await s.casino.until_deposit(account, tx_hash, "credited")
        s.line.check(
            await _balance(s, address, asset) == Decimal(amount)
            and (await s.casino.balance(account, asset))["playable"] == Decimal(amount),
            f"{amount} {asset} are on the address by the node's word, and playable",
        )
    s.deposit_addresses = {name: (address, asset) for name, (_, address, asset, *_) in paid.items()}
    await _mine(s, 5)
    for account, _, asset, amount, tx_hash in paid.values():
        await s.casino.until_deposit(account, tx_hash, "finalized")
        withdrawable = (await s.casino.balance(account, asset))["withdrawable"]
        s.line.check(withdrawable == Decimal(amount), f"final by the nodes' word: {amount} {asset} can leave")


async def sweep(s: Story) -> None:
    """Ethereum: the deposit addresses are swept to the vault, several in one transaction"""
    vault = await until(lambda: _vault(s), "the wallet's vault")

    async def swept() -> bool:
        await _next_block(s)
        left = [await _balance(s, address, asset) for address, asset in s.deposit_addresses.values()]
        return not any(left)

    await until(swept, "empty deposit addresses")
    s.line.check(await _balance(s, vault, "USDT") == 500, "the vault has the 500 USDT")
    s.line.check(await _balance(s, vault, "USDC") == 300, "and the 300 USDC")
    eth = await _balance(s, vault, "ETH")
    s.line.check(GAS_ETH + 2 < eth < GAS_ETH + 3, f"and {eth:.4f} ETH: 3 more, less the gas")
    (address, _) = s.deposit_addresses["ivan"]
    code = str(await _ask(s, "eth_getCode", address, "latest"))
    s.line.check(
        code.startswith("0xef0100"), "they delegate (EIP-7702) to a contract that can pay the vault alone"
    )


async def reorg(s: Story) -> None:
    """Ethereum: a reorg takes a credited deposit of USDT away"""
    account, address = await s.player("kim", CHAIN)
    tx_hash = await s.net.send(address, "80", chain=CHAIN, asset="USDT")
    await _mine(s, 1)
    await s.casino.until_deposit(account, tx_hash, "credited")
    await s.net.reorg(1, drop=[tx_hash], chain=CHAIN)
    await s.casino.until_deposit(account, tx_hash, "reversed", "replaced")
    receipt = await _ask(s, "eth_getTransactionReceipt", "0x" + tx_hash)
    s.line.check(receipt is None, "the nodes left the block, and know no such transaction")
    s.line.check((await s.casino.balance(account, "USDT"))["total"] == 0, "kim's 80 USDT are taken back")


async def payouts(s: Story) -> None:
    """Ethereum: four withdrawals in one transaction, and one recipient refuses the money"""
    refuser = await s.net.deploy(CHAIN, "Refuser")
    recipients = [await _outsider(s) for _ in range(3)]
    wanted = {}
    for address in [*recipients, refuser]:
        asked = await s.casino.withdraw(s.accounts["ivan"], "0.2", address, asset="ETH", chain=CHAIN)
        wanted[asked["id"]] = address
    paid = {asked: address for asked, address in wanted.items() if address != refuser}
    (refused,) = wanted.keys() - paid.keys()
    before = {address: await _balance(s, address, "ETH") for address in recipients}

    async def ended() -> bool:
        await _next_block(s)
        return {(await s.casino.withdrawal(asked))["state"] for asked in paid} == {"finalized"}

    await until(ended, "the withdrawals")
    hashes = {(await s.casino.withdrawal(asked))["tx_hash"] for asked in paid}
    s.line.check(len(hashes) == 1, "one transaction pays the three who take it")
    gained = {address: await _balance(s, address, "ETH") - before[address] for address in recipients}
    s.line.check(set(gained.values()) == {Decimal("0.2")}, "each has 0.2 ETH more by the node's word")

    async def given_up() -> bool:
        await _next_block(s)
        return str((await s.casino.withdrawal(refused))["state"]) == "failed"

    await until(given_up, "the refused withdrawal")
    s.line.check(
        await _balance(s, refuser, "ETH") == 0, "the contract that refuses got nothing, also when asked alone"
    )
    balance = await s.casino.balance(s.accounts["ivan"], "ETH")
    s.line.check(
        balance["held"] == 0 and balance["withdrawable"] == Decimal(2) - 3 * Decimal("0.2005"),
        "its withdrawal ended as failed, and ivan has the money back",
    )


async def stuck(s: Story) -> None:
    """Ethereum: a payout is stuck below a sudden base fee, and is replaced"""
    address = await _outsider(s)
    before = await _balance(s, address, "USDC")
    asked = await s.casino.withdraw(s.accounts["heidi"], "50", address, asset="USDC", chain=CHAIN)

    async def sent() -> str | None:
        row = await s.casino.withdrawal(asked["id"])
        return row["tx_hash"] if row["tx_hash"] and await _pending(s, row["tx_hash"]) else None

    first = str(await until(sent, "the payout at the nodes"))
    await s.net.mine(1, chain=CHAIN, base_fee_wei=_HIGH_BASE_FEE_WEI)
    s.line.check(await _pending(s, first), "the base fee jumps to 40 gwei: no block takes the payout")

    async def replaced() -> str | None:
        await _next_block(s)
        row = await s.casino.withdrawal(asked["id"])
        return str(row["tx_hash"]) if row["tx_hash"] != first else None

    second = str(await until(replaced, "a replacement"))

    async def final() -> bool:
        await _next_block(s)
        return str((await s.casino.withdrawal(asked["id"]))["state"]) == "finalized"

    await until(final, "the replacement's finality")
    mined = await _ask(s, "eth_getTransactionByHash", "0x" + second)
    s.line.check(
        mined is not None and mined["blockHash"] is not None,
        "a transaction of the same nonce pays more and is taken",
    )
    lost = await _ask(s, "eth_getTransactionReceipt", "0x" + first)
    s.line.check(lost is None, "the first one can never be in a block")
    s.line.check(await _balance(s, address, "USDC") - before == 50, "50 USDC arrived, once")


async def _mine(s: Story, blocks: int) -> None:
    await s.net.mine(blocks, chain=CHAIN)


async def _next_block(s: Story) -> None:
    """With a moment for the daemon to do what it does at the head of the chain."""
    await _mine(s, 1)
    await asyncio.sleep(_BLOCK_TIME_S)


async def _ask(s: Story, method: str, *parameters: object) -> Any:
    return await s.net.evm[CHAIN].nodes[0].rpc(method, *parameters)


async def _vault(s: Story) -> str | None:
    return await s.witness.own_address(CHAIN)


async def _outsider(s: Story) -> str:
    """An account of nobody of ours that exists already."""
    address = await s.witness.new_account()
    await s.net.send(address, "0.01", chain=CHAIN)
    await _mine(s, 1)
    return address


async def _pending(s: Story, tx_hash: str) -> bool:
    found = await _ask(s, "eth_getTransactionByHash", "0x" + tx_hash)
    return isinstance(found, dict) and found["blockHash"] is None


async def _balance(s: Story, address: str, asset: str) -> Decimal:
    """In whole units, by a node's word."""
    return await s.witness.balance(CHAIN, address, asset)


CHAPTERS = (deposits, sweep, reorg, payouts, stuck)
