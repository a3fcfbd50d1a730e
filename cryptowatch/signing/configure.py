"""From settings to a signer that is ready: keystore opened, limits read, log verified.

Called by `cli.signer` only. Keeps P9: the passphrase and the decrypted keystore do not outlive these calls.
"""

from embit import bip32
from embit.base import EmbitError

from cryptowatch.chains.bitcoin.address import script_of
from cryptowatch.chains.port import InvalidAddress
from cryptowatch.clock import Clock
from cryptowatch.errors import OperatorError, SettingsError
from cryptowatch.money import InvalidAmount, parse_amount
from cryptowatch.settings import ChainSettings, Settings, SignerPolicy
from cryptowatch.signing.keys import AccountKeys, accounts_from_mnemonic, accounts_from_xprvs
from cryptowatch.signing.keystore import KeystoreError, KeystoreSecrets, read_keystore, read_passphrase
from cryptowatch.signing.policy import Limits
from cryptowatch.signing.service import ChainKeys, SigningService


def open_service(settings: Settings, clock: Clock) -> SigningService:
    """Raises SettingsError or OperatorError (keystore, keys, log); nothing is half open then."""
    signer = settings.signer
    if not signer.policy:
        raise SettingsError("signer.policy", "names no chain, so the signer would sign nothing")
    limits = {}
    for name, policy in signer.policy.items():
        if name not in settings.chains:
            raise SettingsError(f"signer.policy.{name}", "there is no such chain")
        limits[name] = read_limits(f"signer.policy.{name}", policy, settings.chains[name])
    secrets = read_keystore(signer.keystore, read_passphrase(signer.passphrase_file))
    chains = {
        name: ChainKeys(_matching_accounts(secrets, name, settings.chains[name]), limits[name])
        for name in limits
    }
    return SigningService(chains, signer.log, clock)


def read_limits(key: str, policy: SignerPolicy, chain: ChainSettings) -> Limits:
    """The chain's limits in base units. Raises SettingsError that names the wrong setting below `key`."""
    decimals = chain.assets[chain.asset].decimals
    amounts = {}
    for name in ("transaction_amount_max", "hourly_amount_max", "fee_max"):
        try:
            amounts[name] = parse_amount(getattr(policy, name), decimals)
        except InvalidAmount as problem:
            raise SettingsError(f"{key}.{name}", str(problem)) from problem
    if amounts["hourly_amount_max"] < amounts["transaction_amount_max"]:
        raise SettingsError(f"{key}.hourly_amount_max", "is below transaction_amount_max")
    return Limits(
        transaction_amount_max=amounts["transaction_amount_max"],
        hourly_amount_max=amounts["hourly_amount_max"],
        hourly_signings_max=policy.hourly_signings_max,
        fee_max=amounts["fee_max"],
        fee_rate_max_sat_vb=policy.fee_rate_max_sat_vb,
        inputs_max=policy.inputs_max,
        outputs_max=policy.outputs_max,
        allowed_scripts=_allowed_scripts(f"{key}.allow_list", policy, chain),
    )


def _allowed_scripts(key: str, policy: SignerPolicy, chain: ChainSettings) -> frozenset[bytes] | None:
    if not policy.allow_list:
        return None
    scripts = set()
    for text in policy.allow_list:
        script = script_of(text, chain.network)
        if isinstance(script, InvalidAddress):
            raise SettingsError(key, f"{text}: {script.reason}")
        scripts.add(script)
    return frozenset(scripts)


def open_accounts(secrets: KeystoreSecrets, chain: str, network: str) -> AccountKeys:
    """The chain's own accounts if the keystore has them, else those of its mnemonic. Raises KeystoreError."""
    if chain in secrets.accounts:
        return accounts_from_xprvs(secrets.accounts[chain])
    if secrets.mnemonic is None:
        raise KeystoreError(f"the keystore has no keys for chain {chain}")
    return accounts_from_mnemonic(secrets.mnemonic, network)


def _matching_accounts(secrets: KeystoreSecrets, name: str, chain: ChainSettings) -> AccountKeys:
    """Keys that fit the wallet that the daemon watches: otherwise every request would be refused, late."""
    accounts = open_accounts(secrets, name, chain.network)
    own = accounts.xpubs(chain.network)
    watched = {"bip84": chain.wallet.xpub_bip84, "bip86": chain.wallet.xpub_bip86}
    for scheme, xpub in own.items():
        key, expected = f"chains.{name}.wallet.xpub_{scheme}", watched[scheme]
        if expected is not None and _point(key, expected) != _point("", xpub):
            raise OperatorError(f"the keystore's {scheme} account is not the one that {key} names")
    return accounts


def _point(key: str, xpub: str) -> tuple[bytes, bytes]:
    """What an xpub means, whichever version bytes (xpub, zpub, tpub, vpub) it is written with."""
    try:
        parsed = bip32.HDKey.from_base58(xpub)
    except (EmbitError, ValueError, IndexError):
        raise SettingsError(key, "is not an extended public key") from None
    return parsed.sec(), parsed.chain_code
