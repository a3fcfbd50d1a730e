"""Transfers, withdrawals and deposits over HTTP, each rule with its negative."""

from typing import Any

import pytest

from cryptowatch.api.keys import Scope
from tests.api.world import GOOD_ADDRESS, Caller, World, uuid_of


def transfer(account: str, kind: str = "bet", amount: str = "0.5", **more: object) -> dict[str, object]:
    return {"account_id": account, "asset": "BTC", "kind": kind, "amount": amount, **more}


def withdrawal(account: str, amount: str = "0.5", **more: object) -> dict[str, object]:
    return {
        "account_id": account,
        "asset": "BTC",
        "chain": "bitcoin",
        "amount": amount,
        "address": GOOD_ADDRESS,
        **more,
    }


async def total(backend: Caller, account: str) -> str:
    return str((await backend.get(f"/v1/accounts/{account}/balances")).body[0]["total"])


async def test_a_bet_takes_and_a_win_gives(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    await world.give(account, 100_000_000)
    bet = await backend.post("/v1/transfers", transfer(account, "bet", "0.3", reference="round 1"))
    assert (bet.status, bet.body["balance"]["total"], bet.body["reference"]) == (201, "0.70000000", "round 1")
    assert bet.body["id"].startswith("tr_")
    for kind, after in (("win", "0.80000000"), ("refund", "0.90000000"), ("bonus", "1.00000000")):
        answer = await backend.post("/v1/transfers", transfer(account, kind, "0.1"))
        assert answer.body["balance"]["total"] == after


async def test_a_bet_beyond_the_playable_balance_is_refused_and_takes_nothing(
    world: World, backend: Caller
) -> None:
    account = await world.account(backend)
    await world.give(account, 50_000_000)
    refused = await backend.post("/v1/transfers", transfer(account, "bet", "0.50000001"))
    assert (refused.status, refused.code) == (422, "insufficient_funds")
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.5"))).status == 201
    assert await total(backend, account) == "0.00000000"


async def test_only_an_adjustment_may_be_negative(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    await world.give(account, 100)
    taken = await backend.post("/v1/transfers", transfer(account, "adjustment", "-0.00000040"))
    assert (taken.status, taken.body["balance"]["total"]) == (201, "0.00000060")
    given = await backend.post("/v1/transfers", transfer(account, "adjustment", "0.00000001"))
    assert given.body["balance"]["total"] == "0.00000061"
    refused = await backend.post("/v1/transfers", transfer(account, "win", "-0.00000001"))
    assert (refused.status, refused.code) == (422, "invalid_amount")


@pytest.mark.parametrize(
    ("amount", "status", "code"),
    [
        ("0", 422, "invalid_amount"),
        ("0.000000001", 422, "invalid_amount"),
        ("1" * 78, 422, "invalid_amount"),
        ("1e3", 400, "invalid_request"),
        ("01", 400, "invalid_request"),
        (".5", 400, "invalid_request"),
        ("+1", 400, "invalid_request"),
        ("NaN", 400, "invalid_request"),
        (0.5, 400, "invalid_request"),
        ("1" * 200, 400, "invalid_request"),
        ("٣", 400, "invalid_request"),
        ("1\n", 422, "invalid_amount"),
    ],
)
async def test_an_amount_that_is_not_exact_and_positive_is_refused(
    world: World, backend: Caller, amount: object, status: int, code: str
) -> None:
    account = await world.account(backend)
    refused = await backend.post("/v1/transfers", {**transfer(account, "win"), "amount": amount})
    assert (refused.status, refused.code) == (status, code)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"asset": "DOGE"}, "unknown_asset"),
        ({"account_id": "acc_" + "0" * 32}, "unknown_account"),
        ({"account_id": "nonsense"}, "unknown_account"),
    ],
)
async def test_what_a_transfer_names_must_exist(
    world: World, backend: Caller, change: dict[str, str], code: str
) -> None:
    account = await world.account(backend)
    refused = await backend.post("/v1/transfers", {**transfer(account, "win"), **change})
    assert (refused.status, refused.code) == (422, code)


@pytest.mark.parametrize("status", ["frozen", "self_excluded"])
async def test_who_is_not_active_cannot_bet_but_still_wins_what_was_bet(
    world: World, backend: Caller, status: str
) -> None:
    account = await world.account(backend)
    await world.give(account, 100_000_000)
    await backend.patch(f"/v1/accounts/{account}", {"status": status})
    refused = await backend.post("/v1/transfers", transfer(account, "bet"))
    assert (refused.status, refused.code) == (422, "account_not_active")
    assert (await backend.post("/v1/transfers", transfer(account, "win"))).status == 201


