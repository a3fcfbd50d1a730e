"""Referrals through the API: codes and sign-up, programmes, reviews, reports; each refusal by its code."""

from dataclasses import replace
from typing import Any

import pytest

from cryptowatch.api.keys import Scope
from cryptowatch.db.pool import connection
from cryptowatch.referrals.facts import Promises
from tests.api.world import Caller, World, uuid_of
from tests.support.referrals import TERMS, Platform

PROGRAMMES, REWARDS = "/v1/referrals/programmes", "/v1/referrals/rewards"


@pytest.fixture
def platform(world: World) -> Platform:
    return Platform(world.pool, world.clock)


async def sign_up(caller: Caller, name: str, code: str | None = None) -> dict[str, Any]:
    answer = await caller.post("/v1/accounts", {"external_id": name, "referral_code": code})
    assert answer.status == 201, answer
    return dict(answer.body)


async def test_a_code_refers_at_the_sign_up_and_not_when_the_account_is_there(backend: Caller) -> None:
    alice = await sign_up(backend, "alice")
    bob = await sign_up(backend, "bob", alice["referral_code"].lower())
    assert (alice["referred_by"], bob["referred_by"]) == (None, alice["id"])
    assert len({alice["referral_code"], bob["referral_code"]}) == 2
    again = await backend.post("/v1/accounts", {"external_id": "bob", "referral_code": "NOSUCH"})
    assert (again.status, again.body) == (200, bob)
    wrong = await backend.post("/v1/accounts", {"external_id": "carol", "referral_code": "NOSUCH"})
    assert (wrong.status, wrong.code) == (422, "unknown_referral_code")
    assert (await sign_up(backend, "carol"))["referred_by"] is None
    entered = await backend.post("/v1/referrals", {"account_id": alice["id"], "code": bob["referral_code"]})
    assert entered.code == "referral_window_over"  # no programme, no window


async def test_a_reward_waits_for_a_person_is_paid_and_reported(
    world: World, backend: Caller, platform: Platform
) -> None:
    terms = TERMS | {"fraud": {"pace_count": 1}}
    created = await backend.post(PROGRAMMES, {"name": "spring", "terms": terms, "is_default": True})
    assert (created.status, created.body["terms"]["hold_s"]) == (201, 3600)
    programme = f"{PROGRAMMES}/{created.body['id']}"
    alice = await sign_up(backend, "alice")
    for name in ("bob", "carol"):
        account = await sign_up(backend, name, alice["referral_code"])
        await platform.deposit(uuid_of(account["id"]), 10_000)
    await platform.after_hold()
    flagged = (await backend.get(f"{REWARDS}?state=flagged")).body["data"]
    assert [(r["account_id"], r["amount"], r["findings"]) for r in flagged] == [
        (account["id"], "0.00001000", ["pace"])
    ]
    path = f"{REWARDS}/{flagged[0]['id']}"
    stranger = await world.caller([Scope.READ, Scope.ADMIN])
    assert (await stranger.post(path + "/approve")).code == "forbidden"
    approved = await backend.post(path + "/approve", {"reason": "known"}, idempotency_key="once")
    repeated = await backend.post(path + "/approve", {"reason": "known"}, idempotency_key="once")
    assert (approved.body["state"], approved.body["decided_by"]) == ("held", backend.key_id)
    assert repeated.body == approved.body
    assert (await backend.post(path + "/approve")).code == "wrong_state"
    await platform.after_hold()
    summary = (await backend.get(f"/v1/referrals/accounts/{alice['id']}")).body
    assert summary["levels"] == [{"level": 1, "referred": 2, "qualified": 2, "conversion_ppm": 1_000_000}]
    assert summary["earned"] == [{"asset": "BTC", "open": "0.00000000", "paid": "0.00002000"}]
    (balance,) = (await backend.get(f"/v1/accounts/{alice['id']}/balances")).body
    assert balance["withdrawable"] == "0.00002000"
    leaders = (await backend.get(programme + "/leaderboard?asset=BTC")).body
    assert [(leader["account_id"], leader["paid"]) for leader in leaders] == [(alice["id"], "0.00002000")]
    (cost,) = (await backend.get(programme + "/cost")).body
    assert cost == {"asset": "BTC", "referrers": 1, "open": "0.00000000", "paid": "0.00002000"}
    listed = (await backend.get(f"/v1/referrals?referrer_id={alice['id']}&limit=1")).body
    assert ([r["account_id"] for r in listed["data"]], listed["next_cursor"] is None) == (
        [account["id"]],
        False,
    )
    told = (await backend.get(f"/v1/events?account_id={alice['id']}")).body["data"]
    assert [e["type"] for e in told if e["entity"]["id"] == flagged[0]["id"]] == [
        "referral.flagged",
        "referral.approved",
        "referral.rewarded",
    ]


