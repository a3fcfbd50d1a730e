"""The limits of accounts with nonces: each rule with its negative; no hour is ever charged beyond its limits (P9)."""

from dataclasses import replace
from itertools import groupby
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cryptowatch.signing.account_policy import (
    AccountHistory,
    AccountLimits,
    AccountProposal,
    AccountSigning,
    AmountLimits,
    Charge,
)
from cryptowatch.signing.policy import HOUR_MS, Reason, Refusal

PLAYER, FRIEND = b"\x01" * 20, b"\x02" * 20
LIMITS = AccountLimits(
    assets={"ETH": AmountLimits(100, 150), "USDT": AmountLimits(1_000, 1_500)},
    fee_max=10,
    hourly_fee_max=25,
    gas_price_max_wei=50,
    hourly_signings_max=1_000,
    batch_max=3,
)


def proposed(
    *payments: tuple[bytes, str, int], nonce: int = 0, lineage: str | None = None, **more: Any
) -> AccountProposal:
    usual: dict[str, Any] = {"fee": 5, "gas_price_wei": 20, "batch": len(payments)}
    return AccountProposal(lineage or f"L{nonce}", f"vault:{nonce}", payments, **usual | more)


def pays(amount: int, asset: str = "ETH", **more: Any) -> AccountProposal:
    return proposed((PLAYER, asset, amount), **more)


def entry(now_ms: int, it: AccountProposal, charge: Charge) -> AccountSigning:
    return AccountSigning(
        chain="ethereum",
        time_ms=now_ms,
        lineage_id=it.lineage_id,
        txid="",
        resource=it.resource,
        leaving={asset: str(amount) for asset, amount in it.leaving().items()},
        fee=str(it.fee),
        charged={asset: str(amount) for asset, amount in charge.amounts.items()},
        fee_charged=str(charge.fee),
    )


def sign(history: AccountHistory, it: AccountProposal, now_ms: int = 0) -> Charge | Refusal:
    charge = history.judge(it, now_ms)
    if isinstance(charge, Charge):
        history.record(entry(now_ms, it, charge))
    return charge


def charged(history: AccountHistory, it: AccountProposal, now_ms: int = 0) -> tuple[dict[str, int], int]:
    charge = sign(history, it, now_ms)
    assert isinstance(charge, Charge), charge
    return dict(charge.amounts), charge.fee


def reason(history: AccountHistory, it: AccountProposal, now_ms: int = 0) -> Reason:
    refusal = sign(history, it, now_ms)
    assert isinstance(refusal, Refusal), "this was signed"
    return refusal.reason


# --- one transaction ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("just", "beyond", "why"),
    [
        (pays(100), pays(101), Reason.TRANSACTION_LIMIT),
        (pays(1_000, "USDT"), pays(1_001, "USDT"), Reason.TRANSACTION_LIMIT),
        (
            proposed((PLAYER, "ETH", 50), (FRIEND, "ETH", 50)),
            proposed((PLAYER, "ETH", 50), (FRIEND, "ETH", 51)),
            Reason.TRANSACTION_LIMIT,
        ),
        (pays(1), pays(0), Reason.INVALID_AMOUNT),
        (pays(1), proposed((PLAYER, "ETH", 50), (FRIEND, "ETH", -1)), Reason.INVALID_AMOUNT),
        (pays(1), pays(1, "SHIB"), Reason.DESTINATION_NOT_ALLOWED),
        (pays(1, fee=10), pays(1, fee=11), Reason.FEE_TOO_HIGH),
        (pays(1, gas_price_wei=50), pays(1, gas_price_wei=51), Reason.FEE_TOO_HIGH),
        (pays(1, batch=3), pays(1, batch=4), Reason.TOO_LARGE),
        (proposed(batch=3), proposed(batch=4), Reason.TOO_LARGE),
    ],
)
def test_a_limit_is_reached_and_not_passed(
    just: AccountProposal, beyond: AccountProposal, why: Reason
) -> None:
    charged(AccountHistory(LIMITS), just)
    assert reason(AccountHistory(LIMITS), beyond) is why


def test_what_no_hour_has_room_for_is_refused_at_once_and_not_made_to_wait() -> None:
    limits = replace(LIMITS, assets={"ETH": AmountLimits(100, 80)}, hourly_fee_max=7)
    assert reason(AccountHistory(limits), pays(81)) is Reason.TRANSACTION_LIMIT
    assert reason(AccountHistory(limits), pays(1, fee=8)) is Reason.FEE_TOO_HIGH
    charged(AccountHistory(limits), pays(80, fee=7))


def test_with_an_allow_list_nobody_else_is_paid() -> None:
    history = AccountHistory(replace(LIMITS, allowed=frozenset({PLAYER})))
    charged(history, pays(10))
    stranger_too = proposed((PLAYER, "ETH", 1), (FRIEND, "ETH", 1), nonce=1)
    assert reason(history, stranger_too) is Reason.DESTINATION_NOT_ALLOWED
    assert charged(history, proposed(nonce=2)) == ({}, 5)


