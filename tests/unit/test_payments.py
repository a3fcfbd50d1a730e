"""The payment planner: everybody gets theirs, replacements keep every input, plans survive the disk."""

import functools

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import assume, given, settings

from cryptowatch.chains.bitcoin.payments import BitcoinPlan, BitcoinPlanner
from cryptowatch.chains.bitcoin.sizes import dust_limit
from cryptowatch.chains.bitcoin.transaction import read_transaction
from cryptowatch.chains.plans import Bid, Coin, Insufficient, Reach, Recipient
from cryptowatch.money import BaseUnits
from cryptowatch.signing.bitcoin import sign
from cryptowatch.signing.messages import KeyPath
from tests.support.wallet import ACCOUNTS

PLANNER = BitcoinPlanner(long_term_fee_rate=10_000)
#: One relay increment per virtual byte (BIP125 rule 4).
INCREMENT = 1


@functools.cache
def script_at(scheme: int, branch: int, index: int) -> bytes:
    return ACCOUNTS.key(KeyPath("bip84" if scheme == 84 else "bip86", 1 if branch else 0, index)).script


def coin(number: int, amount: int, scheme: int = 84) -> Coin:
    path = (scheme, 0, number)
    return Coin(bytes([number]) * 32 + bytes(4), BaseUnits(amount), script_at(*path), path)


CHANGE = [Coin(b"", BaseUnits(0), script_at(84, 1, index), (84, 1, index)) for index in range(7, 11)]
coins = st.lists(
    st.tuples(st.integers(1_000, 10**8), st.sampled_from([84, 86])), min_size=1, max_size=12
).map(lambda found: [coin(number, amount, scheme) for number, (amount, scheme) in enumerate(found)])
recipients = st.lists(
    st.builds(
        Recipient,
        st.sampled_from([b"\x00\x14" + b"\x11" * 20, b"\x51\x20" + b"\x22" * 32, b"\x00\x20" + b"\x33" * 32]),
        st.integers(600, 3 * 10**7).map(BaseUnits),
    ),
    min_size=1,
    max_size=10,
)
rates = st.integers(1_000, 100_000)
seeds = st.integers(0, 2**64 - 1)


def planned(
    offered: list[Coin], payees: list[Recipient], rate: int, seed: int = 1, parts: int = 1
) -> BitcoinPlan | Insufficient:
    return PLANNER.plan(offered, payees, CHANGE[:parts], Bid(rate), seed)


def check(plan: BitcoinPlan, offered: list[Coin], payees: list[Recipient], rate: int) -> None:
    """What holds of every plan, first or bumped."""
    known = {one.resource: one for one in offered}
    used = [known[resource] for resource in plan.resources]
    outputs = plan.transaction.outputs
    assert len(set(plan.resources)) == len(plan.resources)
    assert [one.key_path for one in used] == list(plan.input_paths)
    assert sum(one.amount for one in used) == sum(output.amount for output in outputs) + plan.fee
    paid = [Recipient(outputs[place].script, outputs[place].amount) for place in plan.positions]
    assert paid == payees
    assert len(outputs) == len(payees) + len(plan.change_positions)
    assert set(plan.change_positions).isdisjoint(plan.positions)
    back = [outputs[place] for place in plan.change_positions]
    assert [output.script for output in back] == [key.destination for key in CHANGE[: len(back)]]
    assert all(output.amount >= dust_limit(output.script) for output in back)
    assert len(back) <= 1 or min(output.amount for output in back) >= PLANNER.change_min
    assert plan.coins_back == [
        Coin(
            plan.tx_hash + place.to_bytes(4, "big"),
            outputs[place].amount,
            outputs[place].script,
            key.key_path,
        )
        for place, key in zip(plan.change_positions, CHANGE, strict=False)
    ]
    assert plan.fee * 1000 >= rate * plan.size
    assert PLANNER.read(plan.to_json()) == plan


