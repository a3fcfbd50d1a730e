"""Play over HTTP: batches, rounds, limits and terms of players, and what accounts share."""

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from cryptowatch.accounts.traits import note_addresses
from cryptowatch.db.pool import connection, transaction
from cryptowatch.ledger.events import sequence_events
from tests.api.test_money import total, transfer, withdrawal
from tests.api.world import Caller, World, uuid_of
from tests.support.running import until, waiting_for_locks

BTC = 100_000_000


async def rich(world: World, backend: Caller) -> str:
    account = await world.account(backend)
    await world.give(account, BTC)
    return account


def keyed(
    account: str, key: str, kind: str = "bet", amount: str = "0.1", **more: object
) -> dict[str, object]:
    return {"key": key, **transfer(account, kind, amount, **more)}


async def batch(backend: Caller, *transfers: dict[str, object]) -> list[Any]:
    answer = await backend.post("/v1/transfers/batch", {"transfers": list(transfers)}, idempotency_key=None)
    assert answer.status == 200, answer.body
    return list(answer.body["outcomes"])


async def days(world: World, account: str) -> list[tuple[Any, ...]]:
    async with connection(world.pool) as conn:
        rows = await conn.fetch(
            "SELECT product, bet, win, refund, bonus, bets FROM play_day WHERE account_id = $1 ORDER BY product",
            uuid_of(account),
        )
    return [(row["product"], *(int(part) for part in tuple(row)[1:])) for row in rows]


async def test_a_batch_is_made_in_order_and_each_transfer_stands_for_itself(
    world: World, backend: Caller
) -> None:
    account, poor = await rich(world, backend), await world.account(backend)
    outcomes = await batch(
        backend,
        keyed(account, "a", "bet", "1"),
        keyed(account, "b", "bet", "0.1"),
        keyed(account, "c", "win", "2"),
        keyed(account, "d", "bet", "0.5"),
        keyed(poor, "e", "bet", "0.00000001"),
        keyed("acc_" + "0" * 32, "f", "win"),
        keyed(account, "g", "win", "0"),
        {**keyed(account, "h", "win"), "asset": "DOGE"},
        keyed(account, "i", "win", "-1"),
    )
    assert [one["key"] for one in outcomes] == list("abcdefghi")
    assert [one["status"] for one in outcomes] == [
        "created",
        "refused",
        "created",
        "created",
        *["refused"] * 5,
    ]
    assert [one["problem"]["code"] for one in outcomes if one["problem"]] == [
        "insufficient_funds",
        "insufficient_funds",
        "unknown_account",
        "invalid_amount",
        "unknown_asset",
        "invalid_amount",
    ]
    assert outcomes[3]["transfer"]["balance"]["total"] == "1.50000000"
    assert await total(backend, account) == "1.50000000"