# --- the hour -----------------------------------------------------------------------------------------------


def test_an_hours_payments_are_counted_by_asset() -> None:
    history = AccountHistory(LIMITS)
    charged(history, pays(100))
    assert reason(history, pays(51, nonce=1)) is Reason.HOURLY_LIMIT
    charged(history, pays(50, nonce=1))
    assert reason(history, pays(1, nonce=2)) is Reason.HOURLY_LIMIT
    charged(history, pays(1_000, "USDT", nonce=2))
    assert history.hourly_amounts(0) == {"ETH": 150, "USDT": 1_000}


def test_an_hours_fees_are_counted_whatever_they_were_for() -> None:
    """Voids and sweeps pay nobody, and can still burn the vault's coins."""
    history = AccountHistory(LIMITS)
    for nonce in range(2):
        charged(history, proposed(nonce=nonce, fee=10))
    assert reason(history, proposed(nonce=2, fee=6)) is Reason.HOURLY_LIMIT
    charged(history, proposed(nonce=2, fee=5))


def test_the_hour_passes_to_the_millisecond() -> None:
    history = AccountHistory(LIMITS)
    charged(history, pays(100, fee=10), 1_000)
    assert reason(history, pays(100, nonce=1), 1_000 + HOUR_MS - 1) is Reason.HOURLY_LIMIT
    charged(history, pays(50, nonce=2), 1_000 + HOUR_MS - 1)
    assert reason(history, pays(1, nonce=1), 1_000 + HOUR_MS - 1) is Reason.HOURLY_LIMIT
    charged(history, pays(100, nonce=1), 1_000 + HOUR_MS)


def test_a_clock_that_is_set_back_does_not_empty_the_hour() -> None:
    history = AccountHistory(LIMITS)
    charged(history, pays(100), 10 * HOUR_MS)
    assert reason(history, pays(100, nonce=1), 0) is Reason.HOURLY_LIMIT
    charged(history, pays(50, nonce=1), 0)
    assert reason(history, pays(1, nonce=2), 10 * HOUR_MS + 1) is Reason.HOURLY_LIMIT


def test_signings_per_hour_are_bounded_even_when_they_add_nothing() -> None:
    history = AccountHistory(replace(LIMITS, hourly_signings_max=2))
    charged(history, pays(1), 0)
    assert charged(history, pays(1), 1) == ({"ETH": 0}, 0)
    assert reason(history, pays(1), 2) is Reason.HOURLY_LIMIT
    charged(history, pays(1), HOUR_MS)


# --- one nonce ----------------------------------------------------------------------------------------------


def test_the_same_again_is_charged_once_and_passes_in_a_full_hour() -> None:
    history = AccountHistory(LIMITS)
    charged(history, pays(100, fee=10))
    charged(history, pays(50, nonce=1, fee=10))
    charged(history, proposed(nonce=2, fee=5))
    assert charged(history, pays(100, fee=10)) == ({"ETH": 0}, 0)
    assert (history.hourly_amounts(0), reason(history, pays(1, nonce=3, fee=0))) == (
        {"ETH": 150},
        Reason.HOURLY_LIMIT,
    )


def test_a_fee_bump_is_charged_with_the_increase_only() -> None:
    history = AccountHistory(LIMITS)
    charged(history, pays(100, fee=4))
    assert charged(history, pays(100, fee=7)) == ({"ETH": 0}, 3)
    assert charged(history, pays(100, fee=5)) == ({"ETH": 0}, 0)
    assert charged(history, pays(100, fee=7)) == ({"ETH": 0}, 0)


def test_another_payment_in_the_same_nonce_is_charged_with_what_it_is_dearer_by() -> None:
    """At most one of them is ever in the chain."""
    history = AccountHistory(LIMITS)
    charged(history, pays(60))
    assert charged(history, pays(100)) == ({"ETH": 40}, 0)
    assert charged(history, pays(500, "USDT")) == ({"USDT": 500}, 0)
    assert charged(history, pays(90)) == ({"ETH": 0}, 0)


def test_the_next_nonce_and_another_account_are_charged_in_full() -> None:
    history = AccountHistory(LIMITS)
    charged(history, pays(50))
    assert charged(history, pays(50, nonce=1)) == ({"ETH": 50}, 5)
    other = replace(pays(50), resource="sender:0", lineage_id="other")
    assert charged(history, other) == ({"ETH": 50}, 5)


def test_a_lineage_with_two_nonces_is_refused() -> None:
    """P3: both could be mined, and the withdrawal paid twice."""
    history = AccountHistory(LIMITS)
    charged(history, pays(10, lineage="L"))
    assert reason(history, pays(10, nonce=1, lineage="L")) is Reason.LINEAGE_CONFLICT
    other_account = replace(pays(10, lineage="L"), resource="sender:0")
    assert reason(history, other_account) is Reason.LINEAGE_CONFLICT
    charged(history, pays(11, lineage="L"))


