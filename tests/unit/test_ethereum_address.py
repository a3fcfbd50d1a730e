"""Address texts: EIP-55's vectors, and what is refused because money sent there would be gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptowatch.chains.ethereum.address import address_of, read_address
from cryptowatch.chains.ethereum.facts import ChainFacts, Token
from cryptowatch.chains.port import InvalidAddress

USDT = bytes.fromhex("dac17f958d2ee523a2206206994597c13d831ec7")
PAYOUTS, SWEEPER, VAULT = b"\x0a" * 20, b"\x0b" * 20, b"\x0c" * 20
FACTS = ChainFacts(
    chain_id=1, asset="ETH", tokens={USDT: Token("USDT")}, payouts=PAYOUTS, sweeper=SWEEPER, vault=VAULT
)

#: EIP-55, "Test Cases".
PUBLISHED = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


@pytest.mark.parametrize("text", PUBLISHED)
def test_a_published_address_is_read_and_shown_with_its_checksum(text: str) -> None:
    account = read_address(text, FACTS)
    assert account == bytes.fromhex(text[2:])
    assert address_of(account) == text


@pytest.mark.parametrize("text", PUBLISHED)
def test_letters_of_one_case_carry_no_checksum_and_are_taken(text: str) -> None:
    account = bytes.fromhex(text[2:])
    assert read_address(text.lower(), FACTS) == account
    assert read_address("0x" + text[2:].upper(), FACTS) == account


@pytest.mark.parametrize("place", [i for i in range(2, 42) if PUBLISHED[4][i].isalpha()])
def test_a_letter_in_the_wrong_case_is_a_typing_error(place: int) -> None:
    text = PUBLISHED[4]
    wrong = text[:place] + text[place].swapcase() + text[place + 1 :]
    refusal = read_address(wrong, FACTS)
    assert isinstance(refusal, InvalidAddress) and "checksum" in refusal.reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        PUBLISHED[0][2:],
        PUBLISHED[0][:-1],
        PUBLISHED[0] + "0",
        " " + PUBLISHED[0],
        PUBLISHED[0] + "\n",
        "0X" + PUBLISHED[0][2:],
        "0x" + "g" * 40,
        "0x" + "１" * 40,
        "vitalik.eth",
        "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
    ],
)
def test_anything_else_is_no_address(text: str) -> None:
    refusal = read_address(text, FACTS)
    assert isinstance(refusal, InvalidAddress) and "not an address" in refusal.reason


@pytest.mark.parametrize(
    ("account", "why"),
    [
        (bytes(20), "zero address"),
        (bytes(19) + b"\x01", "network itself"),
        (bytes(19) + b"\x11", "network itself"),
        (bytes(18) + b"\x01\x00", "network itself"),
        (USDT, "token USDT"),
        (PAYOUTS, "own contracts"),
        (SWEEPER, "own contracts"),
    ],
)
def test_an_account_that_is_nobodys_is_refused(account: bytes, why: str) -> None:
    refusal = read_address("0x" + account.hex(), FACTS)
    assert isinstance(refusal, InvalidAddress) and why in refusal.reason


def test_an_ordinary_low_address_is_somebodys() -> None:
    account = bytes(17) + b"\x01\x00\x00"
    assert read_address("0x" + account.hex(), FACTS) == account


@given(account=st.binary(min_size=20, max_size=20).filter(lambda a: a[0] > 0x0C and a != USDT))
def test_what_is_shown_reads_as_the_same_account(account: bytes) -> None:
    assert read_address(address_of(account), FACTS) == account