@settings(deadline=None)
@given(coins, recipients, rates, seeds, st.integers(1, 4))
def test_a_plan_pays_everybody_exactly_and_the_fee_it_says(
    offered: list[Coin], payees: list[Recipient], rate: int, seed: int, parts: int
) -> None:
    plan = planned(offered, payees, rate, seed, parts)
    if isinstance(plan, Insufficient):
        assert plan.missing > 0
        most = sum(one.amount for one in offered)
        assert most < sum(payee.amount for payee in payees) + rate * (100 * len(offered) + 500) // 1000 * 4
        return
    check(plan, offered, payees, rate)
    assert planned(offered, payees, rate, seed, parts) == plan


@settings(deadline=None, max_examples=30)
@given(coins, recipients, rates, st.integers(1, 4))
def test_what_is_signed_is_what_was_planned_and_no_larger(
    offered: list[Coin], payees: list[Recipient], rate: int, parts: int
) -> None:
    plan = planned(offered, payees, rate, parts=parts)
    assume(isinstance(plan, BitcoinPlan))
    assert isinstance(plan, BitcoinPlan)
    keys = [
        ACCOUNTS.key(KeyPath("bip84" if scheme == 84 else "bip86", 1 if branch else 0, index))
        for scheme, branch, index in plan.input_paths
    ]
    signed = read_transaction(sign(plan.transaction, keys))
    assert signed.txid == plan.tx_hash
    assert signed.vsize <= plan.size


@settings(deadline=None)
@given(coins, recipients, rates, st.lists(st.integers(0, 50_000), min_size=1, max_size=3), st.integers(1, 4))
def test_a_replacement_keeps_every_input_and_payment_and_pays_what_nodes_relay(
    offered: list[Coin], payees: list[Recipient], rate: int, raises: list[int], parts: int
) -> None:
    plan = planned(offered, payees, rate, parts=parts)
    assume(isinstance(plan, BitcoinPlan))
    assert isinstance(plan, BitcoinPlan)
    for more in raises:
        rate += more
        bumped = PLANNER.bump(PLANNER.read(plan.to_json()), Bid(rate))
        if isinstance(bumped, Insufficient):
            assert bumped.missing > 0
            return
        assert set(plan.resources) == set(bumped.resources)
        assert bumped.fee >= plan.fee + INCREMENT * bumped.size
        assert bumped.tx_hash != plan.tx_hash
        assert [key[:2] for key in bumped.change] == [key[:2] for key in plan.change]
        check(bumped, offered, payees, rate)
        plan = bumped


@settings(deadline=None)
@given(coins, recipients, recipients, rates, st.integers(0, 50_000), st.integers(1, 4))
def test_those_who_join_a_replacement_stand_behind_the_others_and_it_is_relayed(
    offered: list[Coin], payees: list[Recipient], more: list[Recipient], rate: int, raised: int, parts: int
) -> None:
    plan = planned(offered, payees, rate, parts=parts)
    assume(isinstance(plan, BitcoinPlan))
    assert isinstance(plan, BitcoinPlan)
    joint = PLANNER.join(plan, Bid(rate + raised), more)
    if isinstance(joint, Insufficient):
        assert joint.missing > 0
        return
    assert set(plan.resources) == set(joint.resources)
    assert joint.fee >= plan.fee + INCREMENT * joint.size
    check(joint, offered, [*payees, *more], rate + raised)
    # Each later attempt pays them, too.
    again = PLANNER.bump(joint, Bid(rate + raised))
    if isinstance(again, BitcoinPlan):
        check(again, offered, [*payees, *more], rate + raised)


