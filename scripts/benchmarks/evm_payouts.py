"""`evm-payouts`: gas per payout in a batch of 100 through the Payouts contract.

Peer: one transaction per payout, measured on the same anvil in the same run, for recipients that hold the token
already and for such that do not.
"""

from benchmarks._evm import BATCH, UNLIMITED, Anvil, anvil, gas, new_addresses
from benchmarks.reporting import Report
from cryptowatch.devnet.ethereum.actor import Actor
from cryptowatch.devnet.ethereum.artifacts import contract

TOKEN = contract("StandardToken")
PAYOUTS = contract("Payouts")
GOAL_GAS = {"USDT-like token": 11_500, "standard token": 10_200}


async def run(report: Report) -> None:
    async with anvil() as chain:
        vault, operator = await chain.funded(), await chain.funded()
        payouts = await chain.deploy("Payouts", vault.address, [operator.address])
        for name, token in chain.tokens.items():
            await _tokens(chain, name, token, vault, operator, payouts, report)
        await _coins(operator, payouts, report)


async def _tokens(
    chain: Anvil, name: str, token: str, vault: Actor, operator: Actor, payouts: str, report: Report
) -> None:
    await chain.mint(token, [vault.address])
    await vault.execute(token, TOKEN.call("approve", payouts, UNLIMITED))
    recipients, [single] = new_addresses(), new_addresses(1)
    for holder in ("new", "existing"):
        batch = PAYOUTS.call("payTokens", token, recipients, [1_000_000] * BATCH)
        each = await gas(operator, payouts, batch) / BATCH
        alone = await gas(vault, token, TOKEN.call("transfer", single, 1_000_000))
        limit = GOAL_GAS[name] if holder == "existing" else None
        _tell(report, f"{name}, {holder} holder", each, alone, limit)


async def _coins(operator: Actor, payouts: str, report: Report) -> None:
    recipients, [single] = new_addresses(), new_addresses(1)
    for account in ("new", "existing"):
        batch = PAYOUTS.call("payNative", recipients, [10**15] * BATCH)
        each = await gas(operator, payouts, batch, value_wei=10**15 * BATCH) / BATCH
        alone = await gas(operator, single, value_wei=10**15)
        _tell(report, f"coins, {account} account", each, alone, None)


def _tell(report: Report, figure: str, each: float, alone: int, limit: int | None) -> None:
    goal, met = (None, None) if limit is None else (f"<= {limit:,} gas", each <= limit)
    report(figure, each, "gas", "a transaction of its own", alone, alone / each, goal, met)
