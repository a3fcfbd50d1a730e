"""What the signer lets out to cold wallets, from its own settings. Called by `signing.configure` (P9).

The daemon only names which of the cold wallet's addresses it means: whose they are is decided here.
"""

from cryptowatch.chains.bip32 import InvalidExtendedKey
from cryptowatch.chains.bitcoin.derive import Scheme, parse_extended_key
from cryptowatch.chains.ethereum.address import is_mistyped
from cryptowatch.errors import SettingsError
from cryptowatch.money import InvalidAmount, parse_amount
from cryptowatch.settings.chains import BitcoinSettings, EthereumSettings
from cryptowatch.settings.cold import ColdAccountsPolicy, ColdCoinsPolicy
from cryptowatch.signing.account_policy import ColdAccounts
from cryptowatch.signing.policy import ColdCoins


def read_cold_coins(key: str, policy: ColdCoinsPolicy | None, chain: BitcoinSettings) -> ColdCoins | None:
    """Raises SettingsError that names the wrong setting below `key`."""
    if policy is None:
        return None
    try:
        xpub = parse_extended_key(policy.xpub, chain.network, Scheme.BIP84)
    except InvalidExtendedKey as problem:
        raise SettingsError(f"{key}.xpub", str(problem)) from problem
    if chain.cold is not None and chain.cold.xpub != policy.xpub:
        raise SettingsError(
            f"{key}.xpub", "is another one than the chain's, so that every overflow was refused"
        )
    decimals = chain.assets[chain.asset].decimals
    return ColdCoins(xpub, _amount(f"{key}.hourly_amount_max", policy.hourly_amount_max, decimals))


def read_cold_accounts(key: str, policy: ColdAccountsPolicy | None, chain: EthereumSettings) -> ColdAccounts:
    """The same for a chain of accounts; without a policy nothing goes to cold."""
    if policy is None:
        return ColdAccounts()
    for text in policy.accounts:
        if is_mistyped(text):
            raise SettingsError(f"{key}.accounts", f"{text}: the checksum (upper and lower case) is wrong")
    hourly_max = {}
    for asset, text in policy.hourly_amounts_max.items():
        if asset not in chain.assets:
            raise SettingsError(f"{key}.hourly_amounts_max.{asset}", "there is no such asset on the chain")
        hourly_max[asset] = _amount(f"{key}.hourly_amounts_max.{asset}", text, chain.assets[asset].decimals)
    return ColdAccounts(frozenset(bytes.fromhex(text[2:]) for text in policy.accounts), hourly_max)


def _amount(key: str, text: str, decimals: int) -> int:
    try:
        return parse_amount(text, decimals)
    except InvalidAmount as problem:
        raise SettingsError(key, str(problem)) from problem
