"""Every test here gets a running API on a fresh database; `backend` holds all scopes."""

from collections.abc import AsyncIterator

import pytest_asyncio

from cryptowatch.db.pool import Pool, open_pool
from tests.api.world import Caller, World, running_api, settings
from tests.support.moving_clock import MovingClock


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, application_name="test", size_max=12) as opened:
        yield opened


@pytest_asyncio.fixture
async def world(pool: Pool, database: str) -> AsyncIterator[World]:
    async with running_api(pool, settings(database), MovingClock()) as running:
        yield running


@pytest_asyncio.fixture
async def backend(world: World) -> Caller:
    return await world.caller()
