"""P5: a block is what its hash says. Published blocks are read; every lie about one is found."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from cryptowatch.chains.ethereum.block import Block, Receipt, prove_block
from cryptowatch.chains.ethereum.facts import ChainFacts
from cryptowatch.chains.ethereum.mined import MinedTransaction, Transaction, prove
from cryptowatch.chains.ethereum.rlp import MalformedData
from tests.support import ethereum_vectors as published
from tests.support.ethereum_blocks import Answers, Sent, account, authorize, block_of, log, send, transfer_log

FACTS = ChainFacts(chain_id=31337, asset="ETH")
TOKEN = account("token")


def read_published(block: dict[str, Any], receipts: list[dict[str, Any]]) -> tuple[Transaction, ...]:
    proven = prove_block(
        msgspec.convert(block, Block),
        msgspec.convert(receipts, list[Receipt]),
        bytes.fromhex(block["hash"][2:]),
        int(block["number"], 16),
    )
    return tuple(proven.transactions)


def prove_one(told: dict[str, Any]) -> Transaction:
    transaction, _ = prove(msgspec.convert(told, MinedTransaction))
    return transaction


# --- published ----------------------------------------------------------------------------------------------


def test_a_published_block_with_three_types_of_transactions_is_proven() -> None:
    transactions = read_published(published.CANCUN, published.CANCUN_RECEIPTS)
    assert [transaction.nonce for transaction in transactions] == [0x46, 0x47, 0x48]
    assert {transaction.sender.hex() for transaction in transactions} == {
        "7435ed30a8b4aeb0877cef0c6e8cffe834eb865f"
    }


def test_the_first_block_ever_mined_is_proven() -> None:
    assert read_published(published.FRONTIER, []) == ()


def test_a_header_before_base_fees_hashes_to_its_hash() -> None:
    """Only the header is published here: its transactions are missed next."""
    with pytest.raises(MalformedData, match="the transactions do not fit"):
        read_published(published.ISTANBUL, [])


@pytest.mark.parametrize(
    "told", [published.ACCESS_LIST, published.CREATION, published.BLOBS, published.DELEGATION]
)
def test_a_published_transaction_gives_its_hash_and_sender(told: dict[str, Any]) -> None:
    assert prove_one(told).hash.hex() == told["hash"][2:]


def test_a_transaction_with_blobs_tells_what_they_may_cost() -> None:
    proven = prove_one(published.BLOBS)
    assert (proven.blob_gas, proven.blob_price_max) == (131_072, 0x20000)


def test_a_published_delegation_names_the_account_that_signed_it() -> None:
    """Its account is not published; eth-account recovers the same from the same tuple."""
    ((authority, nonce, delegate),) = prove_one(published.DELEGATION).authorizations
    assert (len(authority), nonce, len(delegate)) == (20, 0, 20)


@pytest.mark.parametrize("kind", [0, 1, 2, 4])
def test_every_type_that_eth_account_signs_is_proven(kind: int) -> None:
    authorizations = [authorize("player", TOKEN, 7)] if kind == 4 else []
    sent = send("somebody", TOKEN, 5, b"\x01\x02", nonce=3, kind=kind, authorizations=authorizations)
    proven = prove_one(sent.told)
    assert (proven.sender, proven.nonce, proven.value, proven.input) == (account("somebody"), 3, 5, "0102")
    assert proven.authorizations == (((account("player"), 7, TOKEN),) if kind == 4 else ())


@pytest.mark.parametrize(("kind", "price"), [(0, 1050), (1, 1050), (2, 1050), (4, 1050)])
def test_a_price_is_computed_from_what_was_signed(kind: int, price: int) -> None:
    authorizations = [authorize("player", TOKEN, 7)] if kind == 4 else []
    assert (
        prove_one(send("somebody", TOKEN, kind=kind, authorizations=authorizations).told).price(1000) == price
    )


def test_a_cap_below_base_fee_and_tip_is_the_price() -> None:
    assert prove_one(send("somebody", TOKEN).told).price(1990) == 2000


# --- delegations that do not count --------------------------------------------------------------------------


@pytest.mark.parametrize("chain_id", [0, 31337])
def test_a_delegation_for_this_chain_or_all_counts(chain_id: int) -> None:
    sent = send("a", TOKEN, kind=4, authorizations=[authorize("player", TOKEN, 7, chain_id)])
    assert prove_one(sent.told).authorizations == ((account("player"), 7, TOKEN),)


def test_a_delegation_for_another_chain_does_not_count() -> None:
    sent = send("a", TOKEN, kind=4, authorizations=[authorize("player", TOKEN, 7, chain_id=1)])
    assert prove_one(sent.told).authorizations == ()


def test_a_delegation_with_the_last_nonce_of_all_does_not_count() -> None:
    sent = send("a", TOKEN, kind=4, authorizations=[authorize("player", TOKEN, (1 << 64) - 1)])
    assert prove_one(sent.told).authorizations == ()


def test_a_delegation_with_the_mirrored_signature_does_not_count() -> None:
    """EIP-7702 takes the lower of a signature's two forms, as EIP-2 does; both recover the same account."""
    order = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
    honest = authorize("player", TOKEN, 7)
    mirrored = honest.model_copy(update={"s": order - honest.s, "y_parity": 1 - honest.y_parity})
    assert prove_one(send("a", TOKEN, kind=4, authorizations=[honest]).told).authorizations
    assert prove_one(send("a", TOKEN, kind=4, authorizations=[mirrored]).told).authorizations == ()


