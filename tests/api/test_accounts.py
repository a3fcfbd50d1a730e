"""Accounts: who they are, what they hold, where they deposit."""

import pytest

from tests.api.world import Caller, World


async def test_an_external_id_names_one_account_however_often_it_is_created(backend: Caller) -> None:
    first = await backend.post("/v1/accounts", {"external_id": "alice", "metadata": {"vip": "1"}})
    again = await backend.post("/v1/accounts", {"external_id": "alice", "metadata": {"vip": "2"}})
    other = await backend.post("/v1/accounts", {"external_id": "bob"})
    assert (first.status, again.status, other.status) == (201, 200, 201)
    assert again.body == first.body
    assert other.body["id"] != first.body["id"]


async def test_a_patch_changes_what_it_names_and_nothing_else(backend: Caller) -> None:
    created = (await backend.post("/v1/accounts", {"external_id": "a", "metadata": {"k": "v"}})).body
    path = f"/v1/accounts/{created['id']}"
    patched = await backend.patch(path, {"status": "frozen", "kyc_level": 2})
    assert patched.status == 200
    assert (patched.body["status"], patched.body["kyc_level"], patched.body["metadata"]) == (
        "frozen",
        2,
        {"k": "v"},
    )
    assert (await backend.get(path)).body == patched.body


async def test_each_change_of_an_account_tells_once_and_no_change_tells_nothing(backend: Caller) -> None:
    created = (await backend.post("/v1/accounts", {"external_id": "a"})).body
    path = f"/v1/accounts/{created['id']}"
    await backend.post("/v1/accounts", {"external_id": "a"})
    await backend.patch(path, {"kyc_level": 1})
    await backend.patch(path, {"kyc_level": 1})
    events = (await backend.get(f"/v1/events?account_id={created['id']}")).body["data"]
    assert [(e["type"], e["entity"]["version"]) for e in events] == [
        ("account.created", 1),
        ("account.updated", 2),
    ]
    assert events[1]["data"]["kyc_level"] == 1


@pytest.mark.parametrize(
    "path", ["/v1/accounts/acc_" + "0" * 32, "/v1/accounts/nonsense", "/v1/accounts/dep_" + "0" * 32]
)
async def test_an_account_that_is_not_there_is_not_found(backend: Caller, path: str) -> None:
    for answer in (
        await backend.get(path),
        await backend.patch(path, {}),
        await backend.get(path + "/balances"),
    ):
        assert (answer.status, answer.code) == (404, "not_found")


async def test_accounts_are_listed_newest_first_in_pages_that_neither_repeat_nor_skip(
    world: World, backend: Caller
) -> None:
    made = [await world.account(backend, f"p{n}") for n in range(5)]
    answer = await backend.get("/v1/accounts?limit=2")
    pages = [answer.body]
    while pages[-1]["next_cursor"] is not None:
        pages.append((await backend.get(f"/v1/accounts?limit=2&cursor={pages[-1]['next_cursor']}")).body)
    assert [len(page["data"]) for page in pages] == [2, 2, 1]
    assert [account["id"] for page in pages for account in page["data"]] == made[::-1]


async def test_accounts_are_listed_by_status(world: World, backend: Caller) -> None:
    frozen, _ = await world.account(backend), await world.account(backend)
    await backend.patch(f"/v1/accounts/{frozen}", {"status": "frozen"})
    listed = (await backend.get("/v1/accounts?status=frozen")).body["data"]
    assert [account["id"] for account in listed] == [frozen]


async def test_balances_are_decimal_strings_that_add_up(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    assert (await backend.get(f"/v1/accounts/{account}/balances")).body == []
    await world.give(account, 5_000_000)
    await world.give(account, 100, final=False)
    [balance] = (await backend.get(f"/v1/accounts/{account}/balances")).body
    assert balance == {
        "asset": "BTC",
        "total": "0.05000100",
        "playable": "0.05000100",
        "withdrawable": "0.05000000",
        "unfinalized": "0.00000100",
        "held": "0.00000000",
        "debt": "0.00000000",
    }


async def test_a_statement_explains_the_balance_newest_first(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    await world.give(account, 1000)
    await backend.post(
        "/v1/transfers",
        {
            "account_id": account,
            "asset": "BTC",
            "amount": "0.00000300",
            "kind": "bet",
            "reference": "round 7",
        },
    )
    first = (await backend.get(f"/v1/accounts/{account}/statement?limit=1")).body
    [bet] = first["data"]
    assert (bet["kind"], bet["total_change"], bet["reference"]) == ("bet", "-0.00000300", "round 7")
    assert bet["balance"]["total"] == "0.00000700"
    second = (
        await backend.get(f"/v1/accounts/{account}/statement?limit=1&cursor={first['next_cursor']}")
    ).body
    assert [line["kind"] for line in second["data"]] == ["deposit_credit_final"]
    assert second["next_cursor"] is None


async def test_a_new_address_each_time_unless_the_latest_is_to_be_reused(
    world: World, backend: Caller
) -> None:
    account = await world.account(backend)
    await world.offer_addresses(3)
    path = f"/v1/accounts/{account}/addresses"
    first = await backend.post(path, {"chain": "bitcoin"})
    second = await backend.post(path, {"chain": "bitcoin"})
    again = await backend.post(path, {"chain": "bitcoin", "reuse": True})
    assert (first.status, first.body["assets"]) == (201, ["BTC"])
    assert first.body["address"] != second.body["address"] == again.body["address"]


async def test_without_a_free_address_the_caller_is_asked_to_come_back(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    answer = await backend.post(f"/v1/accounts/{account}/addresses", {"chain": "bitcoin"})
    assert (answer.status, answer.code) == (503, "no_address_free")
    assert int(answer.headers["Retry-After"]) > 0
    unknown = await backend.post(f"/v1/accounts/{account}/addresses", {"chain": "dogecoin"})
    assert (unknown.status, unknown.code) == (422, "unknown_chain")
