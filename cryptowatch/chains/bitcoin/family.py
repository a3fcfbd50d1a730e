"""Bitcoin's parts as one value: what `chains.connect` finds by the family's name."""

from collections.abc import Sequence
from functools import partial

from cryptowatch.chains.bip32 import ExtendedPublicKey, InvalidExtendedKey
from cryptowatch.chains.bitcoin.address import address_of, script_of
from cryptowatch.chains.bitcoin.derive import (
    Scheme,
    derive_scripts,
    parse_extended_key,
)
from cryptowatch.chains.bitcoin.fees import BitcoinFees
from cryptowatch.chains.bitcoin.node import BitcoinNode, Network
from cryptowatch.chains.bitcoin.payments import BitcoinPlanner
from cryptowatch.chains.bitcoin.psbt import ColdPsbt
from cryptowatch.chains.bitcoin.rpc import RpcClient
from cryptowatch.chains.connect import (
    COLD_BRANCH,
    COLD_CHANGE_BRANCH,
    DEPOSIT_BRANCH,
    OWN_BRANCH,
    ColdWallet,
    ConnectedChain,
    WatchedKey,
)
from cryptowatch.errors import SettingsError
from cryptowatch.settings.chains import BitcoinSettings

_SAT_KVB = 1000
#: Each transaction of ours takes a fresh one for each part of its change.
_CHANGE_AHEAD = 100


def connect(chain: str, settings: BitcoinSettings) -> ConnectedChain:
    """No traffic happens yet. Raises SettingsError for an extended public key that is not one."""
    wallet = settings.wallet
    texts = {Scheme.BIP84: wallet.xpub_bip84}
    if wallet.xpub_bip86 is not None:
        texts[Scheme.BIP86] = wallet.xpub_bip86
    scheme = Scheme.BIP84 if wallet.deposit_scheme == "bip84" else Scheme.BIP86
    if scheme not in texts:
        raise SettingsError(f"chains.{chain}.wallet.xpub_bip86", "is needed for deposit_scheme = bip86")
    keys = {named: _key(chain, text, settings.network, named) for named, text in texts.items()}
    nodes = [
        BitcoinNode(
            RpcClient(node.name, node.url, node.auth_file, timeout_s=settings.request_timeout_s),
            network=settings.network,
            asset=settings.asset,
        )
        for node in settings.nodes
    ]
    ahead = {DEPOSIT_BRANCH: wallet.addresses_ahead, OWN_BRANCH: _CHANGE_AHEAD}
    return ConnectedChain(
        chain=chain,
        settings=settings,
        nodes=nodes,
        planner=BitcoinPlanner(
            settings.fees.long_term_sat_vb * _SAT_KVB, change_min=settings.change_amount_min
        ),
        fees=BitcoinFees(settings.fees, wallet.bump_after_blocks),
        read_address=partial(script_of, network=settings.network),
        scheme=scheme,
        cold=_cold(chain, settings),
        keys={
            int(named): WatchedKey(
                f"chains.{chain}.wallet.xpub_bip{int(named)}",
                texts[named],
                partial(_derive, key, settings.network, named),
                ahead,
            )
            for named, key in keys.items()
        },
    )


def _cold(chain: str, settings: BitcoinSettings) -> ColdWallet | None:
    """Its branches 0 and 1 are 2 and 3 in the tables, beside the hot wallet's."""
    if settings.cold is None:
        return None
    text, network, setting = settings.cold.xpub, settings.network, f"chains.{chain}.cold.xpub"
    if text == settings.wallet.xpub_bip84:
        raise SettingsError(setting, "is the hot wallet's own key")
    try:
        key = parse_extended_key(text, network, Scheme.BIP84)
    except InvalidExtendedKey as problem:
        raise SettingsError(setting, str(problem)) from problem

    def derive(branch: int, first: int, count: int) -> Sequence[tuple[int, bytes, str]]:
        return _derive(key, network, Scheme.BIP84, branch - COLD_BRANCH, first, count)

    ahead = settings.cold.addresses_ahead
    return ColdWallet(
        Scheme.BIP84,
        WatchedKey(setting, text, derive, {COLD_BRANCH: ahead, COLD_CHANGE_BRANCH: ahead}),
        ColdPsbt(key, bytes.fromhex(settings.cold.master_fingerprint), 0 if network == "main" else 1),
    )


def _key(chain: str, text: str, network: Network, scheme: Scheme) -> ExtendedPublicKey:
    try:
        return parse_extended_key(text, network, scheme)
    except InvalidExtendedKey as problem:
        raise SettingsError(f"chains.{chain}.wallet.xpub_bip{int(scheme)}", str(problem)) from problem


def _derive(
    key: ExtendedPublicKey,
    network: Network,
    scheme: Scheme,
    branch: int,
    first: int,
    count: int,
) -> Sequence[tuple[int, bytes, str]]:
    """(index, script, address) of each key that exists."""
    found = []
    for derived in derive_scripts(key, scheme, branch, range(first, first + count)):
        text = address_of(derived.script, network)
        assert text is not None, "our own scripts have addresses"
        found.append((derived.key_path[2], derived.script, text))
    return found
