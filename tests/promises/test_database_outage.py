"""Postgres is killed (SIGKILL) under a running casino: the state is plain to see, and nothing is lost."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from cryptowatch.db import embedded
from cryptowatch.db.migrate import migrate
from cryptowatch.devnet.client import Net
from cryptowatch.ledger.rules import Balance
from tests.support.books import assert_balanced, assert_sound, paid_to
from tests.support.running import WITHDRAWAL_FEE, Site, sat, strangers_address
from tests.support.traffic import answered


@dataclass
class Database:
    """A durable Postgres of the test's own."""

    folder: Path
    dsn: str = ""

    async def start(self) -> None:
        self.dsn = await embedded.start(self.folder)

    async def kill(self) -> None:
        """As a crash would: it finishes nothing."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        await embedded.stop(self.folder)


@pytest_asyncio.fixture
async def own_database(short_dir: Path) -> AsyncIterator[Database]:
    made = Database(short_dir / f"pg-{secrets.token_hex(3)}")
    await made.start()
    await asyncio.to_thread(migrate, made.dsn)
    yield made
    await embedded.stop(made.folder)


@pytest_asyncio.fixture
async def site(net: Net, own_database: Database, short_dir: Path) -> AsyncIterator[Site]:
    made = Site(net, own_database.dsn, short_dir / f"site-{secrets.token_hex(4)}", {})
    await made.open()
    await made.start()
    yield made
    made.alive()
    await assert_sound(made)
    await made.close()


async def test_the_daemon_says_that_its_database_is_away_and_goes_on_when_it_is_back(
    site: Site, own_database: Database
) -> None:
    rich, player, address = await site.rich_player("0.5"), await site.player(), strangers_address()
    deposit_address = await player.address()
    withdrawal = await rich.withdraw(sat("0.2"), address)
    await own_database.kill()

    async def says_so() -> bool:
        return (await site.backend.get("/health/ready")).status == 503

    await site.until(says_so)
    assert (await site.backend.get("/health/live")).status == 200
    refused = await rich.ask_withdrawal(sat("0.1"), strangers_address())
    assert (refused.status, refused.code) == (503, "database_unavailable")
    # The chain does not wait.
    await site.net.send(deposit_address, "0.4")
    await site.net.mine(2)
    site.alive()

    await own_database.start()
    await site.until(site.is_ready)
    await site.caught_up()
    assert (await player.balance()).total == sat("0.4")
    await site.mine_until_final([withdrawal])
    assert await paid_to(site, address) == [sat("0.2")]
    assert await rich.balance() == Balance(total=sat("0.5") - sat("0.2") - WITHDRAWAL_FEE)
    await assert_balanced(site)


async def test_requests_cut_off_by_the_databases_death_happen_once_when_repeated(
    site: Site, own_database: Database
) -> None:
    player = await site.rich_player("0.9")
    wanted = {strangers_address(): 100_000 + number for number in range(40)}

    async def ask(address: str, amount: int) -> str:
        done = await answered(lambda key: player.ask_withdrawal(amount, address, idempotency_key=key))
        assert done.status == 202, done
        return str(done.body["id"])

    asking = [asyncio.create_task(ask(address, amount)) for address, amount in wanted.items()]
    await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    for _ in range(2):
        await own_database.kill()
        await own_database.start()
    asked = await asyncio.gather(*asking)
    assert len(set(asked)) == len(wanted)
    await site.mine_until_final(asked)
    for address, amount in wanted.items():
        assert await paid_to(site, address) == [amount]
    spent = sum(wanted.values()) + len(wanted) * WITHDRAWAL_FEE
    assert await player.balance() == Balance(total=sat("0.9") - spent)
    await assert_balanced(site)
