"""Which kind of reserver a chain needs: its money is coins, or the balances of accounts. And what goes with it."""

from collections.abc import Callable
from datetime import datetime
from typing import cast
from uuid import UUID

from cryptowatch.chains.connect import ConnectedChain
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import AccountPlanner, CoinPlanner
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool
from cryptowatch.sending.accounts import AccountReserver
from cryptowatch.sending.change import ChangeRules
from cryptowatch.sending.children import Children
from cryptowatch.sending.coins import CoinReserver, CoinRules
from cryptowatch.sending.reserve import Reserver
from cryptowatch.settings.chains import AccountWallet, BitcoinSettings
from cryptowatch.settings.signer import CoinPolicy, SignerPolicy


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
    """Where the signer's policy is not known: no more outputs than a full batch has with its change."""
    own = settings.wallet.change
    change = ChangeRules(
        own.coins_min, own.coins_max, own.outputs_max, settings.change_amount_min, settings.block_interval_s
    )
    known = policy.outputs_max if isinstance(policy, CoinPolicy) else settings.batching.count_max + 1
    return CoinRules(
        settings.wallet.coin_confirmations_min,
        chain.scheme,
        change,
        known,
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
