"""Sweeper and SweepDelegate: deposits go to one place, by one caller, and no account can harm another."""

from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from eth_utils.crypto import keccak

from cryptowatch.devnet.ethereum.actor import Actor
from cryptowatch.devnet.ethereum.artifacts import contract
from tests.contracts.conftest import COIN, World, new_address

pytestmark = pytest.mark.asyncio

COINS = "0x" + "00" * 20
SWEPT = "0x" + keccak(text="Swept(uint256)").hex()
TRANSFER = "0x" + keccak(text="Transfer(address,address,uint256)").hex()


@dataclass(frozen=True)
class Broom:
    world: World
    operator: Actor
    sweeper: str
    delegate: str
    destination: str

    async def sweep(self, token: str, *accounts: str, by: Actor | None = None) -> dict[str, Any]:
        data = contract("Sweeper").call("sweep", token, list(accounts))
        return await (by or self.operator).execute(self.sweeper, data)

    async def delegate_accounts(self, *accounts: Actor, to: str | None = None) -> None:
        """By one transaction of the operator's: the accounts need no gas."""
        signed = [account.authorize(to or self.delegate, nonce=0) for account in accounts]
        await self.operator.execute(self.operator.address, authorizations=signed)


@pytest_asyncio.fixture
async def broom(world: World) -> Broom:
    operator, destination = await world.actor(coins=100), new_address()
    sweeper = await world.deploy("Sweeper", [operator.address])
    delegate = await world.deploy("SweepDelegate", sweeper, destination)
    return Broom(world, operator, sweeper, delegate, destination)


@pytest_asyncio.fixture
async def accounts(world: World, broom: Broom) -> list[Actor]:
    """Three deposit addresses that delegated."""
    made = [await world.actor(coins=0) for _ in range(3)]
    await broom.delegate_accounts(*made)
    return made


def addresses(accounts: list[Actor]) -> list[str]:
    return [account.address for account in accounts]


def swept_wei(receipt: dict[str, Any]) -> dict[str, int]:
    """What the delegates say they sent, by account."""
    assert receipt["status"] == "0x1"
    return {log["address"]: int(log["data"], 16) for log in receipt["logs"] if log["topics"] == [SWEPT]}


@pytest.mark.parametrize("name", ["TetherLike", "StandardToken"])
async def test_all_tokens_of_all_accounts_go_to_the_destination(
    world: World, broom: Broom, accounts: list[Actor], name: str
) -> None:
    token = await world.token(name, *addresses(accounts))
    receipt = await broom.sweep(token, *addresses(accounts))
    assert receipt["status"] == "0x1"
    assert [log["topics"][0] for log in receipt["logs"]] == [TRANSFER] * 3
    assert await world.held(token, broom.destination, *addresses(accounts)) == [3_000_000, 0, 0, 0]


async def test_all_coins_go_to_the_destination_and_each_account_says_how_many(
    world: World, broom: Broom, accounts: list[Actor]
) -> None:
    for account, coins in zip(accounts, (1, 2, 3), strict=True):
        await world.rich.execute(account.address, value_wei=coins * COIN)
    receipt = await broom.sweep(COINS, *addresses(accounts))
    expected = {account.address.lower(): n * COIN for n, account in enumerate(accounts, 1)}
    assert swept_wei(receipt) == expected
    assert await world.rich.balance_wei(broom.destination) == 6 * COIN
    assert [await world.rich.balance_wei(address) for address in addresses(accounts)] == [0, 0, 0]


async def test_only_operators_sweep(world: World, broom: Broom, accounts: list[Actor]) -> None:
    token = await world.token("StandardToken", *addresses(accounts))
    receipt = await broom.sweep(token, *addresses(accounts), by=world.rich)
    assert receipt["status"] == "0x0"
    assert await world.held(token, *addresses(accounts)) == [1_000_000] * 3


async def test_an_account_obeys_the_sweeper_and_nobody_else(
    world: World, broom: Broom, accounts: list[Actor]
) -> None:
    """Neither a stranger nor the sweeper's operator, nor the account itself."""
    token = await world.token("StandardToken", accounts[0].address)
    await world.rich.execute(accounts[0].address, value_wei=COIN)
    for stranger in (world.rich, broom.operator, accounts[0]):
        for wanted in (token, COINS):
            data = contract("SweepDelegate").call("sweep", wanted)
            assert (await stranger.execute(accounts[0].address, data, gas=200_000))["status"] == "0x0"
    assert await world.held(token, accounts[0].address) == [1_000_000]


async def test_a_delegated_account_still_receives_coins_with_2300_gas(
    world: World, broom: Broom, accounts: list[Actor]
) -> None:
    sender = await world.deploy("InternalSender")
    data = contract("InternalSender").call("forwardWithStipend", accounts[0].address)
    receipt = await world.rich.execute(sender, data, value_wei=COIN)
    assert receipt["status"] == "0x1"
    assert await world.rich.balance_wei(accounts[0].address) == COIN


