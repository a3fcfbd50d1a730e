"""A real anvil for the benchmarks of gas, with accounts that act on it."""

import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptowatch import devnet
from cryptowatch.devnet import Net
from cryptowatch.devnet.ethereum.actor import Actor
from cryptowatch.devnet.ethereum.artifacts import contract

CHAIN = "ethereum"
COIN_WEI = 10**18
#: As large batches are in production.
BATCH = 100
UNLIMITED = 2**256 - 1


class Anvil:
    """`rich` owns the tokens and has coins."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self.rich = self.actor(net.ethereum_private_key)

    def actor(self, private_key: str | None = None) -> Actor:
        return Actor(self._net, CHAIN, private_key or "0x" + secrets.token_hex(32))

    async def funded(self) -> Actor:
        made = self.actor()
        await self.rich.execute(made.address, value_wei=1_000 * COIN_WEI)
        return made

    async def deploy(self, name: str, *args: object) -> str:
        return await self._net.deploy(CHAIN, name, args)

    async def mint(self, token: str, holders: list[str]) -> None:
        data = contract("StandardToken").call("mint", holders, 1_000_000_000)
        await self.rich.execute(token, data)

    @property
    def tokens(self) -> dict[str, str]:
        """By what they are like."""
        places = self._net.evm[CHAIN].tokens
        return {"USDT-like token": places["USDT"], "standard token": places["USDC"]}


@asynccontextmanager
async def anvil() -> AsyncIterator[Anvil]:
    with tempfile.TemporaryDirectory(prefix="cw-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        async with devnet.up(Path(folder), bitcoin_nodes=1, ethereum={CHAIN: 1}) as net:
            yield Anvil(net)


def new_addresses(count: int = BATCH) -> list[str]:
    return ["0x" + secrets.token_hex(20) for _ in range(count)]


async def gas(actor: Actor, to: str, data: bytes = b"", **options: Any) -> int:
    """What a transaction used."""
    receipt = await actor.execute(to, data, **options)
    assert receipt["status"] == "0x1", receipt
    return int(receipt["gasUsed"], 16)
