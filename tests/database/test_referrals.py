"""Referrals on a real Postgres: each rule with its negative, what is undone, and several workers at once."""

import asyncio
import os
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
import pytest

from cryptowatch.accounts.players import Status
from cryptowatch.db.pool import Pool, open_pool, transaction
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ledger.accounts import ensure_accounts, house, player
from cryptowatch.ledger.events import sequence_events
from cryptowatch.ledger.postings import post
from cryptowatch.ledger.rules import CustomerAccount, HouseAccount, Kind, customer_posting
from cryptowatch.money import BaseUnits
from cryptowatch.referrals import facts
from cryptowatch.referrals.attribution import Newcomer, attribute
from cryptowatch.referrals.codes import CodeView, choose_code, disable_code, own_code
from cryptowatch.referrals.machine import Event
from cryptowatch.referrals.programmes import (
    Change,
    Given,
    ProgrammeView,
    SettingsProgramme,
    change_programme,
    keep_settings_programme,
    read_programme,
)
from cryptowatch.referrals.refusal import Refusal
from cryptowatch.referrals.terms import Terms, VerifiedTerms
from cryptowatch.referrals.view import ReferralView, RewardView
from tests.support.referrals import BOUNDS, DECIMALS, TERMS, Platform


@pytest.fixture
def platform(pool: Pool) -> Platform:
    return Platform(pool)


async def test_a_deposit_pays_each_level_once_after_the_hold_period_and_not_before(
    platform: Platform,
) -> None:
    await platform.programme()
    top, middle, player = await platform.chain(3)
    await platform.deposit(player, 999)  # below the minimum
    await platform.settle()
    assert await platform.states() == []
    await platform.deposit(player, 20_000)
    await platform.deposit(player, 90_000)
    await platform.settle()
    assert await platform.states() == [(2000, "held"), (1000, "held")]
    assert await platform.balance(middle) == 0
    await platform.after_hold()
    await platform.after_hold()
    assert await platform.states() == [(2000, "paid"), (1000, "paid")]
    assert [await platform.balance(account) for account in (top, middle, player)] == [1000, 2000, 0]
    assert await platform.counts(top) == [(1, 0), (1, 1)]
    assert await platform.story("referral_reward") == ["referral.held"] * 2 + ["referral.rewarded"] * 2
    await platform.assert_sound()


async def test_a_reversed_deposit_takes_paid_and_held_rewards_back_and_a_later_one_earns_anew(
    platform: Platform,
) -> None:
    await platform.programme()
    top, middle, player = await platform.chain(3)
    deposit = await platform.deposit(player, 20_000)
    await platform.after_hold()
    assert await platform.balance(middle) == 2000
    await platform.reverse(deposit)
    await platform.settle()
    assert await platform.states() == [(2000, "reversed"), (1000, "reversed")]
    assert (await platform.balance(top), await platform.balance(middle)) == (0, 0)
    assert await platform.counts(middle) == [(1, 0)]
    await platform.assert_sound()
    await platform.finalize(deposit)
    await platform.settle()
    other = await platform.deposit(player, 50_000)
    await platform.reverse(deposit)
    await platform.after_hold()
    taken = [(2000, "reversed"), (1000, "reversed")]
    assert await platform.states() == [*taken, *taken, (5000, "paid"), (2500, "paid")]
    assert (await platform.balance(top), await platform.balance(middle)) == (2500, 5000)
    await platform.reverse(other)
    await platform.settle()
    assert (await platform.balance(top), await platform.balance(middle)) == (0, 0)
    await platform.assert_sound()


async def test_what_a_referrer_spent_of_a_reversed_reward_is_a_debt(platform: Platform) -> None:
    await platform.programme()
    referrer, newcomer = await platform.chain(2)
    deposit = await platform.deposit(newcomer, 20_000)
    await platform.after_hold()
    async with transaction(platform.pool) as conn:
        own, game = await ensure_accounts(conn, [player(referrer, "BTC"), house("game", "BTC")])
        bet = customer_posting(Kind.BET, "bet", CustomerAccount(own), HouseAccount(game), BaseUnits(1500))
        assert (await post(conn, bet, platform.clock.now())).done
    await platform.reverse(deposit)
    await platform.settle()
    assert await platform.balance(referrer) == -1500
    await platform.assert_sound()


