"""Fresh keys for a devnet: the hot wallet's mnemonic, in an encrypted keystore, and its public side.

Called by `configuration`. Worth nothing outside regtest, and kept as real ones are kept (P9): only the
signer's files hold them.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptowatch.chains.connect import OWN_BRANCH
from cryptowatch.chains.ethereum.address import address_of
from cryptowatch.chains.ethereum.derive import derive_accounts, parse_extended_key
from cryptowatch.devnet.nodes import write_private
from cryptowatch.signing.keys import accounts_from_mnemonic, new_mnemonic
from cryptowatch.signing.keystore import KeystoreSecrets, read_keystore, read_passphrase, write_keystore

NETWORK = "regtest"
# The least that the format allows: a devnet shall start at once.
_SCRYPT_N = 2**14


@dataclass(frozen=True)
class WalletKeys:
    """Where the private side lies, and the account xpubs of m/44'/60'/0', m/84'/1'/0' and m/86'/1'/0'."""

    keystore: Path
    passphrase_file: Path
    xpub_bip84: str
    xpub_bip86: str
    xpub_bip44: str

    def senders(self, count: int) -> list[str]:
        """The accounts that send on chains of Ethereum's kind; the first is the vault."""
        found = derive_accounts(parse_extended_key(self.xpub_bip44), OWN_BRANCH, range(count))
        return [address_of(account) for _, account in found]


def write_keys(folder: Path) -> WalletKeys:
    """The folder's keys, made at the first call."""
    keystore, passphrase_file = folder / "keystore.json", folder / "passphrase"
    if keystore.exists():
        mnemonic = read_keystore(keystore, read_passphrase(passphrase_file)).mnemonic or ""
    else:
        mnemonic = new_mnemonic(secrets.token_bytes(16))
        write_private(passphrase_file, secrets.token_hex(16) + "\n")
        passphrase = read_passphrase(passphrase_file)
        write_keystore(keystore, KeystoreSecrets(mnemonic=mnemonic), passphrase, _SCRYPT_N)
    accounts = accounts_from_mnemonic(mnemonic, NETWORK)
    xpubs = accounts.xpubs(NETWORK)
    # Chains of Ethereum's kind write their keys alike on every network.
    ethereum = accounts.xpubs("main")["bip44"]
    return WalletKeys(keystore, passphrase_file, xpubs["bip84"], xpubs["bip86"], ethereum)
