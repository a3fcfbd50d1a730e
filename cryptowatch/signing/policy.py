"""What the signer signs: limits per transaction and per rolling hour, whatever the daemon asks. Pure.

Called by `signing.service` with the history that `signing.log` kept. Keeps P9, and backs P3: a lineage's
attempts must all spend one common coin, so that at most one of them can ever be in the chain.

What counts against the hour is all that leaves the wallet, fees included. Transactions that spend a common
coin exclude each other, so such a group is charged for its largest member only: signing the same again
charges nothing, a fee bump charges the increase. What goes to the cold wallet stays the house's: it has an hour of
its own, and only its fee counts as leaving.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from cryptowatch.chains.bip32 import ExtendedPublicKey

HOUR_MS = 3_600_000


class Reason(StrEnum):
    """Stable codes of a refusal. Only HOURLY_LIMIT can pass later without anything else changing."""

    MALFORMED = "malformed"
    UNKNOWN_CHAIN = "unknown_chain"
    FOREIGN_INPUT = "foreign_input"
    WRONG_CHANGE_PATH = "wrong_change_path"
    INVALID_AMOUNT = "invalid_amount"
    TOO_LARGE = "too_large"
    FEE_TOO_HIGH = "fee_too_high"
    TRANSACTION_LIMIT = "transaction_limit"
    HOURLY_LIMIT = "hourly_limit"
    FOREIGN_COLD = "foreign_cold"
    DESTINATION_NOT_ALLOWED = "destination_not_allowed"
    CONTRADICTS_EARLIER = "contradicts_earlier"
    LINEAGE_CONFLICT = "lineage_conflict"


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class ColdCoins:
    """The cold wallet by the signer's own settings: its key, and what may go there within an hour."""

    key: ExtendedPublicKey
    hourly_amount_max: int


@dataclass(frozen=True, slots=True)
class Limits:
    """One chain's bounds, in base units. The two amounts are what a thief of the daemon could take."""

    transaction_amount_max: int
    hourly_amount_max: int
    #: Signings, repeated ones included: bounds the log's growth.
    hourly_signings_max: int
    fee_max: int
    fee_rate_max_sat_vb: int
    inputs_max: int
    outputs_max: int
    #: When given, foreign outputs may pay these scripts only.
    allowed_scripts: frozenset[bytes] | None = None
    #: None: nothing goes to cold.
    cold: ColdCoins | None = None
    #: So many groups of conflicting transactions are remembered. A forgotten one is charged in full again.
    lineages_max: int = 50_000


@dataclass(frozen=True, slots=True)
class Proposal:
    """A transaction as the policy sees it. Which outputs are our own was found by deriving their keys."""

    lineage_id: str
    #: "txid:index" -> amount.
    inputs: Mapping[str, int]
    foreign: tuple[tuple[bytes, int], ...]
    change: tuple[int, ...]
    vsize: int
    #: What goes to the cold wallet.
    cold: tuple[int, ...] = ()

    @property
    def leaving(self) -> int:
        """What the house has less of afterwards: foreign outputs and the fee."""
        return sum(self.inputs.values()) - sum(self.change) - self.cold_amount

    @property
    def cold_amount(self) -> int:
        return sum(self.cold)

    @property
    def foreign_amount(self) -> int:
        return sum(amount for _, amount in self.foreign)

    @property
    def fee(self) -> int:
        return self.leaving - self.foreign_amount


class Signing(msgspec.Struct, frozen=True, tag="coins"):
    """One signature given: what the log keeps and the history is rebuilt from."""

    chain: str
    time_ms: int
    lineage_id: str
    txid: str
    inputs: Mapping[str, int]
    leaving: int
    #: What it added to the hour.
    charged: int
    #: What went to the cold wallet, and what that added to its own hour.
    cold: int = 0
    cold_charged: int = 0


@dataclass(slots=True)
class _Group:
    """Signed transactions that all spend every coin of `core`: at most one can ever be in the chain."""

    core: set[str]
    charged: int = 0
    cold: int = 0
    coins: set[str] = field(default_factory=set)
    lineage_ids: set[str] = field(default_factory=set)


