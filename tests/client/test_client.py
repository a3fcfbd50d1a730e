"""The typed client against a running API, and against one that breaks off, is away, or has enough."""

import asyncio
import inspect
import re
import typing
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from cryptowatch.accounts.play import TransferKind
from cryptowatch.api.accounts import AccountPatch, AddressRequest, NewAccount
from cryptowatch.api.calls import Live, NoQuery, Page
from cryptowatch.api.deposits import DepositsQuery, Empty
from cryptowatch.api.endpoints import NewEndpoint
from cryptowatch.api.events import EventsQuery
from cryptowatch.api.keys import revoke_key
from cryptowatch.api.live import StreamQuery
from cryptowatch.api.profiles import TraitRequest, TraitsRequest
from cryptowatch.api.routes import ROUTES
from cryptowatch.api.transfers import TransferRequest
from cryptowatch.api.withdrawals import Decision, WithdrawalRequest
from cryptowatch.client import ApiProblem, Client, OutcomeUnknown, connect
from cryptowatch.client.agents import Agents
from cryptowatch.client.compliance import Compliance
from cryptowatch.client.players import Players
from cryptowatch.client.referrals import Referrals
from cryptowatch.client.transport import Patience, Transport
from cryptowatch.client.treasury import Treasury
from cryptowatch.client.webhooks import Webhooks
from cryptowatch.db.pool import Pool, open_pool, transaction
from cryptowatch.ledger.payload import EventView
from tests.api.world import GOOD_ADDRESS, Caller, World, running_api, settings, uuid_of
from tests.support.moving_clock import MovingClock

QUICK = Patience(tries=3, wait_s=0.01)
PARTS = (Players, Referrals, Agents, Compliance, Treasury, Webhooks)


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, application_name="test", size_max=12) as opened:
        yield opened


@pytest_asyncio.fixture
async def world(pool: Pool, database: str) -> AsyncIterator[World]:
    chosen = settings(database, stream_poll_interval_s=0.02, stream_heartbeat_s=0.2, stream_lifetime_s=0.3)
    async with running_api(pool, chosen, MovingClock()) as running:
        yield running


@pytest_asyncio.fixture
async def backend(world: World) -> Caller:
    return await world.caller()


@pytest_asyncio.fixture
async def client(backend: Caller) -> AsyncIterator[Client]:
    assert backend.key is not None
    async with connect(backend.url, backend.key, patience=QUICK) as opened:
        yield opened


#: A file of text, for people: `curl` is the client for it.
NOT_IN_TYPES = {"export_statement"}


def parts(client: type = Client) -> dict[str, Any]:
    """Every method of the client and its parts, by name."""
    found = dict[str, Any]()
    for name, member in inspect.getmembers(client):
        if isinstance(member, property):
            assert member.fget is not None
            found |= parts(typing.get_type_hints(member.fget)["return"])
        elif inspect.isfunction(member) and not name.startswith("_"):
            found[name] = member
    return found


def test_every_call_has_a_method() -> None:
    assert {route.operation for route in ROUTES} - set(parts()) == NOT_IN_TYPES


@pytest.mark.parametrize("name", parts())
def test_every_method_has_the_types_of_its_call(name: str) -> None:
    [route] = [route for route in ROUTES if route.operation == name]
    hints = typing.get_type_hints(parts()[name])
    answer = hints.pop("return")
    item = typing.get_args(answer)
    if typing.get_origin(answer) is AsyncIterator:
        assert route.answer == (None if isinstance(route.handler, Live) else Page[item[0]])  # type: ignore[valid-type]
        assert hints["query"] is route.query
    else:
        assert (None if answer is type(None) else answer) == route.answer
        assert route.body in {None, Empty, *hints.values()}
        assert route.query is NoQuery or route.query in hints.values()
    assert route.idempotent == ("idempotency_key" in hints)


class Sent(Exception):
    """Instead of an answer: the method and the path."""


class Recording(Transport):
    async def _answer(self, method: str, path: str, *_: object, **__: object) -> bytes:
        raise Sent(method, path)


