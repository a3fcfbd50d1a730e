"""P9: what the signer signs. P3: attempts of one lineage exclude each other, and are charged once."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptowatch.signing.policy import HOUR_MS, History, Limits, Proposal, Reason, Refusal, Signing

LIMITS = Limits(
    transaction_amount_max=1_000_000,
    hourly_amount_max=2_000_000,
    hourly_signings_max=100,
    fee_max=20_000,
    fee_rate_max_sat_vb=100,
    inputs_max=5,
    outputs_max=4,
)
PLAYER = b"\x00\x14" + b"\x01" * 20


def proposal(
    pays: int = 100_000,
    fee: int = 1_000,
    coins: tuple[str, ...] = ("a",),
    change: int = 50_000,
    lineage: str = "L",
) -> Proposal:
    """Coins of equal amounts that add up to what is paid, the change and the fee."""
    total = pays + fee + change
    share = total // len(coins)
    inputs = dict.fromkeys(coins, share) | {coins[0]: total - share * (len(coins) - 1)}
    foreign = ((PLAYER, pays),) if pays else ()
    return Proposal(lineage, inputs, foreign, (change,) if change else (), vsize=200)


def sign(history: History, proposed: Proposal, now_ms: int = 0) -> int | Refusal:
    """Judge, and record what was allowed."""
    charge = history.judge(proposed, now_ms)
    if not isinstance(charge, Refusal):
        history.record(entry(now_ms, proposed, charge))
    return charge


def entry(time_ms: int, proposed: Proposal, charge: int) -> Signing:
    return Signing("btc", time_ms, proposed.lineage_id, "", proposed.inputs, proposed.leaving, charge)


def reason(verdict: int | Refusal) -> Reason | None:
    return verdict.reason if isinstance(verdict, Refusal) else None


def test_a_payment_within_all_limits_is_charged_with_its_amount_and_fee() -> None:
    assert sign(History(LIMITS), proposal(pays=100_000, fee=1_000)) == 101_000


def test_a_consolidation_is_charged_with_its_fee_only() -> None:
    assert sign(History(LIMITS), proposal(pays=0, fee=1_000)) == 1_000


@pytest.mark.parametrize(
    ("proposed", "expected"),
    [
        (proposal(pays=1_000_000), None),
        (proposal(pays=1_000_001), Reason.TRANSACTION_LIMIT),
        (proposal(fee=20_000), None),
        (proposal(fee=20_001), Reason.FEE_TOO_HIGH),
        (proposal(fee=0), None),
        (proposal(fee=-1), Reason.INVALID_AMOUNT),
        (replace(proposal(fee=10_000), vsize=100), None),
        (replace(proposal(fee=10_001), vsize=100), Reason.FEE_TOO_HIGH),
        (proposal(coins=("a", "b", "c", "d", "e")), None),
        (proposal(coins=("a", "b", "c", "d", "e", "f")), Reason.TOO_LARGE),
        (replace(proposal(pays=0, change=50_000), change=(12_500,) * 4), None),
        (replace(proposal(pays=0, change=50_000), change=(10_000,) * 5), Reason.TOO_LARGE),
        (replace(proposal(), foreign=((PLAYER, 100_000), (PLAYER, 0))), Reason.INVALID_AMOUNT),
        (replace(proposal(), foreign=((PLAYER, 100_001), (PLAYER, -1))), Reason.INVALID_AMOUNT),
        (replace(proposal(), change=(50_001, -1)), Reason.INVALID_AMOUNT),
        (replace(proposal(), inputs={"a": 151_000, "b": 0}), Reason.INVALID_AMOUNT),
        (replace(proposal(), inputs={}), Reason.INVALID_AMOUNT),
        (replace(proposal(), foreign=(), change=()), Reason.INVALID_AMOUNT),
    ],
)
def test_each_limit_holds_at_its_boundary(proposed: Proposal, expected: Reason | None) -> None:
    assert reason(History(LIMITS).judge(proposed, 0)) is expected


def test_what_no_hour_has_room_for_is_refused_for_good() -> None:
    limits = replace(LIMITS, hourly_amount_max=100_999)
    assert reason(History(limits).judge(proposal(pays=100_000, fee=1_000), 0)) is Reason.TRANSACTION_LIMIT
    assert reason(History(limits).judge(proposal(pays=100_000, fee=999), 0)) is None


def test_an_allow_list_admits_its_scripts_and_no_other() -> None:
    only_player = replace(LIMITS, allowed_scripts=frozenset({PLAYER}))
    assert reason(History(only_player).judge(proposal(), 0)) is None
    stranger = replace(proposal(), foreign=((b"\x51", 100_000),))
    assert reason(History(only_player).judge(stranger, 0)) is Reason.DESTINATION_NOT_ALLOWED


def test_the_hour_fills_up_and_empties_as_it_rolls() -> None:
    history = History(LIMITS)
    assert sign(history, proposal(999_000, coins=("a",), lineage="A"), 0) == 1_000_000
    assert sign(history, proposal(999_000, coins=("b",), lineage="B"), 1_000) == 1_000_000
    third = proposal(999_000, coins=("c",), lineage="C")
    assert reason(sign(history, third, HOUR_MS - 1)) is Reason.HOURLY_LIMIT
    assert sign(history, third, HOUR_MS) == 1_000_000
    assert history.hourly_amount(HOUR_MS) == 2_000_000


def test_a_clock_set_back_does_not_empty_the_hour() -> None:
    history = History(LIMITS)
    sign(history, proposal(999_000, coins=("a",), lineage="A"), 10 * HOUR_MS)
    sign(history, proposal(999_000, coins=("b",), lineage="B"), 10 * HOUR_MS)
    assert reason(sign(history, proposal(coins=("c",), lineage="C"), 0)) is Reason.HOURLY_LIMIT


def test_what_is_signed_while_the_clock_is_set_back_counts_when_it_is_right_again() -> None:
    history = History(LIMITS)
    sign(history, proposal(999_000, coins=("a",), lineage="A"), 10 * HOUR_MS)
    sign(history, proposal(999_000, coins=("b",), lineage="B"), 0)
    assert history.hourly_amount(10 * HOUR_MS + 1) == 2_000_000


def test_a_look_with_a_wrong_clock_forgets_nothing() -> None:
    history = History(LIMITS)
    sign(history, proposal(999_000, coins=("a",), lineage="A"), 0)
    history.hourly_amount(99 * HOUR_MS)
    assert history.hourly_amount(1) == 1_000_000


def test_the_same_transaction_signed_again_is_charged_once_even_when_the_hour_is_full() -> None:
    history = History(replace(LIMITS, hourly_amount_max=101_000))
    assert sign(history, proposal()) == 101_000
    assert sign(history, proposal()) == 0


def test_a_child_is_charged_with_what_leaves_by_it_and_its_parents_change_is_not_counted_again() -> None:
    history = History(LIMITS)
    parent = proposal(pays=100_000, fee=1_000, change=700_000)
    assert sign(history, parent) == 101_000
    payout = Proposal("M", {"of L": 700_000}, ((PLAYER, 200_000),), (498_000,), vsize=200)
    assert sign(history, payout) == 202_000
    pays_for_both = Proposal("N", {"of M": 498_000}, (), (488_000,), vsize=200)
    assert sign(history, pays_for_both) == 10_000
    assert history.hourly_amount(0) == 313_000


def test_a_fee_bump_is_charged_with_the_increase() -> None:
    history = History(LIMITS)
    sign(history, proposal(fee=1_000, change=50_000))
    assert sign(history, proposal(fee=5_000, change=46_000)) == 4_000
    assert sign(history, proposal(fee=3_000, change=48_000)) == 0
    assert sign(history, proposal(fee=5_000, change=46_000)) == 0
    assert history.hourly_amount(0) == 105_000


def test_what_was_signed_before_is_signed_again_under_a_limit_lowered_since() -> None:
    strict = History(replace(LIMITS, hourly_amount_max=150_000))
    for name in ("a", "b"):
        strict.record(entry(0, proposal(coins=(name,), lineage=name), 101_000))
    assert sign(strict, proposal(coins=("a",), lineage="a")) == 0
    assert reason(sign(strict, proposal(coins=("c",), lineage="c"))) is Reason.HOURLY_LIMIT


def test_the_same_coins_under_another_lineage_name_are_charged_once() -> None:
    history = History(LIMITS)
    sign(history, proposal(lineage="A"))
    assert sign(history, proposal(lineage="B")) == 0


def test_a_lineages_attempt_that_excludes_no_earlier_one_is_refused() -> None:
    """P3: both could be mined, and the withdrawal paid twice."""
    history = History(LIMITS)
    sign(history, proposal(coins=("a", "b")))
    assert reason(sign(history, proposal(coins=("c", "d")))) is Reason.LINEAGE_CONFLICT
    assert sign(history, proposal(coins=("b", "c"))) == 0


def test_attempts_must_share_one_coin_with_all_earlier_ones_not_one_with_each() -> None:
    history = History(LIMITS)
    sign(history, proposal(coins=("a", "b")))
    sign(history, proposal(coins=("b", "c")))
    assert reason(sign(history, proposal(coins=("a", "c")))) is Reason.LINEAGE_CONFLICT
    assert sign(history, proposal(coins=("a", "c"), lineage="new name")) == 101_000


def test_an_attempt_that_also_spends_a_dearer_lineages_coin_stays_with_its_own() -> None:
    """P3: else a third attempt could spend that coin alone and exclude the first no more."""
    history = History(LIMITS)

    def attempt(lineage: str, *coins: str, pays: int = 400_000) -> int | Refusal:
        change = 500_000 * len(coins) - pays - 1_000
        inputs = dict.fromkeys(coins, 500_000)
        return sign(history, Proposal(lineage, inputs, ((PLAYER, pays),), (change,), vsize=200))

    attempt("L", "a", pays=100_000)
    attempt("M", "b")
    assert attempt("L", "a", "b", pays=150_000) == 50_000
    assert reason(attempt("L", "b")) is Reason.LINEAGE_CONFLICT


def test_a_coin_is_not_signed_for_with_two_amounts() -> None:
    """Else signatures over two lies could be combined into a huge fee (BIP143)."""
    history = History(LIMITS)
    sign(history, proposal(change=50_000))
    assert reason(sign(history, proposal(change=50_001))) is Reason.CONTRADICTS_EARLIER


def test_signings_per_hour_are_bounded_even_when_they_add_nothing() -> None:
    history = History(replace(LIMITS, hourly_signings_max=2))
    assert sign(history, proposal(), 0) == 101_000
    assert sign(history, proposal(), 1) == 0
    assert reason(sign(history, proposal(), 2)) is Reason.HOURLY_LIMIT
    assert sign(history, proposal(), HOUR_MS + 1) == 0


def test_what_is_remembered_is_bounded_and_a_forgotten_lineage_is_charged_in_full() -> None:
    """P10, and the hour still counts what was forgotten."""
    history = History(replace(LIMITS, lineages_max=2))
    for name in ("a", "b", "c"):
        assert sign(history, proposal(coins=(name,), lineage=name)) == 101_000
    assert sign(history, proposal(coins=("c",), lineage="c")) == 0
    assert sign(history, proposal(coins=("a",), lineage="a")) == 101_000
    assert history.hourly_amount(0) == 404_000


COINS = "abcdef"
Steps = list[tuple[int, set[str], int, str]]
requests = st.lists(
    st.tuples(
        st.integers(0, HOUR_MS),
        st.sets(st.sampled_from(COINS), min_size=1, max_size=3),
        st.integers(1, 400_000),
        st.sampled_from("LMN"),
    ),
    max_size=14,
)


def _signed(steps: Steps, limits: Limits, history: History | None = None) -> list[tuple[int, Proposal, int]]:
    """What a signer gave that was asked for these: (time, proposal, charge)."""
    now_ms = 0
    given: list[tuple[int, Proposal, int]] = []
    history = history or History(limits)
    for pause_ms, coins, pays, lineage in steps:
        now_ms += pause_ms
        coin_amount = 500_000
        inputs = dict.fromkeys(sorted(coins), coin_amount)
        change = coin_amount * len(coins) - pays - 1_000
        proposed = Proposal(lineage, inputs, ((PLAYER, pays),), (change,), vsize=200)
        charge = sign(history, proposed, now_ms)
        if not isinstance(charge, Refusal):
            given.append((now_ms, proposed, charge))
    return given


@given(requests)
def test_no_rolling_hour_is_ever_charged_beyond_its_limit(steps: Steps) -> None:
    limits = replace(LIMITS, hourly_amount_max=700_000)
    given_ = _signed(steps, limits)
    for end_ms, _, _ in given_:
        assert sum(charge for time_ms, _, charge in given_ if end_ms - HOUR_MS < time_ms <= end_ms) <= 700_000


@settings(max_examples=150)
@given(requests)
def test_whatever_is_mined_never_exceeds_what_was_charged(steps: Steps) -> None:
    """The dearest set of signed transactions that could all be in one chain costs at most the charges."""
    given_ = _signed(steps, replace(LIMITS, hourly_amount_max=10**9))
    charged = sum(charge for _, _, charge in given_)
    attempts = [proposed for _, proposed, _ in given_]
    # At most as many fit into a chain together as there are coins.
    for size in range(1, min(len(attempts), len(COINS)) + 1):
        for together in combinations(attempts, size):
            spent = [coin for proposed in together for coin in proposed.inputs]
            if len(spent) == len(set(spent)):
                assert sum(proposed.leaving for proposed in together) <= charged


@given(requests)
def test_a_replayed_transaction_adds_no_charge(steps: Steps) -> None:
    limits = replace(LIMITS, hourly_amount_max=10**9)
    for _, _, charge in _signed([step for step in steps for _ in range(2)], limits)[1::2]:
        assert charge == 0


@given(requests)
def test_attempts_of_one_lineage_all_exclude_each_other(steps: Steps) -> None:
    """P3."""
    given_ = _signed(steps, replace(LIMITS, hourly_amount_max=10**9))
    for (_, one, _), (_, other, _) in combinations(given_, 2):
        if one.lineage_id == other.lineage_id:
            assert one.inputs.keys() & other.inputs.keys()


@given(requests)
def test_a_history_rebuilt_from_its_entries_judges_alike(steps: Steps) -> None:
    """A restart forgets nothing (P9)."""
    limits = replace(LIMITS, hourly_amount_max=700_000)
    live = History(limits)
    rebuilt = History(limits)
    for given_step in _signed(steps, limits, live):
        rebuilt.record(entry(*given_step))
    for coin in COINS:
        probe = Proposal("L", {coin: 500_000}, ((PLAYER, 300_000),), (199_000,), vsize=200)
        assert rebuilt.judge(probe, HOUR_MS) == live.judge(probe, HOUR_MS)