async def test_what_was_promised_in_an_asset_that_is_in_no_settings_any_more_is_decided_paid_and_shown_as_before(
    world: World, backend: Caller, platform: Platform
) -> None:
    terms = TERMS | {"caps": {"BTC": {"per_referrer": "1"}}, "fraud": {"pace_count": 1}}
    programme = (await backend.post(PROGRAMMES, {"name": "spring", "terms": terms, "is_default": True})).body
    alice = await sign_up(backend, "alice")
    accounts = [await sign_up(backend, name, alice["referral_code"]) for name in ("bob", "carol", "dave")]
    for account in accounts[:2]:
        await platform.deposit(uuid_of(account["id"]), 10_000)
    await platform.settle()
    vars(world.services).update({"decimals": {}})
    without = replace(platform, promises=Promises({}))
    await platform.deposit(uuid_of(accounts[2]["id"]), 30_000)
    await without.after_hold()
    listed = (await backend.get(REWARDS)).body["data"]
    assert sorted((one["state"], one["amount"]) for one in listed) == [
        ("flagged", "0.00001000"),
        ("flagged", "0.00003000"),
        ("paid", "0.00001000"),
    ]
    flagged = [one for one in listed if one["state"] == "flagged"]
    for query in ("state=flagged", f"account_id={alice['id']}&state=flagged"):
        assert (await backend.get(f"{REWARDS}?{query}")).body["data"] == flagged
    [largest] = [one for one in flagged if one["amount"] == "0.00003000"]
    path = f"{REWARDS}/{largest['id']}"
    assert (await backend.get(path)).body == largest
    assert (await backend.post(path + "/approve", {})).body["amount"] == "0.00003000"
    await without.after_hold()
    earned = {"asset": "BTC", "open": "0.00001000", "paid": "0.00004000"}
    summary = (await backend.get(f"/v1/referrals/accounts/{alice['id']}")).body
    assert summary["earned"] == [earned]
    path = f"{PROGRAMMES}/{programme['id']}"
    assert (await backend.get(path + "/cost")).body == [earned | {"referrers": 1}]
    assert (await backend.get(path + "/leaderboard?asset=BTC")).body[0]["paid"] == "0.00004000"
    assert (await backend.get(path + "/leaderboard?asset=NOSUCH")).code == "unknown_asset"
    told = (await backend.get(f"/v1/events?account_id={alice['id']}")).body["data"]
    assert {e["data"]["amount"] for e in told if e["entity"]["kind"] == "referral_reward"} == {
        "0.00001000",
        "0.00003000",
    }
    refused = await backend.post(PROGRAMMES, {"name": "autumn", "terms": terms, "is_default": True})
    assert refused.code == "invalid_terms"


async def test_a_reward_of_which_nobody_knows_the_decimals_is_shown_in_base_units(
    world: World, backend: Caller, platform: Platform
) -> None:
    await backend.post(PROGRAMMES, {"name": "spring", "terms": TERMS, "is_default": True})
    alice = await sign_up(backend, "alice")
    account = await sign_up(backend, "bob", alice["referral_code"])
    await platform.deposit(uuid_of(account["id"]), 10_000)
    await platform.settle()
    async with connection(world.pool) as conn:
        # As terms are that were given before they kept decimals.
        await conn.execute("ALTER TABLE referral_terms DISABLE TRIGGER append_only")
        await conn.execute("UPDATE referral_terms SET decimals = NULL")
    assert (await backend.get(REWARDS)).body["data"][0]["amount"] == "0.00001000"
    vars(world.services).update({"decimals": {}})
    assert (await backend.get(REWARDS)).body["data"][0]["amount"] == "1000"
    (earned,) = (await backend.get(f"/v1/referrals/accounts/{alice['id']}")).body["earned"]
    assert earned["open"] == "1000"