@pytest.mark.parametrize("bets", [3, 40])
async def test_however_many_bets_of_one_player_a_batch_has_each_sees_what_the_ones_before_it_left(
    world: World, backend: Caller, bets: int
) -> None:
    account, other = await rich(world, backend), await rich(world, backend)
    asked = [keyed(account, f"bet {n}", "bet", "0.3") for n in range(bets)]
    asked += [
        keyed(account, "win", "win", "0.5"),
        keyed(account, "last", "bet", "0.6"),
        keyed(other, "other"),
    ]
    outcomes = await batch(backend, *asked)
    assert [one["status"] for one in outcomes] == ["created"] * 3 + ["refused"] * (bets - 3) + ["created"] * 3
    left = [one["transfer"]["balance"]["total"] for one in outcomes if one["status"] == "created"]
    assert left == ["0.70000000", "0.40000000", "0.10000000", "0.60000000", "0.00000000", "0.90000000"]
    assert await days(world, account) == [("", BTC * 15 // 10, BTC // 2, 0, 0, 4)]
    again = await batch(backend, *asked)
    assert [one["status"] for one in again] == ["exists"] * 3 + ["refused"] * (bets - 3) + ["exists"] * 3


async def test_a_batch_that_comes_twice_is_made_once_and_told_as_it_was(
    world: World, backend: Caller
) -> None:
    account = await rich(world, backend)
    bets = [keyed(account, f"bet-{n}", "bet", "0.1", product="slots") for n in range(3)]
    first = await batch(backend, *bets)
    world.clock.move(60)
    again = await batch(backend, *bets)
    assert [one["status"] for one in again] == ["exists"] * 3
    assert [one["transfer"] for one in again] == [one["transfer"] for one in first]
    assert await total(backend, account) == "0.70000000"
    assert await days(world, account) == [("slots", BTC * 3 // 10, 0, 0, 0, 3)]


async def test_whatever_stands_in_a_batchs_texts_is_kept_as_it_is(world: World, backend: Caller) -> None:
    account = await rich(world, backend)
    odd = ['{"}', "\\", "a,b", "NULL", "null", "{}", '\\"', "' OR 1=1"]
    asked = [
        keyed(account, text, "bet", "0.01", product=text, round=f"{text} \n\u2028 \U0001f3b0", reference=text)
        for text in odd
    ]
    asked.append({**keyed(account, "none", "bet", "0.01"), "reference": None, "round": None})
    made = await batch(backend, *asked)
    assert [one["status"] for one in made] == ["created"] * len(asked)
    assert [one["status"] for one in await batch(backend, *asked)] == ["exists"] * len(asked)
    assert [day[0] for day in await days(world, account)] == sorted(["", *odd])
    rounds = await world.pool.fetch("SELECT round, product FROM round_entry ORDER BY id")
    assert [tuple(row) for row in rounds] == [(one["round"], one["product"]) for one in asked[:-1]]
    kept = await world.pool.fetch("SELECT reference FROM posting WHERE kind = 'bet' ORDER BY id")
    assert [row["reference"] for row in kept] == [*odd, None]


async def test_what_was_sent_alone_has_its_effect_once_when_it_comes_in_a_batch(
    world: World, backend: Caller
) -> None:
    account = await rich(world, backend)
    alone = await backend.post("/v1/transfers", transfer(account, "bet", "0.1"), idempotency_key="k")
    [same, other] = await batch(backend, keyed(account, "k", "bet", "0.1"), keyed(account, "k", "bet", "0.2"))
    assert (same["status"], same["transfer"]["id"]) == ("exists", alone.body["id"])
    assert (other["status"], other["problem"]["code"]) == ("refused", "idempotency_key_reused")
    assert await total(backend, account) == "0.90000000"


async def test_what_was_refused_alone_or_names_another_request_is_not_made_by_a_batch(
    world: World, backend: Caller
) -> None:
    """The platform would hear of the refusal again, and take the bet for never made."""
    account = await world.account(backend)
    bet = transfer(account, "bet", "0.1")
    assert (await backend.post("/v1/transfers", bet, idempotency_key="k")).code == "insufficient_funds"
    await world.give(account, BTC)
    paid = await backend.post("/v1/withdrawals", withdrawal(account, "0.5"), idempotency_key="w")
    assert paid.status == 202
    outcomes = await batch(
        backend,
        keyed(account, "k"),
        keyed(account, "k", amount="0.2"),
        keyed(account, "w"),
        keyed(account, "n"),
    )
    assert [(one["problem"] or {}).get("code") for one in outcomes] == [
        "insufficient_funds",
        "idempotency_key_reused",
        "idempotency_key_reused",
        None,
    ]
    again = await backend.post("/v1/transfers", bet, idempotency_key="k")
    assert again.body["code"] == "insufficient_funds"
    assert await days(world, account) == [("", BTC // 10, 0, 0, 0, 1)]


async def test_a_batch_agrees_with_what_is_refused_alone_while_it_waits(
    world: World, backend: Caller, database: str
) -> None:
    account = await world.account(backend)
    await batch(backend, keyed(account, "before", "win", "0.1"))
    blocker = await asyncpg.connect(database)
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE idempotency IN SHARE MODE")
            alone = asyncio.create_task(
                backend.post("/v1/transfers", transfer(account, "bet", "1"), idempotency_key="k")
            )
            await until(lambda: waiting_for_locks(blocker, 1))
            together = asyncio.create_task(
                batch(backend, keyed(account, "win", "win", "2"), keyed(account, "k", "bet", "1"))
            )
            await until(lambda: waiting_for_locks(blocker, 2))
    finally:
        await blocker.close()
    assert (await alone).body["code"] == "insufficient_funds"
    assert [one["status"] for one in await together] == ["created", "refused"]
    assert await total(backend, account) == "2.10000000"


async def test_two_batches_at_once_never_take_more_than_there_is(world: World, backend: Caller) -> None:
    accounts = [await rich(world, backend) for _ in range(3)]
    batches = [
        [keyed(account, f"{n}-{m}-{account}", "bet", "0.3") for m in range(3) for account in accounts]
        for n in range(4)
    ]
    answers = await asyncio.gather(
        *(batch(backend, *(one if n % 2 else one[::-1])) for n, one in enumerate(batches))
    )
    made = [one for answer in answers for one in answer if one["status"] == "created"]
    assert len(made) == 9
    assert {await total(backend, account) for account in accounts} == {"0.10000000"}
    assert [await days(world, account) for account in accounts] == [[("", BTC * 9 // 10, 0, 0, 0, 3)]] * 3


async def test_a_round_tells_who_moved_what_in_it(world: World, backend: Caller) -> None:
    account, other = await rich(world, backend), await rich(world, backend)
    await backend.post("/v1/transfers", transfer(account, "bet", "0.1", round="r1", product="dice"))
    await backend.post("/v1/transfers", transfer(other, "bet", "0.2", round="r1", product="dice"))
    await backend.post("/v1/transfers", transfer(account, "win", "0.3", round="r1", product="dice"))
    await backend.post("/v1/transfers", transfer(account, "bet", "0.1", round="r2"))
    refused = await backend.post("/v1/transfers", transfer(account, "bet", "9", round="r1"))
    assert refused.status == 422
    told = (await backend.get("/v1/rounds/r1")).body
    assert [(one["account_id"], one["kind"], one["amount"]) for one in told["entries"]] == [
        (account, "bet", "0.10000000"),
        (other, "bet", "0.20000000"),
        (account, "win", "0.30000000"),
    ]
    assert (await backend.get("/v1/rounds/r3")).code == "not_found"
    assert await days(world, account) == [
        ("", BTC // 10, 0, 0, 0, 1),
        ("dice", BTC // 10, BTC * 3 // 10, 0, 0, 1),
    ]


async def limit(backend: Caller, account: str, *limits: dict[str, str]) -> Any:
    answer = await backend.patch(f"/v1/accounts/{account}", {"play_limits": list(limits)})
    assert answer.status == 200, answer.body
    return answer.body


async def test_a_loss_limit_binds_bets_and_wins_make_room(world: World, backend: Caller) -> None:
    account = await rich(world, backend)
    await limit(backend, account, {"kind": "loss", "period": "day", "asset": "BTC", "amount": "0.3"})
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.3"))).status == 201
    refused = await backend.post("/v1/transfers", transfer(account, "bet", "0.00000001"))
    assert (refused.status, refused.code) == (422, "limit_exceeded")
    assert (await backend.post("/v1/transfers", transfer(account, "win", "0.2"))).status == 201
    outcomes = await batch(backend, keyed(account, "a", amount="0.2"), keyed(account, "b", amount="0.1"))
    assert [one["status"] for one in outcomes] == ["created", "refused"]
    world.clock.move(86_400)
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.3"))).status == 201


async def test_a_bet_that_comes_again_is_there_though_its_limit_is_used_up_or_the_account_may_not_bet(
    world: World, backend: Caller
) -> None:
    """Refusing it would have the platform void a bet that was paid."""
    account = await rich(world, backend)
    await limit(backend, account, {"kind": "loss", "period": "day", "asset": "BTC", "amount": "0.3"})
    bets = [keyed(account, key, amount="0.1") for key in "abc"]
    assert [one["status"] for one in await batch(backend, *bets)] == ["created"] * 3
    again = await batch(backend, *bets, keyed(account, "d", "win", "0.1"))
    assert [one["status"] for one in again] == [*["exists"] * 3, "created"]
    alone = await backend.post("/v1/transfers", transfer(account, "bet", "0.1"), idempotency_key="a")
    assert (alone.status, alone.body["id"]) == (201, again[0]["transfer"]["id"])
    # A win that comes again makes no room twice: what it left is 0.1.
    outcomes = await batch(backend, keyed(account, "d", "win", "0.1"), keyed(account, "e", amount="0.2"))
    assert [one["status"] for one in outcomes] == ["exists", "refused"]
    await backend.patch(f"/v1/accounts/{account}", {"status": "frozen"})
    outcomes = await batch(backend, bets[1], keyed(account, "b", amount="0.2"), keyed(account, "f"))
    assert [(one["problem"] or {}).get("code") for one in outcomes] == [
        None,
        "idempotency_key_reused",
        "account_not_active",
    ]
    assert await total(backend, account) == "0.80000000"
    assert await days(world, account) == [("", BTC * 3 // 10, BTC // 10, 0, 0, 3)]


async def test_two_bets_at_once_do_not_both_use_what_a_limit_leaves(world: World, backend: Caller) -> None:
    account = await rich(world, backend)
    await limit(backend, account, {"kind": "wager", "period": "day", "asset": "BTC", "amount": "0.3"})
    answers = await asyncio.gather(
        *(backend.post("/v1/transfers", transfer(account, "bet", "0.1")) for _ in range(8)),
        *(batch(backend, keyed(account, f"k{n}")) for n in range(4)),
    )
    del answers
    assert await total(backend, account) == "0.70000000"


async def test_a_limit_over_all_assets_goes_by_the_platforms_rates(world: World, backend: Caller) -> None:
    account = await rich(world, backend)
    await limit(backend, account, {"kind": "loss", "period": "month", "amount": "100"})
    bet = transfer(account, "bet", "0.002")
    assert (await backend.post("/v1/transfers", bet)).code == "rate_unknown"
    told = await backend.call("PUT", "/v1/rates", json={"rates": {"BTC": "50000"}})
    assert (told.body["currency"], told.body["rates"][0]["rate"]) == ("USD", "50000.000000000000")
    assert (await backend.post("/v1/transfers", bet)).status == 201
    assert (
        await backend.post("/v1/transfers", transfer(account, "bet", "0.00000001"))
    ).code == "limit_exceeded"
    world.clock.move(86_401)
    assert (await backend.post("/v1/transfers", bet)).code == "rate_unknown"
    for rates, code in (({"DOGE": "1"}, "unknown_asset"), ({"BTC": "0"}, "invalid_amount")):
        assert (await backend.call("PUT", "/v1/rates", json={"rates": rates})).code == code


async def test_a_limit_is_tightened_at_once_and_loosened_a_day_later(world: World, backend: Caller) -> None:
    account = await rich(world, backend)
    strict = {"kind": "loss", "period": "day", "asset": "BTC", "amount": "0.1"}
    loose = {**strict, "amount": "0.5"}
    assert (await limit(backend, account, loose))["next_play_limits"] is None
    assert (await limit(backend, account, strict))["play_limits"] == [strict]
    waiting = await limit(backend, account, loose)
    assert (waiting["play_limits"], waiting["next_play_limits"]["limits"]) == ([strict], [loose])
    world.clock.move(3600)
    asked_again = await limit(backend, account, loose)
    assert asked_again["next_play_limits"] == waiting["next_play_limits"]
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.2"))).code == "limit_exceeded"
    world.clock.move(86_400)
    shown = (await backend.get(f"/v1/accounts/{account}")).body
    assert (shown["play_limits"], shown["next_play_limits"]) == ([loose], None)
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.2"))).status == 201
    await limit(backend, account)
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.4"))).code == "limit_exceeded"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ([{"kind": "loss", "period": "day", "asset": "DOGE", "amount": "1"}], "unknown_asset"),
        ([{"kind": "loss", "period": "day", "asset": "BTC", "amount": "0.000000001"}], "invalid_amount"),
        ([{"kind": "deposit", "period": "day", "amount": "1"}], "invalid_request"),
        ([{"kind": "loss", "period": "day", "amount": a} for a in ("1", "2")], "invalid_request"),
        ([{"kind": "loss", "period": "year", "amount": "1"}], "invalid_request"),
    ],
)
async def test_a_limit_that_means_nothing_is_refused(
    world: World, backend: Caller, limits: list[dict[str, str]], code: str
) -> None:
    account = await world.account(backend)
    assert (await backend.patch(f"/v1/accounts/{account}", {"play_limits": limits})).code == code


def at(world: World, **ahead: float) -> str:
    return (world.clock.now() + timedelta(**ahead)).isoformat()


async def test_a_self_exclusion_cannot_be_shortened_and_does_not_end_by_itself(
    world: World, backend: Caller
) -> None:
    account = await rich(world, backend)
    path, patch = f"/v1/accounts/{account}/self-exclusion", f"/v1/accounts/{account}"
    begun = await backend.post(path, {"until": at(world, days=30)})
    assert (begun.status, begun.body["status"]) == (200, "self_excluded")
    assert (await backend.post(path, {"until": at(world, days=29)})).code == "term_runs"
    assert (await backend.post(path, {"until": at(world, days=31)})).status == 200
    assert (await backend.patch(patch, {"status": "active"})).code == "term_runs"
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.1"))).code == "account_not_active"
    assert (await backend.patch(patch, {"status": "frozen"})).body["status"] == "frozen"
    assert (await backend.patch(patch, {"status": "active"})).code == "term_runs"
    world.clock.move(31 * 86_400 + 1)
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.1"))).code == "account_not_active"
    assert (await backend.patch(patch, {"status": "active"})).body["status"] == "active"
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.1"))).status == 201


async def test_a_cooling_off_ends_by_itself_and_not_sooner(world: World, backend: Caller) -> None:
    account = await rich(world, backend)
    path = f"/v1/accounts/{account}/cooling-off"
    assert (await backend.post(path, {"until": at(world, hours=24)})).body["status"] == "active"
    assert (await backend.post(path, {"until": at(world, hours=1)})).code == "term_runs"
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.1"))).code == "account_not_active"
    assert (await backend.post("/v1/transfers", transfer(account, "win", "0.1"))).status == 201
    assert (await backend.post("/v1/withdrawals", withdrawal(account, "0.5"))).status == 202
    world.clock.move(86_401)
    assert (await backend.post("/v1/transfers", transfer(account, "bet", "0.1"))).status == 201


@pytest.mark.parametrize("ahead", [{"seconds": -1}, {"days": 366 * 100 + 1}])
async def test_a_term_lies_in_the_future_of_a_life(
    world: World, backend: Caller, ahead: dict[str, float]
) -> None:
    account = await world.account(backend)
    for term in ("self-exclusion", "cooling-off"):
        refused = await backend.post(f"/v1/accounts/{account}/{term}", {"until": at(world, **ahead)})
        assert refused.code == "invalid_term"


async def test_accounts_that_share_a_device_or_an_address_are_found(world: World, backend: Caller) -> None:
    one, two, three = [await rich(world, backend) for _ in range(3)]
    for account, device, address in (
        (one, "d1", "203.0.113.7"),
        (two, "d1", "203.0.113.99"),
        (three, "d2", "::1"),
    ):
        traits = [{"kind": "device", "value": device}, {"kind": "ip_prefix", "value": address}]
        assert (await backend.post(f"/v1/accounts/{account}/traits", {"traits": traits})).status == 204
    for account in (one, three):
        assert (await backend.post("/v1/withdrawals", withdrawal(account, "0.1"))).status == 202
    async with connection(world.pool) as conn:
        await sequence_events(conn)
    async with transaction(world.pool) as conn:
        assert await note_addresses(conn) > 0
    found = (await backend.get(f"/v1/accounts/{one}/duplicates")).body
    assert [(one["account_id"], [shared["kind"] for shared in one["shared"]]) for one in found] == [
        (two, ["device", "ip_prefix"]),
        (three, ["withdrawal_address"]),
    ]
    assert found[0]["shared"][1] == {"kind": "ip_prefix", "value": "203.0.113.0/24", "accounts": 2}
    traits = [{"kind": "ip_prefix", "value": "here"}]
    refused = await backend.post(f"/v1/accounts/{one}/traits", {"traits": traits})
    assert refused.code == "invalid_ip_prefix"


async def test_what_a_crowd_shares_says_nothing(world: World, backend: Caller) -> None:
    accounts = [await world.account(backend) for _ in range(21)]
    for account in accounts:
        traits = [{"kind": "device", "value": "the hotel's"}]
        await backend.post(f"/v1/accounts/{account}/traits", {"traits": traits})
        if account is accounts[19]:
            assert len((await backend.get(f"/v1/accounts/{accounts[0]}/duplicates")).body) == 19
    assert (await backend.get(f"/v1/accounts/{accounts[0]}/duplicates")).body == []


async def test_the_oldest_devices_of_an_account_are_forgotten(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    for n in range(5):
        world.clock.move(1)
        traits = [{"kind": "device", "value": f"{n}-{m}"} for m in range(50)]
        await backend.post(f"/v1/accounts/{account}/traits", {"traits": traits})
    async with connection(world.pool) as conn:
        kept = await conn.fetch("SELECT value FROM account_trait WHERE account_id = $1", uuid_of(account))
    assert {row["value"][0] for row in kept} == set("1234")
    assert len(kept) == 200


async def test_a_players_profile_is_kept_and_told(world: World, backend: Caller) -> None:
    body = {"external_id": "p", "jurisdiction": "US-NJ", "tags": ["vip", "eu", "vip"]}
    made = (await backend.post("/v1/accounts", body)).body
    assert (made["jurisdiction"], made["tags"]) == ("US-NJ", ["eu", "vip"])
    changed = await backend.patch(f"/v1/accounts/{made['id']}", {"tags": []})
    assert (changed.body["jurisdiction"], changed.body["tags"]) == ("US-NJ", [])
    assert (await backend.patch(f"/v1/accounts/{made['id']}", {"jurisdiction": "nowhere"})).status == 400


async def test_a_statement_is_also_a_file(world: World, backend: Caller) -> None:
    account = await rich(world, backend)
    await backend.post("/v1/transfers", transfer(account, "bet", "0.25", reference='=SUM("a,b")'))
    path = f"/v1/accounts/{account}/statement"
    async with world.session.get(
        f"{world.url}{path}.csv", headers={"Authorization": f"Bearer {backend.key}"}
    ) as answer:
        assert (answer.status, answer.content_type) == (200, "text/csv")
        assert "attachment" in answer.headers["Content-Disposition"]
        assert "X-Next-Cursor" not in answer.headers
        rows = list(csv.DictReader(io.StringIO(await answer.text())))
    lines = (await backend.get(path)).body["data"]
    assert [row["id"] for row in rows] == [line["id"] for line in lines]
    assert (rows[0]["total_change"], rows[0]["playable"]) == ("-0.25000000", "0.75000000")
    assert rows[0]["reference"] == '\'=SUM("a,b")'
    future = datetime.now(UTC) + timedelta(days=1)
    assert (await backend.get(path, params={"since": future.isoformat()})).body["data"] == []
    assert len((await backend.get(path, params={"until": future.isoformat()})).body["data"]) == 2