@settings(deadline=None)
@given(coins, recipients, rates, st.integers(1, 4))
def test_what_a_plan_can_be_raised_to_a_replacement_of_that_size_pays(
    offered: list[Coin], payees: list[Recipient], rate: int, parts: int
) -> None:
    plan = planned(offered, payees, rate, parts=parts)
    assume(isinstance(plan, BitcoinPlan) and plan.change_positions)
    assert isinstance(plan, BitcoinPlan)
    reach = PLANNER.reach(plan)
    assert reach.size <= plan.size and reach.fee >= plan.fee
    bumped = PLANNER.bump(plan, Bid(reach.fee * 1000 // reach.size))
    if reach.fee < PLANNER.cover(plan, plan.fee) + INCREMENT * plan.size:
        return  # too little for nodes to relay any
    assert isinstance(bumped, BitcoinPlan)
    assert bumped.size <= reach.size
    assert bumped.fee >= reach.fee - bumped.size


def test_without_change_nothing_is_raised() -> None:
    plan = planned([coin(1, 100_000)], [Recipient(b"\x00\x14" + bytes(20), BaseUnits(99_000))], 5_000)
    assert isinstance(plan, BitcoinPlan) and not plan.change_positions
    assert PLANNER.reach(plan) == Reach(plan.size, plan.fee)


@given(recipients, rates)
def test_alone_they_would_cost_what_a_transaction_of_one_coin_with_change_costs(
    payees: list[Recipient], rate: int
) -> None:
    amount = sum(payee.amount for payee in payees) + 10**8
    plan = planned([coin(1, amount)], payees, rate)
    assert isinstance(plan, BitcoinPlan)
    assert plan.change_positions
    assert PLANNER.fee_alone(payees, Bid(rate)) == plan.fee


def test_a_replacement_takes_its_fee_from_the_change() -> None:
    plan = planned([coin(1, 10**8)], [Recipient(b"\x00\x14" + bytes(20), BaseUnits(10**7))], 5_000)
    assert isinstance(plan, BitcoinPlan)
    bumped = PLANNER.bump(plan, Bid(10_000))
    assert isinstance(bumped, BitcoinPlan)
    assert bumped.resources == plan.resources


def test_a_replacement_without_change_says_what_is_missing() -> None:
    payee = Recipient(b"\x00\x14" + bytes(20), BaseUnits(10**7 - 600))
    plan = planned([coin(1, 10**7)], [payee], 5_000)
    assert isinstance(plan, BitcoinPlan)
    assert plan.change_positions == ()
    short = PLANNER.bump(plan, Bid(10_000))
    assert isinstance(short, Insufficient)
    assert short.missing > 0


def test_the_change_stands_anywhere_and_the_positions_follow_it() -> None:
    payees = [Recipient(bytes([0, 20]) + bytes([number]) * 20, BaseUnits(10**6)) for number in range(4)]
    plans = [planned([coin(1, 10**8)], payees, 5_000, seed) for seed in range(60)]
    places = {plan.change_positions for plan in plans if isinstance(plan, BitcoinPlan)}
    assert places == {(0,), (1,), (2,), (3,), (4,)}


@pytest.mark.parametrize(
    ("change", "parts"), [(50_000, 1), (199_000, 1), (203_000, 2), (310_000, 3), (410_000, 4), (10**7, 4)]
)
def test_change_is_split_into_parts_none_of_which_is_too_small(change: int, parts: int) -> None:
    payee = Recipient(b"\x00\x14" + bytes(20), BaseUnits(10**7))
    plan = planned([coin(1, 10**7 + change)], [payee], 5_000, parts=4)
    assert isinstance(plan, BitcoinPlan)
    back = [one.amount for one in plan.coins_back]
    assert len(back) == parts == len(set(back))
    assert len(plan.change) == 4, "a replacement knows the keys of all of them"


def test_a_replacement_gives_up_parts_of_the_change_before_payments() -> None:
    payee = Recipient(b"\x00\x14" + bytes(20), BaseUnits(10**7))
    plan = planned([coin(1, 10**7 + 402_000)], [payee], 1_000, parts=4)
    assert isinstance(plan, BitcoinPlan)
    found = []
    for rate in (5_000, 400_000, 900_000):
        bumped = PLANNER.bump(plan, Bid(rate))
        assert isinstance(bumped, BitcoinPlan)
        found.append(len(bumped.change_positions))
        plan = bumped
    assert found == [4, 3, 2]


def test_a_document_that_no_plan_wrote_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        PLANNER.read(b"{")
    with pytest.raises(msgspec.ValidationError):
        PLANNER.read(b"{}")