async def test_other_acts_pay_when_they_are_done_and_not_before(platform: Platform) -> None:
    fixed = [{"kind": "fixed", "asset": "BTC", "amount": "0.00000007"}]
    await platform.programme("kyc", act={"kind": "verified", "kyc_level": 2}, levels=fixed, hold_s=0)
    referrer, newcomer = await platform.chain(2)
    await platform.verified(newcomer, 1)
    await platform.settle()
    assert await platform.states() == []
    await platform.verified(newcomer, 2)
    await platform.settle()
    assert await platform.balance(referrer) == 7
    await platform.verified(newcomer, 1)  # what was done stays done
    await platform.settle()
    assert await platform.balance(referrer) == 7
    act = {"kind": "activity", "asset": "BTC", "bet": "0.00000100"}
    await platform.programme("play", act=act, levels=fixed, hold_s=0)
    gambler = await platform.account(referrer)
    await platform.plays(gambler, 99)
    await platform.settle()
    assert await platform.balance(referrer) == 7
    # Bets that were called off are no play, however many.
    await platform.pool.execute("UPDATE play_day SET bet = 500, refund = 401 WHERE account_id = $1", gambler)
    platform.clock.move(61)
    await platform.settle()
    assert await platform.balance(referrer) == 7
    await platform.pool.execute("UPDATE play_day SET refund = 400 WHERE account_id = $1", gambler)
    await platform.settle()
    assert await platform.balance(referrer) == 7  # it is looked at again after a while
    platform.clock.move(61)
    await platform.settle()
    assert await platform.balance(referrer) == 14
    await platform.assert_sound()


async def test_caps_cut_and_what_is_rejected_or_reversed_leaves_room(platform: Platform) -> None:
    caps = {"BTC": {"per_referrer": "0.00002500", "per_day": "0.00001500"}}
    await platform.programme(caps=caps)
    referrer = await platform.account()
    deposits = []
    for _ in range(3):
        deposits.append(await platform.deposit(await platform.account(referrer), 10_000))
        await platform.follow()
    rewards = await platform.rewards()
    assert [(r["amount"], r["state"], r["reason"]) for r in rewards] == [
        (1000, "held", None),
        (500, "held", "cap_per_day"),
        (0, "rejected", "cap_per_day"),
    ]
    await platform.reverse(deposits[0])
    await platform.deposit(await platform.account(referrer), 10_000)
    await platform.settle()
    assert (await platform.states())[3] == (1000, "held")
    platform.clock.move(86_400)
    await platform.deposit(await platform.account(referrer), 10_000)
    await platform.deposit(await platform.account(referrer), 10_000)
    await platform.settle()
    assert (await platform.states())[4:] == [(1000, "held"), (0, "rejected")]
    assert await platform.balance(referrer) == 1500
    await platform.after_hold()
    assert await platform.balance(referrer) == 2500
    await platform.assert_sound()


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        (("ip_prefix", "ip_prefix"), "same_network"),
        (("device", "device"), "same_device"),
        (("funding_address", "withdrawal_address"), "funded_by_referrer"),
        (("withdrawal_address", "withdrawal_address"), "same_withdrawal_address"),
        (("ip_prefix", "device"), None),
    ],
)
async def test_a_tie_flags_a_reward_at_once_or_in_the_hold_period_and_other_values_do_not(
    platform: Platform, kinds: tuple[str, str], found: str | None
) -> None:
    await platform.programme()
    referrer = await platform.account()
    early, late = await platform.account(referrer), await platform.account(referrer)
    await platform.trait(kinds[1], "shared", referrer)
    await platform.trait(kinds[0], "shared", early)
    for account in (early, late):
        await platform.deposit(account)
    await platform.follow()
    assert [r["state"] for r in await platform.rewards()] == ["flagged" if found else "held", "held"]
    await platform.trait(kinds[0], "shared", late)
    await platform.after_hold()
    rewards = await platform.rewards()
    assert [r["state"] for r in rewards] == ["flagged" if found else "paid"] * 2
    assert all(found in r["findings"] for r in rewards if found)
    assert await platform.balance(referrer) == (0 if found else 2000)
    await platform.assert_sound()