async def test_a_withdrawal_is_accepted_queued_and_holds_amount_and_fee(
    world: World, backend: Caller
) -> None:
    account = await world.account(backend)
    await world.give(account, 100_000_000)
    answer = await backend.post("/v1/withdrawals", withdrawal(account, memo="m", priority="urgent"))
    assert (answer.status, answer.body["state"], answer.body["fee"]) == (202, "queued", "0.00010000")
    assert answer.body["requested_by"] == backend.key_id
    [balance] = (await backend.get(f"/v1/accounts/{account}/balances")).body
    assert (balance["held"], balance["withdrawable"]) == ("0.50010000", "0.49990000")
    assert (await backend.get(f"/v1/withdrawals/{answer.body['id']}")).body == answer.body


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount": "0.99990001"}, "insufficient_withdrawable"),
        ({"amount": "0.0001"}, "amount_below_minimum"),
        ({"amount": "5.1"}, "limit_exceeded"),
        ({"address": "bc1qother"}, "invalid_address"),
        ({"chain": "dogecoin"}, "unknown_chain"),
        ({"asset": "DOGE"}, "unknown_asset"),
        ({"amount": "0"}, "invalid_amount"),
    ],
)
async def test_a_withdrawal_that_may_not_be_is_refused_and_holds_nothing(
    world: World, backend: Caller, change: dict[str, str], code: str
) -> None:
    account = await world.account(backend)
    await world.give(account, 100_000_000)
    refused = await backend.post("/v1/withdrawals", withdrawal(account, **change))
    assert (refused.status, refused.code) == (422, code)
    [balance] = (await backend.get(f"/v1/accounts/{account}/balances")).body
    assert balance["held"] == "0.00000000"
    assert (await backend.get("/v1/withdrawals")).body["data"] == []


