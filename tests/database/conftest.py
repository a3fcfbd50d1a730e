"""What every test here stands on: a fresh database, a pool on it, and a small world of accounts."""

from collections.abc import AsyncIterator

import pytest_asyncio

from cryptowatch.db.pool import Pool, open_pool
from tests.database.world import World, create_world


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, application_name="test", size_max=20) as opened:
        yield opened


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await create_world(pool)