# --- lies ---------------------------------------------------------------------------------------------------


@pytest.fixture
def honest() -> Answers:
    logs = [
        transfer_log(TOKEN, account("a"), account("player"), 7),
        log(TOKEN, [account("t") + bytes(12)], b"x"),
    ]
    sent: list[Sent] = [
        send("a", TOKEN, data=b"\x01", logs=logs, gas_used=50_000),
        send("b", account("player"), 5, kind=0),
        send("c", account("player"), 6, kind=1, nonce=9),
        send("d", TOKEN, data=b"\x02", logs=logs[:1], gas_used=40_000, nonce=1),
        send("e", account("player"), 5, status=0),
    ]
    return block_of(*sent)


def test_the_honest_answers_are_proven(honest: Answers) -> None:
    block = honest.read(FACTS)
    assert block.ref.hash == honest.hash and block.ref.height == 100
    assert block.unproven == b""
    assert [block.proven.gas_used(number) for number in range(5)] == [50_000, 21_000, 21_000, 40_000, 21_000]


@pytest.mark.parametrize("name", sorted(block_of().block.keys() - {"transactions"}))
@pytest.mark.parametrize("change", ["another", "longer", "upper case", "left out"])
def test_a_changed_field_of_the_header_is_found(honest: Answers, name: str, change: str) -> None:
    text = honest.block[name]
    if change == "left out":
        honest.block[name] = None
    elif change == "longer":
        honest.block[name] = text + "01"
    elif change == "another":
        honest.block[name] = text[:-1] + ("1" if text[-1] == "0" else "0")
    else:
        honest.block[name] = "0x" + text[2:].upper()
        if not any(letter.isalpha() for letter in text[2:]) or len(text) < 18:
            return  # a number, or digits alone: the same
    with pytest.raises((MalformedData, msgspec.ValidationError)):
        honest.read(FACTS)


def test_a_field_of_an_unknown_fork_is_not_passed_over(honest: Answers) -> None:
    """It is no lie; but what its rules are, nobody read."""
    honest.block["blockAccessListHash"] = published.NULL
    with pytest.raises(MalformedData, match="fork not known"):
        honest.read(FACTS)


def test_another_height_is_found(honest: Answers) -> None:
    honest.height = 101
    with pytest.raises(MalformedData, match="another height"):
        honest.read(FACTS)


def test_another_block_is_found(honest: Answers) -> None:
    honest.hash = account("other") + bytes(12)
    with pytest.raises(MalformedData, match="does not hash"):
        honest.read(FACTS)


Lie = Callable[[Answers], object]
NO_BLOOM = published.NO_BLOOM
LIES_ABOUT_RECEIPTS: dict[str, Lie] = {
    "all hidden": lambda a: a.receipts.clear(),
    "all emptied": lambda a: [r.update(logs=[], logsBloom=NO_BLOOM) for r in a.receipts],
    "one hidden": lambda a: a.receipts.pop(),
    "one more": lambda a: a.receipts.append(a.receipts[0]),
    "swapped": lambda a: a.receipts.reverse(),
    "another status": lambda a: a.receipts[4].update(status="0x1"),
    "a status that is none": lambda a: a.receipts[0].update(status=None),
    "other gas": lambda a: a.receipts[1].update(cumulativeGasUsed="0x11559"),
    "a log hidden": lambda a: a.receipts[0]["logs"].pop(0),
    "a log repeated": lambda a: a.receipts[0]["logs"].append(a.receipts[0]["logs"][0]),
    "logs swapped": lambda a: a.receipts[0]["logs"].reverse(),
    "another amount": lambda a: a.receipts[0]["logs"][0].update(data="0x" + "00" * 31 + "08"),
    "another token": lambda a: a.receipts[0]["logs"][0].update(address="0x" + "11" * 20),
    "another recipient": lambda a: a.receipts[0]["logs"][0]["topics"].__setitem__(2, published.NULL),
    "another bloom": lambda a: a.receipts[0].update(logsBloom=NO_BLOOM),
    "no logs, bloom kept": lambda a: a.receipts[3].update(logs=[]),
}


