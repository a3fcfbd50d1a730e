"""Every test here gets a fresh database; `hook` is a receiver, `hooks` the world around it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from cryptowatch.db.pool import Pool, open_pool
from cryptowatch.settings import Webhooks
from tests.support.moving_clock import MovingClock
from tests.webhooks.receiver import Receiver, receiving
from tests.webhooks.world import World


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, application_name="test", size_max=12) as opened:
        yield opened


@pytest_asyncio.fixture
async def hook() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest_asyncio.fixture
async def hooks(pool: Pool) -> World:
    chosen = Webhooks(
        allow_private_addresses=True, timeout_s=0.5, concurrency=4, schedule_s=(5, 60), poll_interval_s=0.02
    )
    return World(pool, MovingClock(), chosen)