async def test_a_person_approves_or_rejects_what_is_flagged_and_nothing_twice(platform: Platform) -> None:
    await platform.programme(fraud={"pace_count": 1, "pace_hours": 1})
    referrer = await platform.account()
    for _ in range(3):
        await platform.deposit(await platform.account(referrer))
    await platform.settle()
    first, second, third = await platform.rewards()
    assert [(r["state"], r["findings"]) for r in (first, second, third)] == [
        ("held", []),
        ("flagged", ["pace"]),
        ("flagged", ["pace"]),
    ]
    assert isinstance(await platform.review(second["id"]), RewardView)
    assert isinstance(await platform.review(third["id"], Event.REJECT), RewardView)
    for again in (second, third):
        assert isinstance(await platform.review(again["id"]), Refusal)
    await platform.after_hold()
    assert [state for _, state in await platform.states()] == ["paid", "paid", "rejected"]
    assert isinstance(await platform.review(first["id"], Event.REJECT), Refusal)
    assert await platform.balance(referrer) == 2000
    assert await platform.review(platform.new_id()) is None
    await platform.assert_sound()


async def test_what_comes_up_after_an_approval_is_flagged_again(platform: Platform) -> None:
    await platform.programme()
    referrer, newcomer = await platform.chain(2)
    await platform.trait("device", "d", referrer, newcomer)
    await platform.deposit(newcomer)
    await platform.follow()
    (reward,) = await platform.rewards()
    await platform.review(reward["id"])
    await platform.verified(referrer, status=Status.FROZEN)
    await platform.after_hold()
    (reward,) = await platform.rewards()
    assert (reward["state"], reward["findings"]) == ("flagged", ["same_device", "account_not_active"])


async def test_two_accounts_of_one_device_below_one_referrer_are_siblings(platform: Platform) -> None:
    await platform.programme()
    referrer = await platform.account()
    one, other, third = [await platform.account(referrer) for _ in range(3)]
    await platform.trait("device", "farm", one, other)
    for account in (one, other, third):
        await platform.deposit(account)
    await platform.follow()
    assert [list(r["findings"]) for r in await platform.rewards()] == [["sibling_device"]] * 2 + [[]]


async def test_a_code_entered_later_counts_within_the_window_and_for_later_deposits_alone(
    platform: Platform,
) -> None:
    await platform.programme()
    referrer, newcomer, slow = await platform.account(), await platform.account(), await platform.account()
    code = await platform.code(referrer)
    assert isinstance(await platform.enter(newcomer, "NOSUCHCODE"), Refusal)
    assert await platform.enter(referrer, code) == Refusal(
        "own_referral_code", "an account cannot refer itself"
    )
    await platform.deposit(newcomer)
    assert isinstance(await platform.enter(newcomer, code.lower()), ReferralView)
    again = await platform.enter(newcomer, code)
    assert isinstance(again, Refusal)
    assert again.code == "already_referred"
    await platform.settle()
    assert await platform.states() == []
    await platform.deposit(newcomer, 30_000)
    await platform.settle()
    assert await platform.states() == [(3000, "held")]
    platform.clock.move(3601)
    late = await platform.enter(slow, code)
    assert isinstance(late, Refusal)
    assert late.code == "referral_window_over"


async def test_a_circle_is_flagged_however_long_it_took_to_close(platform: Platform) -> None:
    await platform.programme()
    first, *_, last = await platform.chain(7)  # more steps than ancestors are kept
    honest = await platform.account()
    for account, circular in ((honest, False), (first, True)):
        view = await platform.enter(account, await platform.code(last))
        assert isinstance(view, ReferralView)
        assert view.circular is circular
    await platform.deposit(first)
    await platform.follow()
    rewards = await platform.rewards()
    assert {r["state"] for r in rewards} == {"flagged"}
    assert first not in {r["referrer_id"] for r in rewards}
    await platform.assert_sound()


