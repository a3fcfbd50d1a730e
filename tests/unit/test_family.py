"""Transactions that spend one another's change: how deep, at what rate mined, and what a child pays for them."""

from dataclasses import replace
from itertools import pairwise
from uuid import UUID

import pytest

from cryptowatch.sending.family import Family, Member, Package, family_of

A, B, C, D = (UUID(int=number) for number in range(1, 5))


def member(
    fee: int, *parents: UUID, planned_height: int = 0, firm: bool = True, lost: bool = False
) -> Member:
    """Of 100 vB: ten times its fee is its rate."""
    return Member(fee, 100, planned_height, frozenset(parents), firm, lost)


#: A chain of three, and one beside it that spends of the first as well.
LINE = {A: member(500), B: member(1_000, A), C: member(3_000, B), D: member(100, A)}


def test_depth_is_the_longest_line_of_what_no_block_holds() -> None:
    family = family_of({**LINE, D: member(100, A, C)})
    assert [family.depth(one) for one in (A, B, C, D)] == [1, 2, 3, 4]
    assert family.ancestors([C]) == {A, B, C}


def test_depth_is_worked_out_once_however_many_ways_lead_down() -> None:
    """Two parents in each of sixty generations: a quintillion ways."""
    ids = [(UUID(int=2 * level + 1), UUID(int=2 * level + 2)) for level in range(60)]
    members = {one: member(500) for one in ids[0]}
    for below, above in pairwise(ids):
        members |= {one: member(500, *below) for one in above}
    family = family_of(members)
    assert [family.depth(pair[1]) for pair in ids] == list(range(1, 61))


def test_it_is_raised_through_the_descendants_that_nobody_stands_on() -> None:
    family = family_of(LINE)
    assert family.leaves(A) == [C, D]
    assert family.leaves(B) == [C]
    assert family.leaves(C) == []


def test_who_pays_for_others_lifts_them_and_who_stands_alone_has_no_offer() -> None:
    """C pays for A and B, as the three together pay more than A, or A and B, do; D is mined after them."""
    family = family_of(LINE)
    assert {family.offers[one] for one in (A, B, C)} == {Package(4_500, 300)}
    assert family.offers[D] == Package(100, 100)
    assert family_of({A: member(500)}).offers == {}


@pytest.mark.parametrize(("lifts", "since"), [(True, 9), (False, 7)])
def test_it_waits_since_the_last_one_that_was_to_raise_it_was_made(lifts: bool, since: int) -> None:
    child = replace(member(500, A, planned_height=9), lifts=lifts)
    family = family_of({A: member(500, planned_height=7), B: child})
    assert (family.waiting_since(A), family.waiting_since(B)) == (since, 9)


@pytest.mark.parametrize(
    ("parents", "rate", "short"),
    [
        ([], 20_000, 0),
        ([A], 5_000, 0),
        ([A], 5_001, 1),  # rounded up
        ([A], 20_000, 1_500),
        ([B], 20_000, 2_500),
        ([C], 20_000, 1_500),  # together they pay 15
        ([C], 15_000, 0),
        ([C, D], 15_000, 1_400),  # D does not share in what the others pay too much
        ([C, D], 20_000, 3_400),
        ([A, B], 20_000, 2_500),  # no ancestor is paid for twice
    ],
)
def test_a_child_pays_what_the_packages_of_its_ancestors_lack(
    parents: list[UUID], rate: int, short: int
) -> None:
    assert family_of(LINE).shortfall(parents, rate) == short


@pytest.mark.parametrize(
    ("parents", "rate", "instead_of", "left"),
    [
        ([A], 15_000, None, 0),  # C lifts it
        ([A], 15_000, C, 1_000),  # it is C that is to be replaced
        ([B], 15_000, C, 1_500),
        ([A], 15_000, D, 0),
        ([A], 16_000, D, 1_100),  # no further than that
        ([C, D], 15_000, None, 1_400),
    ],
)
def test_what_others_children_pay_is_not_paid_again(
    parents: list[UUID], rate: int, instead_of: UUID | None, left: int
) -> None:
    assert family_of(LINE).left_to_pay(parents, rate, instead_of) == left


def test_related_is_who_is_reached_by_parents_and_children() -> None:
    family = family_of({**LINE, UUID(int=9): member(100)})
    assert all(family.related(one) == {A, B, C, D} for one in (A, B, C, D))
    assert family.related(UUID(int=9)) == {UUID(int=9)}


def test_a_rich_ancestor_does_not_make_up_for_a_poor_descendant() -> None:
    """It is mined for itself before."""
    family = family_of({A: member(9_000), B: member(100, A)})
    assert family.shortfall([B], 10_000) == 900


def _spendable(family: Family, depth_max: int = 9, least_rate: int = 1_000) -> list[UUID]:
    return sorted(family.spendable(depth_max, least_rate))


def test_change_is_spent_of_what_is_firm_not_too_deep_and_mined_for_the_rate() -> None:
    assert _spendable(family_of(LINE)) == [A, B, C, D]
    assert _spendable(family_of(LINE), depth_max=2) == [A, B, D]
    assert _spendable(family_of(LINE), depth_max=0) == []
    # C lifts A and B with it.
    assert _spendable(family_of(LINE), least_rate=15_000) == [A, B, C]
    assert _spendable(family_of({A: member(500, firm=False), B: member(500, A), C: member(500)})) == [C]


@pytest.mark.parametrize(
    ("signed", "taken", "planned_height", "floor", "is_idle"),
    [
        (True, False, 7, 1_000, True),
        (True, False, 8, 1_000, False),  # it has had two blocks, not three
        (True, True, 0, 1_000, False),  # a full mempool dropped it, if it is not there
        (True, False, 0, 45_001, False),  # it is the fee that keeps it out
        (True, False, 0, 45_000, True),
        (True, False, 0, 0, False),  # nobody knows what is relayed
        (False, False, 7, 0, True),
        (False, False, 8, 0, False),
    ],
)
def test_a_child_that_nobody_has_holds_up_nobody_after_so_many_blocks(
    signed: bool, taken: bool, planned_height: int, floor: int, is_idle: bool
) -> None:
    child = Member(8_500, 100, planned_height, frozenset([A]), signed=signed, taken=taken)
    family = family_of({A: member(500), B: child, C: replace(member(100, B, planned_height=10), taken=taken)})
    assert family.offers[B].rate == 45_000
    rest = family.without_idle(10, 3, floor)
    assert set(rest.members) == ({A} if is_idle else {A, B, C})
    assert rest.left_out[A] == ({B} if is_idle else set())
    assert rest.leaves(A) == ([] if is_idle else [C])


def test_one_that_stands_on_nothing_of_ours_is_raised_whoever_has_it() -> None:
    """Nobody is held up by it."""
    family = family_of({A: Member(500, 100, 0, signed=False, taken=False)})
    assert set(family.without_idle(10, 3, 1_000).members) == {A}


def test_what_stands_on_a_loser_is_lost() -> None:
    family = family_of({A: member(500, lost=True), B: member(500, A), C: member(500)})
    assert [family.is_lost(one) for one in (A, B, C)] == [True, True, False]


def test_who_took_a_child_had_what_it_stands_on() -> None:
    """Full mempools dropped it, and took it back together with the child that pays for it."""
    never = replace(member(500, A), taken=False)
    family = family_of({A: member(1_000), B: never, C: member(3_000, B)})
    assert family.without_idle(9, 3, 1_000) is family
    alone = family_of({A: member(1_000), B: never, C: replace(member(3_000, B), taken=False)})
    assert set(alone.without_idle(9, 3, 1_000).members) == {A}
