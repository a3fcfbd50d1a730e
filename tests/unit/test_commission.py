"""What agents earn: shares, levels, what is carried over, and that no level ever pays more than it earns."""

from dataclasses import replace
from datetime import date
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cryptowatch.agents.anomalies import Anomaly, AnomalyRules, Facts, anomalies
from cryptowatch.agents.commission import Agent, Played, settle
from cryptowatch.agents.plans import (
    ANY,
    WHOLE_BP,
    Period,
    Plan,
    begin_of,
    capped,
    exceeding,
    next_begin,
    rate,
)

MASTER, SUB, OTHER, LOW = (UUID(int=n) for n in range(1, 5))
HALF = Plan({ANY: 5000})
FORTY = Plan({ANY: 4000})


def lost(amount: int) -> dict[str, Played]:
    return {"slots": Played(bet=amount)}


def won(amount: int) -> dict[str, Played]:
    return {"slots": Played(win=amount)}


def amounts(
    agents: list[Agent], played: dict[UUID, dict[str, Played]], carried: dict[UUID, int] | None = None
) -> dict[UUID, int]:
    return {id_: one.amount for id_, one in settle(agents, played, carried or {}).items()}


def test_an_agent_gets_its_share_of_what_its_players_lost() -> None:
    played = {MASTER: {"slots": Played(bet=1000, win=300, refund=100, bonus=50)}}
    assert amounts([Agent(MASTER, None, HALF)], played) == {MASTER: 275}


def test_a_turnover_plan_pays_also_when_players_win() -> None:
    played = {MASTER: {"slots": Played(bet=1000, win=5000, refund=100)}}
    assert amounts([Agent(MASTER, None, Plan(turnover={ANY: 100}))], played) == {MASTER: 9}
    hybrid = Plan({ANY: 5000}, {ANY: 100}, carry_over=False)
    assert amounts([Agent(MASTER, None, hybrid)], played) == {MASTER: 9}
    carrying = settle([Agent(MASTER, None, replace_carry(hybrid, carry_over=True))], played, {})[MASTER]
    assert (carrying.amount, carrying.carry_out) == (0, -2041)


@pytest.mark.parametrize("carry_over", [True, False])
def test_what_was_paid_for_bets_that_are_refunded_later_is_taken_back(carry_over: bool) -> None:
    agents = [Agent(MASTER, None, Plan(turnover={ANY: 100}, carry_over=carry_over))]
    january = settle(agents, {MASTER: {"slots": Played(bet=1_000_000)}}, {})[MASTER]
    february = settle(agents, {MASTER: {"slots": Played(refund=1_000_000)}}, {})[MASTER]
    march = settle(agents, {MASTER: {"slots": Played(bet=1_000_000)}}, {MASTER: february.carry_out})[MASTER]
    assert [one.amount for one in (january, february, march)] == [10_000, 0, 0]


def test_a_hybrid_plan_adds_both() -> None:
    assert amounts([Agent(MASTER, None, Plan({ANY: 5000}, {ANY: 100}))], {MASTER: lost(1000)}) == {
        MASTER: 510
    }


def test_a_product_has_its_own_rate() -> None:
    plan = Plan({"slots": 5000, ANY: 1000, "sports": 0})
    played = {MASTER: {"slots": Played(bet=100), "dice": Played(bet=100), "sports": Played(bet=100)}}
    assert amounts([Agent(MASTER, None, plan)], played) == {MASTER: 60}


def test_an_agent_above_gets_what_the_one_below_does_not() -> None:
    agents = [Agent(SUB, MASTER, FORTY), Agent(MASTER, None, HALF)]
    assert amounts(agents, {SUB: lost(1000)}) == {SUB: 400, MASTER: 100}
    assert amounts(agents, {SUB: lost(1000), MASTER: lost(100)}) == {SUB: 400, MASTER: 150}


def test_a_rate_above_that_of_the_agent_above_is_lowered_to_it() -> None:
    agents = [Agent(MASTER, None, FORTY), Agent(SUB, MASTER, HALF), Agent(LOW, SUB, HALF)]
    assert amounts(agents, {LOW: lost(1000)}) == {LOW: 400, SUB: 0, MASTER: 0}


def test_who_is_promised_too_much_takes_nothing_from_a_sibling() -> None:
    agents = [Agent(MASTER, None, FORTY), Agent(SUB, MASTER, HALF), Agent(OTHER, MASTER, FORTY)]
    assert amounts(agents, {SUB: lost(1000), OTHER: lost(1000)}) == {MASTER: 0, SUB: 400, OTHER: 400}


def test_one_branchs_losses_lower_what_the_other_is_granted() -> None:
    agents = [Agent(MASTER, None, HALF), Agent(SUB, MASTER, FORTY), Agent(OTHER, MASTER, FORTY)]
    assert amounts(agents, {SUB: lost(1000), OTHER: won(1000)}) == {MASTER: 0, SUB: 0, OTHER: 0}
    assert amounts(agents, {SUB: lost(1000), OTHER: won(400)}) == {MASTER: 0, SUB: 300, OTHER: 0}
    found = settle(agents, {SUB: lost(1000), OTHER: won(400)}, {})
    assert (found[SUB].earned, found[SUB].granted, found[MASTER].granted) == (400, 300, 300)


def test_two_branches_share_what_is_too_little_in_proportion() -> None:
    agents = [Agent(MASTER, None, HALF), Agent(SUB, MASTER, HALF), Agent(OTHER, MASTER, HALF)]
    played = {SUB: lost(3000), OTHER: lost(1000), MASTER: won(2000)}
    assert amounts(agents, played) == {MASTER: 0, SUB: 750, OTHER: 250}


