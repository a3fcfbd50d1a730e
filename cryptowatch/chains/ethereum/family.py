"""The parts of a chain of Ethereum's kind as one value: what `chains.connect` finds by the family's name."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial

from cryptowatch.chains.bip32 import ExtendedPublicKey, InvalidExtendedKey
from cryptowatch.chains.connect import (
    COLD_BRANCH,
    DEPOSIT_BRANCH,
    OWN_BRANCH,
    ColdWallet,
    ConnectedChain,
    WatchedKey,
)
from cryptowatch.chains.ethereum.address import address_of, is_mistyped, read_address
from cryptowatch.chains.ethereum.cold import ColdTransaction, call_of
from cryptowatch.chains.ethereum.contracts import WalletContracts
from cryptowatch.chains.ethereum.derive import derive_accounts, parse_extended_key
from cryptowatch.chains.ethereum.facts import ChainFacts, chain_facts
from cryptowatch.chains.ethereum.fees import EthereumFees
from cryptowatch.chains.ethereum.node import EthereumNode
from cryptowatch.chains.ethereum.payments import EthereumPlanner
from cryptowatch.chains.ethereum.rpc import RpcClient
from cryptowatch.errors import SettingsError
from cryptowatch.settings.chains import AccountWallet, EthereumSettings

#: BIP44's purpose.
SCHEME = 44
#: Of accounts that the settings list, instead of a key to derive them from.
LISTED = 0
#: Calls nest up to 1,024 deep (Yellow Paper, 9.1), and each is an object in a list of the node's answer. More than the
#: interpreter's own 1,000, and still so few that JSON that is nested without end is an error, not the stack's end.
NESTING_MAX = 4_000


def connect(chain: str, settings: EthereumSettings) -> ConnectedChain:
    """No traffic happens yet. Raises SettingsError for a public key or a contract's address that is none."""
    _check_addresses(chain, settings)
    sys.setrecursionlimit(NESTING_MAX)
    wallet, contracts = settings.wallet, settings.contracts
    name = f"chains.{chain}.wallet.xpub_bip44"
    key = _wallet_key(name, wallet)
    senders = _senders(key, wallet)
    listed = f"chains.{chain}.wallet.sending_accounts"
    vault = senders[0]
    facts = chain_facts(settings, vault)
    named = contracts.sweep_delegate if contracts and settings.delegation else None
    delegate = None if named is None else bytes.fromhex(named[2:])
    return ConnectedChain(
        chain=chain,
        settings=settings,
        nodes=[
            EthereumNode(
                RpcClient(node.name, node.url, node.auth_file, timeout_s=settings.request_timeout_s),
                facts,
                finality_tag=settings.finality == "finalized",
            )
            for node in settings.nodes
        ],
        planner=EthereumPlanner(facts, settings.gas, delegate),
        fees=EthereumFees(settings.fees, wallet.bump_after_blocks),
        read_address=partial(read_address, facts=facts),
        scheme=SCHEME,
        vault=vault,
        cold=_cold(chain, settings, senders),
        contracts=_contract_codes(facts, delegate, WalletContracts(senders)),
        keys={
            SCHEME: WatchedKey(
                name,
                wallet.xpub_bip44,
                partial(_derive, key),
                {DEPOSIT_BRANCH: wallet.addresses_ahead}
                | ({} if wallet.sending_accounts else {OWN_BRANCH: wallet.hot_accounts}),
            )
        }
        | (
            {
                LISTED: WatchedKey(
                    listed, _joined(senders), partial(_list, senders), {OWN_BRANCH: len(senders)}
                )
            }
            if wallet.sending_accounts
            else {}
        ),
    )


def wallet_contracts(chain: str, wallet: AccountWallet) -> WalletContracts:
    """What the wallet's contracts must be. Raises SettingsError for an extended public key that is not one."""
    return WalletContracts(_senders(_wallet_key(f"chains.{chain}.wallet.xpub_bip44", wallet), wallet))


def _wallet_key(name: str, wallet: AccountWallet) -> ExtendedPublicKey:
    try:
        return parse_extended_key(wallet.xpub_bip44)
    except InvalidExtendedKey as problem:
        raise SettingsError(name, str(problem)) from problem


def _senders(key: ExtendedPublicKey, wallet: AccountWallet) -> Sequence[bytes]:
    """The accounts that send, the vault first."""
    if wallet.sending_accounts:
        return [bytes.fromhex(text[2:]) for text in wallet.sending_accounts]
    return [account for _, account in derive_accounts(key, OWN_BRANCH, range(wallet.hot_accounts))]


def _cold(chain: str, settings: EthereumSettings, senders: Sequence[bytes]) -> ColdWallet | None:
    """The accounts of the settings, in their order."""
    if settings.cold is None:
        return None
    accounts = [bytes.fromhex(text[2:]) for text in settings.cold.accounts]
    setting = f"chains.{chain}.cold.accounts"
    if len(set(accounts)) < len(accounts) or set(accounts) & set(senders):
        raise SettingsError(setting, "names an account twice, or one that is hot")

    def derive(_branch: int, first: int, count: int) -> Sequence[tuple[int, bytes, str]]:
        listed = list(enumerate(accounts))[first : first + count]
        return [(index, account, address_of(account)) for index, account in listed]

    key = WatchedKey(setting, address_of(accounts[0]), derive, {COLD_BRANCH: len(accounts)})
    return ColdWallet(SCHEME, key, ColdTransaction(), accounts[-1], call_of)


def _check_addresses(chain: str, settings: EthereumSettings) -> None:
    """A mistyped token would be one that nobody ever deposits; its checksum says so at the start."""
    named = {f"assets.{name}.contract": asset.contract for name, asset in settings.assets.items()}
    if settings.cold is not None:
        named |= {f"cold.accounts[{n}]": text for n, text in enumerate(settings.cold.accounts)}
    named |= {
        f"wallet.sending_accounts[{n}]": text for n, text in enumerate(settings.wallet.sending_accounts)
    }
    if settings.contracts is not None:
        named |= {f"contracts.{name}": text for name, text in settings.contracts.model_dump().items()}
    for key, text in named.items():
        if text is not None and is_mistyped(text):
            raise SettingsError(f"chains.{chain}.{key}", "the checksum (upper and lower case) is wrong")


def _contract_codes(
    facts: ChainFacts, delegate: bytes | None, contracts: WalletContracts
) -> Mapping[bytes, bytes]:
    codes = {}
    if facts.payouts is not None:
        codes[facts.payouts] = contracts.payouts_code()
    if facts.sweeper is not None and delegate is not None:
        codes[facts.sweeper] = contracts.sweeper_code()
        codes[delegate] = contracts.delegate_code(facts.sweeper)
    return codes


def _joined(senders: Sequence[bytes]) -> str:
    """What stands for them where other accounts have an extended public key: other senders are another wallet."""
    return " ".join(map(address_of, senders))


def _list(senders: Sequence[bytes], _branch: int, first: int, count: int) -> Sequence[tuple[int, bytes, str]]:
    """(index, account, address) of those that the settings list."""
    found = list(enumerate(senders))[first : first + count]
    return [(index, account, address_of(account)) for index, account in found]


def _derive(key: ExtendedPublicKey, branch: int, first: int, count: int) -> Sequence[tuple[int, bytes, str]]:
    """(index, account, address) of each key that exists."""
    found = derive_accounts(key, branch, range(first, first + count))
    return [(index, account, address_of(account)) for index, account in found]
