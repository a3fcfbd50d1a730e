"""A running API on a real database and a real port, with keys and money to begin with."""

import os
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from cryptowatch.api.app import create_app
from cryptowatch.api.keys import Scope, create_key
from cryptowatch.api.services import Services
from cryptowatch.chains.port import InvalidAddress, NodeState, NodeStatus
from cryptowatch.db.pool import Pool, transaction
from cryptowatch.ids import Kind, derived_id, read_id
from cryptowatch.ledger.accounts import ensure_accounts, house, player
from cryptowatch.ledger.postings import post
from cryptowatch.ledger.rules import CustomerAccount, HouseAccount, customer_posting
from cryptowatch.ledger.rules import Kind as PostingKind
from cryptowatch.money import BaseUnits
from cryptowatch.settings import Api, Database, Settings, Webhooks
from cryptowatch.settings.assets import AssetSettings, Tier
from cryptowatch.settings.chains import BitcoinSettings, CoinWallet, NodeSettings
from cryptowatch.settings.cold import ColdCoins
from cryptowatch.settings.signer import Signer
from cryptowatch.telemetry.metrics import create_metrics
from tests.support.moving_clock import MovingClock

#: The only text that this chain's address check takes, and what it stands for.
GOOD_ADDRESS, GOOD_SCRIPT = "bcrt1qgood", bytes.fromhex("0014") + b"\x07" * 20


def settings(dsn: str, **api: Any) -> Settings:
    chain = BitcoinSettings(
        network="regtest",
        quorum=1,
        nodes=(NodeSettings(name="one", url="http://127.0.0.1:1"),),
        wallet=CoinWallet(xpub_bip84="xpub"),
        cold=ColdCoins(xpub="another xpub"),
        assets={
            "BTC": AssetSettings(
                withdrawal_min="0.001",
                withdrawal_max="5",
                withdrawal_fee="0.0001",
                tiers=(Tier(credit_confirmations=1, finalize_confirmations=3),),
            )
        },
    )
    nowhere = Path("/nowhere")
    return Settings(
        database=Database(dsn=dsn),
        # Whoever reads a whole answer comes to its end.
        api=Api(**{"stream_lifetime_s": 0.05, **api}),
        webhooks=Webhooks(allow_private_addresses=True, endpoints_max=3),
        signer=Signer(socket=nowhere, keystore=nowhere, passphrase_file=nowhere, log=nowhere),
        chains={"bitcoin": chain},
    )


def read_address(text: str) -> bytes | InvalidAddress:
    return GOOD_SCRIPT if text == GOOD_ADDRESS else InvalidAddress("not an address of this network")


def services(pool: Pool, chosen: Settings, clock: MovingClock, *, watching: bool = True) -> Services:
    status = NodeStatus("one", NodeState.HEALTHY, 104, 1, 0.01)
    return Services(
        pool=pool,
        settings=chosen,
        clock=clock,
        metrics=create_metrics(CollectorRegistry()),
        read_address={"bitcoin": read_address},
        schemes={"bitcoin": 84},
        node_statuses={"bitcoin": lambda: [status]} if watching else {},
        random_bytes=os.urandom,
    )


