"""Every test here gets a whole cryptowatch of its own on the worker's real nodes; its books must be sound at
the end.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cryptowatch import daemon, loops
from cryptowatch.devnet.client import Net
from tests.support import processes
from tests.support.books import assert_sound
from tests.support.running import Site

MakeSite = Callable[..., Awaitable[Site]]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_SENDING_INTERVAL_S", processes.INTERVAL_S)
    monkeypatch.setattr(daemon, "_GAUGES_INTERVAL_S", processes.INTERVAL_S)
    monkeypatch.setattr(loops, "_BACKOFF_MAX_S", processes.BACKOFF_MAX_S)


@pytest_asyncio.fixture
async def make_site(net: Net, database: str, short_dir: Path) -> AsyncIterator[MakeSite]:
    """Makes the test's site, with settings of its own where it gives some; not started."""
    made: list[Site] = []

    async def make(**overrides: Any) -> Site:
        assert not made, "one database, one site"
        site = Site(net, database, short_dir / f"site-{secrets.token_hex(4)}", overrides)
        made.append(site)
        await site.open()
        return site

    yield make
    for site in made:
        try:
            site.alive()
            await assert_sound(site)
        finally:
            await site.close()


@pytest_asyncio.fixture
async def site(make_site: MakeSite) -> Site:
    """With the devnet's settings, running."""
    made = await make_site()
    await made.start()
    return made
