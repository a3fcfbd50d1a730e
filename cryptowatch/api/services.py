"""What the API needs of the rest of the system, as one value that the composition root makes. No globals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from uuid import UUID

from cryptowatch.chains.denied import Denied
from cryptowatch.chains.port import NodeStatus, ReadAddresses
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool
from cryptowatch.deposits.rules import ChainRules, chain_rules
from cryptowatch.ids import derived_id
from cryptowatch.payouts.policy import WithdrawalPolicy, withdrawal_policy
from cryptowatch.settings import Settings
from cryptowatch.settings.withdrawals import AssetPolicy
from cryptowatch.telemetry.metrics import Metrics
from cryptowatch.treasury.keeping import RebalanceRules, rebalance_rules
from cryptowatch.treasury.refills import ColdDesk
from cryptowatch.webhooks.sealing import Seal

NodeStatuses = Callable[[], Sequence[NodeStatus]]


@dataclass(frozen=True)
class Services:
    """`read_address` and `schemes` (of new deposit addresses) are by chain and cover every chain of the
    settings.

    `node_statuses` has the chains that this process watches; of others the API shows what the tables tell.
    `random_bytes` gives so many unguessable bytes.
    """

    pool: Pool
    settings: Settings
    clock: Clock
    metrics: Metrics
    read_address: ReadAddresses
    schemes: Mapping[str, int]
    node_statuses: Mapping[str, NodeStatuses]
    random_bytes: Callable[[int], bytes]
    #: The deny list as it is now.
    denied: Callable[[], Denied] = Denied
    #: Of chains with a cold wallet.
    cold_desks: Mapping[str, ColdDesk] = field(default_factory=dict)
    webhook_seal: Seal = field(default_factory=Seal)

    @cached_property
    def decimals(self) -> Mapping[str, int]:
        """asset -> decimals."""
        return self.settings.decimals

    @cached_property
    def rules(self) -> Mapping[str, ChainRules]:
        return {name: chain_rules(name, chain) for name, chain in self.settings.chains.items()}

    @cached_property
    def rebalance_rules(self) -> Mapping[str, RebalanceRules]:
        return {name: rebalance_rules(self.settings, name) for name in self.settings.chains}

    @cached_property
    def withdrawal_policies(self) -> Mapping[tuple[str, str], WithdrawalPolicy]:
        """(chain, asset) -> its rules."""
        policies = self.settings.withdrawals.assets
        screened = self.settings.compliance.screening.url is not None
        return {
            (name, asset): withdrawal_policy(settings, policies.get(asset, AssetPolicy()), screened=screened)
            for name, chain in self.settings.chains.items()
            for asset, settings in chain.asset_settings.items()
        }

    def new_id(self, now: datetime) -> UUID:
        return derived_id(now, self.random_bytes(16))
