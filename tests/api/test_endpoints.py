"""Webhook endpoints over HTTP."""

import pytest

from tests.api.world import Caller, World

URL = "http://127.0.0.1:1/hook"


async def made(backend: Caller, **more: object) -> dict[str, object]:
    answer = await backend.post("/v1/webhook-endpoints", {"url": URL, **more})
    assert answer.status == 201, answer
    body: dict[str, object] = answer.body
    return body


async def test_the_secret_is_shown_once(backend: Caller) -> None:
    created = await made(backend, description="casino", event_types=["deposit.*"])
    assert str(created["secret"]).startswith("whsec_")
    path = f"/v1/webhook-endpoints/{created['endpoint']['id']}"  # type: ignore[index]
    for answer in (
        await backend.get(path),
        await backend.get("/v1/webhook-endpoints"),
        await backend.get("/v1/events"),
        await backend.patch(path, {"description": "x"}),
    ):
        assert answer.status == 200
        assert str(created["secret"]) not in str(answer.body)


@pytest.mark.parametrize("url", ["ftp://example.com/", "nonsense", "https://user:pw@example.com/"])
async def test_a_url_that_may_not_be_called_is_refused(backend: Caller, url: str) -> None:
    refused = await backend.post("/v1/webhook-endpoints", {"url": url})
    assert (refused.status, refused.code) == (422, "invalid_url")
    endpoint = (await made(backend))["endpoint"]
    patched = await backend.patch(f"/v1/webhook-endpoints/{endpoint['id']}", {"url": url})  # type: ignore[index]
    assert (patched.status, patched.code) == (422, "invalid_url")


@pytest.mark.parametrize(
    "types", [["*"], ["deposit"], ["Deposit.credited"], ["deposit.credited "], "deposit.credited"]
)
async def test_an_event_type_has_its_form(backend: Caller, types: object) -> None:
    refused = await backend.post("/v1/webhook-endpoints", {"url": URL, "event_types": types})
    assert (refused.status, refused.code) == (400, "invalid_request")


async def test_there_are_only_so_many_endpoints(backend: Caller) -> None:
    endpoints = [await made(backend) for _ in range(3)]
    refused = await backend.post("/v1/webhook-endpoints", {"url": URL})
    assert (refused.status, refused.code) == (422, "too_many_endpoints")
    deleted = await backend.call("DELETE", f"/v1/webhook-endpoints/{endpoints[0]['endpoint']['id']}")  # type: ignore[index]
    assert (deleted.status, deleted.body) == (204, None)
    await made(backend)


async def test_a_deleted_endpoint_is_gone(backend: Caller) -> None:
    path = f"/v1/webhook-endpoints/{(await made(backend))['endpoint']['id']}"  # type: ignore[index]
    await backend.call("DELETE", path)
    for answer in (
        await backend.get(path),
        await backend.patch(path, {}),
        await backend.call("DELETE", path),
        await backend.post(path + "/rotate-secret"),
        await backend.post(path + "/ping"),
        await backend.post(path + "/replay", {"after": 0}),
        await backend.get(path + "/deliveries"),
    ):
        assert (answer.status, answer.code) == (404, "not_found")
    assert (await backend.get("/v1/webhook-endpoints")).body["data"] == []


async def test_an_endpoint_is_disabled_enabled_and_told_about(backend: Caller) -> None:
    path = f"/v1/webhook-endpoints/{(await made(backend))['endpoint']['id']}"  # type: ignore[index]
    off = (await backend.patch(path, {"status": "disabled"})).body
    assert (off["status"], off["disabled_reason"]) == ("disabled", "by request")
    on = (await backend.patch(path, {"status": "enabled"})).body
    assert (on["status"], on["disabled_reason"]) == ("enabled", None)
    types = [event["type"] for event in (await backend.get("/v1/events")).body["data"]]
    assert types == ["webhook_endpoint.created", "webhook_endpoint.updated", "webhook_endpoint.updated"]


async def test_a_rotated_secret_is_a_new_one(backend: Caller) -> None:
    created = await made(backend)
    path = f"/v1/webhook-endpoints/{created['endpoint']['id']}"  # type: ignore[index]
    rotated = await backend.post(path + "/rotate-secret", {"overlap_s": 60})
    assert rotated.status == 200
    assert rotated.body["secret"] != created["secret"]
    assert rotated.body["previous_secret_until"] is not None


async def test_deliveries_are_listed_by_state_and_started_anew(world: World, backend: Caller) -> None:
    created = await made(backend)
    path = f"/v1/webhook-endpoints/{created['endpoint']['id']}"  # type: ignore[index]
    for _ in range(3):
        await world.account(backend)
    async with world.pool.acquire() as conn:
        await conn.execute("SELECT sequence_events(100)")
        await conn.execute(
            "INSERT INTO webhook_delivery (endpoint_id, position, event_id, entity_kind, entity_id, state, "
            "next_attempt_at, created_at, updated_at, last_status, attempts) "
            "SELECT e.id, p.position, p.event_id, 'account', 'x', 'dead', now(), now(), now(), 500, 3 "
            "FROM webhook_endpoint e, event_position p WHERE p.position > e.position"
        )
    listed = (await backend.get(path + "/deliveries?limit=2")).body
    rest = (await backend.get(f"{path}/deliveries?limit=2&cursor={listed['next_cursor']}")).body
    shown = listed["data"] + rest["data"]
    sequences = [item["sequence"] for item in shown]
    assert sequences == sorted(sequences, reverse=True)
    assert {item["state"] for item in shown} == {"dead"}
    again = await backend.post(f"{path}/deliveries/{shown[0]['id']}/retry")
    assert (again.status, again.body["state"], again.body["attempts"]) == (202, "pending", 0)
    assert [d["id"] for d in (await backend.get(path + "/deliveries?state=pending")).body["data"]] == [
        shown[0]["id"]
    ]
    assert len((await backend.get(path + "/deliveries?state=dead")).body["data"]) == len(shown) - 1
    assert (await backend.get(path + "/deliveries?state=delivered")).body["data"] == []
    assert (await backend.post(path + "/deliveries/whd_" + "0" * 32 + "/retry")).code == "not_found"


async def test_events_are_read_on_from_any_sequence(world: World, backend: Caller) -> None:
    made_accounts = [await world.account(backend) for _ in range(5)]
    first = (await backend.get("/v1/events?limit=2")).body
    sequence = first["data"][-1]["sequence"]
    by_after = (await backend.get(f"/v1/events?after={sequence}")).body["data"]
    assert (await backend.get("/v1/events?after=5")).body["data"] == []
    assert (await backend.get("/v1/events?after=6")).code == "invalid_request"
    by_cursor = (await backend.get(f"/v1/events?cursor={first['next_cursor']}")).body["data"]
    assert by_after == by_cursor
    assert [event["entity"]["id"] for event in first["data"] + by_after] == made_accounts
    one = (await backend.get(f"/v1/events?account_id={made_accounts[3]}&type=account.created,x.y")).body[
        "data"
    ]
    assert [event["entity"]["id"] for event in one] == [made_accounts[3]]
    assert (await backend.get("/v1/events?type=account.updated")).body["data"] == []