async def test_a_change_of_terms_is_for_new_referrals_and_pausing_stops_payments(platform: Platform) -> None:
    programme = await platform.programme()
    programme_id = UUID(hex=programme.id.partition("_")[2])
    referrer, before = await platform.chain(2)
    richer = Terms(programme.terms.act, programme.terms.levels[:1] * 2, hold_s=0)
    async with transaction(platform.pool) as conn:
        changed = await change_programme(
            conn, programme_id, Change(given=Given(richer, DECIMALS)), platform.clock.now()
        )
        same = await change_programme(
            conn, programme_id, Change(given=Given(richer, DECIMALS)), platform.clock.now()
        )
    assert changed is not None
    assert (changed.terms_version, same) == (2, changed)
    after = await platform.account(before)
    for account in (before, after):
        await platform.deposit(account)
    await platform.follow()
    await _pause(platform, programme_id, "paused")
    await platform.after_hold()
    assert [s for _, s in await platform.states()] == ["held"] * 3
    async with transaction(platform.pool) as conn:
        newcomer = Newcomer(await platform.account(), None)
        view = await attribute(
            conn,
            newcomer,
            await own_code(conn, referrer, os.urandom, platform.clock.now()),
            BOUNDS,
            platform.clock.now(),
        )
    assert isinstance(view, ReferralView)
    assert view.programme_id is None
    await _pause(platform, programme_id, "closed")
    await platform.settle()
    assert sorted(await platform.states()) == [(1000, "paid")] * 3
    assert await platform.balance(referrer) == 2000
    await platform.assert_sound()


async def _pause(platform: Platform, programme_id: UUID, state: Any) -> None:
    async with transaction(platform.pool) as conn:
        await change_programme(conn, programme_id, Change(state=state), platform.clock.now())


async def _given(platform: Platform, kyc_level: int, revision: int = 0) -> bool:
    """What a process does when it starts with such settings."""
    fixed = {"kind": "fixed", "asset": "BTC", "amount": "1"}
    terms = msgspec.convert({"act": {"kind": "verified", "kyc_level": kyc_level}, "levels": [fixed]}, Terms)
    async with transaction(platform.pool) as conn:
        given = SettingsProgramme(Given(terms, DECIMALS), revision)
        return await keep_settings_programme(conn, platform.new_id(), given, platform.clock.now())


async def _in_force(platform: Platform) -> tuple[ProgrammeView, int]:
    """The settings' programme, and the level that its terms ask for."""
    async with transaction(platform.pool) as conn:
        programme_id = await conn.fetchval("SELECT id FROM referral_programme WHERE name = 'default'")
        view = await read_programme(conn, programme_id)
    assert view is not None
    assert isinstance(view.terms.act, VerifiedTerms)
    return view, view.terms.act.kyc_level


async def test_the_settings_programme_follows_the_settings_and_leaves_to_people_what_they_changed(
    platform: Platform,
) -> None:
    await asyncio.gather(*(_given(platform, 1) for _ in range(4)))
    programme_id = await platform.pool.fetchval("SELECT id FROM referral_programme")
    await _pause(platform, programme_id, "paused")
    await _given(platform, 1)
    await _given(platform, 2)
    view, _ = await _in_force(platform)
    assert (view.name, view.state, view.is_default, view.terms_version) == ("default", "paused", True, 2)
    other = await platform.programme("other")
    assert other.is_default
    assert await platform.pool.fetchval("SELECT count(*) FROM referral_programme WHERE is_default") == 1
    await platform.assert_sound()


async def test_two_processes_with_different_settings_do_not_write_in_turn(platform: Platform) -> None:
    assert await _given(platform, 1)
    assert await _given(platform, 2)
    for _ in range(3):
        assert not await _given(platform, 1)
        assert await _given(platform, 2)
    view, level = await _in_force(platform)
    assert (view.terms_version, level) == (2, 2)


async def test_a_higher_revision_holds_and_brings_earlier_terms_back(platform: Platform) -> None:
    await _given(platform, 1)
    await _given(platform, 2)
    assert await _given(platform, 1, revision=1)
    assert not await _given(platform, 2)
    assert not await _given(platform, 3)
    view, level = await _in_force(platform)
    assert (view.terms_version, level) == (3, 1)


async def test_a_draw_that_meets_a_taken_code_is_drawn_anew(platform: Platform) -> None:
    first, second = await platform.account(), await platform.account()
    draws = iter([b"\x00" * 6, b"\x00" * 6, b"\x01" * 6])
    async with transaction(platform.pool) as conn:
        taken = await own_code(conn, first, lambda _: next(draws), platform.clock.now())
        drawn = await own_code(conn, second, lambda _: next(draws), platform.clock.now())
        assert (taken, taken == drawn) == ("000000000", False)
    third = await platform.account()
    async with transaction(platform.pool) as conn:
        with pytest.raises(ConcurrentUpdate):
            await own_code(conn, third, lambda _: b"\x00" * 6, platform.clock.now())


