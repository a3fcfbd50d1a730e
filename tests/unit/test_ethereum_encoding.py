"""keccak, RLP and tries: published vectors, and the same as the reference implementations give."""

import pytest
import rlp as reference
from hypothesis import given
from hypothesis import strategies as st

from cryptowatch.chains.ethereum import rlp
from cryptowatch.chains.ethereum.keccak import keccak
from cryptowatch.chains.ethereum.rlp import MalformedData
from cryptowatch.chains.ethereum.trie import EMPTY_ROOT, ordered_root
from tests.support.ethereum_blocks import root_of


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        # The Keccak team's ShortMsgKAT_256.txt, lengths 0 and 8.
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"\xcc", "eead6dbfc7340a56caedc044696a168870549a6a7f6f56961e84a54bd9970b8a"),
        # Known from every token's logs.
        (
            b"Transfer(address,address,uint256)",
            "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
        ),
    ],
)
def test_keccak_is_the_original_and_not_sha3(data: bytes, digest: str) -> None:
    assert keccak(data).hex() == digest


@given(data=st.binary(max_size=6000))
def test_a_string_is_encoded_as_the_reference_does(data: bytes) -> None:
    assert rlp.string(data.hex()) == reference.encode(data).hex()


@given(value=st.integers(0, 1 << 256))
def test_a_number_is_encoded_as_the_reference_does(value: int) -> None:
    assert rlp.number(value) == reference.encode(value).hex()


@given(items=st.lists(st.binary(max_size=300), max_size=30))
def test_a_list_is_encoded_as_the_reference_does(items: list[bytes]) -> None:
    assert rlp.listed("".join(rlp.string(item.hex()) for item in items)) == reference.encode(items).hex()


@pytest.mark.parametrize("length", [55, 56, 255, 256, 4095, 4096, 65_535, 65_536])
def test_a_length_takes_as_many_bytes_as_it_must(length: int) -> None:
    data = b"\x01" * length
    assert rlp.string(data.hex()) == reference.encode(data).hex()
    assert rlp.listed(data.hex()) == reference.encode([1] * length).hex()


@pytest.mark.parametrize("digits", ["AB", "ab cd", "0g", "a", " ", "ab\n", "１２"])
def test_digits_that_no_node_writes_are_refused(digits: str) -> None:
    with pytest.raises(MalformedData):
        rlp.raw(digits)


def test_half_a_byte_is_refused_before_it_shifts_what_follows() -> None:
    with pytest.raises(MalformedData, match="odd"):
        rlp.string("abc")


def test_the_root_of_nothing_is_the_known_one() -> None:
    assert ordered_root([]) == EMPTY_ROOT == root_of([])


@given(items=st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=40))
def test_a_root_is_the_one_that_the_reference_gives(items: list[bytes]) -> None:
    assert ordered_root([item.hex() for item in items]) == root_of(items)


@pytest.mark.parametrize("count", [1, 2, 16, 17, 127, 128, 129, 255, 256, 257, 300])
def test_a_root_is_right_where_keys_grow_longer(count: int) -> None:
    items = [b"%d" % place * 20 for place in range(count)]
    assert ordered_root([item.hex() for item in items]) == root_of(items)
