"""Payouts: operators pay many at once, nobody else does, and no recipient can harm another."""

from typing import Any

import pytest
import pytest_asyncio
from eth_utils.crypto import keccak

from cryptowatch.devnet.ethereum.actor import Actor
from cryptowatch.devnet.ethereum.artifacts import contract
from cryptowatch.errors import OperatorError
from tests.contracts.conftest import COIN, UNLIMITED, World, new_address

pytestmark = pytest.mark.asyncio

ZERO, ANYBODY = "0x" + "00" * 20, "0x" + "a1" * 20
FAILED = "0x" + keccak(text="Failed(uint256)").hex()
PAYOUTS = contract("Payouts")


class Till:
    """The contract with its vault, and an operator that asks it to pay."""

    def __init__(self, world: World, vault: Actor, operator: Actor, address: str) -> None:
        self.world, self.vault, self.operator, self.address = world, vault, operator, address

    async def allow(self, token: str, units: int = UNLIMITED) -> None:
        await self.vault.execute(token, contract("StandardToken").call("approve", self.address, units))

    async def pay_tokens(
        self, token: str, recipients: list[str], amounts: list[int], *, by: Actor | None = None
    ) -> dict[str, Any]:
        data = PAYOUTS.call("payTokens", token, recipients, amounts)
        return await (by or self.operator).execute(self.address, data)

    async def pay_native(
        self, recipients: list[str], amounts: list[int], value_wei: int | None = None, **options: Any
    ) -> dict[str, Any]:
        by = options.pop("by", self.operator)
        data = PAYOUTS.call("payNative", recipients, amounts)
        value_wei = sum(amounts) if value_wei is None else value_wei
        receipt: dict[str, Any] = await by.execute(self.address, data, value_wei=value_wei, **options)
        return receipt


@pytest_asyncio.fixture
async def till(world: World) -> Till:
    vault, operator = await world.actor(), await world.actor(coins=100)
    return Till(world, vault, operator, await world.deploy("Payouts", vault.address, [operator.address]))


def failed(receipt: dict[str, Any]) -> list[int]:
    """The items that the contract says it could not pay."""
    assert receipt["status"] == "0x1"
    return [int(log["data"], 16) for log in receipt["logs"] if log["topics"] == [FAILED]]


def undone(receipt: dict[str, Any]) -> bool:
    return bool(receipt["status"] == "0x0")


@pytest.mark.parametrize("name", ["TetherLike", "StandardToken"])
async def test_each_recipient_gets_its_tokens_from_the_vault(
    world: World, till: Till, recipients: list[str], name: str
) -> None:
    token = await world.token(name, till.vault.address)
    await till.allow(token)
    receipt = await till.pay_tokens(token, recipients, [1, 20, 300])
    assert failed(receipt) == []
    assert await world.held(token, till.vault.address, *recipients) == [999_679, 1, 20, 300]


async def test_only_operators_pay(world: World, till: Till, recipients: list[str]) -> None:
    token = await world.token("StandardToken", till.vault.address)
    await till.allow(token)
    for stranger in (till.vault, world.rich):
        assert undone(await till.pay_tokens(token, recipients, [1, 2, 3], by=stranger))
        assert undone(await till.pay_native(recipients, [1, 2, 3], by=stranger))
    assert await world.held(token, *recipients) == [0, 0, 0]


@pytest.mark.parametrize(("count", "amounts"), [(3, [1, 2]), (2, [1, 2, 3]), (0, []), (0, [1])])
async def test_lists_of_other_lengths_or_without_an_item_are_refused(
    world: World, till: Till, recipients: list[str], count: int, amounts: list[int]
) -> None:
    token = await world.token("StandardToken", till.vault.address)
    await till.allow(token)
    assert undone(await till.pay_tokens(token, recipients[:count], amounts))
    assert undone(await till.pay_native(recipients[:count], amounts))


async def test_a_recipient_that_the_token_refuses_fails_alone(
    world: World, till: Till, recipients: list[str]
) -> None:
    token = await world.token("HostileToken", till.vault.address)
    await till.allow(token, 1_000_000)
    await world.rich.execute(token, contract("HostileToken").call("refuse", recipients[1], True))
    assert failed(await till.pay_tokens(token, recipients, [1, 20, 300])) == [1]
    assert await world.held(token, *recipients) == [1, 0, 300]


async def test_what_the_vault_does_not_have_or_allow_fails_alone(
    world: World, till: Till, recipients: list[str]
) -> None:
    token = await world.token("TetherLike", till.vault.address)
    await till.allow(token)
    assert failed(await till.pay_tokens(token, recipients, [999_990, 20, 10])) == [1]
    scarce = await world.token("StandardToken", till.vault.address)
    await till.allow(scarce, 25)
    assert failed(await till.pay_tokens(scarce, recipients, [20, 10, 5])) == [1]


@pytest.mark.parametrize(
    ("name", "function", "args"),
    [
        ("TetherLike", "setPaused", [True]),
        ("TetherLike", "setBlackListed", ["vault", True]),
        ("HostileToken", "switch", [2]),
        ("HostileToken", "switch", [3]),
    ],
    ids=["paused", "vault blacklisted", "answers false", "reverts"],
)
async def test_a_token_that_moves_nothing_fails_every_item(
    world: World, till: Till, recipients: list[str], name: str, function: str, args: list[Any]
) -> None:
    token = await world.token(name, till.vault.address)
    await till.allow(token, 1_000_000)
    said = [till.vault.address if arg == "vault" else arg for arg in args]
    await world.rich.execute(token, contract(name).call(function, *said))
    assert failed(await till.pay_tokens(token, recipients, [1, 2, 3])) == [0, 1, 2]
    assert await world.held(token, till.vault.address, *recipients) == [1_000_000, 0, 0, 0]


