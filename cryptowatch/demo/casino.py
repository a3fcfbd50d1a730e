"""The casino's backend, as its developers would write it: a few calls, and a receiver of webhooks.

It knows the HTTP API and Standard Webhooks, and nothing else of cryptowatch.
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
from typing import Any

import aiohttp
from aiohttp import web

from cryptowatch.errors import OperatorError

_PATIENCE_S = 45.0
_POLL_S = 0.1


@dataclass
class Casino:
    """`approver` is the same API under another key, for what needs a second person."""

    session: aiohttp.ClientSession
    received: list[dict[str, Any]] = field(default_factory=list)
    secret: str = ""
    #: The receiver is told of every event after this sequence number.
    heard_after: int = 0
    _keys: "itertools.count[int]" = field(default_factory=itertools.count)

    async def account(self, name: str) -> str:
        return str((await self._call("POST", "/v1/accounts", {"external_id": name}))["id"])

    async def address(self, account: str, chain: str = "bitcoin") -> str:
        found = await self._call("POST", f"/v1/accounts/{account}/addresses", {"chain": chain})
        return str(found["address"])

    async def balance(self, account: str, asset: str = "BTC") -> dict[str, Decimal]:
        """Everything about the account's money in one asset; zeros before the first deposit."""
        found = await self._call("GET", f"/v1/accounts/{account}/balances")
        names = ("total", "playable", "withdrawable", "unfinalized", "held", "debt")
        row = next((row for row in found if row["asset"] == asset), dict.fromkeys(names, "0"))
        return {name: Decimal(row[name]) for name in names}

    async def transfer(self, account: str, kind: str, amount: str) -> dict[str, Any]:
        body = {"account_id": account, "asset": "BTC", "amount": amount, "kind": kind, "reference": "round 1"}
        return {**await self._call("POST", "/v1/transfers", body)}

    async def withdraw(
        self,
        account: str,
        amount: str,
        address: str,
        priority: str = "normal",
        *,
        asset: str = "BTC",
        chain: str = "bitcoin",
    ) -> dict[str, Any]:
        body = {
            "account_id": account,
            "asset": asset,
            "chain": chain,
            "amount": amount,
            "address": address,
            "priority": priority,
        }
        return {**await self._call("POST", "/v1/withdrawals", body)}

    async def refused(self, account: str, amount: str, address: str) -> str:
        """The code with which a withdrawal is refused. Raises OperatorError when it is not."""
        try:
            await self.withdraw(account, amount, address)
        except OperatorError as problem:
            return str(problem)
        raise OperatorError("the withdrawal was accepted")

    async def deposit(self, account: str, tx_hash: str) -> dict[str, Any] | None:
        found = await self._call("GET", f"/v1/deposits?account_id={account}")
        return next((row for row in found["data"] if row["tx_hash"] == tx_hash), None)

    async def withdrawal(self, withdrawal_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._call("GET", f"/v1/withdrawals/{withdrawal_id}")
        return found

    async def nodes(self) -> dict[str, str]:
        """node -> state, of every chain."""
        chains = await self._call("GET", "/v1/chains")
        return {node["name"]: node["state"] for chain in chains for node in chain["nodes"]}

    async def events(self) -> list[dict[str, Any]]:
        """The feed that the receiver must have heard, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["sequence"] if found else self.heard_after
            page = (await self._call("GET", f"/v1/events?after={after}&limit=200"))["data"]
            if not page:
                # An endpoint is not told of itself.
                return [event for event in found if event["entity"]["kind"] != "webhook_endpoint"]
            found += page

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

    async def _call(self, verb: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Idempotency-Key": f"demo-{next(self._keys)}"} if verb == "POST" else {}
        try:
            async with self.session.request(verb, path, json=body, headers=headers) as answer:
                found = await answer.json()
        except aiohttp.ClientError as problem:
            raise OperatorError(f"the daemon does not answer: {problem}") from problem
        if answer.status >= 400:
            raise OperatorError(found["code"])
        return found

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
            endpoint = await self._call(
                "POST", "/v1/webhook-endpoints", {"url": f"http://127.0.0.1:{port}/hooks"}
            )
            self.secret, self.heard_after = endpoint["secret"], endpoint["endpoint"]["position"]
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


async def until(reached: Callable[[], Any], what: str) -> Any:
    """Ask again and again until there is an answer; its value. Raises OperatorError after a while."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not (found := await reached()):
                await asyncio.sleep(_POLL_S)
            return found
    except TimeoutError as problem:
        raise OperatorError(f"waited {_PATIENCE_S:.0f} s for: {what}") from problem
