"""What cold signs and what is taken as its answer, without a node: every tampering that could pay for itself."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from embit.psbt import PSBT
from eth_account import Account
from typer.testing import CliRunner

from cryptowatch.chains.bitcoin.payments import BitcoinPlan, BitcoinPlanner
from cryptowatch.chains.bitcoin.psbt import ColdPsbt
from cryptowatch.chains.bitcoin.transaction import (
    TxInput,
    TxOutput,
    UnsignedTransaction,
    read_transaction,
    serialise,
)
from cryptowatch.chains.connect import COLD_BRANCH, COLD_CHANGE_BRANCH
from cryptowatch.chains.ethereum.address import address_of
from cryptowatch.chains.ethereum.cold import ColdTransaction, call_of, read_unsigned
from cryptowatch.chains.ethereum.payments import EthereumPlan, EthereumPlanner
from cryptowatch.chains.plans import Bid, Coin, Recipient, Sender, WrongSignature
from cryptowatch.cli.commands import command_line
from cryptowatch.money import BaseUnits
from cryptowatch.settings.chains import Gas
from cryptowatch.signing.messages import KeyPath
from cryptowatch.signing.offline import NotSigned, Refill, RefillFile, read_file, read_refill
from tests.support.account_wallet import FACTS, USDT
from tests.support.cold import Cold

COLD = Cold()
FORMAT = ColdPsbt(COLD.key, b"\xca\xfe\xba\xbe", 1)
HOT = b"\x00\x14" + b"\x07" * 20
STRANGER = b"\x00\x14" + b"\x66" * 20


def script(branch: int, index: int) -> bytes:
    return COLD.keys.key(KeyPath("bip84", 1 if branch else 0, index)).script


def parent(index: int, amount: int) -> UnsignedTransaction:
    """A transaction that paid the cold wallet's address `index`, in its second output."""
    outputs = (TxOutput(STRANGER, BaseUnits(5_000)), TxOutput(script(0, index), BaseUnits(amount)))
    return UnsignedTransaction((TxInput(bytes([index + 1]) * 32, 0, BaseUnits(10**9), STRANGER),), outputs)


PARENTS = {parent(n, 60_000_000).txid: serialise(parent(n, 60_000_000)) for n in range(2)}


def planned() -> BitcoinPlan:
    """1 BTC out of two coins, with change."""
    coins = [
        Coin(tx + (1).to_bytes(4, "big"), BaseUnits(60_000_000), script(0, n), (84, COLD_BRANCH, n))
        for n, tx in enumerate(PARENTS)
    ]
    change = Coin(b"", BaseUnits(0), script(1, 3), (84, COLD_CHANGE_BRANCH, 3))
    payee = Recipient(HOT, BaseUnits(100_000_000))
    plan = BitcoinPlanner(10_000).plan(coins, [payee], [change], Bid(2_000), 7)
    assert isinstance(plan, BitcoinPlan)
    return plan


PLAN = planned()
UNSIGNED = FORMAT.write(PLAN, PARENTS)
FILE = RefillFile("rb_1", "bitcoin", "regtest", "psbt", UNSIGNED)
SIGNED = read_refill(FILE, COLD.keys).sign()


def partially_signed() -> Any:
    psbt = PSBT.from_base64(UNSIGNED)
    for scope, given in zip(psbt.inputs, read_transaction(bytes.fromhex(SIGNED)).inputs, strict=True):
        [key] = scope.bip32_derivations
        scope.partial_sigs[key] = given.witness[0]
    return psbt


def test_what_the_cold_keystore_signs_is_taken_in_either_form_and_gives_the_same_bytes() -> None:
    raw = bytes.fromhex(SIGNED)
    for text in (SIGNED, SIGNED.upper(), f" {SIGNED}\n", partially_signed().to_base64()):
        assert FORMAT.read_signed(PLAN, text) == (PLAN.tx_hash, raw)
    assert read_transaction(raw).txid == PLAN.tx_hash