def test_the_same_nonce_under_another_lineages_name_is_charged_once() -> None:
    """After the books came back from a backup, names are new and nonces are not."""
    history = AccountHistory(LIMITS)
    charged(history, pays(10, lineage="L"))
    assert charged(history, pays(10, lineage="M")) == ({"ETH": 0}, 0)
    assert reason(history, pays(10, nonce=1, lineage="M")) is Reason.LINEAGE_CONFLICT


def test_what_is_remembered_is_bounded_and_what_was_forgotten_is_charged_in_full() -> None:
    """P10, and the hour still counts what was forgotten."""
    history = AccountHistory(replace(LIMITS, lineages_max=2))
    charged(history, pays(30, lineage="A"))
    charged(history, pays(30, lineage="B"))
    for nonce in (1, 0, 2):
        charged(history, pays(30, nonce=nonce, lineage={0: "A"}.get(nonce)))
    assert charged(history, pays(30, lineage="A")) == ({"ETH": 0}, 0)
    assert charged(history, pays(30, nonce=1)) == ({"ETH": 30}, 5)
    assert history.hourly_amounts(0) == {"ETH": 120}
    assert reason(history, pays(1, nonce=5, lineage="B")) is Reason.LINEAGE_CONFLICT
    charged(history, pays(1, nonce=5, lineage="L2"))


# --- whatever is asked --------------------------------------------------------------------------------------

Asked = list[tuple[int, AccountProposal]]
proposals = st.builds(
    lambda nonce, amount, asset, fee, lineage: pays(amount, asset, nonce=nonce, fee=fee, lineage=lineage),
    st.integers(0, 4),
    st.integers(1, 120),
    st.sampled_from(["ETH", "USDT"]),
    st.integers(0, 10),
    st.sampled_from("LMNO"),
)
asked = st.lists(st.tuples(st.integers(0, HOUR_MS), proposals), max_size=20)


def given_for(history: AccountHistory, steps: Asked) -> list[tuple[int, AccountProposal, Charge]]:
    now_ms, signed = 0, []
    for pause_ms, it in steps:
        now_ms += pause_ms
        charge = sign(history, it, now_ms)
        if isinstance(charge, Charge):
            signed.append((now_ms, it, charge))
    return signed


@given(asked)
def test_no_rolling_hour_is_ever_charged_beyond_its_limits(steps: Asked) -> None:
    signed = given_for(AccountHistory(LIMITS), steps)
    for end_ms, _, _ in signed:
        hour = [charge for time_ms, _, charge in signed if end_ms - HOUR_MS < time_ms <= end_ms]
        for asset, limits in LIMITS.assets.items():
            assert sum(charge.amounts.get(asset, 0) for charge in hour) <= limits.hourly_max
        assert sum(charge.fee for charge in hour) <= LIMITS.hourly_fee_max


@given(asked)
def test_whatever_is_mined_never_exceeds_what_was_charged(steps: Asked) -> None:
    """Of each nonce at most one transaction: the dearest of each, by asset and by fee."""
    unlimited = replace(
        LIMITS, assets={asset: AmountLimits(10**9, 10**9) for asset in LIMITS.assets}, hourly_fee_max=10**9
    )
    signed = given_for(AccountHistory(unlimited), steps)
    by_nonce = [
        [it for _, it, _ in group]
        for _, group in groupby(sorted(signed, key=lambda one: one[1].resource), lambda one: one[1].resource)
    ]
    for asset in LIMITS.assets:
        dearest = sum(max(it.leaving()[asset] for it in group) for group in by_nonce)
        assert dearest == sum(charge.amounts.get(asset, 0) for _, _, charge in signed)
    assert sum(max(it.fee for it in group) for group in by_nonce) == sum(
        charge.fee for _, _, charge in signed
    )


@given(asked)
def test_attempts_of_one_lineage_all_use_one_nonce(steps: Asked) -> None:
    """P3."""
    resources: dict[str, str] = {}
    for _, it, _ in given_for(AccountHistory(LIMITS), steps):
        assert resources.setdefault(it.lineage_id, it.resource) == it.resource


@given(asked)
def test_a_history_rebuilt_from_its_entries_judges_alike(steps: Asked) -> None:
    """A restart forgets nothing (P9)."""
    live, rebuilt = AccountHistory(LIMITS), AccountHistory(LIMITS)
    for step in given_for(live, steps):
        rebuilt.record(entry(*step))
    for nonce in range(6):
        probe = pays(40, nonce=nonce, lineage="L")
        assert rebuilt.judge(probe, HOUR_MS) == live.judge(probe, HOUR_MS)