@pytest.mark.parametrize("lie", LIES_ABOUT_RECEIPTS.values(), ids=LIES_ABOUT_RECEIPTS.keys())
def test_a_lie_about_receipts_is_found(honest: Answers, lie: Lie) -> None:
    honest.receipts = deepcopy(honest.receipts)
    lie(honest)
    with pytest.raises(MalformedData):
        honest.read(FACTS)


LIES_ABOUT_TRANSACTIONS: dict[str, Lie] = {
    "one hidden": lambda a: (a.block["transactions"].pop(), a.receipts.pop()),
    "swapped": lambda a: a.block["transactions"].reverse(),
    "another value": lambda a: a.block["transactions"][1].update(value="0x6"),
    "another recipient": lambda a: a.block["transactions"][1].update(to="0x" + "22" * 20),
    "another nonce": lambda a: a.block["transactions"][2].update(nonce="0xa"),
    "another call": lambda a: a.block["transactions"][0].update(input="0x"),
    "another type": lambda a: a.block["transactions"][0].update(type="0x1"),
    "an unknown type": lambda a: a.block["transactions"][0].update(type="0x7e"),
    "another hash": lambda a: a.block["transactions"][0].update(hash=published.NULL),
    "no cap": lambda a: a.block["transactions"][0].update(maxFeePerGas=None),
    "our use of a nonce hidden": lambda a: a.block["transactions"][0].update(
        {"from": "0x" + account("b").hex()}
    ),
    "a use of our nonce invented": lambda a: a.block["transactions"][4].update(
        {"from": "0x" + account("a").hex()}
    ),
    "the mirrored signature": lambda a: a.block["transactions"][0].update(
        yParity="0x1" if a.block["transactions"][0]["yParity"] == "0x0" else "0x0"
    ),
    "a number that is none": lambda a: a.block["transactions"][1].update(value="0xfive"),
    "a negative number": lambda a: a.block["transactions"][1].update(value="0x-5"),
}


@pytest.mark.parametrize("lie", LIES_ABOUT_TRANSACTIONS.values(), ids=LIES_ABOUT_TRANSACTIONS.keys())
def test_a_lie_about_transactions_is_found(honest: Answers, lie: Lie) -> None:
    honest.block = deepcopy(honest.block)
    lie(honest)
    with pytest.raises(MalformedData):
        honest.read(FACTS)


def test_digits_moved_over_the_border_of_two_topics_are_found() -> None:
    """The same bytes in all: a topic that ends in a0 would lend its end to the next one's beginning."""
    topics = [b"\x01" * 32, b"\x02" * 31 + b"\xa0", b"\x03" * 32]
    answers = block_of(send("a", TOKEN, logs=[log(TOKEN, topics)]))
    answers.read(FACTS)
    told = answers.receipts[0]["logs"][0]["topics"]
    told[1], told[2] = told[1][:-2], "0xa0" + told[2][2:]
    with pytest.raises(MalformedData, match="topic of a wrong length"):
        answers.read(FACTS)


def test_a_logs_address_that_lost_a_byte_is_found(honest: Answers) -> None:
    honest.receipts[0]["logs"][0]["address"] = "0x" + TOKEN.hex()[:-2]
    with pytest.raises(MalformedData, match="address of a wrong length"):
        honest.read(FACTS)


def test_a_recipient_that_gained_a_byte_is_found() -> None:
    told = send("a", TOKEN).told
    with pytest.raises(MalformedData, match="20 bytes are some other number"):
        prove_one(told | {"to": told["to"] + "00"})


@pytest.mark.parametrize("where", ["address", "data"])
def test_what_precedes_the_digits_is_never_read(honest: Answers, where: str) -> None:
    """`0x` is not hashed: whatever a node writes in its place changes nothing that we see."""
    honest.receipts[0]["logs"][0][where] = "??" + honest.receipts[0]["logs"][0][where][2:]
    plain = ChainFacts(chain_id=31337, asset="ETH")
    assert honest.read(plain).proven.receipts[0].logs[0].address[2:] == TOKEN.hex()


def test_letters_in_upper_case_cannot_hide_a_token(honest: Answers) -> None:
    honest.receipts[0]["logs"][0]["address"] = "0x" + TOKEN.hex().upper()
    with pytest.raises(MalformedData, match="lower case"):
        honest.read(FACTS)