def test_the_cold_side_sees_whom_it_pays_what_comes_back_and_what_it_costs() -> None:
    seen = read_refill(FILE, COLD.keys)
    assert (seen.amount, seen.fee) == ("1.00000000", PLAN.fee)
    assert seen.change == f"0.{20_000_000 - PLAN.fee:08d}"
    assert seen.pays.startswith("bcrt1q")


def test_a_device_finds_its_keys_by_path_and_proof_of_every_amount() -> None:
    psbt = PSBT.from_base64(UNSIGNED)
    assert psbt.verify()
    [derivation] = psbt.inputs[1].bip32_derivations.values()
    hardened = 1 << 31
    assert derivation.fingerprint == b"\xca\xfe\xba\xbe"
    assert derivation.derivation[:3] == [hardened + 84, hardened + 1, hardened]
    [place] = PLAN.change_positions
    [change] = psbt.outputs[place].bip32_derivations.values()
    assert change.derivation[3:] == [1, 3]


def pays_a_stranger(psbt: Any) -> None:
    psbt.outputs[PLAN.positions[0]].script_pubkey.data = STRANGER


def pays_more(psbt: Any) -> None:
    psbt.outputs[PLAN.positions[0]].value += 1


def another_sequence(psbt: Any) -> None:
    psbt.inputs[0].sequence = 0xFFFFFFFF


def another_locktime(psbt: Any) -> None:
    psbt.locktime = 7


def one_output_less(psbt: Any) -> None:
    psbt.outputs.pop()


def another_input(psbt: Any) -> None:
    psbt.inputs[0].vout = 0


def no_signature(psbt: Any) -> None:
    psbt.inputs[1].partial_sigs.clear()


def exchanged_signatures(psbt: Any) -> None:
    (first,), (second,) = psbt.inputs[0].partial_sigs, psbt.inputs[1].partial_sigs
    psbt.inputs[0].partial_sigs[first] = psbt.inputs[1].partial_sigs[second]


def another_hash_type(psbt: Any) -> None:
    """SIGHASH_NONE would leave the outputs open."""
    [key] = psbt.inputs[0].partial_sigs
    psbt.inputs[0].partial_sigs[key] = psbt.inputs[0].partial_sigs[key][:-1] + b"\x02"


def two_signatures(psbt: Any) -> None:
    [key] = psbt.inputs[0].partial_sigs
    [other] = psbt.inputs[1].partial_sigs
    psbt.inputs[0].partial_sigs[other] = psbt.inputs[0].partial_sigs[key]


@pytest.mark.parametrize(
    "tamper",
    [
        pays_a_stranger,
        pays_more,
        another_sequence,
        another_locktime,
        one_output_less,
        another_input,
        no_signature,
        exchanged_signatures,
        another_hash_type,
        two_signatures,
    ],
)
def test_a_tampered_psbt_is_refused(tamper: Callable[[Any], None]) -> None:
    psbt = partially_signed()
    tamper(psbt)
    with pytest.raises(WrongSignature):
        FORMAT.read_signed(PLAN, psbt.to_base64())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "00",
        "cHNidP8=",
        "not base64!",
        UNSIGNED,
        UNSIGNED[:-20],
        b64encode(b64decode(UNSIGNED) + b"\xff" * 40).decode(),
        SIGNED[:-10],
        SIGNED[:-60] + "00" + SIGNED[-58:],
    ],
)
def test_what_is_nothing_of_the_kind_is_refused(text: str) -> None:
    with pytest.raises(WrongSignature):
        FORMAT.read_signed(PLAN, text)


def tampered(tamper: Callable[[Any], None]) -> RefillFile:
    psbt = PSBT.from_base64(UNSIGNED)
    tamper(psbt)
    return RefillFile("rb_1", "bitcoin", "regtest", "psbt", psbt.to_base64())


def without_parent(psbt: Any) -> None:
    psbt.inputs[0].non_witness_utxo = None


def another_parent(psbt: Any) -> None:
    psbt.inputs[0].non_witness_utxo = psbt.inputs[1].non_witness_utxo


def change_elsewhere(psbt: Any) -> None:
    psbt.outputs[PLAN.change_positions[0]].script_pubkey.data = STRANGER


