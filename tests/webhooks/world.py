"""Endpoints, events and workers on a real database."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from aiohttp.abc import AbstractResolver
from prometheus_client import CollectorRegistry

from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.ids import derived_id
from cryptowatch.ledger.events import NewEvent, append_events
from cryptowatch.settings import Webhooks
from cryptowatch.telemetry.metrics import Metrics, create_metrics
from cryptowatch.webhooks.endpoints import EndpointSecretView, create_endpoint
from cryptowatch.webhooks.exchange import open_poster
from cryptowatch.webhooks.sealing import Seal
from cryptowatch.webhooks.worker import WebhookWorker
from tests.api.world import uuid_of
from tests.support.moving_clock import MovingClock


@dataclass
class World:
    pool: Pool
    clock: MovingClock
    settings: Webhooks
    metrics: Metrics = field(default_factory=lambda: create_metrics(CollectorRegistry()))
    seal: Seal = field(default_factory=Seal)
    _versions: dict[str, Any] = field(default_factory=dict)

    async def endpoint(self, url: str, event_types: Sequence[str] = ()) -> EndpointSecretView:
        async with transaction(self.pool) as conn:
            created = await create_endpoint(
                conn,
                derived_id(self.clock.now(), os.urandom(16)),
                url=url,
                description="",
                event_types=event_types,
                secret_bytes=os.urandom(32),
                seal=self.seal,
                endpoints_max=50,
                now=self.clock.now(),
            )
        assert isinstance(created, EndpointSecretView)
        return created

    async def happen(self, *entities: str, kind: str = "deposit", what: str = "credited") -> None:
        """One event for each entity named, with its next version."""
        events = [
            NewEvent(
                f"{kind}.{what}",
                kind,
                entity,
                next(self._versions.setdefault(entity, itertools.count(1))),
                None,
                f'{{"id": "{entity}"}}',
                self.clock.now(),
            )
            for entity in entities
        ]
        async with transaction(self.pool) as conn:
            await append_events(conn, events)

    @asynccontextmanager
    async def working(self, resolver: AbstractResolver | None = None) -> AsyncIterator[WebhookWorker]:
        async with open_poster(self.settings, resolver) as poster:
            worker = WebhookWorker(
                self.pool,
                self.settings,
                self.clock,
                self.metrics.webhooks,
                self.metrics.database,
                lambda: 0.0,
                poster,
                self.seal,
            )
            task = asyncio.create_task(worker.run())
            try:
                yield worker
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert task.cancelled()

    async def rows(self, endpoint: EndpointSecretView) -> list[dict[str, Any]]:
        async with connection(self.pool) as conn:
            found = await conn.fetch(
                "SELECT * FROM webhook_delivery WHERE endpoint_id = $1 ORDER BY position",
                endpoint_id(endpoint),
            )
        return [dict(row) for row in found]

    async def until_states(
        self, endpoint: EndpointSecretView, *states: str, timeout_s: float = 10
    ) -> list[dict[str, Any]]:
        """The rows once their states are these, in order."""
        rows: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(timeout_s):
                while [row["state"] for row in rows] != list(states):
                    await asyncio.sleep(0.02)
                    rows = await self.rows(endpoint)
        except TimeoutError:
            raise AssertionError(
                f"instead: {[(row['state'], row['last_problem']) for row in rows]}"
            ) from None
        return rows

    async def until_attempts(
        self, endpoint: EndpointSecretView, attempts: int, timeout_s: float = 10
    ) -> dict[str, Any]:
        """The endpoint's only delivery, once so many attempts are over."""
        async with asyncio.timeout(timeout_s):
            while True:
                rows = await self.rows(endpoint)
                if rows and rows[0]["attempts"] >= attempts and rows[0]["leased_until"] is None:
                    return rows[0]
                await asyncio.sleep(0.02)


def endpoint_id(endpoint: EndpointSecretView) -> UUID:
    return uuid_of(endpoint.endpoint.id)
