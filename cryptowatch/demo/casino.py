"""The casino's backend, as its developers would write it: a few calls, and a receiver of webhooks.

It knows the client of the HTTP API and Standard Webhooks, and nothing else of cryptowatch.
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import msgspec
from aiohttp import web

from cryptowatch.accounts.play import TransferKind
from cryptowatch.api.accounts import AddressRequest, NewAccount
from cryptowatch.api.deposits import DepositsQuery
from cryptowatch.api.endpoints import NewEndpoint
from cryptowatch.api.events import EventsQuery
from cryptowatch.api.transfers import TransferRequest
from cryptowatch.api.withdrawals import WithdrawalRequest
from cryptowatch.client import ApiProblem, Client
from cryptowatch.errors import OperatorError

_PATIENCE_S = 45.0
_POLL_S = 0.1


@dataclass
class Casino:
    client: Client
    received: list[dict[str, Any]] = field(default_factory=list)
    secret: str = ""
    #: The receiver is told of every event after this sequence number.
    heard_after: int = 0
    _keys: "itertools.count[int]" = field(default_factory=itertools.count)

    async def account(self, name: str, *, referral_code: str | None = None, agent: str | None = None) -> str:
        new = NewAccount(external_id=name, referral_code=referral_code, agent_id=agent)
        return (await self.client.create_account(new)).id

    async def referral_code(self, name: str) -> str:
        """Of a player who is there."""
        return (await self.client.create_account(NewAccount(external_id=name))).referral_code

    async def address(self, account: str, chain: str = "bitcoin") -> str:
        return (await self.client.create_address(account, AddressRequest(chain))).address

    async def balance(self, account: str, asset: str = "BTC") -> dict[str, Decimal]:
        """Everything about the account's money in one asset; zeros before the first deposit."""
        names = ("total", "playable", "withdrawable", "unfinalized", "held", "debt")
        for found in await self.client.list_balances(account):
            if found.asset == asset:
                return {name: Decimal(getattr(found, name)) for name in names}
        return dict.fromkeys(names, Decimal())

    async def transfer(
        self,
        account: str,
        kind: TransferKind,
        amount: str,
        *,
        product: str = "",
        round_name: str | None = None,
    ) -> None:
        transfer = TransferRequest(account, "BTC", amount, kind, "round 1", product, round_name)
        await self.client.create_transfer(transfer, idempotency_key=self._key())

    async def withdraw(
        self,
        account: str,
        amount: str,
        address: str,
        priority: Literal["economy", "normal", "urgent"] = "normal",
        *,
        asset: str = "BTC",
        chain: str = "bitcoin",
    ) -> dict[str, Any]:
        asked = WithdrawalRequest(account, asset, chain, amount, address, priority)
        return _shown(await self.client.create_withdrawal(asked, idempotency_key=self._key()))

    async def refused(self, account: str, amount: str, address: str) -> str:
        """The code with which a withdrawal is refused. Raises OperatorError when it is not."""
        try:
            await self.withdraw(account, amount, address)
        except ApiProblem as problem:
            return problem.code
        raise OperatorError("the withdrawal was accepted")

    async def deposit(self, account: str, tx_hash: str) -> dict[str, Any] | None:
        async for found in self.client.list_all_deposits(DepositsQuery(account_id=account)):
            if found.tx_hash == tx_hash:
                return _shown(found)
        return None

    async def withdrawal(self, withdrawal_id: str) -> dict[str, Any]:
        return _shown(await self.client.get_withdrawal(withdrawal_id))

    async def nodes(self) -> dict[str, str]:
        """node -> state, of every chain."""
        return {node.name: node.state for chain in await self.client.list_chains() for node in chain.nodes}

    async def events(self) -> list[dict[str, Any]]:
        """The feed that the receiver must have heard. An endpoint is not told of itself."""
        query = EventsQuery(after=self.heard_after, limit=200)
        feed = [_shown(event) async for event in self.client.list_events(query)]
        return [event for event in feed if event["entity"]["kind"] != "webhook_endpoint"]

    async def until_deposit(self, account: str, tx_hash: str, *states: str) -> dict[str, Any]:
        """Wait until the deposit is in one of these states. Raises OperatorError when it takes too long."""

        async def reached() -> dict[str, Any] | None:
            found = await self.deposit(account, tx_hash)
            return found if found and found["state"] in states else None

        return {**await until(reached, f"deposit {' or '.join(states)}")}

    async def until_withdrawal(self, withdrawal_id: str, state: str) -> dict[str, Any]:
        async def reached() -> dict[str, Any] | None:
            found = await self.withdrawal(withdrawal_id)
            return found if found["state"] == state else None

        return {**await until(reached, f"withdrawal {state}")}

    def _key(self) -> str:
        return f"demo-{next(self._keys)}"

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[None]:
        """Listens for webhooks, and tells cryptowatch where."""
        app = web.Application()
        app.router.add_post("/hooks", self._receive)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            port = runner.addresses[0][1]
            made = await self.client.create_endpoint(NewEndpoint(f"http://127.0.0.1:{port}/hooks"))
            self.secret, self.heard_after = made.secret, made.endpoint.position
            yield
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        if expected not in request.headers["webhook-signature"].split(" "):
            return web.Response(status=401)
        self.received.append(await request.json())
        return web.Response(status=204)


def _shown(found: object) -> dict[str, Any]:
    """As its JSON reads."""
    shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
    return shown


async def until(reached: Callable[[], Any], what: str) -> Any:
    """Ask again and again until there is an answer; its value. Raises OperatorError after a while."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not (found := await reached()):
                await asyncio.sleep(_POLL_S)
            return found
    except TimeoutError as problem:
        raise OperatorError(f"waited {_PATIENCE_S:.0f} s for: {what}") from problem
