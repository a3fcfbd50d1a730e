"""From settings to a chain that can be used: nodes, addresses, derivation, planner. Called by `daemon` and commands.

Each family's folder has a module `family` with a function `connect`, found by the family's name: adding a family adds
a folder and changes nothing here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from cryptowatch.chains.plans import Planner
from cryptowatch.chains.port import InvalidAddress, Node
from cryptowatch.settings import ChainSettings

#: (branch, first index, count) -> (index, destination, address) in order; an index without a key is left out.
Derive = Callable[[int, int, int], Sequence[tuple[int, bytes, str]]]


@dataclass(frozen=True, slots=True)
class ConnectedChain:
    """One chain of one family. `derive` and `xpubs` are by scheme (84, 86); `scheme` is the one for new addresses."""

    chain: str
    settings: ChainSettings
    nodes: Sequence[Node]
    planner: Planner
    read_address: Callable[[str], bytes | InvalidAddress]
    scheme: int
    xpubs: Mapping[int, str]
    derive: Mapping[int, Derive]


def connect(chain: str, settings: ChainSettings) -> ConnectedChain:
    """No traffic happens yet. Raises SettingsError for a public key that is not one."""
    family = import_module(f"cryptowatch.chains.{settings.family}.family")
    connected: ConnectedChain = family.connect(chain, settings)
    return connected