class History:
    """What one chain's earlier signings mean for the next. Rebuilt by recording the log in order."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        #: (time, what left, what went to the cold wallet)
        self._charges: deque[tuple[int, int, int]] = deque()
        self._amounts: dict[str, int] = {}
        self._by_core: dict[str, _Group] = {}
        self._by_lineage: dict[str, _Group] = {}
        self._groups: OrderedDict[int, _Group] = OrderedDict()
        self._time_ms = 0

    def judge(self, proposal: Proposal, now_ms: int) -> int | Refusal:
        """What signing would add to the hour, or why not. Changes nothing."""
        refusal = _beyond_transaction(proposal, self._limits) or self._contradiction(proposal)
        if refusal is not None:
            return refusal
        group = self._group_of(proposal.lineage_id, proposal.inputs)
        charge = max(0, proposal.leaving - (group.charged if group is not None else 0))
        spent = self.hourly_amount(now_ms)
        # A signing that adds nothing is let through even when the hour is full: its money was counted before.
        if charge and spent + charge > self._limits.hourly_amount_max:
            return Refusal(
                Reason.HOURLY_LIMIT,
                f"{spent} left within the hour and {charge} more would, "
                f"at most {self._limits.hourly_amount_max}",
            )
        cold_charge, cold_spent = self.cold_charge(proposal), self.hourly_cold_amount(now_ms)
        if cold_charge and cold_spent + cold_charge > self._cold_max:
            return Refusal(
                Reason.HOURLY_LIMIT,
                f"{cold_spent} went to cold within the hour and {cold_charge} more would, at most {self._cold_max}",
            )
        signings = len(self._within_hour(now_ms))
        if signings >= self._limits.hourly_signings_max:
            return Refusal(Reason.HOURLY_LIMIT, f"{signings} signings within the hour")
        return charge

    def record(self, signing: Signing) -> None:
        """Remember a signing. Deterministic: the log replayed gives the same history."""
        self._time_ms = max(self._time_ms, signing.time_ms)
        self._charges.append((self._time_ms, signing.charged, signing.cold_charged))
        while self._charges[0][0] <= self._time_ms - HOUR_MS:
            self._charges.popleft()
        group = self._group_of(signing.lineage_id, signing.inputs)
        if group is None:
            group = _Group(core=set(signing.inputs))
            self._by_core.update(dict.fromkeys(group.core, group))
        for coin in group.core - signing.inputs.keys():
            group.core.discard(coin)
            self._by_core.pop(coin, None)
        group.charged = max(group.charged, signing.leaving)
        group.cold = max(group.cold, signing.cold)
        group.coins.update(signing.inputs)
        group.lineage_ids.add(signing.lineage_id)
        self._by_lineage[signing.lineage_id] = group
        self._amounts.update(signing.inputs)
        self._groups[id(group)] = group
        self._groups.move_to_end(id(group))
        if len(self._groups) > self._limits.lineages_max:
            self._forget_oldest()

    def hourly_amount(self, now_ms: int) -> int:
        """What left within the hour before now, fees included."""
        return sum(amount for amount, _ in self._within_hour(now_ms))

    def hourly_cold_amount(self, now_ms: int) -> int:
        """What went to the cold wallet within the hour before now."""
        return sum(amount for _, amount in self._within_hour(now_ms))

    def cold_charge(self, proposal: Proposal) -> int:
        """What signing would add to the cold wallet's own hour."""
        group = self._group_of(proposal.lineage_id, proposal.inputs)
        return max(0, proposal.cold_amount - (group.cold if group is not None else 0))

    @property
    def _cold_max(self) -> int:
        return 0 if self._limits.cold is None else self._limits.cold.hourly_amount_max

    def _within_hour(self, now_ms: int) -> list[tuple[int, int]]:
        """The charges that still count.

        A clock that was set back does not empty the hour: entries that then seem to lie ahead count too.
        """
        since_ms = now_ms - HOUR_MS
        return [(amount, cold) for time_ms, amount, cold in self._charges if time_ms > since_ms]

    def _group_of(self, lineage_id: str, inputs: Mapping[str, int]) -> _Group | None:
        """The group to charge the transaction with: its lineage's, else the dearest that it excludes."""
        known = self._by_lineage.get(lineage_id)
        if known is not None and not known.core.isdisjoint(inputs):
            return known
        touched = [self._by_core[coin] for coin in inputs if coin in self._by_core]
        return max(touched, key=lambda group: group.charged, default=None)

    def _contradiction(self, proposal: Proposal) -> Refusal | None:
        group = self._by_lineage.get(proposal.lineage_id)
        if group is not None and group.core.isdisjoint(proposal.inputs):
            return Refusal(
                Reason.LINEAGE_CONFLICT,
                f"lineage {proposal.lineage_id} has an attempt that this one does not exclude",
            )
        for coin, amount in proposal.inputs.items():
            # BIP143 signatures commit to the own input's amount only: of two tellings one is a lie, and
            # signatures from both could be combined into a transaction with an enormous fee.
            if self._amounts.get(coin, amount) != amount:
                return Refusal(Reason.CONTRADICTS_EARLIER, f"coin {coin} was signed for with another amount")
        return None

    def _forget_oldest(self) -> None:
        _, group = self._groups.popitem(last=False)
        for coin in group.core:
            self._by_core.pop(coin, None)
        for coin in group.coins:
            self._amounts.pop(coin, None)
        for lineage_id in group.lineage_ids:
            if self._by_lineage.get(lineage_id) is group:
                del self._by_lineage[lineage_id]