@pytest.mark.parametrize(("carry_over", "next_amount"), [(True, 0), (False, 300)])
def test_a_lost_period_lowers_the_next_one_where_the_plan_says_so(carry_over: bool, next_amount: int) -> None:
    agents = [Agent(MASTER, None, replace_carry(HALF, carry_over))]
    first = settle(agents, {MASTER: won(1000)}, {})[MASTER]
    assert (first.amount, first.carry_out) == (0, -500 if carry_over else 0)
    second = settle(agents, {MASTER: lost(600)}, {MASTER: first.carry_out})[MASTER]
    assert (second.amount, second.carry_out) == (next_amount, -200 if carry_over else 0)


def replace_carry(plan: Plan, carry_over: bool) -> Plan:
    return Plan(plan.revenue_share, plan.turnover, carry_over)


def test_agents_that_stand_above_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="above themselves"):
        settle([Agent(MASTER, SUB, HALF), Agent(SUB, MASTER, HALF)], {}, {})


_PRODUCTS = st.sampled_from(["slots", "dice"])
_RATES = st.dictionaries(st.sampled_from(["slots", "dice", ANY]), st.integers(0, WHOLE_BP))
_PLANS = st.builds(Plan, _RATES, _RATES, st.booleans())
_AMOUNTS = st.integers(0, 10**20)
_PLAYED = st.dictionaries(_PRODUCTS, st.builds(Played, _AMOUNTS, _AMOUNTS, _AMOUNTS, _AMOUNTS))


@st.composite
def forests(draw: st.DrawFn) -> list[Agent]:
    """Each below one that came before it, or a root."""
    plans = draw(st.lists(_PLANS, min_size=1, max_size=8))
    agents = list[Agent]()
    for number, plan in enumerate(plans):
        place = draw(st.integers(-1, number - 1))
        agents.append(Agent(UUID(int=number), None if place < 0 else UUID(int=place), plan))
    return agents


@given(forests(), st.data())
def test_no_level_pays_more_than_it_earns_and_nothing_is_lost(
    agents: list[Agent], data: st.DataObject
) -> None:
    played = {agent.id: data.draw(_PLAYED) for agent in agents}
    carried = {agent.id: -data.draw(_AMOUNTS) for agent in agents}
    found = settle(agents, played, carried)
    for agent in agents:
        own = found[agent.id]
        assert 0 <= own.amount <= own.granted <= own.earned
        assert own.carry_out <= 0
        assert not (own.earned and own.carry_out)
        below = [found[child.id].granted for child in agents if child.parent == agent.id]
        assert own.amount == own.granted - sum(below)
    roots = [found[agent.id] for agent in agents if agent.parent is None]
    assert sum(one.amount for one in found.values()) == sum(root.earned for root in roots)
    for root in roots:
        assert root.granted == root.earned
        gross = sum(max(0, part.revenue) + max(0, part.turnover) for part in root.below.values())
        assert root.earned <= gross


@given(forests(), st.data())
def test_the_order_of_the_agents_does_not_matter(agents: list[Agent], data: st.DataObject) -> None:
    played = {agent.id: data.draw(_PLAYED) for agent in agents}
    shuffled = data.draw(st.permutations(agents))
    assert settle(agents, played, {}) == settle(shuffled, played, {})


@given(_PLANS, _PLANS)
def test_a_capped_plan_exceeds_nothing(plan: Plan, above: Plan) -> None:
    lowered = capped(plan, above)
    assert not exceeding(lowered, above)
    for product in ("slots", "dice", "unknown"):
        both = rate(plan.revenue_share, product), rate(above.revenue_share, product)
        assert rate(lowered.revenue_share, product) == min(both)
    assert bool(exceeding(plan, above)) == (
        any(
            rate(own, product) > rate(most, product)
            for own, most in ((plan.revenue_share, above.revenue_share), (plan.turnover, above.turnover))
            for product in ("slots", "dice", "unknown")
        )
    )


def test_a_period_goes_by_the_calendar() -> None:
    day = date(2026, 12, 31)
    assert [begin_of(period, day) for period in Period] == [day, date(2026, 12, 28), date(2026, 12, 1)]
    assert [next_begin(period, day) for period in Period] == [
        date(2027, 1, 1),
        date(2027, 1, 4),
        date(2027, 1, 1),
    ]


RULES = AnomalyRules(sudden_times=5, self_play_bp=100, matched_bp=2000)
QUIET = Facts(turnover=1000, earlier=[200, 200], own=0, matched=0)


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (QUIET, set()),
        (replace(QUIET, turnover=1001), {Anomaly.SUDDEN_TURNOVER}),
        (replace(QUIET, turnover=10**9, earlier=[]), set()),
        (replace(QUIET, earlier=[0]), {Anomaly.SUDDEN_TURNOVER}),
        (replace(QUIET, own=9), set()),
        (replace(QUIET, own=10), {Anomaly.SELF_PLAY}),
        (replace(QUIET, matched=199), set()),
        (replace(QUIET, matched=200), {Anomaly.MATCHED_BETS}),
        (Facts(turnover=0, earlier=[0], own=0, matched=0), set()),
        (Facts(turnover=-5, earlier=[1], own=10, matched=10), set()),
    ],
)
def test_an_anomaly_is_found_from_its_exact_boundary_on(facts: Facts, found: set[Anomaly]) -> None:
    assert {finding.anomaly for finding in anomalies(facts, RULES)} == found


def test_without_a_threshold_only_what_there_is_is_flagged() -> None:
    none = AnomalyRules(sudden_times=5, self_play_bp=0, matched_bp=0)
    assert list(anomalies(QUIET, none)) == []
    assert {one.anomaly for one in anomalies(replace(QUIET, own=1), none)} == {Anomaly.SELF_PLAY}