async def test_unfinalized_money_cannot_be_withdrawn(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    await world.give(account, 100_000_000, final=False)
    refused = await backend.post("/v1/withdrawals", withdrawal(account))
    assert (refused.status, refused.code) == (422, "insufficient_withdrawable")


async def test_a_frozen_account_cannot_withdraw_and_a_self_excluded_one_can(
    world: World, backend: Caller
) -> None:
    account = await world.account(backend)
    await world.give(account, 100_000_000)
    await backend.patch(f"/v1/accounts/{account}", {"status": "frozen"})
    assert (await backend.post("/v1/withdrawals", withdrawal(account))).code == "account_frozen"
    await backend.patch(f"/v1/accounts/{account}", {"status": "self_excluded"})
    assert (await backend.post("/v1/withdrawals", withdrawal(account))).status == 202


async def test_canceling_gives_the_held_money_back_once(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    await world.give(account, 100_000_000)
    requested = (await backend.post("/v1/withdrawals", withdrawal(account))).body
    path = f"/v1/withdrawals/{requested['id']}/cancel"
    canceled = await backend.post(path, {"reason": "changed their mind"})
    assert (canceled.status, canceled.body["state"], canceled.body["reason"]) == (
        200,
        "canceled",
        "changed their mind",
    )
    again = await backend.post(path)
    assert (again.status, again.code) == (409, "wrong_state")
    [balance] = (await backend.get(f"/v1/accounts/{account}/balances")).body
    assert (balance["held"], balance["withdrawable"]) == ("0.00000000", "1.00000000")


async def in_review(world: World, requested: dict[str, str]) -> None:
    async with world.pool.acquire() as conn:
        await conn.execute(
            "UPDATE withdrawal SET state = 'in_review' WHERE id = $1", uuid_of(requested["id"])
        )


async def test_approval_needs_another_key_than_the_requesters(world: World, backend: Caller) -> None:
    account, approver = await world.account(backend), await world.caller([Scope.APPROVALS])
    await world.give(account, 100_000_000)
    requested = (await backend.post("/v1/withdrawals", withdrawal(account))).body
    await in_review(world, requested)
    path = f"/v1/withdrawals/{requested['id']}/approve"
    own = await backend.post(path)
    assert (own.status, own.code) == (403, "approver_is_requester")
    approved = await approver.post(path)
    assert (approved.status, approved.body["state"]) == (200, "queued")


async def test_a_rejected_withdrawal_gives_the_money_back(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    await world.give(account, 100_000_000)
    requested = (await backend.post("/v1/withdrawals", withdrawal(account))).body
    path = f"/v1/withdrawals/{requested['id']}/reject"
    assert (await backend.post(path)).code == "wrong_state"
    await in_review(world, requested)
    rejected = await backend.post(path, {"reason": "looks odd"})
    assert (rejected.body["state"], rejected.body["reason"]) == ("rejected", "looks odd")
    assert (await backend.get(f"/v1/accounts/{account}/balances")).body[0]["held"] == "0.00000000"


async def test_withdrawals_are_listed_by_account_state_and_chain(world: World, backend: Caller) -> None:
    mine, other = await world.account(backend), await world.account(backend)
    for account in (mine, other):
        await world.give(account, 400_000_000)
    made = [(await backend.post("/v1/withdrawals", withdrawal(mine))).body["id"] for _ in range(3)]
    theirs = (await backend.post("/v1/withdrawals", withdrawal(other))).body["id"]
    await backend.post(f"/v1/withdrawals/{made[0]}/cancel")

    async def listed(query: str) -> list[str]:
        return [item["id"] for item in (await backend.get(f"/v1/withdrawals{query}")).body["data"]]

    assert await listed("") == [theirs, *made[::-1]]
    assert await listed(f"?account_id={mine}") == made[::-1]
    assert await listed("?state=canceled") == [made[0]]
    assert await listed(f"?account_id={mine}&state=queued&chain=bitcoin") == [made[2], made[1]]
    assert await listed("?chain=other") == []
    first = (await backend.get(f"/v1/withdrawals?account_id={mine}&limit=2")).body
    assert await listed(f"?account_id={mine}&limit=2&cursor={first['next_cursor']}") == [made[0]]


async def test_deposits_are_listed_and_shown(world: World, backend: Caller) -> None:
    mine, other = await world.account(backend), await world.account(backend)
    made = [await world.deposit(mine) for _ in range(3)]
    odd = await world.deposit(other, state="replaced")
    assert [d["id"] for d in (await backend.get("/v1/deposits")).body["data"]] == [odd, *made[::-1]]
    assert [d["id"] for d in (await backend.get(f"/v1/deposits?account_id={mine}")).body["data"]] == made[
        ::-1
    ]
    assert [d["id"] for d in (await backend.get("/v1/deposits?state=replaced")).body["data"]] == [odd]
    one = (await backend.get(f"/v1/deposits/{odd}")).body
    assert (one["amount"], one["state"], one["confirmations"], one["required"]) == (
        "0.01000000",
        "replaced",
        0,
        {"credit": 1, "finalize": 3},
    )
    assert (await backend.get("/v1/deposits/dep_" + "0" * 32)).code == "not_found"


async def test_deposits_of_each_state_are_listed_alone_page_by_page(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    block = {"block_height": 99, "block_hash": b"\2" * 32}
    own: dict[str, dict[str, Any]] = {
        "detected": {},
        "confirming": {**block, "due_height": 100},
        "credited": {**block, "due_height": 101},
        "finalized": block,
        "reversed": {},
        "replaced": {},
        "quarantined": {"quarantine": "below_minimum"},
    }
    # In turns, so that the newest page of all has each of them.
    made = [
        (state, await world.deposit(account, state=state, **own[state])) for _ in range(3) for state in own
    ]
    for state in own:
        newest = [deposit for its_state, deposit in reversed(made) if its_state == state]
        path = f"/v1/deposits?state={state}&chain=bitcoin"
        first = (await backend.get(f"{path}&limit=2")).body
        second = (await backend.get(f"{path}&limit=2&cursor={first['next_cursor']}")).body
        assert [[one["id"] for one in page["data"]] for page in (first, second)] == [newest[:2], newest[2:]]
        assert {one["state"] for one in first["data"]} == {state}
        assert (await backend.get(f"/v1/deposits?state={state}&chain=other")).body["data"] == []


async def test_a_quarantined_deposit_is_released_by_an_approver_once(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    async with world.pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO chain (chain, asset, height, hash, updated_at) "
            "VALUES ('bitcoin', 'BTC', 100, $1, now())",
            b"\1" * 32,
        )
    held = await world.deposit(
        account,
        state="quarantined",
        quarantine="below_minimum",
        block_height=99,
        block_hash=b"\2" * 32,
        inclusion=1,
    )
    path = f"/v1/deposits/{held}/release"
    clerk = await world.caller([Scope.READ, Scope.WITHDRAWALS])
    assert (await clerk.post(path)).code == "forbidden"
    released = await backend.post(path)
    assert (released.status, released.body["state"], released.body["confirmations"]) == (200, "credited", 2)
    assert (await backend.post(path)).code == "wrong_state"
    assert await total(backend, account) == "0.01000000"
