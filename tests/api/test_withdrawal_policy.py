"""The withdrawal policy through the API on a real database: at once, by several people, and inside the ledger."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest_asyncio

from cryptowatch.api.keys import Scope
from cryptowatch.chains.denied import Denied
from cryptowatch.db.pool import Pool, transaction
from cryptowatch.ids import Kind, read_id
from cryptowatch.ledger.balances import house_balances
from cryptowatch.ledger.verify import verify
from cryptowatch.settings.withdrawals import AssetPolicy, LevelLimit, Limit, Withdrawals
from tests.api.test_money import transfer, withdrawal
from tests.api.world import GOOD_ADDRESS, GOOD_SCRIPT, Answer, Caller, World, running_api, settings
from tests.support.moving_clock import MovingClock

BTC = 100_000_000
POLICY = Withdrawals(
    allow_list_cooling_off_s=3600,
    allowed_addresses_max=1,
    assets={
        "BTC": AssetPolicy(
            approval_from="2",
            second_approval_from="3",
            account_limits=(Limit(hours=24, amount="4", count=5),),
            kyc_limits=(LevelLimit(level_max=1, hours=24, amount="3.5"),),
            global_limits=(Limit(hours=1, amount="6"),),
        )
    },
)


@pytest_asyncio.fixture
async def world(pool: Pool, database: str) -> AsyncIterator[World]:
    chosen = settings(database).model_copy(update={"withdrawals": POLICY})
    async with running_api(pool, chosen, MovingClock()) as running:
        yield running


async def rich(world: World, backend: Caller, **changes: Any) -> str:
    account = await world.account(backend)
    await world.give(account, 20 * BTC)
    await backend.patch(f"/v1/accounts/{account}", {"kyc_level": 5, **changes})
    return account


def codes(answers: Sequence[Answer]) -> list[object]:
    return sorted(answer.body["state"] if answer.status == 202 else answer.code for answer in answers)


async def story(world: World, entity_id: str) -> list[str]:
    rows = await world.pool.fetch(
        "SELECT type FROM event WHERE entity_id = $1 ORDER BY entity_version", entity_id
    )
    return [row["type"] for row in rows]


async def assert_sound(world: World) -> None:
    async with world.pool.acquire() as conn:
        assert (await verify(conn)).findings == []
        assert [one.base_units for one in await house_balances(conn) if one.role == "internal"] in ([], [0])


async def test_requests_at_once_pass_no_limit_and_a_window_slides(world: World, backend: Caller) -> None:
    account = await rich(world, backend)
    asked = [withdrawal(account, amount="1.5") for _ in range(4)]
    answers = await asyncio.gather(*(backend.post("/v1/withdrawals", body) for body in asked))
    assert codes(answers) == ["limit_exceeded", "limit_exceeded", "queued", "queued"]
    refused = next(answer for answer in answers if answer.status == 422)
    assert refused.body["detail"] == "the account's limit within 24 hours is 4.00000000"
    queued = next(answer for answer in answers if answer.status == 202)
    await backend.post(f"/v1/withdrawals/{queued.body['id']}/cancel")
    assert codes([await backend.post("/v1/withdrawals", asked[0])]) == ["queued"]
    world.clock.move(24 * 3600 - 60)
    assert codes([await backend.post("/v1/withdrawals", asked[0])]) == ["limit_exceeded"]
    world.clock.move(60)
    assert codes([await backend.post("/v1/withdrawals", asked[0])]) == ["queued"]


async def test_two_processes_pass_no_limit_for_all_accounts(
    world: World, backend: Caller, pool: Pool
) -> None:
    accounts = [await rich(world, backend) for _ in range(8)]
    async with running_api(pool, world.services.settings, world.clock) as second:
        there = Caller(second.session, second.url, backend.key, backend.key_id)
        answers = await asyncio.gather(
            *(
                caller.post("/v1/withdrawals", withdrawal(account, amount="1.5"))
                for account, caller in zip(accounts, [backend, there] * 4, strict=True)
            )
        )
    assert codes(answers) == ["limit_exceeded"] * 4 + ["queued"] * 4
    await assert_sound(world)


async def test_limits_of_the_level_and_of_the_account_bind(world: World, backend: Caller) -> None:
    account = await rich(world, backend, kyc_level=1)
    path = f"/v1/accounts/{account}"
    assert codes([await backend.post("/v1/withdrawals", withdrawal(account, amount="3.6"))]) == [
        "limit_exceeded"
    ]
    own = {"BTC": [{"hours": 1, "amount": "0.5", "count": None}]}
    patched = await backend.patch(path, {"limits": own, "kyc_level": 2})
    assert patched.body["limits"] == own
    answers = [
        await backend.post("/v1/withdrawals", withdrawal(account, amount=amount)) for amount in ("0.5", "0.5")
    ]
    assert codes(answers) == ["limit_exceeded", "queued"]
    for wrong, code in (
        ({"DOGE": []}, "unknown_asset"),
        ({"BTC": [{"hours": 1, "amount": "0.000000001"}]}, "invalid_amount"),
        ({"BTC": [{"hours": 0}]}, "invalid_request"),
    ):
        assert (await backend.patch(path, {"limits": wrong})).code == code


async def test_a_large_withdrawal_waits_for_two_people(world: World, backend: Caller) -> None:
    account = await rich(world, backend)
    asked = (await backend.post("/v1/withdrawals", withdrawal(account, amount="3"))).body
    assert (asked["state"], asked["approvals_needed"], asked["reason"]) == ("in_review", 2, "approval")
    assert asked["decision"][-1] == {
        "rule": "approval",
        "verdict": "review",
        "compared": {
            "amount": "3.00000000",
            "approval_from": "2.00000000",
            "second_approval_from": "3.00000000",
        },
    }
    path = f"/v1/withdrawals/{asked['id']}/approve"
    first, second, third = [await world.caller([Scope.APPROVALS]) for _ in range(3)]
    assert (await backend.post(path)).code == "approver_is_requester"
    twice = await asyncio.gather(first.post(path), first.post(path))
    assert sorted(answer.status for answer in twice) == [200, 403]
    [endorsed] = [answer.body for answer in twice if answer.status == 200]
    assert (endorsed["state"], endorsed["approved_by"]) == ("in_review", [first.key_id])
    assert [answer.code for answer in twice if answer.status == 403] == ["already_approved"]
    both = await asyncio.gather(second.post(path), third.post(path))
    assert sorted(answer.status for answer in both) == [200, 409]
    [approved] = [answer.body for answer in both if answer.status == 200]
    assert (approved["state"], len(approved["approved_by"])) == ("queued", 2)
    assert await story(world, asked["id"]) == [
        "withdrawal.requested",
        "withdrawal.in_review",
        "withdrawal.approved",
        "withdrawal.queued",
    ]
    assert await world.pool.fetchval("SELECT count(*) FROM withdrawal_approval") == 2


async def test_what_changed_since_the_request_is_asked_again_by_an_approval(
    world: World, backend: Caller
) -> None:
    account, approver = await rich(world, backend), await world.caller([Scope.APPROVALS])
    asked = (await backend.post("/v1/withdrawals", withdrawal(account, amount="2"))).body
    path = f"/v1/withdrawals/{asked['id']}"
    await backend.patch(f"/v1/accounts/{account}", {"status": "frozen"})
    assert (await approver.post(f"{path}/approve")).code == "account_frozen"
    await backend.patch(f"/v1/accounts/{account}", {"status": "active"})
    object.__setattr__(world.services, "denied", lambda: Denied(frozenset({("bitcoin", GOOD_SCRIPT)})))
    assert (await approver.post(f"{path}/approve")).code == "address_denied"
    assert (await backend.post("/v1/withdrawals", withdrawal(account))).code == "address_denied"
    assert (await approver.post(f"{path}/reject")).body["state"] == "rejected"


async def test_an_account_with_an_allow_list_pays_only_to_what_cooled_off(
    world: World, backend: Caller
) -> None:
    account = await rich(world, backend, allow_list=True)
    path = f"/v1/accounts/{account}/allowed-addresses"
    body = {"chain": "bitcoin", "address": GOOD_ADDRESS, "label": "cold"}
    assert (await backend.post("/v1/withdrawals", withdrawal(account))).code == "address_not_allowed"
    added = await backend.post(path, body)
    again = await backend.post(path, body)
    assert (added.status, again.status, again.body) == (201, 200, added.body)
    assert (await backend.post(path, {**body, "address": "nonsense"})).code == "invalid_address"
    world.clock.move(3600 - 60)
    assert (await backend.post("/v1/withdrawals", withdrawal(account))).code == "address_not_allowed"
    world.clock.move(60)
    assert (await backend.post("/v1/withdrawals", withdrawal(account))).status == 202
    assert (await backend.get(path)).body == [added.body]
    one = f"{path}/{added.body['id']}"
    assert (await backend.call("DELETE", one)).status == 204
    assert (await backend.call("DELETE", one)).code == "not_found"
    assert (await backend.post("/v1/withdrawals", withdrawal(account))).code == "address_not_allowed"
    assert await story(world, added.body["id"]) == ["allowed_address.added", "allowed_address.removed"]


async def test_money_that_was_not_played_with_cannot_leave(world: World, backend: Caller, pool: Pool) -> None:
    assets = {"BTC": AssetPolicy(wager_times="0.1")}
    chosen = world.services.settings.model_copy(update={"withdrawals": Withdrawals(assets=assets)})
    account = await rich(world, backend)
    async with running_api(pool, chosen, world.clock) as second:
        there = Caller(second.session, second.url, backend.key, backend.key_id)
        for bet, expected in (
            ("1.9", "wager_required"),
            ("0.09999999", "wager_required"),
            ("0.00000001", "queued"),
        ):
            assert (await there.post("/v1/transfers", transfer(account, "bet", bet))).status == 201
            assert codes([await there.post("/v1/withdrawals", withdrawal(account))]) == [expected]


async def give_address(world: World, account: str | None, branch: int = 0) -> None:
    """The one address that the chain reads is the account's, or our wallet's."""
    owner = None if account is None else read_id(Kind.ACCOUNT, account)
    async with transaction(world.pool) as conn:
        await conn.execute("DELETE FROM address")
        await conn.execute(
            "INSERT INTO address (chain, destination, address, scheme, branch, key_index, account_id, assigned_at) "
            "VALUES ('bitcoin', $1, $2, 84, $3, 0, $4, $5)",
            GOOD_SCRIPT,
            GOOD_ADDRESS,
            branch,
            owner,
            None if owner is None else world.clock.now(),
        )


async def total(backend: Caller, account: str) -> str:
    balances = (await backend.get(f"/v1/accounts/{account}/balances")).body
    return str(balances[0]["withdrawable"])


async def test_a_withdrawal_to_another_player_is_paid_inside_the_ledger_exactly_once(
    world: World, backend: Caller
) -> None:
    sender, recipient = await rich(world, backend), await world.account(backend)
    await give_address(world, recipient)
    paid = await backend.post("/v1/withdrawals", withdrawal(sender, amount="1"), idempotency_key="k1")
    again = await backend.post("/v1/withdrawals", withdrawal(sender, amount="1"), idempotency_key="k1")
    assert again.body == paid.body
    assert (paid.body["state"], paid.body["fee"], paid.body["recipient_account_id"]) == (
        "finalized",
        "0.00000000",
        recipient,
    )
    assert (await total(backend, sender), await total(backend, recipient)) == ("19.00000000", "1.00000000")
    assert await story(world, paid.body["id"]) == ["withdrawal.requested", "withdrawal.finalized"]
    [received] = await world.pool.fetch("SELECT data FROM event WHERE type = 'transfer.received'")
    assert f'"account_id":"{recipient}"' in received["data"]
    await give_address(world, sender)
    assert (await backend.post("/v1/withdrawals", withdrawal(sender, amount="1"))).status == 202
    assert await total(backend, sender) == "19.00000000"
    await assert_sound(world)


async def test_what_goes_to_a_player_waits_for_people_as_any_other(world: World, backend: Caller) -> None:
    sender, recipient = await rich(world, backend), await world.account(backend)
    await give_address(world, recipient)
    approver = await world.caller([Scope.APPROVALS])
    large = (await backend.post("/v1/withdrawals", withdrawal(sender, amount="2"))).body
    assert (large["state"], await total(backend, recipient)) == ("in_review", "0.00000000")
    approved = await approver.post(f"/v1/withdrawals/{large['id']}/approve")
    assert (approved.body["state"], await total(backend, recipient)) == ("finalized", "2.00000000")
    await backend.patch(f"/v1/accounts/{recipient}", {"status": "frozen"})
    small = (await backend.post("/v1/withdrawals", withdrawal(sender, amount="1"))).body
    assert (small["state"], small["reason"]) == ("in_review", "recipient")
    assert (await backend.post(f"/v1/withdrawals/{small['id']}/cancel")).body["state"] == "canceled"
    await assert_sound(world)


async def test_our_own_wallet_is_never_paid(world: World, backend: Caller) -> None:
    account = await rich(world, backend)
    for branch in (0, 1):
        await give_address(world, None, branch)
        assert (await backend.post("/v1/withdrawals", withdrawal(account))).code == "own_address"