@dataclass
class Answer:
    """What came back: status, body as decoded JSON (None when there is none), and headers."""

    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        """Of a problem; fails the test when the answer is not one."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        assert self.body["status"] == self.status
        assert self.body["request_id"] == self.headers["X-Request-Id"]
        return str(self.body["code"])


@dataclass
class Caller:
    """Somebody with a key. POSTs to money calls get a fresh Idempotency-Key unless one is given."""

    session: aiohttp.ClientSession
    url: str
    key: str | None
    key_id: str
    headers: dict[str, str] = field(default_factory=dict)

    async def call(
        self, method: str, path: str, *, idempotency_key: str | None = "fresh", **options: Any
    ) -> Answer:
        headers = {**self.headers, **options.pop("headers", {})}
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        if idempotency_key is not None and method == "POST":
            headers["Idempotency-Key"] = uuid.uuid4().hex if idempotency_key == "fresh" else idempotency_key
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            raw = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answer(
                response.status,
                await response.json(content_type=None) if is_json and raw else None,
                response.headers,
            )

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, json={} if body is None else body, **options)

    async def patch(self, path: str, body: Any) -> Answer:
        return await self.call("PATCH", path, json=body)


@dataclass
class World:
    pool: Pool
    clock: MovingClock
    services: Services
    app: web.Application
    session: aiohttp.ClientSession
    url: str

    async def caller(self, scopes: Collection[Scope] = tuple(Scope), **options: Any) -> Caller:
        key_id = derived_id(self.clock.now(), os.urandom(16))
        async with transaction(self.pool) as conn:
            key, view = await create_key(
                conn,
                key_id,
                os.urandom(32),
                name="test",
                scopes=scopes,
                expires_at=options.get("expires_at"),
                rate=options.get("rate"),
                now=self.clock.now(),
            )
        return Caller(self.session, self.url, key, view.id)

    async def account(self, caller: Caller, name: str | None = None) -> str:
        answer = await caller.post("/v1/accounts", {"external_id": name or uuid.uuid4().hex})
        assert answer.status in (200, 201), answer
        return str(answer.body["id"])

    async def give(self, account_id: str, amount_base_units: int, *, final: bool = True) -> None:
        """Money as a deposit brings it."""
        own_id = read_id(Kind.ACCOUNT, account_id)
        assert own_id is not None
        kind = PostingKind.DEPOSIT_CREDIT_FINAL if final else PostingKind.DEPOSIT_CREDIT
        async with transaction(self.pool) as conn:
            own, other = await ensure_accounts(conn, [player(own_id, "BTC"), house("custody:bitcoin", "BTC")])
            posting = customer_posting(
                kind,
                f"test:{uuid.uuid4()}",
                CustomerAccount(own),
                HouseAccount(other),
                BaseUnits(amount_base_units),
            )
            assert (await post(conn, posting, self.clock.now())).done

    async def offer_addresses(self, count: int) -> None:
        async with transaction(self.pool) as conn:
            for index in range(count):
                await conn.execute(
                    "INSERT INTO address (chain, destination, address, scheme, branch, key_index) "
                    "VALUES ('bitcoin', $1, $2, 84, 0, $3)",
                    bytes([index]) * 22,
                    f"bcrt1q{index:04}",
                    index,
                )

    async def deposit(self, account_id: str, amount: int = 1_000_000, **columns: Any) -> str:
        """A row as the watcher writes it, without the money."""
        own_id, now = read_id(Kind.ACCOUNT, account_id), self.clock.now()
        deposit_id = derived_id(now, os.urandom(16))
        script = os.urandom(22)
        row = {
            "id": deposit_id,
            "chain": "bitcoin",
            "tx_hash": os.urandom(32),
            "position": 0,
            "account_id": own_id,
            "asset": "BTC",
            "amount": amount,
            "destination": script,
            "state": "detected",
            "inclusion": 0,
            "credit_confirmations": 1,
            "finalize_confirmations": 3,
            "version": 1,
            "created_at": now,
            "updated_at": now,
            **columns,
        }
        names, places = ", ".join(row), ", ".join(f"${n}" for n in range(1, len(row) + 1))
        async with transaction(self.pool) as conn:
            await conn.execute(
                "INSERT INTO address (chain, destination, address, scheme, branch, key_index, account_id, "
                "assigned_at) VALUES ('bitcoin', $1, $2, 84, 0, $3, $4, $5)",
                script,
                script.hex(),
                int.from_bytes(script[:4], "big"),
                own_id,
                now,
            )
            await conn.execute(f"INSERT INTO deposit ({names}) VALUES ({places})", *row.values())
        return f"dep_{deposit_id.hex}"


@asynccontextmanager
async def running_api(
    pool: Pool, chosen: Settings, clock: MovingClock, *, watching: bool = True
) -> AsyncIterator[World]:
    own = services(pool, chosen, clock, watching=watching)
    app = create_app(own)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession() as session:
            yield World(pool, clock, own, app, session, f"http://{host}:{port}")
    finally:
        await runner.cleanup()


def uuid_of(shown: str) -> UUID:
    return UUID(hex=shown.partition("_")[2])
