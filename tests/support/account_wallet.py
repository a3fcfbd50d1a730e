"""A wallet of accounts with the public test mnemonic, and what its chain has, for tests of signing and planning."""

from dataclasses import replace
from typing import Any

from cryptowatch.chains.ethereum.facts import ChainFacts, Token
from cryptowatch.chains.ethereum.transaction import UnsignedTransaction
from cryptowatch.signing.ethereum import AccountFacts
from cryptowatch.signing.messages import KeyPath
from cryptowatch.signing.wallet import derived_wallet
from tests.support.wallet import ACCOUNTS

GWEI, ETHER = 10**9, 10**18
VAULT, SENDER = KeyPath("bip44", 1, 0), KeyPath("bip44", 1, 1)
DEPOSITS = [KeyPath("bip44", 0, index) for index in range(4)]


def account(path: KeyPath) -> bytes:
    return ACCOUNTS.key(path).script


USDT, USDC, PAYOUTS, SWEEPER, DELEGATE, STRANGER, OTHER = (bytes([n]) * 20 for n in range(0xA1, 0xA8))
FACTS = ChainFacts(
    chain_id=31337,
    asset="ETH",
    #: The first counts in 6 decimals, 18 in the ledger.
    tokens={USDT: Token("USDT", 12), USDC: Token("USDC")},
    payouts=PAYOUTS,
    vault=account(VAULT),
    sweeper=SWEEPER,
    sweep_destination=account(VAULT),
)
#: What the signer knows; the second of a chain without delegation.
ACCOUNT_FACTS = AccountFacts(FACTS, DELEGATE)
WALLET = derived_wallet(ACCOUNTS, 2)
WITHOUT_DELEGATION = replace(ACCOUNT_FACTS, delegate=None)


def transaction(**fields: Any) -> UnsignedTransaction:
    """One ether to a stranger, but for what is said."""
    usual: dict[str, Any] = {
        "chain_id": FACTS.chain_id,
        "nonce": 7,
        "max_fee": 30 * GWEI,
        "tip": GWEI,
        "gas": 100_000,
        "to": STRANGER,
        "value": ETHER,
    }
    return UnsignedTransaction(**usual | fields)
