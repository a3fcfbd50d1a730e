"""The settings of chains, by family. Frozen, typed; checked as far as one chain alone can tell."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from cryptowatch.money import parse_amount
from cryptowatch.settings.assets import AssetSettings, TokenSettings
from cryptowatch.settings.cold import ColdAccounts, ColdCoins
from cryptowatch.settings.market import MarketSettings
from cryptowatch.settings.sections import Count, EthereumAddress, Seconds, Section

#: The largest of the dust limits of Bitcoin's output types (policy/policy.cpp, GetDustThreshold: P2PKH).
_DUST_MAX_SAT = 546


class NodeSettings(Section):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,30}$")]
    url: str
    #: A file that holds `user:password`, such as bitcoind's `.cookie`.
    auth_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _no_credentials(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        if "@" in url:
            raise ValueError("credentials belong into auth_file, not into the URL")
        return url.rstrip("/")


class Batching(Section):
    """When a payout batch leaves: so many withdrawals, or the oldest waited so long (urgent ones do not wait)."""

    count_max: Annotated[int, Field(gt=0, le=500)] = 100
    wait_max_s: Annotated[float, Field(ge=0, le=86_400)] = 30
    in_flight_max: Count = 20


Priority = Literal["economy", "normal", "urgent"]


def _of_all(counts: Mapping[Priority, int]) -> Mapping[Priority, int]:
    """A table that is given takes the place of the default: the others' would be missing when a fee is bid."""
    if missing := [priority for priority in get_args(Priority) if priority not in counts]:
        raise ValueError(f"{', '.join(missing)} must be given as well")
    return counts


_OfAll = AfterValidator(_of_all)


class ChainSettings(Section):
    """What the settings of every chain have in common."""

    family: str
    asset: str
    quorum: Count
    nodes: tuple[NodeSettings, ...]
    start_height: Annotated[int, Field(ge=0)] | None = None
    poll_interval_s: Seconds = 2
    mempool_interval_s: Seconds = 2
    request_timeout_s: Seconds = 10
    lag_blocks_max: Count = 3
    quarantine_s: Seconds = 60
    #: A reorg deeper than this stops the chain's payouts and pages a person (P6), at least the deepest finality.
    reorg_depth_max: Count = 100
    block_fetch_ahead: Annotated[int, Field(gt=0, le=64)] = 4
    batching: Batching = Batching()
    #: Between two blocks, on average.
    block_interval_s: Seconds = 600
    market: MarketSettings = MarketSettings()

    @property
    def network_name(self) -> str:
        """Which network it is, for people."""
        raise NotImplementedError

    @property
    def is_tagged(self) -> bool:
        """Whether what is final is also up to the nodes."""
        return False

    @property
    def asset_settings(self) -> Mapping[str, AssetSettings]:
        """By asset, without what only the family knows of them."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [node.name for node in self.nodes]
        if len(set(names)) != len(names):
            raise ValueError("nodes: names must differ")
        if not len(names) // 2 < self.quorum <= len(names):
            raise ValueError(f"quorum: must be a majority of the {len(names)} nodes")
        if self.asset not in self.asset_settings:
            raise ValueError(f"assets: the chain's own asset {self.asset} is missing")
        return self


class BitcoinFeeSettings(Section):
    """Bounds of every bid, in sat/vB, and what the three priorities ask for: within so many blocks.

    `miss_cost_percent`: what it is worth not to miss them, as much as paying so many percent too much.
    """

    floor_sat_vb: Count = 1
    cap_sat_vb: Count = 300
    fallback_sat_vb: Count = 5
    #: What spending a coin costs at quiet times: above it coin selection spares inputs, below it tidies up.
    long_term_sat_vb: Count = 10
    target_blocks: Annotated[Mapping[Priority, Count], _OfAll] = {"economy": 24, "normal": 6, "urgent": 2}
    miss_cost_percent: Annotated[Mapping[Priority, Count], _OfAll] = {
        "economy": 100,
        "normal": 200,
        "urgent": 600,
    }

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.floor_sat_vb <= self.fallback_sat_vb <= self.cap_sat_vb:
            raise ValueError("floor_sat_vb <= fallback_sat_vb <= cap_sat_vb must hold")
        return self


class Consolidation(Section):
    """Many small coins become one while fees are low, so that payouts need few inputs when they are high."""

    #: So many free coins are left as they are.
    coins_max: Count = 500
    #: Coins merged by one transaction.
    inputs: Annotated[int, Field(ge=2, le=400)] = 200
    in_flight_max: Count = 2
    #: Above it coins stay as they are; `fees.long_term_sat_vb` where it is not given.
    rate_max_sat_vb: Count | None = None
    interval_s: Seconds = 60


class Change(Section):
    """Change is split, so that there is a confirmed coin for each payout that leaves until the next block."""

    #: So many free coins are kept at least, and at most; between them twice the payouts of a block's time lately.
    coins_min: Count = 4
    coins_max: Count = 50
    #: Parts of one transaction's change.
    outputs_max: Annotated[int, Field(ge=1, le=20)] = 4
    #: Whole units below which change is not split further; coins of less do not count.
    amount_min: str = "0.001"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.coins_min > self.coins_max:
            raise ValueError("coins_min <= coins_max must hold")
        return self


class CoinWallet(Section):
    """The hot wallet's public side: deposits go to branch 0 of the first xpub, change to its branch 1."""

    xpub_bip84: str
    xpub_bip86: str | None = None
    deposit_scheme: Literal["bip84", "bip86"] = "bip84"
    addresses_ahead: Annotated[int, Field(ge=20, le=1_000_000)] = 1000
    coin_confirmations_min: Count = 1
    #: After so many blocks without a confirmation a payout's fee is raised.
    bump_after_blocks: Count = 3
    #: Whether queued payouts join a transaction that is replaced, where that is cheaper than one of their own.
    join_replacements: bool = True
    #: So many payouts that no block holds may stand above one another, each but the first paid from the one before;
    #: 0: a payout's change is spent when a block holds it. Nodes keep no more than 25 related transactions.
    unconfirmed_depth_max: Annotated[int, Field(ge=0, le=10)] = 3
    change: Change = Change()
    consolidation: Consolidation = Consolidation()


