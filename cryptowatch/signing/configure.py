"""From settings to a signer that is ready: keystore opened, limits read, log verified.

Called by `cli.signer` only. Keeps P9: the passphrase and the decrypted keystore do not outlive these calls.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from embit import bip32
from embit.base import EmbitError

from cryptowatch.chains.bitcoin.address import script_of
from cryptowatch.chains.ethereum.address import address_of, is_mistyped
from cryptowatch.chains.ethereum.facts import chain_facts
from cryptowatch.chains.port import InvalidAddress
from cryptowatch.clock import Clock
from cryptowatch.errors import OperatorError, SettingsError
from cryptowatch.money import InvalidAmount, format_amount, parse_amount
from cryptowatch.settings import Settings
from cryptowatch.settings.chains import BitcoinSettings, EthereumSettings
from cryptowatch.settings.signer import AccountPolicy, AssetLimits, CoinPolicy
from cryptowatch.signing.account_policy import AccountLimits, AmountLimits
from cryptowatch.signing.cold import read_cold_accounts, read_cold_coins
from cryptowatch.signing.ethereum import AccountFacts
from cryptowatch.signing.keys import AccountKeys, accounts_from_mnemonic, accounts_from_xprvs
from cryptowatch.signing.keystore import KeystoreError, KeystoreSecrets, read_keystore, read_passphrase
from cryptowatch.signing.kms import KmsClient, open_keys
from cryptowatch.signing.policy import Limits
from cryptowatch.signing.service import AccountChain, CoinChain, SigningService
from cryptowatch.signing.wallet import WalletKeys, derived_wallet

_WEI_GWEI = Decimal(10**9)


def open_service(settings: Settings, clock: Clock) -> SigningService:
    """Raises SettingsError or OperatorError (keystore, keys, log); nothing is half open then."""
    signer = settings.signer
    if not signer.policy:
        raise SettingsError("signer.policy", "names no chain, so the signer would sign nothing")
    for name in signer.policy:
        if name not in settings.chains:
            raise SettingsError(f"signer.policy.{name}", "there is no such chain")
    secrets = read_keystore(signer.keystore, read_passphrase(signer.passphrase_file))
    chains = {name: _open_chain(settings, name, secrets) for name in signer.policy}
    return SigningService(chains, signer.log, clock)


def _open_chain(settings: Settings, name: str, secrets: KeystoreSecrets) -> CoinChain | AccountChain:
    key = f"signer.policy.{name}"
    match settings.chains[name], settings.signer.policy[name]:
        case BitcoinSettings() as chain, CoinPolicy() as policy:
            limits = read_limits(key, policy, chain)
            accounts = open_accounts(secrets, name, chain.network)
            xpubs = {"bip84": chain.wallet.xpub_bip84, "bip86": chain.wallet.xpub_bip86}
            _match(accounts, name, chain.network, xpubs)
            return CoinChain(accounts, limits, chain.asset)
        case EthereumSettings() as chain, AccountPolicy() as policy:
            accounts = open_accounts(secrets, name, "main")
            _match(accounts, name, "main", {"bip44": chain.wallet.xpub_bip44})
            if "bip44" not in accounts.xpubs("main"):
                raise KeystoreError(f"the keystore has no bip44 account for chain {name}")
            account_limits = read_account_limits(key, policy, chain)
            wallet = _open_wallet(settings, name, chain, accounts)
            return AccountChain(wallet, account_limits, account_facts(chain, wallet.senders[0].script))
    raise SettingsError(key, "is a policy for another kind of chain")


def _open_wallet(settings: Settings, name: str, chain: EthereumSettings, accounts: AccountKeys) -> WalletKeys:
    """The keys of the accounts that send are derived, or in KMS; there they must be those that the daemon knows."""
    listed, kms = chain.wallet.sending_accounts, settings.signer.kms.get(name)
    key = f"signer.kms.{name}"
    if kms is None:
        if listed:
            raise SettingsError(
                key, f"is missing: chains.{name}.wallet.sending_accounts have their keys there"
            )
        return derived_wallet(accounts, chain.wallet.hot_accounts)
    if len(listed) != len(kms.keys):
        raise SettingsError(
            f"{key}.keys", f"are {len(kms.keys)} and chains.{name}.wallet.sending_accounts {len(listed)}"
        )
    client = KmsClient(kms)
    try:
        senders = open_keys(client, key, kms)
        for place, (sender, address) in enumerate(zip(senders, listed, strict=True)):
            if sender.script != bytes.fromhex(address[2:]):
                raise OperatorError(
                    f"{key}.keys[{place}] is the key of {address_of(sender.script)}, not of {address}"
                )
    except OperatorError:
        client.close()
        raise
    return WalletKeys(accounts, senders, "listed", client.close)


def account_facts(chain: EthereumSettings, vault: bytes) -> AccountFacts:
    """What may be signed for on the chain. A contract that is not filled in yet (zeros) is none."""
    facts, contracts = chain_facts(chain, vault), chain.contracts
    named = contracts.sweep_delegate if contracts and chain.delegation else None
    delegate = None if named is None else bytes.fromhex(named[2:])
    return AccountFacts(
        replace(facts, payouts=_deployed(facts.payouts), sweeper=_deployed(facts.sweeper)),
        _deployed(delegate),
    )


def _deployed(contract: bytes | None) -> bytes | None:
    return contract if contract is not None and any(contract) else None


def read_limits(key: str, policy: CoinPolicy, chain: BitcoinSettings) -> Limits:
    """The chain's limits in base units. Raises SettingsError that names the wrong setting below `key`."""
    decimals = chain.assets[chain.asset].decimals
    transaction_max, hourly_max = _amounts(key, policy, decimals)
    return Limits(
        transaction_amount_max=transaction_max,
        hourly_amount_max=hourly_max,
        hourly_signings_max=policy.hourly_signings_max,
        fee_max=_amount(f"{key}.fee_max", policy.fee_max, decimals),
        fee_rate_max_sat_vb=policy.fee_rate_max_sat_vb,
        inputs_max=policy.inputs_max,
        outputs_max=policy.outputs_max,
        allowed_scripts=_allowed_scripts(f"{key}.allow_list", policy, chain),
        cold=read_cold_coins(f"{key}.cold", policy.cold, chain),
    )


