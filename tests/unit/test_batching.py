"""When a batch of payouts leaves, who is in it, and that nobody waits for ever."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import hypothesis.strategies as st
from hypothesis import given

from cryptowatch.payouts.batching import Queued, due_batches

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COUNT_MAX, WAIT_MAX_S = 5, 30.0


def waiting(*ages_s: float, priority: str = "normal", amount: int = 10) -> list[Queued]:
    return [
        Queued(UUID(int=number), priority, NOW - timedelta(seconds=age_s), amount, "BTC")
        for number, age_s in enumerate(ages_s)
    ]


def due(queue: list[Queued], amount_max: int | None = None) -> list[int]:
    limits = {} if amount_max is None else {"BTC": amount_max}
    batches = due_batches(queue, NOW, count_max=COUNT_MAX, wait_max_s=WAIT_MAX_S, amounts_max=limits)
    return [item.int for batch in batches for item in batch]


def test_an_empty_queue_sends_nothing() -> None:
    assert due([]) == []


def test_a_batch_leaves_when_the_oldest_waited_long_enough_and_not_before() -> None:
    assert due(waiting(29.9, 1)) == []
    assert due(waiting(30, 1)) == [0, 1]


def test_a_full_batch_leaves_at_once_and_one_less_waits() -> None:
    assert due(waiting(*[1] * (COUNT_MAX - 1))) == []
    assert due(waiting(*[1] * COUNT_MAX)) == [0, 1, 2, 3, 4]


def test_an_urgent_withdrawal_leaves_at_once_and_takes_others_along() -> None:
    urgent = Queued(UUID(int=9), "urgent", NOW, 10, "BTC")
    assert due([*waiting(1, 2), urgent]) == [9, 1, 0]
    assert due(waiting(1, 2, priority="economy")) == []


def test_the_oldest_go_first_when_not_all_fit() -> None:
    assert due(waiting(31, 36, 32, 35, 33, 34)) == [1, 3, 5, 4, 2]


def test_a_batch_pays_no_more_than_the_signer_allows_and_smaller_ones_fill_it_up() -> None:
    queue = [
        Queued(UUID(int=number), "normal", NOW - timedelta(seconds=40 - number), amount, "BTC")
        for number, amount in enumerate([60, 50, 30, 10])
    ]
    assert due(queue, amount_max=100) == [0, 2, 3]


def test_one_that_is_too_large_for_the_signer_goes_alone_so_that_a_person_hears_of_it() -> None:
    assert due([*waiting(40, amount=200), *waiting(39)], amount_max=100)[:1] == [0]


queues = st.lists(
    st.builds(
        Queued,
        st.uuids(),
        st.sampled_from(["urgent", "normal", "economy"]),
        st.floats(0, 100).map(lambda age_s: NOW - timedelta(seconds=age_s)),
        st.integers(1, 100),
        st.sampled_from(["BTC", "USDT"]),
        st.booleans(),
    ),
    max_size=20,
    unique_by=lambda item: item.id,
)


def test_one_transaction_pays_one_asset_and_that_of_the_first_in_line_comes_first() -> None:
    other = [replace(item, id=UUID(int=100 + item.id.int), asset="USDT") for item in waiting(50, 45)]
    batches = due_batches([*waiting(40, 35), *other], NOW, count_max=COUNT_MAX, wait_max_s=WAIT_MAX_S)
    assert [[item.int for item in batch] for batch in batches] == [[100, 101], [0, 1]]


def test_an_asset_whose_turn_has_not_come_leaves_another_one_its_own() -> None:
    other = [replace(item, id=UUID(int=100 + item.id.int), asset="USDT") for item in waiting(10)]
    assert due([*waiting(31), *other]) == [0]


def test_what_failed_in_a_batch_once_goes_alone_and_holds_up_nobody() -> None:
    first, *others = waiting(40, 39, 38)
    assert due([replace(first, alone=True), *others]) == [0]
    assert due([first, replace(others[0], alone=True), others[1]]) == [0, 2]


@given(queues, st.none() | st.integers(1, 300))
def test_a_batch_is_bounded_and_the_first_in_line_of_its_asset_is_in_it(
    queue: list[Queued], amount_max: int | None
) -> None:
    limits = {} if amount_max is None else {"BTC": amount_max, "USDT": amount_max}
    batches = due_batches(queue, NOW, count_max=COUNT_MAX, wait_max_s=WAIT_MAX_S, amounts_max=limits)
    by_id = {item.id: item for item in queue}
    for chosen in batches:
        assert len(set(chosen)) == len(chosen) <= COUNT_MAX
        assert set(chosen) <= by_id.keys()
        [asset] = {by_id[one].asset for one in chosen}
        first = min((item for item in queue if item.asset == asset), key=turn)
        assert chosen[0] == first.id
        assert len(chosen) == 1 or not any(by_id[one].alone for one in chosen)
        assert amount_max is None or len(chosen) == 1 or sum(by_id[i].amount for i in chosen) <= amount_max
    leaving = {by_id[batch[0]].asset for batch in batches}
    for item in queue:
        waits = item.priority != "urgent" and (NOW - item.queued_at).total_seconds() < WAIT_MAX_S
        assert waits or item.asset in leaving


def turn(item: Queued) -> tuple[bool, datetime, UUID]:
    return item.priority != "urgent", item.queued_at, item.id
