"""A real, full regtest block of 4,000 transactions that pay 20,000 addresses of one extended public key."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from embit import bip32, bip39
from embit.networks import NETWORKS

from cryptowatch.chains.bitcoin.address import address_of
from cryptowatch.chains.bitcoin.derive import Scheme, derive_scripts, parse_extended_key
from cryptowatch.chains.bitcoin.transaction import TxInput, TxOutput, UnsignedTransaction
from cryptowatch.chains.port import BlockRef
from cryptowatch.devnet import Net
from cryptowatch.devnet.rpc import BitcoinRpc
from cryptowatch.money import BaseUnits
from cryptowatch.signing.bitcoin import sign
from cryptowatch.signing.keys import AccountKeys, accounts_from_mnemonic, new_mnemonic
from cryptowatch.signing.messages import KeyPath

TRANSACTIONS = 4_000
OUTPUTS_EACH = 5
ADDRESSES = TRANSACTIONS * OUTPUTS_EACH
_FUNDING_OUTPUTS = 1_000
_COIN_SATS = 30_000
_PAID_SATS = 5_000


@dataclass(frozen=True)
class FullBlock:
    """The block, its parent, and whom it pays."""

    height: int
    hash: bytes
    parent: BlockRef
    mnemonic: str
    scripts: list[bytes]
    texts: list[str]


async def build_full_block(net: Net) -> FullBlock:
    """Mined on every node of the devnet."""
    mnemonic = new_mnemonic(bytes(16))
    accounts = accounts_from_mnemonic(mnemonic, "regtest")
    xpub = accounts.xpubs("regtest")["bip84"]
    key = parse_extended_key(xpub, "regtest", Scheme.BIP84)
    scripts = [
        d.script for d in await asyncio.to_thread(derive_scripts, key, Scheme.BIP84, 0, range(ADDRESSES))
    ]
    coins = await _coins(net, accounts)
    raws = await asyncio.to_thread(_payments, accounts, coins, scripts)
    rpc = net.bitcoin[0].rpc
    for raw in raws:
        await rpc("sendrawtransaction", raw.hex())
    (block_hash,) = await net.mine(1)
    header = await rpc("getblockheader", block_hash)
    parent = await rpc("getblockheader", header["previousblockhash"])
    return FullBlock(
        height=header["height"],
        hash=bytes.fromhex(block_hash),
        mnemonic=mnemonic,
        scripts=scripts,
        texts=[address_of(script, "regtest") or "" for script in scripts],
        parent=BlockRef(
            parent["height"],
            bytes.fromhex(parent["hash"]),
            bytes.fromhex(parent["previousblockhash"]),
            datetime.fromtimestamp(parent["time"], UTC),
        ),
    )


async def _coins(net: Net, accounts: AccountKeys) -> list[TxInput]:
    """One confirmed coin for each transaction, all of the key at branch 1, index 0."""
    script = accounts.key(KeyPath("bip84", 1, 0)).script
    funding = address_of(script, "regtest")
    assert funding is not None
    found: list[TxInput] = []
    rpc = net.bitcoin[0].rpc
    for batch in range(TRANSACTIONS // _FUNDING_OUTPUTS):
        # A wallet pays an address once in a transaction, so the fan-out is our own transaction.
        tx_hash = await net.send(funding, "0.5")
        transaction = await rpc("getrawtransaction", tx_hash, 1)
        (place, amount) = next(
            (out["n"], int(out["value"] * 100_000_000))
            for out in transaction["vout"]
            if out["scriptPubKey"]["hex"] == script.hex()
        )
        fan_out = UnsignedTransaction(
            (TxInput(bytes.fromhex(tx_hash), place, BaseUnits(amount), script),),
            (
                *(TxOutput(script, BaseUnits(_COIN_SATS)) for _ in range(_FUNDING_OUTPUTS)),
                TxOutput(script, BaseUnits(amount - _FUNDING_OUTPUTS * _COIN_SATS - 200_000)),
            ),
        )
        await rpc("sendrawtransaction", sign(fan_out, [accounts.key(KeyPath("bip84", 1, 0))]).hex())
        found += [TxInput(fan_out.txid, n, BaseUnits(_COIN_SATS), script) for n in range(_FUNDING_OUTPUTS)]
        assert batch >= 0
    await net.mine(1)
    return found


def _payments(accounts: AccountKeys, coins: list[TxInput], scripts: list[bytes]) -> list[bytes]:
    key = accounts.key(KeyPath("bip84", 1, 0))
    raws = []
    for n, coin in enumerate(coins):
        paid = scripts[n * OUTPUTS_EACH : (n + 1) * OUTPUTS_EACH]
        raws.append(
            sign(
                UnsignedTransaction(
                    (coin,), tuple(TxOutput(script, BaseUnits(_PAID_SATS)) for script in paid)
                ),
                [key],
            )
        )
    return raws


async def hot_wallet(rpc: BitcoinRpc, name: str, mnemonic: str, addresses: int) -> None:
    """bitcoind's own descriptor wallet with our keys, as if it had given out so many addresses itself."""
    root = bip32.HDKey.from_seed(bip39.mnemonic_to_seed(mnemonic), version=NETWORKS["regtest"]["xprv"])
    account = root.derive("m/84h/1h/0h").to_base58()
    await rpc("createwallet", name, False, True)
    requests: list[dict[str, Any]] = []
    for branch, given_out in ((0, addresses), (1, 100)):
        descriptor = f"wpkh({account}/{branch}/*)"
        checksum = (await rpc("getdescriptorinfo", descriptor))["checksum"]
        requests.append(
            {
                "desc": f"{descriptor}#{checksum}",
                "range": [0, given_out],
                "next_index": given_out,
                "timestamp": "now",
                "active": True,
                "internal": branch == 1,
            }
        )
    answers = await rpc("importdescriptors", requests)
    assert all(answer["success"] for answer in answers), answers
