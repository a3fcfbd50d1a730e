"""From settings to a chain that can be used: nodes, addresses, derivation, planner. Called by `daemon` and commands.

Each family's folder has a module `family` with a function `connect`, found by the family's name: adding a family adds
a folder and changes nothing here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module

from cryptowatch.chains.plans import AccountPlanner, CoinPlanner, ColdFormat, FeePolicy, Plan
from cryptowatch.chains.port import InvalidAddress, Node
from cryptowatch.settings.chains import Chain

#: (branch, first index, count) -> (index, destination, address) in order; an index without a key is left out.
Derive = Callable[[int, int, int], Sequence[tuple[int, bytes, str]]]


#: Branches below the wallet's account: players' deposits, and the wallet's own (change, or accounts that send).
DEPOSIT_BRANCH, OWN_BRANCH = 0, 1
#: Those of a cold wallet, as the tables number them: where it receives, and its change.
COLD_BRANCH, COLD_CHANGE_BRANCH = 2, 3


@dataclass(frozen=True, slots=True)
class WatchedKey:
    """A public key of the wallet: addresses come from it, so far ahead of need per branch."""

    #: Its text in the settings; another one would not give the addresses that are in the database.
    setting: str
    text: str
    derive: Derive
    #: branch -> how many unused addresses are kept ready.
    ahead: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ColdWallet:
    """Watched, and never a payer of anybody. `account`: the one that receives, where money is balances."""

    scheme: int
    key: WatchedKey
    format: ColdFormat
    account: bytes | None = None
    #: How a contract that holds the money is told what to do.
    call_of: Callable[[Plan], str] | None = None


@dataclass(frozen=True, slots=True)
class ConnectedChain:
    """One chain of one family. `keys` are by scheme (44, 84, 86, …); `scheme` is the one for new addresses."""

    chain: str
    settings: Chain
    nodes: Sequence[Node]
    #: A chain's money is coins, or the balances of accounts: what `sending` reserves and tracks goes by it.
    planner: CoinPlanner | AccountPlanner
    fees: FeePolicy
    read_address: Callable[[str], bytes | InvalidAddress]
    scheme: int
    keys: Mapping[int, WatchedKey]
    #: The account that holds the wallet's money, where money is balances.
    vault: bytes | None = None
    cold: ColdWallet | None = None
    #: address -> the code that must be there, of the wallet's own contracts.
    contracts: Mapping[bytes, bytes] = field(default_factory=dict)


def connect(chain: str, settings: Chain) -> ConnectedChain:
    """No traffic happens yet. Raises SettingsError for a public key that is not one."""
    family = import_module(f"cryptowatch.chains.{settings.family}.family")
    connected: ConnectedChain = family.connect(chain, settings)
    return connected