@pytest.mark.parametrize("name", sorted(set(parts()) - {"stream_events"}))
async def test_every_method_asks_for_its_call(name: str) -> None:
    """Each parameter of a path is sent as its own name in braces, as the table of calls writes it."""
    [route] = [route for route in ROUTES if route.operation == name]
    owner = parts()[name]
    places = re.findall(r"{(\w+)}", route.path)
    body = None if route.body is None else SimpleNamespace(reuse=False)
    query = {} if route.query is NoQuery or isinstance(route.handler, Live) else {"query": SimpleNamespace()}
    key = {"idempotency_key": "k"} if route.idempotent else {}
    part = next(one for one in (Client, *PARTS) if getattr(one, name, None) is owner)
    transport = Recording(None, QUICK)  # type: ignore[arg-type]
    bodies = [] if route.body in (None, Empty) else [body]
    asked = getattr(part(transport), name)(*(f"<{place}>" for place in places), *bodies, **query, **key)
    with pytest.raises(Sent) as sent:
        await (anext(asked) if inspect.isasyncgen(asked) else asked)
    path = unquote(sent.value.args[1])
    assert (sent.value.args[0], path) == (route.method, re.sub(r"{(\w+)}", r"<\1>", route.path))


async def test_the_parts_of_the_client_speak_to_the_api(world: World, client: Client) -> None:
    account = await client.create_account(NewAccount(external_id="player-7"))
    assert [one.id async for one in client.players.list_accounts()] == [account.id]
    await client.players.report_traits(account.id, TraitsRequest([TraitRequest("device", "d" * 32)]))
    assert await client.players.list_duplicates(account.id) == []
    made = await client.create_endpoint(NewEndpoint(url="https://example.com/hook"))
    assert [one.id async for one in client.webhooks.list_endpoints()] == [made.endpoint.id]
    await client.webhooks.delete_endpoint(made.endpoint.id)
    with pytest.raises(ApiProblem) as gone:
        await client.webhooks.delete_endpoint(made.endpoint.id)
    assert gone.value.code == "not_found"
    assert await client.treasury.list_reconciliation() == []
    await world.give(account.id, 100_000_000)
    bet = TransferRequest(account.id, "BTC", "1", TransferKind.BET, round="a/b c")
    await client.create_transfer(bet, idempotency_key="bet-1")
    assert len((await client.get_round("a/b c")).entries) == 1


async def test_a_platforms_day_in_types(world: World, client: Client) -> None:
    account = await client.create_account(NewAccount(external_id="player-7"))
    assert await client.create_account(NewAccount(external_id="player-7")) == account
    assert (await client.update_account(account.id, AccountPatch(kyc_level=2))).kyc_level == 2
    await world.offer_addresses(2)
    assert (await client.create_address(account.id, AddressRequest("bitcoin"))).chain == "bitcoin"
    await world.give(account.id, 10**9)
    bet = TransferRequest(account.id, "BTC", "1", TransferKind.BET)
    placed = await client.create_transfer(bet, idempotency_key="round-1")
    assert await client.create_transfer(bet, idempotency_key="round-1") == placed
    [balance] = await client.list_balances(account.id)
    assert balance.withdrawable == "9.00000000"
    wanted = WithdrawalRequest(account.id, "BTC", "bitcoin", "2", GOOD_ADDRESS)
    asked = await client.create_withdrawal(wanted, idempotency_key="cash-out-1")
    ended = await client.cancel_withdrawal(asked.id, Decision("changed my mind"), idempotency_key="cancel-1")
    assert (await client.get_withdrawal(asked.id), ended.state) == (ended, "canceled")
    assert [found.id async for found in client.list_all_withdrawals()] == [asked.id]
    for _ in range(5):
        await world.deposit(account.id)
    deposits = [found async for found in client.list_all_deposits(DepositsQuery(limit=2))]
    assert len({found.id for found in deposits}) == 5
    assert await client.get_deposit(deposits[0].id) == deposits[0]
    assert (await client.list_chains())[0].chain == "bitcoin"
    assert (await client.create_endpoint(NewEndpoint("http://127.0.0.1:1/"))).secret
    told = [event.sequence async for event in client.list_events(EventsQuery(limit=2))]
    assert told == list(range(1, len(told) + 1))
    with pytest.raises(ApiProblem) as refused:
        await client.create_withdrawal(
            WithdrawalRequest(account.id, "BTC", "bitcoin", "2", "nowhere"), idempotency_key="cash-out-2"
        )
    assert (refused.value.code, refused.value.status) == ("invalid_address", 422)


