"""Which kind of reserver a chain needs: its money is coins, or the balances of accounts."""

from typing import cast

from cryptowatch.chains.connect import ConnectedChain
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import AccountPlanner, CoinPlanner
from cryptowatch.db.pool import Pool
from cryptowatch.sending.accounts import AccountReserver
from cryptowatch.sending.coins import CoinReserver, CoinRules
from cryptowatch.sending.reserve import Reserver
from cryptowatch.settings.chains import AccountWallet, CoinWallet


def reserver_for(chain: ConnectedChain, nodes: NodePool, pool: Pool) -> Reserver:
    """By the wallet's kind, which the planner's follows."""
    match chain.settings.wallet:
        case CoinWallet() as wallet:
            rules = CoinRules(wallet.coin_confirmations_min, chain.scheme)
            return CoinReserver(chain.chain, cast(CoinPlanner, chain.planner), rules)
        case AccountWallet():
            return account_reserver(chain, nodes, pool)


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
