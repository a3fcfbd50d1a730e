"""Every test here gets a whole cryptowatch of its own on the worker's real nodes; its books must be sound at
the end.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cryptowatch import daemon, desk, loops
from cryptowatch.devnet.client import Net
from tests.support import processes
from tests.support.books import assert_sound
from tests.support.ethereum import CALM, House
from tests.support.running import Site

MakeSite = Callable[..., Awaitable[Site]]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "_SENDING_INTERVAL_S", processes.INTERVAL_S)
    monkeypatch.setattr(daemon, "_GAUGES_INTERVAL_S", processes.INTERVAL_S)
    monkeypatch.setattr(loops, "_BACKOFF_MAX_S", processes.BACKOFF_MAX_S)


@pytest_asyncio.fixture
async def make_site(net: Net, database: str, short_dir: Path) -> AsyncIterator[MakeSite]:
    """Makes the test's site, with settings of its own where it gives some; not started."""
    async with making_sites(net, database, short_dir, ["bitcoin"]) as make:
        yield make


@pytest_asyncio.fixture
async def make_evm_site(evm_net: Net, database: str, short_dir: Path) -> AsyncIterator[MakeSite]:
    """The same on the worker's chains of Ethereum's kind."""
    async with making_sites(evm_net, database, short_dir, ["ethereum", "bsc"]) as make:
        yield make


@pytest_asyncio.fixture
async def make_ethereum_site(evm_net: Net, database: str, short_dir: Path) -> AsyncIterator[MakeSite]:
    """The same on the first of them alone."""
    async with making_sites(evm_net, database, short_dir, ["ethereum"]) as make:
        yield make


@asynccontextmanager
async def making_sites(
    net: Net, database: str, short_dir: Path, chains: Sequence[str]
) -> AsyncIterator[MakeSite]:
    made: list[Site] = []

    async def make(**overrides: Any) -> Site:
        assert not made, "one database, one site"
        site = Site(net, database, short_dir / f"site-{secrets.token_hex(4)}", overrides, chains)
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


@pytest_asyncio.fixture
async def evm_site(make_evm_site: MakeSite) -> Site:
    """With the devnet's settings, running."""
    made = await make_evm_site()
    await made.start()
    return made


@pytest_asyncio.fixture
async def house(make_ethereum_site: MakeSite) -> House:
    """One that can pay on Ethereum, running, with nothing on its way; deposits are left where they are."""
    site = await make_ethereum_site(**CALM)
    await site.start()
    opened = House(site)
    await opened.opens()
    return opened
