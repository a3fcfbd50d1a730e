"""What events tell of a deposit is what the API shows of it, to the byte, however it is put together."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import msgspec
from hypothesis import given

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.deposits.machine import Deposit, State
from cryptowatch.deposits.view import deposit_json, deposit_view, standing_json
from cryptowatch.ids import Kind, show_id
from cryptowatch.money import AMOUNT_MAX

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
DEPOSITS = st.builds(
    Deposit,
    st.sampled_from(State),
    st.integers(1, 100),
    st.integers(1, 100),
    st.none() | st.builds(BlockPoint, st.integers(0, 10**9), st.binary(min_size=32, max_size=32)),
    st.integers(0, 5),
    st.none() | TEXTS,
)


OWN = st.fixed_dictionaries(
    {
        "account_id": st.uuids(),
        "chain": TEXTS,
        "asset": TEXTS,
        "amount": st.integers(1, AMOUNT_MAX),
        "decimals": st.integers(0, 30),
        "tx_hash": st.binary(max_size=40),
        "position": st.integers(0, 2**40),
        "address": TEXTS,
    }
)
SHARED = st.fixed_dictionaries(
    {
        "deposit": DEPOSITS,
        "head_height": st.integers(0, 10**9),
        "conflict": st.none() | st.binary(min_size=32, max_size=32),
        "created_at": TIMES,
        "updated_at": TIMES,
    }
)


@given(deposit_id=st.uuids(), own=OWN, shared=SHARED)
def test_the_event_tells_what_the_api_shows(
    deposit_id: UUID, own: dict[str, Any], shared: dict[str, Any]
) -> None:
    shown = msgspec.json.encode(deposit_view(deposit_id=deposit_id, **own, **shared))
    standing = standing_json(**shared)
    told = deposit_json(shown_id=show_id(Kind.DEPOSIT, deposit_id), standing=standing, **own)
    assert told.encode() == shown
