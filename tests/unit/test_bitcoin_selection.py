"""Coin selection: exact to the satoshi (P1), within its bounds (P10), and no worse than it says."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptowatch.chains.bitcoin import selection as module
from cryptowatch.chains.bitcoin.selection import Selection, Terms, select_coins
from cryptowatch.chains.bitcoin.sizes import (
    dust_limit,
    fee_of,
    input_weight,
    marginal_fee,
    output_weight,
    transaction_weight,
)
from cryptowatch.chains.plans import Coin, Insufficient, Recipient
from cryptowatch.money import BaseUnits

P2WPKH, P2TR = b"\x00\x14" + bytes(20), b"\x51\x20" + bytes(32)
CHANGE = b"\x00\x14" + b"c" * 20


def coin(number: int, amount: int, script: bytes = P2WPKH) -> Coin:
    return Coin(number.to_bytes(36, "big"), BaseUnits(amount), script, (84, 0, number))


def pay(*amounts: int) -> list[Recipient]:
    return [Recipient(P2WPKH, BaseUnits(amount)) for amount in amounts]


def terms(fee_rate: int = 10_000, long_term: int = 10_000, **bounds: int) -> Terms:
    return Terms(fee_rate, long_term, CHANGE, **bounds)


def chosen(found: Selection | Insufficient) -> Selection:
    assert isinstance(found, Selection), found
    return found


amounts = st.integers(1, 5_000_000) | st.integers(1, 3_000)
scripts = st.sampled_from([P2WPKH, P2TR])


@st.composite
def tasks(draw: st.DrawFn) -> tuple[list[Coin], list[Coin], list[Recipient], Terms, Random]:
    drawn = draw(st.lists(st.tuples(amounts, scripts), max_size=60))
    coins = [coin(number, amount, script) for number, (amount, script) in enumerate(drawn)]
    required = draw(st.lists(st.sampled_from(coins), max_size=3, unique=True)) if coins else []
    limits = terms(
        draw(st.integers(100, 300_000)),
        draw(st.integers(1_000, 30_000)),
        inputs_max=draw(st.integers(3, 60)),
        weight_max=draw(st.sampled_from([400_000, 20_000, 5_000])),
    )
    recipients = pay(*draw(st.lists(st.integers(1_000, 10_000_000), min_size=1, max_size=10)))
    return coins, required, recipients, limits, Random(draw(st.integers(0, 2**32)))


@settings(max_examples=300, deadline=None)
@given(tasks())
def test_p1_whatever_is_chosen_adds_up_and_keeps_its_bounds(
    task: tuple[list[Coin], list[Coin], list[Recipient], Terms, Random],
) -> None:
    coins, required, recipients, limits, randomness = task
    found = select_coins(coins, recipients, limits, randomness, required)
    if isinstance(found, Insufficient):
        assert found.missing > 0
        return
    payments = sum(recipient.amount for recipient in recipients)
    assert sum(one.amount for one in found.inputs) == payments + found.change + found.fee
    assert len({one.resource for one in found.inputs}) == len(found.inputs)
    assert set(found.inputs) <= set(coins)
    assert list(found.inputs[: len(required)]) == required
    outputs = [recipient.destination for recipient in recipients] + [CHANGE] * (found.change > 0)
    assert found.weight == transaction_weight([one.destination for one in found.inputs], outputs)
    due = fee_of(found.weight, limits.fee_rate)
    spend_fee = marginal_fee(input_weight(CHANGE), limits.long_term_fee_rate)
    change_min = dust_limit(CHANGE) + spend_fee
    if found.change:
        assert found.change >= change_min
        assert found.fee == due
    else:
        change_fee = fee_of(found.weight + output_weight(CHANGE) + 8, limits.fee_rate) - due
        assert due <= found.fee <= due + change_min + change_fee
    for one in found.inputs[len(required) :]:
        assert one.amount > marginal_fee(input_weight(one.destination), limits.fee_rate)
    if len(found.inputs) > len(required):
        assert len(found.inputs) <= limits.inputs_max
        assert found.weight <= limits.weight_max


@settings(max_examples=200, deadline=None)
@given(tasks())
def test_it_gives_up_only_when_not_even_all_permitted_coins_would_do(
    task: tuple[list[Coin], list[Coin], list[Recipient], Terms, Random],
) -> None:
    coins, _, recipients, limits, randomness = task
    same_kind = [Coin(one.resource, one.amount, P2WPKH, one.key_path) for one in coins]
    found = select_coins(same_kind, recipients, limits, randomness)
    if isinstance(found, Selection):
        return
    fee_each = marginal_fee(input_weight(P2WPKH), limits.fee_rate)
    worth = sorted((one.amount - fee_each for one in same_kind), reverse=True)
    outputs = transaction_weight([], [P2WPKH] * (len(recipients) + 1)) + 8
    most = min(limits.inputs_max, max(0, limits.weight_max - outputs) // input_weight(P2WPKH))
    due = sum(recipient.amount for recipient in recipients) + marginal_fee(outputs + 3, limits.fee_rate)
    assert sum(value for value in worth[:most] if value > 0) < due


def test_p3_a_required_coin_is_kept_even_if_it_costs_more_than_it_is_worth() -> None:
    dear = terms(fee_rate=100_000)
    found = chosen(select_coins([coin(2, 500_000)], pay(100_000), dear, Random(1), required=[coin(1, 600)]))
    assert [one.amount for one in found.inputs] == [600, 500_000]


def test_nothing_is_added_when_the_required_coins_suffice() -> None:
    found = chosen(
        select_coins([coin(2, 500_000)], pay(100_000), terms(), Random(1), required=[coin(1, 300_000)])
    )
    assert [one.amount for one in found.inputs] == [300_000]
    assert found.change == 300_000 - 100_000 - found.fee


def test_a_required_coin_that_is_also_offered_is_used_once() -> None:
    both = coin(1, 300_000)
    found = chosen(select_coins([both, coin(2, 400_000)], pay(500_000), terms(), Random(1), required=[both]))
    assert [one.amount for one in found.inputs] == [300_000, 400_000]


def test_coins_that_fit_are_paid_out_without_change() -> None:
    exact = 250_000 + fee_of(transaction_weight([P2WPKH] * 2, [P2WPKH]), 10_000) + 200
    coins = [coin(n, 1_000_000 + n) for n in range(2, 20)] + [coin(0, exact - 100_000), coin(1, 100_000)]
    found = chosen(select_coins(coins, pay(250_000), terms(), Random(1)))
    assert (found.strategy, found.change, len(found.inputs)) == ("no change", 0, 2)


def test_high_fees_take_few_coins_and_low_fees_tidy_up_small_ones() -> None:
    coins = [coin(n, 20_000 + n) for n in range(500)] + [coin(1000 + n, 3_000_000 + 7 * n) for n in range(3)]
    high = chosen(select_coins(coins, pay(1_500_000), terms(40_000, 10_000), Random(1)))
    low = chosen(select_coins(coins, pay(1_500_000), terms(1_000, 10_000), Random(1)))
    assert high.strategy == "lightest"
    assert len(high.inputs) == 1
    assert len(low.inputs) > 20


def test_the_lightest_set_spares_the_largest_coin_when_a_smaller_one_does() -> None:
    coins = [coin(n, 1_000_000 * (n + 1)) for n in range(8)]
    found = chosen(select_coins(coins, pay(2_000_000), terms(40_000, 10_000), Random(1)))
    assert [one.amount for one in found.inputs] == [3_000_000]


def test_taproot_coins_are_taken_first_when_their_lower_weight_decides() -> None:
    coins = [coin(1, 2_000_000, P2WPKH), coin(2, 2_000_000, P2TR), coin(3, 1_900_000, P2WPKH)]
    found = chosen(select_coins(coins, pay(500_000), terms(40_000, 10_000), Random(1)))
    assert [one.destination for one in found.inputs] == [P2TR]


@pytest.mark.parametrize("amount", [100_000, 99_000])
def test_the_last_satoshi_can_be_paid_out(amount: int) -> None:
    """Also where only a small change is left: then it goes to the miner."""
    fee = fee_of(transaction_weight([P2WPKH], [P2WPKH]) + 8 + 3 + output_weight(CHANGE), 10_000)
    found = chosen(select_coins([coin(1, 100_000 + fee)], pay(amount), terms(), Random(1)))
    assert found.change == 0 or found.change >= dust_limit(CHANGE)


def test_too_little_says_how_much_is_missing() -> None:
    found = select_coins([coin(1, 50_000)], pay(100_000), terms(1_000), Random(1))
    assert isinstance(found, Insufficient)
    assert 50_000 < found.missing < 51_000


def test_without_any_coin_all_of_it_is_missing() -> None:
    found = select_coins([], pay(100_000), terms(1_000), Random(1))
    assert isinstance(found, Insufficient)
    assert found.missing > 100_000


def test_bounds_on_inputs_are_kept_even_if_more_coins_would_do() -> None:
    coins = [coin(n, 10_000) for n in range(100)]
    assert isinstance(select_coins(coins, pay(50_000), terms(1_000, inputs_max=5), Random(1)), Insufficient)
    found = chosen(select_coins(coins, pay(50_000), terms(1_000, inputs_max=6), Random(1)))
    assert len(found.inputs) == 6


def test_p10_the_search_ends_after_its_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIES_MAX", 50)
    coins = [coin(n, 100_000 + 2 * n) for n in range(2000)]
    found = chosen(select_coins(coins, pay(5_000_001), terms(), Random(1)))
    assert found.strategy == "random draw"


def test_the_same_randomness_gives_the_same_choice_and_another_one_another() -> None:
    coins = [coin(n, 100_000 + 1_000 * n) for n in range(300)]
    one, same, other = (select_coins(coins, pay(4_000_000), terms(2_000), Random(seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other