def _beyond_transaction(proposal: Proposal, limits: Limits) -> Refusal | None:
    """The rules that need no history."""
    outputs = len(proposal.foreign) + len(proposal.change) + len(proposal.cold)
    amounts = (
        *proposal.inputs.values(),
        *proposal.change,
        *proposal.cold,
        *(amount for _, amount in proposal.foreign),
    )
    refusal: Refusal | None = None
    if len(proposal.inputs) > limits.inputs_max:
        refusal = Refusal(Reason.TOO_LARGE, f"{len(proposal.inputs)} inputs, at most {limits.inputs_max}")
    elif outputs > limits.outputs_max:
        refusal = Refusal(Reason.TOO_LARGE, f"{outputs} outputs, at most {limits.outputs_max}")
    elif not proposal.inputs or not outputs or min(amounts) <= 0:
        refusal = Refusal(Reason.INVALID_AMOUNT, "every input and output has an amount above 0")
    elif proposal.fee < 0:
        refusal = Refusal(Reason.INVALID_AMOUNT, "the outputs are more than the inputs")
    elif proposal.fee > limits.fee_max:
        refusal = Refusal(Reason.FEE_TOO_HIGH, f"a fee of {proposal.fee}, at most {limits.fee_max}")
    elif proposal.fee > limits.fee_rate_max_sat_vb * proposal.vsize:
        refusal = Refusal(
            Reason.FEE_TOO_HIGH,
            f"a fee of {proposal.fee} for {proposal.vsize} vB, at most {limits.fee_rate_max_sat_vb} sat/vB",
        )
    elif proposal.foreign_amount > limits.transaction_amount_max:
        refusal = Refusal(
            Reason.TRANSACTION_LIMIT,
            f"{proposal.foreign_amount} to others, at most {limits.transaction_amount_max}",
        )
    elif proposal.leaving > limits.hourly_amount_max:
        # Said at once: no waiting would make room for it.
        refusal = Refusal(
            Reason.TRANSACTION_LIMIT,
            f"{proposal.leaving} with the fee, at most {limits.hourly_amount_max} in an hour",
        )
    elif proposal.cold and (limits.cold is None or proposal.cold_amount > limits.cold.hourly_amount_max):
        most = 0 if limits.cold is None else limits.cold.hourly_amount_max
        refusal = Refusal(
            Reason.TRANSACTION_LIMIT, f"{proposal.cold_amount} to cold, at most {most} in an hour"
        )
    elif limits.allowed_scripts is not None and any(
        script not in limits.allowed_scripts for script, _ in proposal.foreign
    ):
        refusal = Refusal(Reason.DESTINATION_NOT_ALLOWED, "an output's script is not on the allow-list")
    return refusal