async def test_an_address_without_code_is_no_token(till: Till, recipients: list[str]) -> None:
    assert failed(await till.pay_tokens(new_address(), recipients, [1, 2, 3])) == [0, 1, 2]
    identity_precompile = "0x" + "00" * 19 + "04"
    assert failed(await till.pay_tokens(identity_precompile, recipients, [1, 2, 3])) == [0, 1, 2]


async def test_each_recipient_gets_its_coins(world: World, till: Till, recipients: list[str]) -> None:
    receipt = await till.pay_native(recipients, [1, 20, 300])
    assert failed(receipt) == []
    assert [await world.rich.balance_wei(recipient) for recipient in recipients] == [1, 20, 300]


@pytest.mark.parametrize("value_wei", [320, 322, 0])
async def test_the_value_must_be_the_sum(till: Till, recipients: list[str], value_wei: int) -> None:
    assert undone(await till.pay_native(recipients, [1, 20, 300], value_wei))


@pytest.mark.parametrize("name", ["Refuser", "GasBurner", "ReturnBomb"])
async def test_a_recipient_that_behaves_badly_fails_alone_and_its_share_comes_back(
    world: World, till: Till, recipients: list[str], name: str
) -> None:
    bad = await world.deploy(name)
    before_wei = await world.rich.balance_wei(till.operator.address)
    receipt = await till.pay_native([recipients[0], bad, recipients[1]], [COIN, 2 * COIN, 3 * COIN])
    assert failed(receipt) == [1]
    assert [await world.rich.balance_wei(recipient) for recipient in recipients[:2]] == [COIN, 3 * COIN]
    assert await world.rich.balance_wei(till.address) == 0
    fee_wei = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert await world.rich.balance_wei(till.operator.address) == before_wei - 4 * COIN - fee_wei
    assert int(receipt["gasUsed"], 16) < 150_000, "who behaves badly costs little"


async def test_a_batch_of_only_bad_recipients_costs_a_bounded_amount(world: World, till: Till) -> None:
    bad = [await world.deploy(name) for name in ("GasBurner", "ReturnBomb")]
    receipt = await till.pay_native(bad * 100, [1] * 200)
    assert failed(receipt) == list(range(200))
    assert int(receipt["gasUsed"], 16) < 200 * 25_000


async def test_a_recipient_that_calls_again_gets_nothing_more(world: World, recipients: list[str]) -> None:
    """Even one that is an operator, and is called with all gas when the refuser's share comes back to it."""
    vault, greedy = await world.actor(), await world.deploy("Reenterer")
    payouts = await world.deploy("Payouts", vault.address, [greedy])
    await world.rich.execute(greedy, contract("Reenterer").call("aim", payouts))
    refuser = await world.deploy("Refuser")
    data = contract("Reenterer").call("pay", [greedy, refuser, recipients[0]], [COIN, COIN, COIN])
    receipt = await world.rich.execute(greedy, data, value_wei=3 * COIN)
    assert failed(receipt) == [1]
    assert await world.rich.read(greedy, "Reenterer", "reentered") == 0
    found = [await world.rich.balance_wei(address) for address in (greedy, recipients[0], payouts)]
    assert found == [2 * COIN, COIN, 0]


async def test_with_too_little_gas_nobody_is_paid_and_nobody_fails(world: World, till: Till) -> None:
    """Whatever the operator brings, also just too little for the last one, who needs much."""
    hungry = await world.deploy("Hungry")
    enough = int((await till.pay_native([hungry, hungry], [1, 1]))["gasUsed"], 16)
    outcomes = []
    for gas in range(enough - 12_000, enough + 3_000, 500):
        receipt = await till.pay_native([hungry, hungry], [1, 1], gas=gas)
        outcomes.append(undone(receipt))
        if not outcomes[-1]:
            assert failed(receipt) == []
    assert outcomes == sorted(outcomes, reverse=True)
    assert set(outcomes) == {True, False}


async def test_it_takes_no_coins_outside_a_payment(till: Till) -> None:
    assert undone(await till.operator.execute(till.address, value_wei=1))
    token_call = PAYOUTS.call("payTokens", new_address(), [new_address()], [1])
    assert undone(await till.operator.execute(till.address, token_call, value_wei=1))


async def test_it_tells_its_vault_and_operators_which_nothing_changes(world: World, till: Till) -> None:
    assert (await world.rich.read(till.address, "Payouts", "vault")).lower() == till.vault.address.lower()
    assert await world.rich.read(till.address, "Payouts", "operators", 0) == till.operator.address.lower()
    changing = {
        entry["name"]
        for entry in PAYOUTS.abi
        if entry.get("stateMutability") in ("nonpayable", "payable") and entry["type"] == "function"
    }
    assert changing == {"payTokens", "payNative"}


@pytest.mark.parametrize(
    ("vault", "operators", "why"),
    [(ZERO, [ANYBODY], "no vault"), (ANYBODY, [], "no operators")],
)
async def test_without_a_vault_or_operators_it_is_not_deployed(
    world: World, vault: str, operators: list[str], why: str
) -> None:
    with pytest.raises(OperatorError, match=why):
        await world.deploy("Payouts", vault, operators)