class BitcoinSettings(ChainSettings):
    family: Literal["bitcoin"] = "bitcoin"
    network: Literal["main", "testnet", "signet", "regtest"]
    asset: str = "BTC"
    wallet: CoinWallet
    cold: ColdCoins | None = None
    fees: BitcoinFeeSettings = BitcoinFeeSettings()
    assets: Mapping[str, AssetSettings]

    @property
    def network_name(self) -> str:
        return self.network

    @property
    def asset_settings(self) -> Mapping[str, AssetSettings]:
        return self.assets

    @property
    def change_amount_min(self) -> int:
        """Satoshi."""
        return parse_amount(self.wallet.change.amount_min, self.assets[self.asset].decimals)

    @model_validator(mode="after")
    def _relayed(self) -> Self:
        own = self.assets[self.asset]
        if self.change_amount_min < _DUST_MAX_SAT:
            raise ValueError(f"wallet.change.amount_min: below {_DUST_MAX_SAT} base units nodes do not relay")
        if parse_amount(own.withdrawal_min, own.decimals) < _DUST_MAX_SAT:
            raise ValueError(
                f"assets.{self.asset}.withdrawal_min: below {_DUST_MAX_SAT} base units nodes do not relay"
            )
        return self


Gwei = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=9)]


class EthereumFeeSettings(Section):
    """Bounds of every bid, per gas."""

    #: The most that is paid per gas, base fee and tip together.
    cap_gwei: Gwei = Decimal(300)
    tip_floor_gwei: Gwei = Decimal("0.05")
    tip_cap_gwei: Gwei = Decimal(20)
    #: The tip while nodes know of none.
    tip_fallback_gwei: Gwei = Decimal(1)
    target_blocks: Annotated[Mapping[Priority, Count], _OfAll] = {"economy": 10, "normal": 3, "urgent": 1}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.tip_floor_gwei <= self.tip_fallback_gwei <= self.tip_cap_gwei <= self.cap_gwei:
            raise ValueError("tip_floor_gwei <= tip_fallback_gwei <= tip_cap_gwei <= cap_gwei must hold")
        return self


#: EIP-7825.
_TRANSACTION_GAS_MAX = 1 << 24
#: Our contracts take so many recipients or accounts in one call.
_CALL_ITEMS_MAX = 200


class Gas(Section):
    """Gas limits by which transactions are built. What is not used is not paid, but must be there."""

    coin_payment: Count = 60_000
    token_payment: Count = 90_000
    sweep: Count = 90_000
    #: Signing and storing a delegation, per account (EIP-7702).
    delegation: Count = 40_000
    #: Of every call of a contract, whatever it does.
    call: Count = 60_000