async def test_who_referred_most_accounts_that_qualified_comes_first_and_who_has_none_does_not_come(
    world: World, backend: Caller, platform: Platform
) -> None:
    terms = TERMS | {"caps": {"BTC": {"per_referrer": "0"}}}
    await backend.post(PROGRAMMES, {"name": "spring", "terms": terms, "is_default": True})
    few, most, none = [await sign_up(backend, name) for name in ("few", "most", "none")]
    referred = {"few": (few, 1, 1), "most": (most, 2, 3), "none": (none, 0, 2)}
    below = None
    for name, (referrer, qualified, count) in referred.items():
        for number in range(count):
            account = await sign_up(backend, f"{name}-{number}", referrer["referral_code"])
            if number < qualified:
                await platform.deposit(uuid_of(account["id"]), 10_000)
                below = below or account
    assert below is not None
    # One level further down: it counts for who referred it alone, though "few" is above it.
    further = await sign_up(backend, "further", below["referral_code"])
    await platform.deposit(uuid_of(further["id"]), 10_000)
    await platform.settle()
    leaders = (await backend.get("/v1/referrals/leaderboard")).body
    assert leaders[0] == {"account_id": most["id"], "referred": 3, "qualified": 2}
    assert sorted(leaders[1:], key=str) == sorted(
        [
            {"account_id": few["id"], "referred": 1, "qualified": 1},
            {"account_id": below["id"], "referred": 1, "qualified": 1},
        ],
        key=str,
    )
    assert (await backend.get("/v1/referrals/leaderboard?limit=1")).body == leaders[:1]
    assert (await backend.get("/v1/referrals/leaderboard?limit=0")).code == "invalid_request"


async def test_programmes_are_changed_by_versions_and_wrong_terms_are_named(backend: Caller) -> None:
    wrong = TERMS | {"act": {"kind": "first_deposit", "minimum": {"DOGE": "1"}}}
    refused = await backend.post(PROGRAMMES, {"name": "it", "terms": wrong})
    assert (refused.code, "act.minimum.DOGE" in refused.body["detail"]) == ("invalid_terms", True)
    assert (await backend.post(PROGRAMMES, {"name": "it", "terms": {}})).code == "invalid_request"
    created = (await backend.post(PROGRAMMES, {"name": "it", "terms": TERMS})).body
    assert (await backend.post(PROGRAMMES, {"name": "it", "terms": TERMS})).code == "name_taken"
    path = f"{PROGRAMMES}/{created['id']}"
    assert (await backend.patch(path, {})).body == created
    changed = (await backend.patch(path, {"terms": TERMS | {"hold_s": 1}, "state": "paused"})).body
    assert (changed["terms_version"], changed["terms"]["hold_s"], changed["state"]) == (2, 1, "paused")
    assert (await backend.get(path)).body == changed
    assert (await backend.get(PROGRAMMES)).body["data"] == [changed]


async def test_a_chosen_code_is_its_owners_alone_and_refers_until_it_is_disabled(backend: Caller) -> None:
    alice, bob = await sign_up(backend, "alice"), await sign_up(backend, "bob")
    codes = "/v1/referrals/codes"
    programme = (await backend.post(PROGRAMMES, {"name": "it", "terms": TERMS})).body["id"]
    wanted = {"account_id": alice["id"], "code": "Lucky-Star", "programme_id": programme}
    assert (await backend.post(codes, wanted)).body["code"] == "LUCKY-STAR"
    for change, code in [
        ({"account_id": bob["id"]}, "code_taken"),
        ({"code": "1UCKYSTAR"}, "code_taken"),
        ({"code": "0fficial"}, "code_taken"),
        ({"code": "A--B"}, "invalid_code"),
        ({"account_id": "acc_" + "0" * 32}, "unknown_account"),
        ({"code": "OTHER", "programme_id": "rp_" + "0" * 32}, "unknown_programme"),
    ]:
        assert (await backend.post(codes, wanted | change)).code == code
    shown = (await backend.get(f"{codes}?account_id={alice['id']}")).body
    assert [code["code"] for code in shown] == [alice["referral_code"], "LUCKY-STAR"]
    entered = await backend.post("/v1/referrals", {"account_id": bob["id"], "code": "lucky-star"})
    assert (entered.status, entered.body["programme_id"]) == (201, programme)
    deleted = [(await backend.call("DELETE", f"{codes}/luckystar")).status for _ in range(2)]
    assert deleted == [204, 404]
    late = await backend.post("/v1/accounts", {"external_id": "carol", "referral_code": "LUCKY-STAR"})
    assert late.code == "unknown_referral_code"


async def test_an_account_has_so_many_codes_and_no_more(world: World, backend: Caller) -> None:
    alice = await sign_up(backend, "alice")
    count_max = world.services.settings.referrals.codes_per_account_max
    answers = [
        await backend.post("/v1/referrals/codes", {"account_id": alice["id"], "code": f"CODE{n:03}"})
        for n in range(count_max)
    ]
    assert [answer.status for answer in answers] == [201] * (count_max - 1) + [422]
    assert answers[-1].code == "too_many_codes"
