"""Signed transactions that no wallet would make: two outputs to one address, spends of the site's own coins.

The daemon holds no key; tests that play a thief, or a second holder of the wallet's key, do.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptowatch.chains.bitcoin.address import script_of
from cryptowatch.chains.bitcoin.transaction import TxInput, TxOutput, UnsignedTransaction
from cryptowatch.devnet.client import Net
from cryptowatch.money import BaseUnits
from cryptowatch.signing.bitcoin import sign
from cryptowatch.signing.keys import AccountKeys, accounts_from_mnemonic, new_mnemonic
from cryptowatch.signing.keystore import read_keystore, read_passphrase
from cryptowatch.signing.messages import KeyPath
from tests.support.running import CHAIN, Site, node_sat


@dataclass(frozen=True)
class Owned:
    """A coin with the path of its key."""

    coin: TxInput
    path: KeyPath


def signed(
    keys: AccountKeys, coins: Sequence[Owned], outputs: Sequence[tuple[bytes, int]]
) -> tuple[str, str]:
    """(hash, raw hex) of a transaction; what the outputs leave is its fee."""
    unsigned = UnsignedTransaction(
        tuple(owned.coin for owned in coins),
        tuple(TxOutput(script, BaseUnits(amount)) for script, amount in outputs),
    )
    raw = sign(unsigned, [keys.key(owned.path) for owned in coins])
    return unsigned.txid.hex(), raw.hex()


def script(address: str) -> bytes:
    found = script_of(address, "regtest")
    assert isinstance(found, bytes)
    return found


async def output_to(net: Net, tx_hash: str, wanted: bytes) -> tuple[int, int]:
    """(index, satoshi) of the transaction's output with this script."""
    decoded: dict[str, Any] = await net.bitcoin[0].rpc("getrawtransaction", tx_hash, True)
    return next(
        (int(out["n"]), node_sat(out["value"]))
        for out in decoded["vout"]
        if out["scriptPubKey"]["hex"] == wanted.hex()
    )


async def strangers_coin(net: Net, amount: str) -> tuple[AccountKeys, Owned]:
    """A confirmed coin of somebody's, with the keys."""
    keys, path = accounts_from_mnemonic(new_mnemonic(os.urandom(16)), "regtest"), KeyPath("bip84", 0, 0)
    own = keys.key(path).script
    address = (await net.bitcoin[0].rpc("decodescript", own.hex()))["address"]
    tx_hash = await net.send(address, amount)
    await net.mine()
    index, value = await output_to(net, tx_hash, own)
    return keys, Owned(TxInput(bytes.fromhex(tx_hash), index, BaseUnits(value), own), path)


def wallet_keys(site: Site) -> AccountKeys:
    """The private side of the site's wallet."""
    kept = read_keystore(site.keys.keystore, read_passphrase(site.keys.passphrase_file))
    return accounts_from_mnemonic(kept.mnemonic or "", "regtest")


async def wallet_coins(site: Site, where: str = "spent_by IS NULL") -> list[Owned]:
    """The site's coins as its database knows them."""
    rows = await site.pool.fetch(
        "SELECT c.resource, c.amount, c.destination, a.scheme, a.branch, a.key_index "
        "FROM coin c JOIN address a USING (chain, destination) "
        f"WHERE c.chain = $1 AND {where} ORDER BY c.resource",
        CHAIN,
    )
    return [
        Owned(
            TxInput(
                row["resource"][:32],
                int.from_bytes(row["resource"][32:], "big"),
                BaseUnits(row["amount"]),
                row["destination"],
            ),
            KeyPath("bip84" if row["scheme"] == 84 else "bip86", 1 if row["branch"] else 0, row["key_index"]),
        )
        for row in rows
    ]