class AccountWallet(Section):
    """The hot wallet's public side: deposits go to branch 0 of m/44'/60'/0', and branch 1 are the accounts that send.

    The first of these also holds the chain's own coin; tokens are held by the payouts contract.
    """

    xpub_bip44: str
    hot_accounts: Annotated[int, Field(ge=1, le=16)] = 2
    #: The accounts that send, where their keys are not derived, but in KMS (`signer.kms`); instead of `hot_accounts`.
    sending_accounts: Annotated[tuple[EthereumAddress, ...], Field(max_length=16)] = ()
    addresses_ahead: Annotated[int, Field(ge=20, le=1_000_000)] = 1000
    #: Transactions of one account that no block holds; nodes keep no more than 16 (geth: AccountSlots).
    in_flight_max: Annotated[int, Field(ge=1, le=16)] = 16
    bump_after_blocks: Count = 3
    #: A sending account with less of the chain's own coin is refilled from the first one, with this much.
    gas_refill: str = "0.05"
    sweep_count_max: Annotated[int, Field(ge=1, le=200)] = 100
    sweep_interval_s: Seconds = 60
    #: An account that a sweep took nothing from (its token is paused, or locks it) is tried again so much later.
    sweep_retry_s: Seconds = 21_600
    #: Sweeps wait while a unit of gas costs more than this.
    sweep_gas_max_gwei: Gwei = Decimal(50)

    @field_validator("sending_accounts")
    @classmethod
    def _differ(cls, accounts: tuple[str, ...]) -> tuple[str, ...]:
        if len({account.lower() for account in accounts}) < len(accounts):
            raise ValueError("each account must be listed once")
        return accounts


class Contracts(Section):
    """Deployed once per chain; see docs/operations.md."""

    payouts: EthereumAddress
    #: These two where the chain knows delegation.
    sweeper: EthereumAddress | None = None
    sweep_delegate: EthereumAddress | None = None


class EthereumSettings(ChainSettings):
    """Any chain of Ethereum's kind."""

    family: Literal["ethereum"]
    chain_id: Count
    asset: str = "ETH"
    #: What is final: what the nodes call finalized (and as deep as the tiers say), or the tiers' depth alone.
    finality: Literal["finalized", "depth"] = "finalized"
    #: Follow the chain's own coin into contracts' calls by debug_traceBlockByHash; needs nodes that offer it.
    traces: bool = False
    block_interval_s: Seconds = 12
    #: Whether the chain knows EIP-7702, by which many deposit accounts are swept at once.
    delegation: bool = True
    wallet: AccountWallet
    cold: ColdAccounts | None = None
    contracts: Contracts | None = None
    fees: EthereumFeeSettings = EthereumFeeSettings()
    gas: Gas = Gas()
    assets: Mapping[str, TokenSettings]

    @property
    def gas_max(self) -> int:
        """Of the largest transaction: a full batch of payouts, or a sweep of accounts that all delegate anew."""
        gas, payments = self.gas, min(self.batching.count_max, _CALL_ITEMS_MAX)
        payouts = gas.call + max(gas.coin_payment, gas.token_payment) * payments
        return max(payouts, gas.call + (gas.sweep + gas.delegation) * self.wallet.sweep_count_max)

    @property
    def network_name(self) -> str:
        """As CAIP-2 names it."""
        return f"eip155:{self.chain_id}"

    @property
    def is_tagged(self) -> bool:
        return self.finality == "finalized"

    @property
    def asset_settings(self) -> Mapping[str, AssetSettings]:
        return self.assets

    @model_validator(mode="after")
    def _sweeping(self) -> Self:
        own = self.contracts
        if own is not None and self.delegation and None in (own.sweeper, own.sweep_delegate):
            raise ValueError("contracts: sweeper and sweep_delegate are needed, or delegation = false")
        return self

    @model_validator(mode="after")
    def _tokens(self) -> Self:
        for name, asset in self.assets.items():
            if (asset.contract is None) != (name == self.asset):
                raise ValueError(f"assets.{name}.contract: every asset but the chain's own has one")
        contracts = [asset.contract.lower() for asset in self.assets.values() if asset.contract]
        if len(set(contracts)) != len(contracts):
            raise ValueError("assets: two of them name the same contract")
        return self

    @model_validator(mode="after")
    def _fits_a_transaction(self) -> Self:
        if self.gas_max > _TRANSACTION_GAS_MAX:
            raise ValueError(
                f"batching.count_max, wallet.sweep_count_max: the largest transaction would take {self.gas_max} gas, "
                f"and none may take more than {_TRANSACTION_GAS_MAX}"
            )
        return self


#: Begins what tells pydantic's unions apart, and is no part of a key's name.
TAG_SIGN = "~"
BITCOIN, ETHEREUM = f"{TAG_SIGN}bitcoin", f"{TAG_SIGN}ethereum"


def _family(chain: object) -> str:
    named = chain.get("family", "bitcoin") if isinstance(chain, Mapping) else getattr(chain, "family", "")
    return f"{TAG_SIGN}{named}"


Chain = Annotated[
    Annotated[BitcoinSettings, Tag(BITCOIN)] | Annotated[EthereumSettings, Tag(ETHEREUM)],
    Discriminator(_family),
]
