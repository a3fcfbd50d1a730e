"""Which kind of reserver a chain needs: its money is coins, or the balances of accounts. And what goes with it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import cast
from uuid import UUID

from cryptowatch.chains.connect import ConnectedChain
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import AccountPlanner, CoinPlanner
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool
from cryptowatch.money import parse_amount
from cryptowatch.sending.accounts import AccountReserver
from cryptowatch.sending.change import ChangeRules
from cryptowatch.sending.children import Children
from cryptowatch.sending.coins import CoinReserver, CoinRules
from cryptowatch.sending.lifting import Bounds
from cryptowatch.sending.reserve import Reserver
from cryptowatch.settings.chains import AccountWallet, BitcoinSettings
from cryptowatch.settings.signer import CoinPolicy, SignerPolicy

_VB = 1000


def reserver_for(chain: ConnectedChain, nodes: NodePool, pool: Pool, policy: SignerPolicy | None) -> Reserver:
    """By the chain's kind, which the planner's follows. `policy`: the signer's, where this process knows it."""
    match chain.settings:
        case BitcoinSettings() as settings:
            return CoinReserver(
                chain.chain, cast(CoinPlanner, chain.planner), coin_rules(chain, settings, policy)
            )
        case _:
            return account_reserver(chain, nodes, pool)


def children_for(
    chain: str,
    nodes: NodePool,
    pool: Pool,
    clock: Clock,
    reserver: Reserver,
    entropy: Callable[[datetime], tuple[UUID, int]],
) -> Children | None:
    """None where nothing is spent that no block holds."""
    if not isinstance(reserver, CoinReserver) or not reserver.spends_unconfirmed:
        return None
    return Children(chain, nodes, pool, clock, reserver, entropy)


def coin_rules(chain: ConnectedChain, settings: BitcoinSettings, policy: SignerPolicy | None) -> CoinRules:
    """Where the signer's policy is not known: no more outputs than a full batch has with its change, and nothing that
    would have to pay for others (`lifting`)."""
    own, cap = settings.wallet.change, settings.fees.cap_sat_vb * _VB
    change = ChangeRules(
        own.coins_min, own.coins_max, own.outputs_max, settings.change_amount_min, settings.block_interval_s
    )
    bounds, outputs = Bounds(cap, settings.market.fee_growth_max, cap, 0), settings.batching.count_max + 1
    if isinstance(policy, CoinPolicy):
        fee_max = parse_amount(policy.fee_max, settings.assets[settings.asset].decimals)
        bounds = replace(bounds, signer_rate_max=policy.fee_rate_max_sat_vb * _VB, signer_fee_max=fee_max)
        outputs = policy.outputs_max
    return CoinRules(
        settings.wallet.coin_confirmations_min,
        chain.scheme,
        change,
        outputs,
        bounds,
        unconfirmed_depth_max=settings.wallet.unconfirmed_depth_max,
    )


def account_reserver(chain: ConnectedChain, nodes: NodePool, pool: Pool) -> AccountReserver:
    """For a chain of accounts."""
    assert isinstance(chain.settings.wallet, AccountWallet)
    assert chain.vault is not None
    return AccountReserver(
        chain.chain,
        chain.settings.asset,
        chain.vault,
        cast(AccountPlanner, chain.planner),
        nodes,
        pool,
        chain.settings.wallet.in_flight_max,
        chain.contracts,
    )