def read_account_limits(key: str, policy: AccountPolicy, chain: EthereumSettings) -> AccountLimits:
    """The same for a chain of accounts."""
    assets: dict[str, AmountLimits] = {}
    for asset, limits in policy.assets.items():
        if asset not in chain.assets:
            raise SettingsError(f"{key}.assets.{asset}", "there is no such asset on the chain")
        assets[asset] = AmountLimits(*_amounts(f"{key}.assets.{asset}", limits, chain.assets[asset].decimals))
    decimals = chain.assets[chain.asset].decimals
    fee_max = _amount(f"{key}.fee_max", policy.fee_max, decimals)
    hourly_fee_max = _amount(f"{key}.hourly_fee_max", policy.hourly_fee_max, decimals)
    if hourly_fee_max < fee_max:
        raise SettingsError(f"{key}.hourly_fee_max", "is below fee_max")
    _check_room(key, policy, chain, fee_max)
    return AccountLimits(
        assets=assets,
        fee_max=fee_max,
        hourly_fee_max=hourly_fee_max,
        gas_price_max_wei=int(policy.gas_price_max_gwei * _WEI_GWEI),
        hourly_signings_max=policy.hourly_signings_max,
        batch_max=policy.batch_max,
        allowed=_allowed_accounts(key, policy, chain),
        cold=read_cold_accounts(f"{key}.cold", policy.cold, chain),
    )


def _check_room(key: str, policy: AccountPolicy, chain: EthereumSettings, fee_max: int) -> None:
    """What the daemon may plan, the signer must be able to sign: a refusal hands a whole batch to a person."""
    own = chain.assets[chain.asset]
    cap_wei = int(chain.fees.cap_gwei * _WEI_GWEI)
    needed = chain.gas_max * cap_wei * 10**own.scale
    if fee_max < needed:
        shown = format_amount(needed, own.decimals)
        raise SettingsError(
            f"{key}.fee_max", f"the largest transaction may cost {shown} at the chain's cap_gwei"
        )
    if policy.gas_price_max_gwei < chain.fees.cap_gwei:
        raise SettingsError(f"{key}.gas_price_max_gwei", "is below the chain's cap_gwei")
    if chain.delegation and policy.batch_max < chain.wallet.sweep_count_max:
        raise SettingsError(f"{key}.batch_max", "is below the chain's sweep_count_max")


def _allowed_accounts(key: str, policy: AccountPolicy, chain: EthereumSettings) -> frozenset[bytes] | None:
    """Raises SettingsError for what cannot work: without delegation, gas must go to deposit accounts, which count as
    strangers, before their tokens can come."""
    for text in policy.allow_list:
        if is_mistyped(text):
            raise SettingsError(f"{key}.allow_list", f"{text}: the checksum (upper and lower case) is wrong")
    if not chain.delegation and len(chain.assets) > 1:
        if policy.allow_list:
            raise SettingsError(
                f"{key}.allow_list", "keeps deposit accounts from their gas, without delegation"
            )
        if chain.asset not in policy.assets:
            raise SettingsError(f"{key}.assets.{chain.asset}", "is missing: deposit accounts need it for gas")
    return frozenset(bytes.fromhex(address[2:]) for address in policy.allow_list) or None


def _amounts(key: str, limits: CoinPolicy | AssetLimits, decimals: int) -> tuple[int, int]:
    transaction_max = _amount(f"{key}.transaction_amount_max", limits.transaction_amount_max, decimals)
    hourly_max = _amount(f"{key}.hourly_amount_max", limits.hourly_amount_max, decimals)
    if hourly_max < transaction_max:
        raise SettingsError(f"{key}.hourly_amount_max", "is below transaction_amount_max")
    return transaction_max, hourly_max


def _amount(key: str, text: str, decimals: int) -> int:
    try:
        return parse_amount(text, decimals)
    except InvalidAmount as problem:
        raise SettingsError(key, str(problem)) from problem


def _allowed_scripts(key: str, policy: CoinPolicy, chain: BitcoinSettings) -> frozenset[bytes] | None:
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


def _match(accounts: AccountKeys, name: str, network: str, watched: Mapping[str, str | None]) -> None:
    """Keys that fit the wallet that the daemon watches: otherwise every request would be refused, late."""
    own = accounts.xpubs(network)
    for scheme, xpub in own.items():
        key, expected = f"chains.{name}.wallet.xpub_{scheme}", watched.get(scheme)
        if expected is not None and _point(key, expected) != _point("", xpub):
            raise OperatorError(f"the keystore's {scheme} account is not the one that {key} names")


def _point(key: str, xpub: str) -> tuple[bytes, bytes]:
    """What an xpub means, whichever version bytes (xpub, zpub, tpub, vpub) it is written with."""
    try:
        parsed = bip32.HDKey.from_base58(xpub)
    except (EmbitError, ValueError, IndexError):
        raise SettingsError(key, "is not an extended public key") from None
    return parsed.sec(), parsed.chain_code
