"""A wallet's own contracts on a chain of Ethereum's kind, deployed for it: what an operator does once per chain.

Used by `network` for the devnet's wallet, and by tests for theirs.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

#: (contract's name, arguments) -> its address.
Deploy = Callable[[str, Sequence[Any]], Awaitable[str]]


@dataclass(frozen=True)
class WalletContracts:
    """Addresses."""

    payouts: str
    sweeper: str
    sweep_delegate: str


async def deploy_contracts(deploy: Deploy, senders: Sequence[str]) -> WalletContracts:
    """`senders`: the accounts that may use them; the first is the vault."""
    payouts = await deploy("Payouts", [senders[0], list(senders)])
    sweeper = await deploy("Sweeper", [list(senders)])
    return WalletContracts(payouts, sweeper, await deploy("SweepDelegate", [sweeper, senders[0]]))
