"""A site's cold side: a wallet whose keys are nowhere near the daemon, and what must be true of the money in it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from cryptowatch.api.keys import Scope
from cryptowatch.chains.bip32 import ExtendedPublicKey
from cryptowatch.chains.bitcoin.derive import Scheme, parse_extended_key
from cryptowatch.chains.ethereum.address import address_of
from cryptowatch.db.pool import connection
from cryptowatch.devnet.nodes import write_private
from cryptowatch.signing.keys import AccountKeys, accounts_from_mnemonic, new_mnemonic
from cryptowatch.signing.keystore import KeystoreSecrets, write_keystore
from cryptowatch.signing.messages import KeyPath
from cryptowatch.signing.offline import read_file, read_refill
from cryptowatch.treasury.reconcile import read_positions
from tests.api.world import Caller
from tests.support.books import house_balance
from tests.support.running import ASSET, CHAIN, Site, node_sat


@dataclass
class Cold:
    """Fresh keys of a cold wallet, with the settings that make it a site's."""

    mnemonic: str = field(default_factory=lambda: new_mnemonic(os.urandom(16)))

    @property
    def keys(self) -> AccountKeys:
        return accounts_from_mnemonic(self.mnemonic, "regtest")

    @property
    def xpub(self) -> str:
        return self.keys.xpubs("regtest")["bip84"]

    @property
    def key(self) -> ExtendedPublicKey:
        return parse_extended_key(self.xpub, "regtest", Scheme.BIP84)

    @property
    def account(self) -> str:
        """Of Ethereum's kind."""
        return address_of(self.keys.key(KeyPath("bip44", 0, 0)).script)

    def bitcoin(self, hourly: str = "1000", **band: str) -> dict[str, Any]:
        """Settings."""
        return {
            "treasury": {"rebalance_interval_s": 0.1},
            "signer": {"policy": {CHAIN: {"cold": {"xpub": self.xpub, "hourly_amount_max": hourly}}}},
            "chains": {
                CHAIN: {"cold": {"xpub": self.xpub}, "assets": {ASSET: {"band": band} if band else {}}}
            },
        }

    def ethereum(self, bands: dict[str, dict[str, str]], **hourly: str) -> dict[str, Any]:
        """Settings: bands and the signer's hour by asset."""
        cold = {"accounts": [self.account]}
        return {
            "treasury": {"rebalance_interval_s": 0.1},
            "signer": {"policy": {"ethereum": {"cold": {**cold, "hourly_amounts_max": hourly}}}},
            "chains": {
                "ethereum": {
                    "cold": cold,
                    "assets": {asset: {"band": band} for asset, band in bands.items()},
                    "wallet": {"sweep_gas_max_gwei": 0, "bump_after_blocks": 100},
                }
            },
        }

    def keystore(self, folder: Path) -> list[str]:
        """Options that name a keystore of these keys, made in the folder."""
        keystore, passphrase = folder / "cold.json", folder / "cold-passphrase"
        if not keystore.exists():
            write_private(passphrase, "cold and dark\n")
            write_keystore(keystore, KeystoreSecrets(mnemonic=self.mnemonic), b"cold and dark", 2**14)
        return ["--keystore", str(keystore), "--passphrase-file", str(passphrase)]

    async def coins(self, site: Site) -> int:
        """What the wallet's coins are worth by a node's word."""
        descriptors = [{"desc": f"wpkh({self.xpub}/{branch}/*)", "range": 150} for branch in (0, 1)]
        found = await site.net.bitcoin[0].rpc("scantxoutset", "start", descriptors)
        return node_sat(found["total_amount"])


def sign_offline(cold: Cold, folder: Path, unsigned: dict[str, Any], *options: str) -> CompletedProcess[str]:
    """The command, as a process of its own; what it writes is `folder/signed.json`."""
    (folder / "unsigned.json").write_text(json.dumps(unsigned))
    (folder / "signed.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "cryptowatch", "wallet", "sign-offline", str(folder / "unsigned.json")]
    out = ["--out", str(folder / "signed.json")]
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.run(
        [*command, *cold.keystore(folder), *out, *options],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": root},
        timeout=60,
    )


def signed_by(cold: Cold, unsigned: dict[str, Any]) -> str:
    """What the command would write, without a process."""
    refill = read_refill(read_file(json.dumps(unsigned).encode()), cold.keys)
    assert refill.pays == unsigned["address"]
    return refill.sign()


async def treasurer(site: Site) -> Caller:
    return await site.caller([Scope.READ, Scope.TREASURY])


async def rebalances(site: Site, asset: str = ASSET) -> list[dict[str, Any]]:
    """Oldest first."""
    answer = await site.backend.get("/v1/rebalances")
    return [row for row in reversed(answer.body["data"]) if row["asset"] == asset]


async def reaches(site: Site, state: str, asset: str = ASSET) -> dict[str, Any]:
    """Wait until the newest is in a state."""

    async def there() -> dict[str, Any] | None:
        found = await rebalances(site, asset)
        return found[-1] if found and found[-1]["state"] == state else None

    return await site.until(there)


async def assert_solvent(site: Site, surplus: dict[str, int] | None = None) -> None:
    """Chain = books at this moment, whatever is on its way (P7).

    `surplus`: what came without the books, by asset; it is booked as the house's once it is final.
    """
    async with connection(site.pool) as conn:
        positions = await read_positions(conn)
    assert positions
    for position in positions:
        funds = await house_balance(site, f"house_funds:{position.chain}", position.asset)
        brought = (surplus or {}).get(position.asset, 0)
        assert position.difference in (brought, brought - funds), position


async def booked(site: Site, place: str, chain: str = CHAIN, asset: str = ASSET) -> int:
    """What the ledger says is there: custody, in_transit or cold."""
    return -await house_balance(site, f"{place}:{chain}", asset)
