"""How transactions of ours are built: the values and Protocols that a family's planner and fee policy implement.

`sending` reserves what a plan uses, keeps the plan and has it signed; the planners decide only what is in it. Two kinds
of chains: those whose money is coins, and those whose money is accounts' balances. All of it is pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from cryptowatch.chains.port import FeeMarket
from cryptowatch.money import BaseUnits
from cryptowatch.settings.chains import Priority


@dataclass(frozen=True, slots=True)
class Bid:
    """What a transaction offers for inclusion, in the family's unit."""

    rate: int
    #: Ethereum: what of the rate goes to the block's builder at most.
    tip: int = 0


@dataclass(frozen=True, slots=True)
class Aim:
    """What a priority's bid is made for: to be in one of the next blocks.

    `miss_cost_percent` and `floor` are for `chains.forecast`, where there is one.
    """

    blocks: int
    miss_cost_percent: int = 0
    floor: int = 0


@dataclass(frozen=True, slots=True)
class RateUnit:
    """How people write a family's rates: `name` is 10^decimals of what they are counted in."""

    name: str
    decimals: int


class FeePolicy(Protocol):
    """A family's bids, within the settings' floor and cap. Pure."""

    @property
    def unit(self) -> RateUnit: ...

    @property
    def bump_after_blocks(self) -> int:
        """Before that no attempt is stuck."""
        ...

    def aim(self, priority: Priority) -> Aim: ...

    def payment_fee(self, bid: Bid) -> int:
        """What one payment of the chain's own coin, alone in its transaction, costs at most. Base units."""
        ...

    def bid(self, market: FeeMarket, priority: Priority) -> Bid: ...

    def signed_once(self, market: FeeMarket, priority: Priority) -> Bid:
        """For what is signed far away and can never be raised, and may be sent long after this market has passed."""
        ...

    def raised(self, market: FeeMarket, plan: "Offer", priority: Priority) -> Bid | None:
        """For the replacement of a plan: enough more for nodes to relay it. None: the cap is reached."""
        ...

    def market_rate(self, market: FeeMarket, priority: Priority) -> int:
        """What the market alone would say, for metrics."""
        ...

    def beyond_cap(self, market: FeeMarket) -> bool:
        """Whether not even the cap is relayed or included now: sending waits."""
        ...

    def patience_blocks(self, priority: Priority) -> int:
        """So many blocks an attempt is given: not less than the target that its bid was made for."""
        ...

    def is_stuck(self, market: FeeMarket, plan: "Offer", priority: Priority, waited_blocks: int) -> bool:
        """Whether an attempt that so many blocks did not take should be raised, as far as the market can tell."""
        ...


@dataclass(frozen=True, slots=True)
class Coin:
    """An unspent output of ours, with the key that owns it: (scheme, branch, index) below the wallet's account."""

    resource: bytes
    amount: BaseUnits
    destination: bytes
    key_path: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Recipient:
    destination: bytes
    amount: BaseUnits
    #: Of an address of the cold wallet: which one, so that the signer can derive it.
    cold_index: int | None = None


@dataclass(frozen=True, slots=True)
class Insufficient:
    """The coins on offer do not cover the payments and their fee."""

    missing: int


class Offer(Protocol):
    """What is offered for inclusion: a plan, or several transactions that are mined together."""

    @property
    def fee(self) -> int: ...

    @property
    def size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a plan's fee can be raised: the size of its smallest replacement that still has change, and the most that
    this one can pay."""

    size: int
    fee: int


class Plan(Protocol):
    """An unsigned transaction, complete: signing it gives these bytes' meaning, and nothing else."""

    @property
    def tx_hash(self) -> bytes | None:
        """None where only the signed bytes have one."""
        ...

    @property
    def resources(self) -> tuple[bytes, ...]:
        """What it uses: every attempt of a lineage uses all that the first one does (P3)."""
        ...

    @property
    def positions(self) -> tuple[int, ...]:
        """Where in the transaction each recipient is, in their order; empty where only the execution tells."""
        ...

    @property
    def coins_back(self) -> Sequence[Coin]:
        """What of it returns to the wallet, as the coins that it will be; none where money is balances."""
        ...

    @property
    def fee(self) -> int:
        """The most that the network can take."""
        ...

    @property
    def size(self) -> int:
        """Virtual bytes, or the gas limit."""
        ...

    def to_json(self) -> bytes: ...


class WrongSignature(ValueError):
    """What came back from the cold wallet is not what it was to sign; says why."""


#: As the API and the cold side's command name them.
ColdFormatName = Literal["psbt", "eip1559", "call"]


