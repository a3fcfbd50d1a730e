"""`evm-sweep`: gas per deposit address swept, 100 a transaction, through Sweeper and the EIP-7702 delegate.

Peer: what a deposit address without a delegation needs, measured on the same anvil in the same run: one transaction
that brings it coins for gas, and one of its own that sends the token.
"""

from benchmarks._evm import BATCH, COIN_WEI, Anvil, anvil, gas, new_addresses
from benchmarks.reporting import Report
from cryptowatch.devnet.ethereum.actor import Actor
from cryptowatch.devnet.ethereum.artifacts import contract

TOKEN = contract("StandardToken")
SWEEPER = contract("Sweeper")
COINS = "0x" + "00" * 20
GOAL_GAS = 14_500


async def run(report: Report) -> None:
    async with anvil() as chain:
        operator, [destination] = await chain.funded(), new_addresses(1)
        sweeper = await chain.deploy("Sweeper", [operator.address])
        delegate = await chain.deploy("SweepDelegate", sweeper, destination)
        for name, token in chain.tokens.items():
            await chain.mint(token, [destination])
            await _sweeps(chain, operator, sweeper, delegate, name, token, report)
        await _coins(chain, operator, sweeper, delegate, report)


async def _sweeps(
    chain: Anvil, operator: Actor, sweeper: str, delegate: str, name: str, token: str, report: Report
) -> None:
    accounts = [chain.actor() for _ in range(BATCH)]
    addresses = [account.address for account in accounts]
    alone = await _without_delegation(chain, token)
    call = SWEEPER.call("sweep", token, addresses)
    for turn in ("first", "later"):
        await chain.mint(token, addresses)
        delegations = (
            [account.authorize(delegate, nonce=0) for account in accounts] if turn == "first" else []
        )
        each = await gas(operator, sweeper, call, authorizations=delegations) / BATCH
        goal = (None, None) if turn == "first" else (f"<= {GOAL_GAS:,} gas", each <= GOAL_GAS)
        report(
            f"{name}, {turn} sweep",
            each,
            "gas",
            "funding and a transaction of its own",
            alone,
            alone / each,
            *goal,
        )
    assert await operator.read(token, "StandardToken", "balanceOf", addresses[-1]) == 0


async def _without_delegation(chain: Anvil, token: str) -> int:
    account, [destination] = chain.actor(), new_addresses(1)
    await chain.mint(token, [account.address, destination])
    funding = await gas(chain.rich, account.address, value_wei=COIN_WEI)
    # Its own transaction leaves the address without tokens, as the sweep does.
    return funding + await gas(account, token, TOKEN.call("transfer", destination, 1_000_000_000))


async def _coins(chain: Anvil, operator: Actor, sweeper: str, delegate: str, report: Report) -> None:
    accounts = [chain.actor() for _ in range(BATCH)]
    addresses = [account.address for account in accounts]
    delegations = [account.authorize(delegate, nonce=0) for account in accounts]
    await gas(operator, operator.address, authorizations=delegations)
    payouts = await chain.deploy("Payouts", operator.address, [operator.address])
    fill = contract("Payouts").call("payNative", addresses, [10**15] * BATCH)
    await gas(operator, payouts, fill, value_wei=10**15 * BATCH)
    alone = await gas(operator, chain.rich.address, value_wei=10**15)
    each = await gas(operator, sweeper, SWEEPER.call("sweep", COINS, addresses)) / BATCH
    report("coins, later sweep", each, "gas", "a transaction of its own", alone, alone / each)
