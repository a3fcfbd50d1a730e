"""Private keys: from a mnemonic or account xprvs down to the key of one path (BIP32, BIP39, BIP44, BIP84, BIP86).

Called by `signing.service` and by the `wallet` commands, never outside the signer (P9). Nothing here appears
in a repr, a log or an error's text.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from coincurve import PrivateKey, PublicKey
from embit import bip32, bip39
from embit.base import EmbitError
from embit.hashes import hash160, tagged_hash
from embit.networks import NETWORKS

from cryptowatch.chains.ethereum.keccak import keccak
from cryptowatch.errors import OperatorError
from cryptowatch.signing.messages import KeyPath, Scheme

PURPOSES: Mapping[Scheme, int] = {"bip44": 44, "bip84": 84, "bip86": 86}
#: SLIP44: one for Ethereum and every chain of its kind, main or test.
_ETHER_COIN = 60
_HARDENED = 2**31
#: The order of secp256k1's group (SEC 2).
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class KeyMaterialError(OperatorError):
    """A mnemonic or xprv that cannot be used; never quotes it."""


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """The key that signs for `script` (for P2TR already tweaked, BIP86), or for the account of that address."""

    private: PrivateKey
    public_key: bytes
    script: bytes

    def sign_recoverable(self, digest: bytes) -> bytes:
        """r, the lower s, and the recovery id: 65 bytes, always the same (RFC 6979)."""
        signature: bytes = self.private.sign_recoverable(digest, hasher=None)
        return signature


@dataclass(frozen=True, slots=True, repr=False)
class _Node:
    """An extended private key (BIP32)."""

    secret: bytes
    public_key: bytes
    chain_code: bytes

    def child(self, index: int) -> tuple[bytes, bytes]:
        """CKDpriv (BIP32): (secret, chain code). Raises ValueError for the one in 2^127 without key."""
        data = self.public_key + index.to_bytes(4, "big")
        digest = hmac.digest(self.chain_code, data, "sha512")
        tweak = int.from_bytes(digest[:32], "big")
        secret = (tweak + int.from_bytes(self.secret, "big")) % _ORDER
        if tweak >= _ORDER or secret == 0:
            raise ValueError("this index has no key")
        return secret.to_bytes(32, "big"), digest[32:]


class AccountKeys:
    """One wallet's accounts, by scheme: m/44'/60'/0' for Ethereum, m/84'/coin'/0' and m/86'/coin'/0' for Bitcoin."""

    def __init__(self, accounts: Mapping[Scheme, bip32.HDKey]) -> None:
        self._accounts = accounts
        self._branches: dict[tuple[Scheme, int], _Node] = {}
        for scheme, account in accounts.items():
            root = _node(account.secret, account.chain_code)
            for branch in (0, 1):
                self._branches[scheme, branch] = _node(*root.child(branch))

    def key(self, path: KeyPath) -> SigningKey:
        """Raises KeyError when the keystore has no account of the scheme."""
        secret, _ = self._branches[path.scheme, path.branch].child(path.index)
        if path.scheme == "bip86":
            return _taproot_key(secret)
        private = PrivateKey(secret)
        public_key = private.public_key.format()
        if path.scheme == "bip44":
            return SigningKey(
                private, public_key, keccak(private.public_key.format(compressed=False)[1:])[-20:]
            )
        return SigningKey(private, public_key, b"\x00\x14" + hash160(public_key))

    def xpubs(self, network: str) -> dict[Scheme, str]:
        """Account xpubs (`xpub…`, `tpub…`): all that settings and watchers need."""
        version = NETWORKS["main" if network == "main" else "test"]["xpub"]
        return {
            scheme: account.to_public(version=version).to_base58()
            for scheme, account in self._accounts.items()
        }


def coin_type(network: str) -> int:
    """SLIP44: 0 for Bitcoin's main network, 1 for every test network."""
    return 0 if network == "main" else 1


def new_mnemonic(entropy: bytes) -> str:
    """BIP39 words for 16 to 32 random bytes."""
    words: str = bip39.mnemonic_from_bytes(entropy)
    return words


def accounts_from_mnemonic(mnemonic: str, network: str) -> AccountKeys:
    """All accounts, Bitcoin's of the network's coin. Raises KeyMaterialError for a wrong word or checksum."""
    words = " ".join(mnemonic.split())
    if not bip39.mnemonic_is_valid(words):
        raise KeyMaterialError("the mnemonic is not valid BIP39: a wrong word, count or checksum")
    root = bip32.HDKey.from_seed(bip39.mnemonic_to_seed(words))
    coin = coin_type(network)
    return AccountKeys(
        {
            scheme: root.derive(
                [_HARDENED + purpose, _HARDENED + (_ETHER_COIN if purpose == 44 else coin), _HARDENED]
            )
            for scheme, purpose in PURPOSES.items()
        }
    )


def accounts_from_xprvs(xprvs: Mapping[Scheme, str]) -> AccountKeys:
    """Account level (depth 3) extended private keys of any version bytes. Raises KeyMaterialError."""
    accounts: dict[Scheme, bip32.HDKey] = {}
    for scheme, xprv in xprvs.items():
        try:
            account = bip32.HDKey.from_base58(xprv)
        except (EmbitError, ValueError, IndexError):
            # `from None`: the parser's own error may quote what it was given.
            raise KeyMaterialError(f"the {scheme} account is not an extended private key") from None
        if not account.is_private or account.depth != 3:
            raise KeyMaterialError(f"the {scheme} account is not an extended private key of depth 3")
        accounts[scheme] = account
    return AccountKeys(accounts)


def _node(secret: bytes, chain_code: bytes) -> _Node:
    return _Node(secret, PublicKey.from_valid_secret(secret).format(), chain_code)


def _taproot_key(secret: bytes) -> SigningKey:
    """BIP86: the internal key tweaked by the hash of itself alone, so that no script path exists (BIP341)."""
    internal = PublicKey.from_valid_secret(secret).format()
    number = int.from_bytes(secret, "big")
    if internal[0] == 3:  # odd y: BIP341 tweaks the key whose point has the even one
        number = _ORDER - number
    tweak = int.from_bytes(tagged_hash("TapTweak", internal[1:]), "big")
    private = PrivateKey(((number + tweak) % _ORDER).to_bytes(32, "big"))
    return SigningKey(private, internal, b"\x51\x20" + private.public_key_xonly.format())
