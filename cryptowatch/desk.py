"""The money desk's part of the composition root: what leaves a chain's wallet, and what keeps the wallet in order.

Called by `daemon` for the roles `send` and `treasury`. Names concrete parts, as it does, and decides nothing.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from cryptowatch.chains.connect import ConnectedChain
from cryptowatch.chains.denied import Denied
from cryptowatch.chains.forecast import Forecaster
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import AccountPlanner, CoinPlanner
from cryptowatch.instruments import (
    chain_instruments,
    show_marks,
    show_position,
)
from cryptowatch.payouts.riders import QueuedRiders
from cryptowatch.payouts.rules import PayoutRules, payout_rules
from cryptowatch.payouts.worker import PayoutWorker
from cryptowatch.plant import (
    Plant,
    entropy,
)
from cryptowatch.sending.coins import CoinReserver
from cryptowatch.sending.market import Market, market_rules
from cryptowatch.sending.reservers import account_reserver, children_for, reserver_for
from cryptowatch.sending.riders import Joining
from cryptowatch.sending.worker import Sender, SendRules
from cryptowatch.settings import Settings
from cryptowatch.settings.chains import BitcoinSettings, EthereumSettings
from cryptowatch.signing.client import SignerClient
from cryptowatch.signing.families import signing_for
from cryptowatch.treasury.audit import BalanceAudit
from cryptowatch.treasury.consolidate import Consolidator, consolidation_rules
from cryptowatch.treasury.keeping import rebalance_rules
from cryptowatch.treasury.rebalancer import Rebalancer
from cryptowatch.treasury.reconcile import Reconciler, reconcile_rules
from cryptowatch.treasury.refills import proposer_for
from cryptowatch.treasury.upkeep import Upkeep, upkeep_rules

_SENDING_INTERVAL_S = 0.5


def send_loops(
    plant: Plant,
    settings: Settings,
    chain: ConnectedChain,
    nodes: NodePool,
    denied: Callable[[], Denied],
) -> None:
    """The market of fees, queue and batches, then signing, broadcasting and bumping."""
    name, own = chain.chain, chain.settings
    instruments = chain_instruments(name, plant.metrics, plant.clock)
    market = Market(
        nodes,
        plant.pool,
        plant.clock,
        chain.fees,
        market_rules(name, own),
        Forecaster(own.block_interval_s),
        instruments,
    )
    reserver = reserver_for(chain, nodes, plant.pool, settings.signer.policy.get(name))
    payouts = PayoutWorker(
        name,
        nodes,
        plant.pool,
        plant.clock,
        chain.planner,
        chain.fees,
        market,
        reserver,
        payout_rules(settings, name),
        entropy,
        instruments,
        denied,
    )
    sign = signing_for(own.family, SignerClient(settings.signer.socket, settings.signer.timeout_s), name)
    sender = Sender(
        name,
        nodes,
        plant.pool,
        plant.clock,
        chain.planner,
        chain.fees,
        market,
        reserver,
        sign,
        SendRules(fee_growth_max=own.market.fee_growth_max),
        instruments,
        _joining(plant, chain, market, payouts.rules, denied),
        children_for(name, nodes, plant.pool, plant.clock, reserver, entropy),
    )
    plant.loop(f"market:{name}", market.step, own.market.survey_interval_s)
    plant.loop(f"payouts:{name}", payouts.step, _SENDING_INTERVAL_S)
    plant.loop(f"sender:{name}", sender.step, _SENDING_INTERVAL_S)
    if chain.vault is not None:
        upkeep = _upkeep(plant, chain, nodes)
        plant.loop(f"upkeep:{name}", upkeep.step, upkeep.rules.interval_s)
    if isinstance(reserver, CoinReserver):
        merging = _consolidator(plant, settings, chain, market, reserver)
        plant.loop(f"consolidation:{name}", merging.step, merging.rules.interval_s)


def _consolidator(
    plant: Plant, settings: Settings, chain: ConnectedChain, market: Market, reserver: CoinReserver
) -> Consolidator:
    """A wallet of coins needs it, one of accounts does not."""
    assert isinstance(chain.settings, BitcoinSettings)
    rules = consolidation_rules(chain.settings, settings.signer.policy.get(chain.chain))
    return Consolidator(chain.chain, plant.pool, plant.clock, chain.fees, market, reserver, rules, entropy)


def _joining(
    plant: Plant,
    chain: ConnectedChain,
    market: Market,
    rules: PayoutRules,
    denied: Callable[[], Denied],
) -> Joining | None:
    """Coins alone: a transaction of accounts is one batch, whose payments are fixed by its nonce's first attempt."""
    own = chain.settings
    if not isinstance(own, BitcoinSettings) or not own.wallet.join_replacements:
        return None
    riders = QueuedRiders(chain.chain, plant.pool, plant.clock, market, rules, denied)
    return Joining(cast(CoinPlanner, chain.planner), chain.fees, riders)


def treasury_loops(
    plant: Plant,
    settings: Settings,
    chains: Mapping[str, ConnectedChain],
    nodes: Mapping[str, NodePool],
) -> None:
    """Chain against books, accounts against nodes, hot against cold."""
    own = settings.treasury
    rules = {name: reconcile_rules(chain) for name, chain in settings.chains.items()}
    reconciler = Reconciler(plant.pool, plant.clock, rules, partial(show_position, plant.metrics))
    plant.loop("reconciliation", reconciler.step, own.reconcile_interval_s)
    for name, chain in chains.items():
        if chain.vault is not None:
            audit = BalanceAudit(name, nodes[name], plant.pool, plant.clock)
            plant.loop(f"audit:{name}", audit.step, own.audit_interval_s)
        if chain.cold is not None:
            rebalancer = Rebalancer(
                name,
                chain.cold,
                nodes[name],
                plant.pool,
                plant.clock,
                chain.fees,
                reserver_for(chain, nodes[name], plant.pool, settings.signer.policy.get(name)),
                proposer_for(chain, nodes[name], plant.pool),
                rebalance_rules(settings, name),
                entropy,
                partial(show_marks, plant.metrics),
            )
            plant.loop(f"rebalancer:{name}", rebalancer.step, own.rebalance_interval_s)


def _upkeep(plant: Plant, chain: ConnectedChain, nodes: NodePool) -> Upkeep:
    """Sweeps and gas: a wallet of accounts needs them, one of coins does not."""
    assert isinstance(chain.settings, EthereumSettings)
    return Upkeep(
        chain.chain,
        chain.settings.asset,
        nodes,
        plant.pool,
        plant.clock,
        cast(AccountPlanner, chain.planner),
        chain.fees,
        account_reserver(chain, nodes, plant.pool),
        upkeep_rules(chain.settings),
        entropy,
    )
