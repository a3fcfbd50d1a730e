"""P3 when a payee has spent what he got and no block takes it: a child pays for the payout, which stays as it is."""

import os
from decimal import Decimal

from cryptowatch.chains.bitcoin.address import address_of
from cryptowatch.chains.bitcoin.transaction import TxInput
from cryptowatch.money import BaseUnits
from cryptowatch.signing.keys import AccountKeys, accounts_from_mnemonic, new_mnemonic
from cryptowatch.signing.messages import KeyPath
from tests.promises.conftest import MakeSite
from tests.promises.test_p3_bumps import BUMP_AFTER, IMPATIENT
from tests.support import processes
from tests.support.books import assert_balanced, house_balance, paid_to
from tests.support.running import Site, node_sat, sat, strangers_address
from tests.support.spending import Owned, output_to, script, signed

PATH = KeyPath("bip84", 0, 0)
#: What the payee leaves as a fee: more than he need.
GENEROUS = 50_000


def payee() -> tuple[AccountKeys, str]:
    """Keys, and the address that is paid."""
    keys = accounts_from_mnemonic(new_mnemonic(os.urandom(16)), "regtest")
    address = address_of(keys.key(PATH).script, "regtest")
    assert address is not None
    return keys, address


async def spends_it(site: Site, keys: AccountKeys, paid_by: str, to: str) -> tuple[str, str]:
    """The payee passes on what he got, before a block holds it: (hash, raw hex)."""
    own = keys.key(PATH).script
    index, value = await output_to(site.net, paid_by, own)
    coin = Owned(TxInput(bytes.fromhex(paid_by), index, BaseUnits(value), own), PATH)
    tx_hash, raw = signed(keys, [coin], [(script(to), value - GENEROUS)])
    await site.net.bitcoin[0].rpc("sendrawtransaction", raw)
    await site.pending_everywhere(tx_hash)
    return tx_hash, raw


async def until_child(site: Site, *, is_sent: bool = True) -> str:
    async def there() -> str | None:
        rows = await site.pool.fetch(
            "SELECT a.tx_hash, a.broadcast_at FROM attempt a JOIN lineage l ON l.id = a.lineage_id "
            "WHERE l.kind = 'child'"
        )
        assert len(rows) <= 1
        return rows[0]["tx_hash"].hex() if rows and (rows[0]["broadcast_at"] or not is_sent) else None

    return await site.until(there)


async def is_final_and_paid_once(site: Site, withdrawal: str, parent: str, child: str, to: str) -> None:
    await site.finished(withdrawal)
    assert (await site.withdrawal(withdrawal))["tx_hash"] == parent
    assert await paid_to(site, to) == [sat("0.2") - GENEROUS]
    rows = await site.pool.fetch("SELECT state, tx_hash, kind FROM lineage ORDER BY id")
    assert [(row["kind"], row["state"], row["tx_hash"].hex()) for row in rows] == [
        ("payout", "finalized", parent),
        ("child", "finalized", child),
    ]
    fees = await site.pool.fetchval("SELECT sum(fee)::bigint FROM attempt")
    assert -await house_balance(site, "network_fees:bitcoin") == fees
    await assert_balanced(site)


async def test_a_payout_that_its_payee_has_spent_is_paid_for_by_a_child_through_a_reorg(
    make_site: MakeSite,
) -> None:
    site, to = await make_site(**IMPATIENT), strangers_address()
    await site.start()
    player, (keys, address) = await site.rich_player("0.9"), payee()
    withdrawal = await player.withdraw(sat("0.2"), address)
    parent = await site.sent(withdrawal)
    others, raw = await spends_it(site, keys, parent, to)
    await site.mine_empty(BUMP_AFTER)
    child = await until_child(site)
    await site.pending_everywhere(child)
    entry = await site.net.bitcoin[0].rpc("getmempoolentry", child)
    assert entry["depends"] == [parent]
    assert node_sat(Decimal(entry["fees"]["ancestor"])) >= 6 * entry["ancestorsize"]
    assert await site.is_pending(parent) and await site.is_pending(others)
    transaction = (await site.withdrawal(withdrawal))["transaction_id"]
    assert await site.story(transaction) == ["broadcast"]
    await site.mine()
    await site.reaches(withdrawal, "confirmed")
    await site.reorg(1, drop=[parent, others, child])
    for tx_hash in (parent, child):
        await site.pending_everywhere(tx_hash)
    # His own affair.
    await site.net.bitcoin[0].rpc("sendrawtransaction", raw)
    await is_final_and_paid_once(site, withdrawal, parent, child, to)


async def test_killed_with_the_child_planned_and_not_signed_and_again_with_it_sent_to_nobody(
    make_site: MakeSite,
) -> None:
    site, to = await make_site(**IMPATIENT), strangers_address()
    signer = site.spawn_signer()
    daemon = site.spawn_daemon()
    await site.until(site.is_ready)
    await site.until(site.cursor)
    player, (keys, address) = await site.rich_player("0.9"), payee()
    withdrawal = await player.withdraw(sat("0.2"), address)
    parent = await site.sent(withdrawal)
    await spends_it(site, keys, parent, to)
    processes.kill(signer)
    await site.mine_empty(BUMP_AFTER)
    child = await until_child(site, is_sent=False)
    processes.kill(daemon)
    await site.net.fault(None, "drop", methods=["sendrawtransaction"])
    site.spawn_signer()
    daemon = site.spawn_daemon()

    async def is_signed() -> bool:
        return not await site.pool.fetchval("SELECT count(*) FROM attempt WHERE raw IS NULL")

    await site.until(is_signed)
    processes.kill(daemon)
    assert not await site.is_pending(child)
    await site.net.clear_faults()
    site.spawn_daemon()
    await site.until(site.is_ready)
    assert await until_child(site) == child
    await site.pending_everywhere(child)
    await is_final_and_paid_once(site, withdrawal, parent, child, to)