async def test_a_followed_feed_outlives_its_streams_and_ends_with_its_key(
    world: World, backend: Caller, client: Client
) -> None:
    """Each stream lives for 0.3 s here."""
    seen = list[EventView]()

    async def follow() -> None:
        async for event in client.stream_events(StreamQuery(after=0, type="account.created")):
            seen.append(event)

    following = asyncio.create_task(follow())
    loop = asyncio.get_running_loop()
    until_s, number = loop.time() + 1.0, 0
    while loop.time() < until_s:
        await client.create_account(NewAccount(external_id=f"player-{number}"))
        number += 1
        await asyncio.sleep(0.05)
    async with asyncio.timeout(10):
        while len(seen) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert len({event.id for event in seen}) == len(seen) == number
    async with transaction(world.pool) as conn:
        await revoke_key(conn, uuid_of(backend.key_id), world.clock.now())
    with pytest.raises(ApiProblem, match="unauthorized"):
        async with asyncio.timeout(10):
            await following


class Breaking:
    """A proxy that answers with what it is told to, or passes the request on and breaks off before the answer."""

    def __init__(self, target: str, *plan: int | str) -> None:
        self.target, self.plan, self.keys = target, list(plan), list[str | None]()

    async def handle(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("Idempotency-Key"))
        step = self.plan.pop(0) if self.plan else "pass"
        if isinstance(step, int):
            return web.Response(status=step, text="<html>")
        passed_on = ("Authorization", "Content-Type", "Idempotency-Key")
        headers = {name: request.headers[name] for name in passed_on if name in request.headers}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, self.target + request.path, data=await request.read(), headers=headers
            ) as answer,
        ):
            body = await answer.read()
        if step == "break":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=answer.status, body=body, content_type=answer.content_type)


@asynccontextmanager
async def breaking(backend: Caller, plan: Sequence[int | str]) -> AsyncIterator[tuple[Client, Breaking]]:
    proxy = Breaking(backend.url, *plan)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", proxy.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    assert backend.key is not None
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with connect(url, backend.key, patience=QUICK) as client:
            yield client, proxy
    finally:
        await runner.cleanup()


async def bet(client: Client, account_id: str) -> Any:
    transfer = TransferRequest(account_id, "BTC", "1", TransferKind.BET)
    return await client.create_transfer(transfer, idempotency_key="round-1")


@pytest.mark.parametrize("plan", [("break", "pass"), (502, "break", "pass"), ("break", 524, "pass")])
async def test_an_unknown_outcome_is_asked_for_again_under_the_same_key(
    world: World, backend: Caller, plan: Sequence[int | str]
) -> None:
    account = await world.account(backend)
    await world.give(account, 10**9)
    async with breaking(backend, plan) as (client, proxy):
        placed = await bet(client, account)
        [balance] = await client.list_balances(account)
    assert proxy.keys == ["round-1"] * len(plan) + [None]
    assert (placed.balance.playable, balance.playable) == ("9.00000000", "9.00000000")


async def test_patience_ends_and_says_that_nobody_knows(world: World, backend: Caller) -> None:
    account = await world.account(backend)
    await world.give(account, 10**9)
    async with breaking(backend, ["break"] * 9) as (client, proxy):
        with pytest.raises(OutcomeUnknown, match="sent 3 times"):
            await bet(client, account)
        assert len(proxy.keys) == 3
        await world.offer_addresses(2)
        # Each may take a new address: it is not sent again.
        with pytest.raises(OutcomeUnknown, match="sent 1 times"):
            await client.create_address(account, AddressRequest("bitcoin"))


async def test_what_was_not_begun_is_sent_again_whatever_it_is(pool: Pool, database: str) -> None:
    async with running_api(pool, settings(database, rate_per_s=1, rate_burst=1), MovingClock()) as world:
        backend = await world.caller()
        assert backend.key is not None
        async with connect(backend.url, backend.key, patience=QUICK) as client:
            made = [await client.create_endpoint(NewEndpoint("http://127.0.0.1:1/")) for _ in range(2)]
    assert len({found.endpoint.id for found in made}) == 2


async def test_an_api_that_is_not_there_is_told_as_such() -> None:
    async with connect("http://127.0.0.1:9", "cwk_x", patience=QUICK) as client:
        with pytest.raises(OutcomeUnknown, match="sent 3 times"):
            await client.list_chains()