class ColdFormat(Protocol):
    """How a cold wallet, on a machine without network, is told what to sign, and how its answer is read. Pure."""

    @property
    def name(self) -> ColdFormatName: ...

    def write(self, plan: Plan, parents: Mapping[bytes, bytes]) -> str:
        """What is to be signed. `parents`: the transactions whose coins it spends; none where money is balances."""
        ...

    def read_signed(self, plan: Plan, text: str) -> tuple[bytes, bytes]:
        """(hash, bytes to send) of the plan's very transaction, its signatures verified. Raises WrongSignature."""
        ...


class Planner(Protocol):
    """What both kinds of planners can do. Pure; CPU-bound, so it is called in a thread."""

    def bump(self, plan: Plan, bid: Bid) -> Plan | Insufficient:
        """The same payments from the same resources for a higher bid."""
        ...

    def read(self, document: bytes) -> Plan:
        """What `Plan.to_json` wrote."""
        ...

    def minds_empty(self, asset: str) -> bool:
        """Whether `together` must know which accounts do not exist yet, to pay this asset."""
        ...

    def together(self, recipients: Sequence[Recipient], empty: Sequence[bool]) -> Sequence[int]:
        """Which of the recipients, by number and with the first of them, cost least in one transaction.

        All are paid in one asset. `empty`: whose account does not exist yet (`port.AccountState.exists`).
        """
        ...


class CoinPlanner(Planner, Protocol):
    """Builds transactions of coins."""

    def plan(
        self,
        coins: Sequence[Coin],
        recipients: Sequence[Recipient],
        change: Sequence[Coin],
        bid: Bid,
        seed: int,
    ) -> Plan | Insufficient:
        """Pay everyone from a choice of the coins. `change`: templates, of which destination and key path count, for as
        many parts as the change may be split into; at least one."""
        ...

    def consolidate(
        self, coins: Sequence[Coin], change: Coin, bid: Bid, others_fee: int = 0
    ) -> Plan | Insufficient:
        """All of the coins into one of our own, less the fee: of the bid, and what else it pays for others."""
        ...

    def join(self, plan: Plan, bid: Bid, more: Sequence[Recipient]) -> Plan | Insufficient:
        """As `bump`, and these are paid, too: behind the plan's own recipients."""
        ...

    def reach(self, plan: Plan) -> Reach:
        """Of what its change pays; no more than the plan itself has where it has none."""
        ...

    def cover(self, plan: Plan, fees: int) -> int:
        """The fee from which on nodes take the plan in place of transactions that pay so much."""
        ...

    def fee_alone(self, recipients: Sequence[Recipient], bid: Bid) -> int:
        """What they would cost in a transaction of their own, of one coin and with change."""
        ...

    def worth_spending(self, bid: Bid) -> int:
        """A coin of less costs too much of itself to be spent now, in base units."""
        ...


@dataclass(frozen=True, slots=True)
class Sender:
    """The account that sends a transaction: its key below the wallet's account, and the nonce to use."""

    account: bytes
    key_path: tuple[int, int, int]
    nonce: int


@dataclass(frozen=True, slots=True)
class Sweepable:
    """A deposit account with money to collect. `delegated`: it was swept before, so that its delegation stands."""

    account: bytes
    key_path: tuple[int, int, int]
    amount: BaseUnits
    delegated: bool


class AccountPlanner(Planner, Protocol):
    """Builds transactions of accounts with nonces."""

    def pay(self, sender: Sender, asset: str, recipients: Sequence[Recipient], bid: Bid) -> Plan:
        """One payment, or a batch of one asset, each of whose failures is its own."""
        ...

    def sweep(self, sender: Sender, asset: str, accounts: Sequence[Sweepable], bid: Bid) -> Plan:
        """All that the accounts have of the asset goes to the wallet."""
        ...

    def fund(self, sender: Sender, account: bytes, amount: BaseUnits, bid: Bid) -> Plan:
        """The chain's own coin to an account of ours."""
        ...

    def transfer(self, sender: Sender, asset: str, account: bytes, amount: BaseUnits, bid: Bid) -> Plan:
        """What the sender itself holds of an asset to one account, through no contract of ours."""
        ...

    def collect(self, sender: Sender, asset: str, amount: BaseUnits, bid: Bid) -> Plan:
        """From one deposit account by its own key, where the chain knows no delegation.

        Of the chain's own coin what the fee leaves.
        """
        ...

    def collecting_fee(self, asset: str, bid: Bid) -> BaseUnits:
        """What the deposit account must have of the chain's own coin for that."""
        ...

    def void(self, sender: Sender, bid: Bid) -> Plan:
        """Uses up a nonce and does nothing else."""
        ...

    def setup(self, sender: Sender, asset: str, bid: Bid) -> Plan:
        """What the wallet must have said once before its first batch of an asset (a token's allowance)."""
        ...

    def setup_subject(self, asset: str) -> str:
        """What that is for: another token or another contract of ours needs another one."""
        ...

    def needs(self, plan: Plan) -> Mapping[tuple[bytes, str], int]:
        """(account, asset) -> the most that the plan takes from it, its fee included."""
        ...