async def test_codes_tell_what_people_do_with_them_and_nothing_of_what_is_drawn(platform: Platform) -> None:
    account, now = await platform.account(), platform.clock.now()
    drawn = await platform.code(account)
    async with transaction(platform.pool) as conn:
        chosen = await choose_code(conn, account, "Lucky", None, reserved=(), count_max=9, now=now)
        assert isinstance(chosen, CodeView)
        ended = [await disable_code(conn, code, now) for code in (drawn, "1ucky", "1ucky", "NOSUCH")]
    assert ended == [True, True, False, False]
    assert await platform.story("referral_code") == ["referral_code.created"] + ["referral_code.disabled"] * 2
    await platform.assert_sound()


async def test_a_deposit_is_decided_in_six_trips_however_many_levels_it_pays(
    platform: Platform, database: str
) -> None:
    await platform.programme(levels=[{"kind": "percentage", "parts_per_million": 10_000}] * 5)
    *_, other, player = await platform.chain(7)
    trips: list[str] = []
    async with open_pool(database, application_name="counted", size_max=1) as pool:
        counted = replace(platform, pool=pool)
        await platform.deposit(other)
        await (
            counted.settle()
        )  # what a process does once: begin its place, read the terms, prepare statements
        await platform.deposit(player)
        async with pool.acquire() as conn:
            await sequence_events(conn)
            conn.add_query_logger(lambda told: trips.append(told.query))
        assert await counted.worker.follow() > 0
    assert len(trips) == 6, trips
    assert len(await platform.rewards()) == 10
    await platform.assert_sound()


async def test_terms_are_read_once_by_a_process_and_those_of_later_versions_when_they_are_met(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "_KNOWN_MAX", 2)
    programme = await platform.programme(hold_s=0)
    programme_id = UUID(hex=programme.id.partition("_")[2])
    referrer = await platform.account()
    for version in range(2, 5):
        richer = msgspec.convert(TERMS | {"window_s": version, "hold_s": 0}, Terms)
        async with transaction(platform.pool) as conn:
            await change_programme(
                conn, programme_id, Change(given=Given(richer, DECIMALS)), platform.clock.now()
            )
        await platform.deposit(await platform.account(referrer))
        await platform.settle()
        assert (programme_id, version) in platform.promises.known
        assert len(platform.promises.known) <= 2
    assert await platform.states() == [(1000, "paid")] * 3
    players = [await platform.account(referrer) for _ in range(2)]
    known = platform.promises.known
    for account in players:
        await platform.deposit(account)
    await platform.settle()
    assert platform.promises.known is known
    assert await platform.states() == [(1000, "paid")] * 5


async def test_many_workers_at_once_pay_everything_once(platform: Platform) -> None:
    await platform.programme(levels=[{"kind": "percentage", "parts_per_million": 100_000}] * 3)
    root = await platform.account()
    children = [await platform.account(root) for _ in range(4)]
    players = [await platform.account(child) for child in children for _ in range(5)]
    deposits = await asyncio.gather(*(platform.deposit(account) for account in [*children, *players]))
    code = await platform.code(root)
    rival = await platform.account()
    stranger = await platform.account()
    entered = await asyncio.gather(
        *(platform.enter(stranger, c) for c in [code, await platform.code(rival)] * 3)
    )
    assert sum(isinstance(one, ReferralView) for one in entered) == 1

    async def work(batch_max: int) -> None:
        small = platform.with_batches_of(batch_max)
        for _ in range(12):
            try:
                await small.settle()
            except ConcurrentUpdate:
                continue

    await asyncio.gather(*(work(n) for n in (1, 2, 3, 50)))
    platform.clock.move(7200)
    await asyncio.gather(*(work(n) for n in (1, 2, 3, 50)))
    assert {state for _, state in await platform.states()} == {"paid"}
    assert await platform.balance(root) == 24 * 1000
    assert await platform.counts(root) == [(4 + entered_of(entered, root), 4), (20, 20)]

    async def undo(deposit: UUID) -> None:
        await platform.reverse(deposit)
        await work(2)

    await asyncio.gather(*(undo(deposit) for deposit in deposits[::4]))
    await platform.settle()
    await platform.look_again(*children, *players)
    assert await platform.balance(root) == (24 - len(deposits[::4])) * 1000
    await platform.assert_sound()


def entered_of(entered: list[ReferralView | Refusal], root: UUID) -> int:
    return sum(isinstance(one, ReferralView) and one.referrer_id.endswith(root.hex) for one in entered)
