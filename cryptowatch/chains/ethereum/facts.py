"""What the settings say of one chain of this family: its coin, its tokens, and our own contracts. Pure.

Made by `family`; read by `contents`, `node` and `address`. Only what is named here counts as money: any contract can
write a log that looks like a transfer, so that a list of the tokens is the only defence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptowatch.money import BaseUnits
from cryptowatch.settings.chains import EthereumSettings


@dataclass(frozen=True, slots=True)
class Token:
    """A token's asset in the ledger; one unit of the token's own is 10^scale base units of the asset."""

    asset: str
    scale: int = 0

    def base_units(self, amount: int) -> BaseUnits:
        return _scaled(amount, self.scale)


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """Contracts and accounts are 20 bytes each."""

    chain_id: int
    #: The chain's own coin; one wei is 10^asset_scale base units.
    asset: str
    asset_scale: int = 0
    tokens: Mapping[bytes, Token] = field(default_factory=dict)
    #: Read the movements of the chain's own coin from traces: those between contracts too.
    traces: bool = False
    #: Pays many at once: tokens out of the vault, the chain's own coin out of what comes with the call.
    payouts: bytes | None = None
    vault: bytes | None = None
    #: Collects from our accounts, whose code (EIP-7702) sends what they hold to the destination.
    sweeper: bytes | None = None
    sweep_destination: bytes | None = None
    sweep_delegate: bytes | None = None

    def base_units(self, wei: int) -> BaseUnits:
        return _scaled(wei, self.asset_scale)


def _scaled(amount: int, scale: int) -> BaseUnits:
    factor: int = 10**scale
    return BaseUnits(amount * factor)


def chain_facts(settings: EthereumSettings, vault: bytes) -> ChainFacts:
    """From the settings; the vault is the first sending account, and what is swept goes there."""
    contracts = settings.contracts
    named = contracts.sweep_delegate if contracts else None
    return ChainFacts(
        chain_id=settings.chain_id,
        asset=settings.asset,
        asset_scale=settings.assets[settings.asset].scale,
        tokens={
            _address(asset.contract): Token(name, asset.scale)
            for name, asset in settings.assets.items()
            if asset.contract is not None
        },
        traces=settings.traces,
        payouts=_address(contracts.payouts) if contracts else None,
        vault=vault,
        sweeper=_address(contracts.sweeper) if contracts and contracts.sweeper else None,
        sweep_destination=vault,
        sweep_delegate=None if named is None else _address(named),
    )


def _address(text: str) -> bytes:
    return bytes.fromhex(text[2:])
