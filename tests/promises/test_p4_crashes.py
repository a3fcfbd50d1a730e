"""P4: SIGKILL between any two steps of a payout leaves it written down, and the next start finishes it.

Daemon and signer are processes here. Each test holds a payout at one place (the nodes or the signer do not
answer), kills the daemon there, lets blocks pass, and starts another.
"""

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support import processes
from tests.support.books import assert_balanced, paid_to
from tests.support.running import FINAL, WITHDRAWAL_FEE, Player, Site, sat, strangers_address

ALL_NODES = None
SEND = ["sendrawtransaction"]


async def attempts(site: Site) -> list[tuple[str, bool, bool]]:
    """(hash, is it signed, did a node take it) of every transaction that was ever made."""
    rows = await site.pool.fetch("SELECT tx_hash, raw, broadcast_at FROM attempt ORDER BY created_at, number")
    return [(row["tx_hash"].hex(), row["raw"] is not None, row["broadcast_at"] is not None) for row in rows]


async def until_attempt(site: Site, *, signed: bool) -> str:
    async def there() -> str | None:
        made = await attempts(site)
        return made[0][0] if made and made[0][1] is signed else None

    return await site.until(there)


async def paid_once(site: Site, player: Player, withdrawal: str, address: str) -> None:
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.2")]
    assert await player.balance() == Balance(total=sat("0.5") - sat("0.2") - WITHDRAWAL_FEE)
    assert len(await attempts(site)) == 1
    await assert_balanced(site)


async def test_killed_with_the_transaction_signed_and_sent_to_nobody(make_site: MakeSite) -> None:
    site, address = await make_site(), strangers_address()
    daemon = await site.start_processes()
    player = await site.rich_player("0.5")
    await site.net.fault(ALL_NODES, "drop", methods=SEND)
    withdrawal = await player.withdraw(sat("0.2"), address)
    tx_hash = await until_attempt(site, signed=True)
    processes.kill(daemon)
    await site.net.clear_faults()
    assert await site.net.bitcoin[0].rpc("getrawmempool") == []
    await site.net.mine()
    site.spawn_daemon()
    await site.until(site.is_ready)
    assert await site.sent(withdrawal) == tx_hash
    await paid_once(site, player, withdrawal, address)


async def test_killed_with_the_coins_reserved_and_nothing_signed(make_site: MakeSite) -> None:
    site, address = await make_site(), strangers_address()
    signer = site.spawn_signer()
    daemon = site.spawn_daemon()
    await site.until(site.is_ready)
    await site.until(site.cursor)
    player = await site.rich_player("0.5")
    processes.kill(signer)
    withdrawal = await player.withdraw(sat("0.2"), address)
    tx_hash = await until_attempt(site, signed=False)
    processes.kill(daemon)
    await site.net.mine()
    site.spawn_signer()
    site.spawn_daemon()
    await site.until(site.is_ready)
    assert await site.sent(withdrawal) == tx_hash
    await paid_once(site, player, withdrawal, address)


async def test_killed_after_a_send_of_which_it_never_heard(make_site: MakeSite) -> None:
    site, address = await make_site(), strangers_address()
    daemon = await site.start_processes()
    player = await site.rich_player("0.5")
    await site.net.fault(ALL_NODES, "error_after_send", answer="drop")
    withdrawal = await player.withdraw(sat("0.2"), address)
    tx_hash = await site.sent(withdrawal)
    processes.kill(daemon)
    assert await attempts(site) == [(tx_hash, True, False)]
    await site.net.clear_faults()
    # It is mined while nobody looks.
    await site.net.mine(2)
    site.spawn_daemon()
    await site.until(site.is_ready)
    await site.reaches(withdrawal, "confirmed")
    await site.mine(FINAL)
    await site.reaches(withdrawal, "finalized")
    assert await paid_to(site, address) == [sat("0.2")]
    assert len(await attempts(site)) == 1
    await assert_balanced(site)


async def test_a_signer_that_is_killed_again_and_again_signs_once(make_site: MakeSite) -> None:
    site, address = await make_site(), strangers_address()
    signer = site.spawn_signer()
    site.spawn_daemon()
    await site.until(site.is_ready)
    await site.until(site.cursor)
    player = await site.rich_player("0.5")
    for _ in range(3):
        processes.kill(signer)
        signer = site.spawn_signer()
    withdrawal = await player.withdraw(sat("0.2"), address)
    await paid_once(site, player, withdrawal, address)


async def test_a_request_that_was_cut_off_can_be_repeated_with_its_key(make_site: MakeSite) -> None:
    """P2: who does not know what became of a request asks again, and it happened once."""
    site, address = await make_site(), strangers_address()
    daemon = await site.start_processes()
    player = await site.rich_player("0.5")
    first = await player.ask_withdrawal(sat("0.2"), address, idempotency_key="cut off")
    processes.kill(daemon)
    site.spawn_daemon()
    await site.until(site.is_ready)
    again = await player.ask_withdrawal(sat("0.2"), address, idempotency_key="cut off")
    assert again.body["id"] == first.body["id"]
    await paid_once(site, player, first.body["id"], address)
