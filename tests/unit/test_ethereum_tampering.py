"""P5 by chance: whatever is changed in a node's answers is found, or changes nothing of what we see."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptowatch.chains.ethereum.facts import ChainFacts, Token
from cryptowatch.chains.ethereum.rlp import MalformedData
from cryptowatch.chains.watchset import WatchList
from cryptowatch.devnet.ethereum.artifacts import contract
from tests.support.ethereum_blocks import (
    Answers,
    account,
    authorize,
    block_of,
    log,
    send,
    transfer_log,
)

WALLET, PLAYER, PAYOUTS, USDC = account("wallet"), account("player"), account("payouts"), account("usdc")
FACTS = ChainFacts(
    chain_id=31337, asset="ETH", tokens={USDC: Token("USDC", 12)}, payouts=PAYOUTS, vault=WALLET
)
WATCHED = WatchList([WALLET, PLAYER])

#: All that matters to us stands in it once.
HONEST = block_of(
    send("stranger", PLAYER, 5, kind=0, nonce=200),
    send("stranger", USDC, data=b"\x01" * 70, kind=1, logs=[transfer_log(USDC, account("x"), PLAYER, 7)]),
    send(
        "wallet",
        PAYOUTS,
        data=contract("Payouts").call("payTokens", USDC, [account("a"), account("b")], [5, 6]),
        logs=[
            transfer_log(USDC, WALLET, account("a"), 5),
            log(PAYOUTS, [b"\xa0" * 32, b"\xa0" * 32], b"\xa0"),
        ],
        nonce=3,
    ),
    send("stranger", PLAYER, kind=4, authorizations=[authorize("player", USDC, 0)], nonce=128),
    send("wallet", PLAYER, 9, status=0, nonce=4),
)
SEEN = HONEST.read(FACTS).contents(WATCHED)

#: Where a text stands: the keys on the way to it.
Place = tuple[str | int, ...]


def places(told: Any, so_far: Place = ()) -> Iterator[Place]:
    if isinstance(told, str):
        yield so_far
    elif isinstance(told, dict):
        for name, value in told.items():
            yield from places(value, (*so_far, name))
    elif isinstance(told, list):
        for number, value in enumerate(told):
            yield from places(value, (*so_far, number))


def copied() -> Answers:
    return replace(HONEST, block=deepcopy(HONEST.block), receipts=deepcopy(HONEST.receipts))


def parts(answers: Answers) -> dict[str, Any]:
    return {"block": answers.block, "receipts": answers.receipts}


PLACES = list(places(parts(HONEST)))


def holder(answers: Answers, place: Place) -> Any:
    found: Any = parts(answers)
    for step in place[:-1]:
        found = found[step]
    return found


def assert_found_or_harmless(answers: Answers) -> None:
    try:
        seen = answers.read(FACTS).contents(WATCHED)
    except (MalformedData, msgspec.ValidationError):
        return
    assert seen == SEEN


@given(
    place=st.sampled_from(PLACES),
    start=st.integers(0, 600),
    removed=st.integers(0, 3),
    added=st.text(alphabet="0123456789abcdefABCDEFxX _-+?\n１", max_size=3),
)
@settings(max_examples=600, deadline=None)
def test_a_text_that_was_tampered_with(place: Place, start: int, removed: int, added: str) -> None:
    answers = copied()
    within = holder(answers, place)
    text = within[place[-1]]
    start %= len(text) + 1
    within[place[-1]] = text[:start] + added + text[start + removed :]
    assert_found_or_harmless(answers)


@given(first=st.sampled_from(PLACES), second=st.sampled_from(PLACES), digits=st.integers(-4, 4))
@settings(max_examples=600, deadline=None)
def test_digits_moved_from_one_text_to_another(first: Place, second: Place, digits: int) -> None:
    """With 0, the texts change places."""
    answers = copied()
    here, there = holder(answers, first), holder(answers, second)
    one, other = here[first[-1]], there[second[-1]]
    if digits == 0:
        here[first[-1]], there[second[-1]] = other, one
    elif digits > 0:
        here[first[-1]], there[second[-1]] = one[:-digits], "0x" + one[-digits:] + other[2:]
    else:
        here[first[-1]], there[second[-1]] = one + other[2 : 2 - digits], "0x" + other[2 - digits :]
    assert_found_or_harmless(answers)


@given(place=st.sampled_from([place for place in PLACES if len(place) > 1]), repeated=st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_field_or_item_that_is_missing_or_doubled(place: Place, repeated: bool) -> None:
    answers = copied()
    within = holder(answers, place)
    if repeated and isinstance(within, list):
        within.insert(int(place[-1]), within[int(place[-1])])
    else:
        del within[place[-1]]
    assert_found_or_harmless(answers)
