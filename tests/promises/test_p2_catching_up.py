"""P2 after an absence: a daemon that was away, started late or heard of an address late misses nothing."""

import asyncio
import json
import sys
import uuid
from dataclasses import dataclass

from cryptowatch.accounts.players import Profile, create_player
from cryptowatch.chains.connect import DEPOSIT_BRANCH, connect
from cryptowatch.clock import SystemClock
from cryptowatch.db.pool import transaction
from cryptowatch.deposits.addresses import assign_address, derive_ahead
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced
from tests.support.running import ASSET, CHAIN, FINAL, Player, Site, sat

SCHEME = 84


@dataclass
class Wallet:
    """The site's addresses, without a daemon."""

    site: Site

    def __post_init__(self) -> None:
        chain = connect(CHAIN, self.site.settings.chains[CHAIN])
        self.key = chain.keys[SCHEME]

    def address(self, index: int) -> str:
        [(_, _, text)] = self.key.derive(DEPOSIT_BRANCH, index, 1)
        return text

    async def derive(self, ahead: int) -> None:
        await derive_ahead(self.site.pool, CHAIN, SCHEME, self.key, {DEPOSIT_BRANCH: ahead})

    async def player(self) -> Player:
        """A player made without the API."""
        now = SystemClock().now()
        async with transaction(self.site.pool) as conn:
            made, _ = await create_player(conn, uuid.uuid4(), uuid.uuid4().hex, Profile(), now)
        return Player(self.site, show_id(Kind.ACCOUNT, made.id))

    async def assign(self, player: Player, wanted: str | None = None) -> str:
        """Gives the player addresses until the wanted one is among them."""
        player_id, now = uuid.UUID(hex=player.id.partition("_")[2]), SystemClock().now()
        while True:
            async with transaction(self.site.pool) as conn:
                address = await assign_address(conn, CHAIN, SCHEME, player_id, [ASSET], reuse=False, now=now)
            assert address is not None
            if wanted in (None, address):
                return address


async def rescan(site: Site, first: int) -> int:
    """`cryptowatch rescan`, as an operator runs it; how many deposits it found."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cryptowatch", "rescan", CHAIN, "--from", str(first), "--json"),
        *("--config", str(site.settings_file)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return int(json.loads(output)["deposits_found"])


async def test_a_daemon_that_was_away_for_forty_blocks_misses_nothing(site: Site) -> None:
    players = [await site.player() for _ in range(3)]
    addresses = [await player.address() for player in players]
    await site.stop_daemon()
    for number in range(8):
        await site.net.send(addresses[number % 3], f"0.0{number + 1}")
        await site.net.mine(5)
    unfinal = await site.net.send(addresses[0], "0.1")
    await site.net.mine()
    await site.start_daemon()
    await site.caught_up()
    totals = [(1, 4, 7), (2, 5, 8), (3, 6)]
    expected = [sum(sat(f"0.0{number}") for number in numbers) for numbers in totals]
    assert await players[0].balance() == Balance(total=expected[0] + sat("0.1"), unfinalized=sat("0.1"))
    assert await players[1].balance() == Balance(total=expected[1])
    assert await players[2].balance() == Balance(total=expected[2])
    for player in players:
        for deposit in await player.deposits():
            told = ["credited", *([] if deposit["tx_hash"] == unfinal else ["finalized"])]
            assert await site.story(deposit["id"]) == told
    assert await site.metric("scan_lag_blocks") == {CHAIN: 0}
    await assert_balanced(site)


async def test_a_restart_at_any_block_repeats_nothing(site: Site) -> None:
    player = await site.player()
    await site.net.send(await player.address(), "0.5")
    for _ in range(4):
        await site.mine()
        await site.stop_daemon()
        await site.start_daemon()
    assert await player.balance() == Balance(total=sat("0.5"))
    assert (await player.story())[-2:] == ["credited", "finalized"]


async def test_a_start_on_an_older_height_finds_what_came_before(make_site: MakeSite) -> None:
    site = await make_site()
    wallet = Wallet(site)
    await wallet.derive(20)
    player = await wallet.player()
    first = site.start_height
    await site.net.send(await wallet.assign(player), "0.5")
    await site.net.mine(40)
    site.rewrite_settings(start_height=first)
    await site.start()
    await site.caught_up()
    assert await player.balance() == Balance(total=sat("0.5"))
    await assert_balanced(site)


async def test_a_start_without_a_height_begins_just_below_the_head(make_site: MakeSite) -> None:
    site = await make_site()
    wallet = Wallet(site)
    await wallet.derive(20)
    player = await wallet.player()
    await site.net.send(await wallet.assign(player), "0.5")
    await site.net.mine(FINAL + 1)
    await site.start()
    await site.mine()
    assert await player.deposits() == []
    await assert_balanced(site, uncredited=sat("0.5"))


async def test_a_rescan_finds_the_deposits_of_an_address_that_was_imported_later_and_credits_nothing_twice(
    site: Site,
) -> None:
    known, late = await site.deposited("0.3", 1)
    wallet = Wallet(site)
    height = await site.caught_up()
    far = wallet.address(150)
    lost = await site.net.send(far, "0.7")
    await site.mine(FINAL)
    assert await site.pool.fetchval("SELECT count(*) FROM coin") == 1

    importer = await wallet.player()
    await wallet.derive(200)
    await wallet.assign(importer, far)
    assert await rescan(site, height - 1) == 1
    found = await importer.has_deposit()
    assert (found["tx_hash"], found["state"]) == (lost, "finalized")
    assert await importer.balance() == Balance(total=sat("0.7"))
    assert await known.balance() == Balance(total=sat("0.3"))
    assert (await known.has_deposit())["tx_hash"] == late
    assert await rescan(site, height - 1) == 0
    assert await importer.balance() == Balance(total=sat("0.7"))
    await assert_balanced(site)

    # From here on the address is watched like any other.
    await site.net.send(far, "0.2")
    await site.mine()
    assert (await importer.balance()).unfinalized == sat("0.2")


async def test_a_deposit_found_by_a_rescan_near_the_head_goes_on_with_the_chain(site: Site) -> None:
    wallet = Wallet(site)
    height = await site.caught_up()
    far = wallet.address(150)
    await site.net.send(far, "1.5")
    await site.mine(3)
    importer = await wallet.player()
    await wallet.derive(200)
    await wallet.assign(importer, far)
    assert await rescan(site, height) == 1
    assert await importer.state() == "credited"
    await site.mine(3)
    assert await importer.story() == ["credited", "finalized"]
    assert await importer.balance() == Balance(total=sat("1.5"))
