"""The contracts deployed anew for each test, on a chain of one real node."""

import secrets
from dataclasses import dataclass

import pytest
import pytest_asyncio

from cryptowatch.devnet.client import Net
from cryptowatch.devnet.ethereum.actor import Actor
from cryptowatch.devnet.ethereum.artifacts import contract

CHAIN = "bsc"
UNLIMITED = 2**256 - 1
COIN = 10**18


def new_address() -> str:
    return "0x" + secrets.token_hex(20)


@dataclass(frozen=True)
class World:
    """`rich` owns and deploys everything; the others have coins for gas."""

    net: Net
    rich: Actor

    async def actor(self, coins: int = 1) -> Actor:
        made = Actor(self.net, CHAIN, "0x" + secrets.token_hex(32))
        if coins:
            await self.rich.execute(made.address, value_wei=coins * COIN)
        return made

    async def deploy(self, name: str, *args: object) -> str:
        return await self.net.deploy(CHAIN, name, args)

    async def token(self, name: str, *holders: str) -> str:
        """A token of which each holder has 1,000,000 units."""
        args = ("Some coin", "SOME", 6) if name == "StandardToken" else ()
        place = await self.deploy(name, *args)
        await self.rich.execute(place, contract(name).call("mint", list(holders), 1_000_000))
        return place

    async def held(self, token: str, *holders: str) -> list[int]:
        return [await self.rich.read(token, "StandardToken", "balanceOf", holder) for holder in holders]


@pytest_asyncio.fixture
async def world(evm_net: Net) -> World:
    return World(evm_net, Actor(evm_net, CHAIN, evm_net.ethereum_private_key))


@pytest.fixture
def recipients() -> list[str]:
    return [new_address() for _ in range(3)]
