"""A world of its own for every attack."""

from collections.abc import AsyncIterator

import pytest_asyncio

from cryptowatch.db.pool import open_pool
from tests.attacks.world import World


@pytest_asyncio.fixture
async def world(database: str) -> AsyncIterator[World]:
    """One chain that starts at block 100, no coin, no account."""
    async with open_pool(database, application_name="attack", size_max=4) as pool:
        found = World(pool)
        await found.open()
        yield found