def all_to_itself(psbt: Any) -> None:
    psbt.outputs[PLAN.positions[0]].script_pubkey.data = script(1, 3)
    psbt.outputs[PLAN.positions[0]].bip32_derivations = psbt.outputs[
        PLAN.change_positions[0]
    ].bip32_derivations


def told_amount(psbt: Any) -> None:
    """A lie about a coin's amount hides a fee; the coin's own transaction says the truth."""
    psbt.inputs[0].witness_utxo.value = 1


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (without_parent, "proves"),
        (another_parent, "proves"),
        (change_elsewhere, "pays 2"),
        (all_to_itself, "pays 0"),
        (another_input, "does not belong"),
    ],
)
def test_the_cold_side_signs_nothing_but_one_payment_of_its_own_proven_coins(
    tamper: Callable[[Any], None], reason: str
) -> None:
    with pytest.raises(NotSigned, match=reason):
        read_refill(tampered(tamper), COLD.keys)


def test_a_lie_about_an_amount_changes_nothing_that_the_cold_side_shows() -> None:
    assert read_refill(tampered(told_amount), COLD.keys).fee == PLAN.fee


def test_another_wallet_can_sign_none_of_it() -> None:
    with pytest.raises(NotSigned, match="does not belong"):
        read_refill(FILE, Cold().keys)


@pytest.mark.parametrize("text", [b"", b"[]", b'{"id": 1}', b'{"format": "psbt"}'])
def test_a_file_of_something_else_is_told_as_such(text: bytes) -> None:
    with pytest.raises(NotSigned, match="unsigned"):
        read_file(text)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--pay-to", "bcrt1qgxcnlanz0hk7kpy8t2h2zc7j9fu8l7cnvyaq5w"], "it pays bcrt1"),
        (["--pay-to", read_refill(FILE, COLD.keys).pays, "--fee-max", "0.00000001"], "the fee is"),
        (["--pay-to", read_refill(FILE, COLD.keys).pays, "--fee-max", "much"], "--fee-max"),
        ([], "give --pay-to"),
    ],
)
def test_the_command_signs_nothing_that_its_operator_did_not_expect(
    tmp_path: Path, options: list[str], problem: str
) -> None:
    file, out = tmp_path / "unsigned.json", tmp_path / "signed.json"
    file.write_bytes(msgspec.json.encode(FILE))
    command = ["wallet", "sign-offline", str(file), "--out", str(out), *COLD.keystore(tmp_path)]
    done = CliRunner().invoke(command_line(), [*command, *options])
    assert (done.exit_code, problem in done.stderr) == (1, True), done.stderr
    assert not out.exists()
    # Signed files are never overwritten, either.
    out.write_text("mine")
    again = CliRunner().invoke(command_line(), [*command, "--pay-to", read_refill(FILE, COLD.keys).pays])
    assert (again.exit_code, out.read_text()) == (1, "mine")


# --- accounts -----------------------------------------------------------------------------------------------

VAULT = b"\x0a" * 20
ACCOUNT = bytes.fromhex(COLD.account[2:])
PLANNER = EthereumPlanner(FACTS, Gas(), None)
SENDER = Sender(ACCOUNT, (44, COLD_BRANCH, 0), 4)


def refill(asset: str) -> EthereumPlan:
    return PLANNER.transfer(SENDER, asset, VAULT, BaseUnits(2 * 10**18), Bid(30 * 10**9, 10**9))


def offline(text: str) -> Refill:
    return read_refill(RefillFile("rb_1", "ethereum", "eip155:1", "eip1559", text), COLD.keys)


