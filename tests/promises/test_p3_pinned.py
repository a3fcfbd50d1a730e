"""P3 when a payee keeps our child out of every mempool: the payout is replaced, all are paid once, the child dies."""

import os
from contextlib import suppress

from cryptowatch.chains.bitcoin.address import address_of
from cryptowatch.chains.bitcoin.transaction import TxInput
from cryptowatch.devnet.rpc import RpcError
from cryptowatch.money import BaseUnits
from cryptowatch.signing.keys import AccountKeys, accounts_from_mnemonic, new_mnemonic
from cryptowatch.signing.messages import KeyPath
from tests.promises.conftest import MakeSite
from tests.promises.test_p3_bumps import BUMP_AFTER, IMPATIENT, until_attempts
from tests.promises.test_p3_children import until_child
from tests.support.books import assert_balanced, house_balance, paid_to
from tests.support.running import FINAL, Site, merged, node_sat, sat, strangers_address
from tests.support.spending import Owned, output_to, signed

#: Of one withdrawal a chain is made as long as nodes allow; the other fills the place that they keep for one more.
PATHS = (KeyPath("bip84", 0, 0), KeyPath("bip84", 0, 1))
#: More than any node keeps of related transactions.
CHAIN_MAX = 70
FEE = 250
#: What is asked for together leaves together.
TOGETHER = merged(IMPATIENT, {"chains": {"bitcoin": {"batching": {"wait_max_s": 2}}}})


async def built_on(site: Site, keys: AccountKeys, paid_by: str) -> str:
    """The payee's chain on what he got, until no node takes another one: the hash of its last."""
    last = ""
    for path in PATHS:
        own = keys.key(path).script
        index, left = await output_to(site.net, paid_by, own)
        coin = TxInput(bytes.fromhex(paid_by), index, BaseUnits(left), own)
        with suppress(RpcError):
            for _ in range(CHAIN_MAX):
                left -= FEE
                tx_hash, raw = signed(keys, [Owned(coin, path)], [(own, left)])
                # To each of them, in the same order: by themselves they may leave one out.
                for node in site.net.bitcoin:
                    await node.rpc("sendrawtransaction", raw)
                coin, last = TxInput(bytes.fromhex(tx_hash), 0, BaseUnits(left), own), tx_hash
    await site.pending_everywhere(last)
    return last


async def test_a_payout_whose_payee_keeps_its_child_out_is_replaced_and_the_child_ends_with_proof(
    make_site: MakeSite,
) -> None:
    site = await make_site(**TOGETHER)
    await site.start()
    keys = accounts_from_mnemonic(new_mnemonic(os.urandom(16)), "regtest")
    addresses = [address_of(keys.key(path).script, "regtest") or "" for path in PATHS]
    player = await site.rich_player("0.9")
    withdrawals = [await player.withdraw(sat("0.2"), address) for address in addresses]
    parent = await site.sent(withdrawals[0])
    assert await site.sent(withdrawals[1]) == parent, "they are in one batch"
    theirs = await built_on(site, keys, parent)
    evicted = node_sat((await site.net.bitcoin[0].rpc("getmempoolentry", parent))["fees"]["descendant"])
    await site.mine_empty(BUMP_AFTER)
    child = await until_child(site, is_sent=False)
    await site.polled(10)
    assert not await site.is_pending(child), "nodes took it: nothing was shown"
    await site.mine_empty(BUMP_AFTER)
    made = await until_attempts(site, 3)
    fee, newest = next(one for one in made if one[1].txid.hex() not in (parent, child))
    assert fee >= evicted + newest.vsize
    await site.pending_everywhere(newest.txid.hex())
    for gone in (parent, theirs):
        assert not await site.is_pending(gone)
    # The child's bytes are about: until the replacement is final, it is as it was.
    await site.mine()
    await site.reaches(withdrawals[0], "confirmed")
    assert await site.pool.fetchval("SELECT state FROM lineage WHERE kind = 'child'") == "open"
    await site.mine(FINAL - 1)
    for withdrawal in withdrawals:
        await site.reaches(withdrawal, "finalized")
    rows = await site.pool.fetch("SELECT kind, state, tx_hash FROM lineage ORDER BY kind")
    assert [tuple(row) for row in rows] == [("child", "dead", None), ("payout", "finalized", newest.txid)]
    assert -await house_balance(site, "network_fees:bitcoin") == fee
    for address in addresses:
        assert await paid_to(site, address) == [sat("0.2")]
    await assert_balanced(site)


async def test_a_small_payout_does_not_take_the_replacement_of_a_large_batch_away(
    make_site: MakeSite,
) -> None:
    site = await make_site(**TOGETHER)
    await site.start()
    player, addresses = await site.rich_player("0.9"), [strangers_address() for _ in range(31)]
    withdrawals = [await player.withdraw(sat("0.01"), address) for address in addresses[:-1]]
    batch = await site.sent(withdrawals[-1])
    assert await site.sent(withdrawals[0]) == batch
    withdrawals.append(await player.withdraw(sat("0.01"), addresses[-1]))
    await site.polled(5)
    assert (await site.withdrawal(withdrawals[-1]))["state"] == "queued"
    await site.mine_empty(BUMP_AFTER)
    [_, (_, newest)] = await until_attempts(site, 2)
    # It joined.
    assert await site.sent(withdrawals[-1]) == newest.txid.hex()
    await site.finished(*withdrawals)
    for address in addresses:
        assert await paid_to(site, address) == [sat("0.01")]
    await assert_balanced(site)
