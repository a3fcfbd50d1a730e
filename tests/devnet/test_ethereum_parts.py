"""The pure parts of the devnet's Ethereum: order in blocks, what a reorg keeps, base fees, the record, the gate."""

import asyncio
from pathlib import Path

import pytest
from eth_account import Account

from cryptowatch.devnet.ethereum.gate import Gate
from cryptowatch.devnet.ethereum.history import History, Sealed, next_base_fee_wei, shared_length
from cryptowatch.devnet.ethereum.transactions import (
    Transaction,
    contract_address,
    divided,
    in_order,
    parse_transaction,
    signed,
)
from cryptowatch.errors import OperatorError


def tx(sender: str, nonce: int, *, tip: int = 1, cap: int = 100, salt: str = "") -> Transaction:
    return Transaction(f"{sender}{nonce}{salt}", "0x", sender, nonce, cap, tip)


def block(name: str, number: int, *transactions: Transaction) -> Sealed:
    return Sealed(name, number, 0, "0x", 1, 1, transactions)


def test_a_block_takes_the_best_tips_first_and_senders_by_nonce_whatever_came_first() -> None:
    low, high, later = tx("a", 0, tip=1), tx("b", 0, tip=5), tx("b", 1, tip=9)
    for came in ([low, high, later], [later, high, low], [high, low, later]):
        assert in_order(came, base_fee_wei=10) == [high, later, low]


def test_a_tip_is_what_the_cap_leaves_of_it() -> None:
    assert tx("a", 0, tip=5, cap=12).tip_wei(10) == 2
    assert tx("a", 0, tip=5, cap=100).tip_wei(10) == 5


def test_a_dropped_transaction_takes_its_senders_later_ones_along() -> None:
    blocks = [[tx("a", 0), tx("b", 0)], [tx("a", 1), tx("b", 1)], [tx("a", 2)]]
    kept, gone = divided(blocks, {"a1"}, [])
    assert kept == [[tx("a", 0), tx("b", 0)], [tx("b", 1)], []]
    assert gone == [tx("a", 1), tx("a", 2)]


def test_an_included_transaction_replaces_the_one_of_its_nonce_and_no_other() -> None:
    replacement = tx("a", 0, salt="x")
    kept, gone = divided([[tx("a", 0), tx("b", 0)], [tx("a", 1)]], set(), [replacement])
    assert kept == [[tx("b", 0)], [tx("a", 1)]]
    assert gone == [tx("a", 0)]


@pytest.mark.parametrize(
    ("gas_used", "expected"), [(15, 1_000), (30, 1_125), (0, 875), (16, 1_008), (14, 992)]
)
def test_the_base_fee_moves_by_an_eighth_at_most(gas_used: int, expected: int) -> None:
    assert next_base_fee_wei(1_000, gas_used, gas_limit=30) == expected


def test_a_base_fee_rises_by_one_at_least_and_stops_falling_at_seven() -> None:
    assert next_base_fee_wei(7, 16, gas_limit=30) == 8
    assert next_base_fee_wei(7, 0, gas_limit=30) == 7


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_transaction_of_any_type_is_read(kind: int) -> None:
    key = Account.from_key("0x" + "11" * 32)
    fields = {"nonce": 5, "to": b"\x22" * 20, "value": 1, "gas": 21_000, "chainId": 31337}
    fees = {"maxFeePerGas": 9, "maxPriorityFeePerGas": 2} if kind == 2 else {"gasPrice": 9}
    made = key.sign_transaction({**fields, **fees, **({"type": kind} if kind else {})})
    found = parse_transaction("0x" + bytes(made.raw_transaction).hex())
    assert (found.sender, found.nonce, found.fee_cap_wei) == (key.address.lower(), 5, 9)
    assert found.tip_cap_wei == (2 if kind == 2 else 9)
    assert found.hash == "0x" + bytes(made.hash).hex()


@pytest.mark.parametrize("raw", ["", "0x", "zz", "0x02c0", "0x05f8", "0xdeadbeef"])
def test_what_is_no_transaction_is_refused(raw: str) -> None:
    with pytest.raises(OperatorError):
        parse_transaction(raw)


def test_the_place_of_a_contract_is_known_before_it_is_deployed() -> None:
    """The first contract of a well-known deployer: Uniswap's V2 factory, as on mainnet."""
    deployer = "0x9C33eaCc2F50E39940D3AfaF2c7B8246B681A374"
    assert contract_address(deployer, 0) == "0x5c69bee701ef814a2b6a3edd4b1652cb9cc5aa6f"


def test_the_record_survives_and_forgets_what_a_reorg_replaced(tmp_path: Path) -> None:
    key = Account.from_key("0x" + "11" * 32)
    paid = signed(key, 1, nonce=0, gas=21_000, to=b"\x22" * 20, maxFeePerGas=9, maxPriorityFeePerGas=2)
    old = [block("a", 1), block("b", 2, paid), block("c", 3)]
    new = [block("a", 1), block("x", 2), block("y", 3, paid), block("z", 4)]
    history = History(tmp_path / "blocks.jsonl")
    assert history.load() == []
    history.save(old[:2])
    history.save(old)
    assert History(tmp_path / "blocks.jsonl").load() == old
    history.save(new)
    assert History(tmp_path / "blocks.jsonl").load() == new
    assert shared_length(old, new) == 1
    assert shared_length(old, old[:2]) == 2


async def test_nobody_passes_a_closed_gate_and_it_closes_when_all_have_passed() -> None:
    gate, told = Gate(), []

    async def pass_through(name: str) -> None:
        async with gate.passing():
            told.append(f"{name} in")
            await asyncio.sleep(0.01)
            told.append(f"{name} out")

    async def close() -> None:
        async with gate.closed():
            told.append("closed")
            await asyncio.sleep(0.01)
            told.append("open")

    first = asyncio.create_task(pass_through("one"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(close())
    await asyncio.sleep(0.002)
    await asyncio.gather(first, closing, pass_through("two"))
    assert told == ["one in", "one out", "closed", "open", "two in", "two out"]


async def test_a_gate_opens_again_when_closing_is_given_up() -> None:
    gate = Gate()
    async with gate.passing():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), gate.closed():
                pass
    async with asyncio.timeout(1), gate.passing():
        pass