@pytest.mark.parametrize("asset", ["ETH", "USDT"])
def test_what_the_cold_account_signs_is_taken_and_another_implementation_reads_it_so(asset: str) -> None:
    plan, cold = refill(asset), ColdTransaction()
    text = cold.write(plan, {})
    seen = offline(text)
    assert bytes.fromhex(seen.pays[2:]) == VAULT
    assert seen.amount == ("2.000000000000000000" if asset == "ETH" else seen.amount)
    assert USDT.hex() in seen.amount.lower() or asset == "ETH"
    signed = seen.sign()
    assert Account.recover_transaction(signed) == COLD.account
    tx_hash, raw = cold.read_signed(plan, signed)
    assert raw.hex() == signed[2:]
    assert len(tx_hash) == 32


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("value", 1),
        ("nonce", 5),
        ("chainId", 5),
        ("gas", 22_000),
        ("maxFeePerGas", 10**12),
        ("maxPriorityFeePerGas", 2),
        ("to", "0x" + "66" * 20),
        ("data", "0x00"),
    ],
)
def test_whatever_else_the_cold_account_signed_is_refused(field: str, value: object) -> None:
    """By another implementation, with the right key."""
    plan, key = refill("ETH"), COLD.keys.key(KeyPath("bip44", 0, 0)).private.secret
    t = plan.transaction
    wanted = {
        "type": 2,
        "chainId": t.chain_id,
        "nonce": t.nonce,
        "gas": t.gas,
        "maxFeePerGas": t.max_fee,
        "maxPriorityFeePerGas": t.tip,
        "to": address_of(t.to),
        "value": t.value,
        "data": "0x",
    }
    right = Account.sign_transaction(wanted, key).raw_transaction.hex()
    ColdTransaction().read_signed(plan, right)
    wrong = Account.sign_transaction({**wanted, field: value}, key).raw_transaction.hex()
    for text in (wrong, right[:-2], right + "00", "xyz", ""):
        with pytest.raises(WrongSignature):
            ColdTransaction().read_signed(plan, text)
    foreign = Account.sign_transaction(wanted, b"\x01" * 32).raw_transaction.hex()
    with pytest.raises(WrongSignature):
        ColdTransaction().read_signed(plan, foreign)


def test_the_form_for_people_and_the_form_for_programs_are_the_same_transaction() -> None:
    text = ColdTransaction().write(refill("ETH"), {})
    assert read_unsigned(text) == (COLD.account, refill("ETH").transaction)
    for changed in (text.replace('"nonce":"0x4"', '"nonce":"0x5"'), text.replace("0x02", "0x03"), "{}", "["):
        assert changed != text
        with pytest.raises(NotSigned):
            offline(changed)


@pytest.mark.parametrize("asset", ["ETH", "USDT"])
def test_owners_of_a_contract_are_told_a_call_and_a_keystore_signs_none(asset: str) -> None:
    plan = refill(asset)
    told = json.loads(call_of(plan))
    assert told["account"] == COLD.account
    assert bytes.fromhex(told["to"][2:]) == (VAULT if asset == "ETH" else USDT)
    assert (told["value"], told["data"]) == (str(plan.transaction.value), "0x" + plan.transaction.data.hex())
    with pytest.raises(NotSigned, match="owners"):
        read_refill(RefillFile("rb_1", "ethereum", "eip155:1", "call", call_of(plan)), COLD.keys)


def test_an_account_that_is_not_the_keystores_signs_nothing() -> None:
    with pytest.raises(NotSigned, match="not among"):
        read_refill(
            RefillFile("rb_1", "ethereum", "eip155:1", "eip1559", ColdTransaction().write(refill("ETH"), {})),
            Cold().keys,
        )


def test_an_overflow_names_its_address_by_index_through_disk_and_bumps() -> None:
    """The signer derives it anew from that: so the index must stay with its output, wherever that goes."""
    planner = BitcoinPlanner(10_000)
    hot = [Coin(bytes([n]) * 32 + bytes(4), BaseUnits(10**8), HOT, (84, 1, n)) for n in range(1, 4)]
    change = Coin(b"", BaseUnits(0), HOT, (84, 1, 9))
    for seed in range(8):
        payee = Recipient(script(0, 7), BaseUnits(15 * 10**7), 7)
        plan = planner.plan(hot, [payee], [change], Bid(1_000), seed)
        assert isinstance(plan, BitcoinPlan)
        bumped = planner.bump(plan, Bid(9_000))
        assert isinstance(bumped, BitcoinPlan)
        for one in (plan, planner.read(plan.to_json()), bumped, planner.read(bumped.to_json())):
            [(place, index)] = one.cold_indexes.items()
            assert (index, one.transaction.outputs[place].script) == (7, script(0, 7))