async def test_an_account_that_has_not_delegated_is_passed_over(
    world: World, broom: Broom, accounts: list[Actor]
) -> None:
    late = await world.actor(coins=3)
    token = await world.token("TetherLike", late.address, accounts[0].address)
    receipt = await broom.sweep(token, late.address, accounts[0].address)
    assert receipt["status"] == "0x1"
    assert await world.held(token, broom.destination, late.address) == [1_000_000, 1_000_000]
    assert swept_wei(await broom.sweep(COINS, late.address)) == {}
    assert await world.rich.balance_wei(late.address) == 3 * COIN


async def test_sweeping_again_moves_nothing(world: World, broom: Broom, accounts: list[Actor]) -> None:
    token = await world.token("TetherLike", accounts[0].address)
    await broom.sweep(token, accounts[0].address)
    again = await broom.sweep(token, accounts[0].address, accounts[0].address)
    assert (again["status"], again["logs"]) == ("0x1", [])
    empty = await broom.sweep(COINS, accounts[0].address)
    assert (empty["status"], empty["logs"]) == ("0x1", [])


async def test_an_account_that_the_token_has_frozen_is_passed_over(
    world: World, broom: Broom, accounts: list[Actor]
) -> None:
    token = await world.token("TetherLike", *addresses(accounts))
    frozen = contract("TetherLike").call("setBlackListed", accounts[1].address, True)
    await world.rich.execute(token, frozen)
    assert (await broom.sweep(token, *addresses(accounts)))["status"] == "0x1"
    assert await world.held(token, broom.destination, *addresses(accounts)) == [2_000_000, 0, 1_000_000, 0]


@pytest.mark.parametrize("mode", [2, 3], ids=["answers false", "reverts"])
async def test_a_token_that_moves_nothing_leaves_no_trace(
    world: World, broom: Broom, accounts: list[Actor], mode: int
) -> None:
    token = await world.token("HostileToken", *addresses(accounts))
    await world.rich.execute(token, contract("HostileToken").call("switch", mode))
    receipt = await broom.sweep(token, *addresses(accounts))
    assert (receipt["status"], receipt["logs"]) == ("0x1", [])


@pytest.mark.parametrize("mode", [2, 3], ids=["answers false", "reverts"])
async def test_the_delegate_reverts_when_a_token_moves_nothing(world: World, mode: int) -> None:
    """Seen without the Sweeper, which passes over it."""
    sweeper, account = await world.actor(), await world.actor(coins=0)
    delegate = await world.deploy("SweepDelegate", sweeper.address, new_address())
    await sweeper.execute(sweeper.address, authorizations=[account.authorize(delegate, nonce=0)])
    token = await world.token("HostileToken", account.address)
    call = contract("SweepDelegate").call("sweep", token)
    await world.rich.execute(token, contract("HostileToken").call("switch", mode))
    assert (await sweeper.execute(account.address, call))["status"] == "0x0"
    await world.rich.execute(token, contract("HostileToken").call("switch", 0))
    assert (await sweeper.execute(account.address, call))["status"] == "0x1"


async def test_an_account_that_burns_gas_does_not_burn_the_others(
    world: World, broom: Broom, accounts: list[Actor]
) -> None:
    wild = [await world.actor(coins=0) for _ in range(3)]
    await broom.delegate_accounts(*wild, to=await world.deploy("GasBurner"))
    token = await world.token("StandardToken", accounts[0].address)
    receipt = await broom.sweep(token, *addresses(wild), accounts[0].address)
    assert receipt["status"] == "0x1"
    assert await world.held(token, broom.destination) == [1_000_000]
    assert int(receipt["gasUsed"], 16) < 3 * 200_000 + 150_000


async def test_a_destination_that_refuses_coins_leaves_them_where_they_are(world: World) -> None:
    operator, account = await world.actor(), await world.actor(coins=0)
    sweeper = await world.deploy("Sweeper", [operator.address])
    delegate = await world.deploy("SweepDelegate", sweeper, await world.deploy("Refuser"))
    broom = Broom(world, operator, sweeper, delegate, "")
    await broom.delegate_accounts(account)
    await world.rich.execute(account.address, value_wei=COIN)
    assert swept_wei(await broom.sweep(COINS, account.address)) == {}
    assert await world.rich.balance_wei(account.address) == COIN


async def test_an_address_without_code_is_no_token(broom: Broom, accounts: list[Actor]) -> None:
    receipt = await broom.sweep(new_address(), accounts[0].address)
    assert (receipt["status"], receipt["logs"]) == ("0x1", [])
