"""The keys of a wallet of accounts: derived ones of deposits, and those of the accounts that send, wherever they are.

Used by `signing.ethereum`; made by `signing.configure`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from cryptowatch.signing.keys import AccountKeys
from cryptowatch.signing.messages import KeyPath, Scheme

OWN_BRANCH: Literal[1] = 1


class KeysUnavailable(Exception):
    """A key that is elsewhere did not sign now. Nothing was given; the same may be asked again."""


class AccountKey(Protocol):
    """One account's key."""

    @property
    def script(self) -> bytes:
        """The account's address, 20 bytes."""
        ...

    def sign_recoverable(self, digest: bytes) -> bytes:
        """r, the lower s, and the recovery id: 65 bytes. Raises KeysUnavailable where the key is elsewhere."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class WalletKeys:
    """`senders`: the accounts that send, the vault first; `scheme`: how requests name them."""

    deposits: AccountKeys
    senders: Sequence[AccountKey]
    scheme: Scheme = "bip44"
    #: Ends the connection to keys that are elsewhere.
    close: Callable[[], None] = lambda: None

    def key(self, path: KeyPath) -> AccountKey | None:
        """None where the wallet has no account."""
        if path.branch == OWN_BRANCH:
            is_sender = path.scheme == self.scheme and path.index < len(self.senders)
            return self.senders[path.index] if is_sender else None
        return self.deposits.key(path) if path.scheme == "bip44" else None


def derived_wallet(accounts: AccountKeys, senders: int) -> WalletKeys:
    """All keys from one keystore."""
    own = [accounts.key(KeyPath("bip44", OWN_BRANCH, index)) for index in range(senders)]
    return WalletKeys(accounts, own)
