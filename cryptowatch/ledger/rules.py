"""What a posting is and does: kinds, their effects and floors, and the arithmetic of a balance. Pure.

Called by everything that builds postings; `verify` replays history with it; tests run it against Postgres.
The same table stands in the database (`posting_kind`, begun in 0001-ledger.sql); a test holds the two equal.

A customer's balance is three numbers, from which the rest follows:

    total        what was credited minus what was debited; may fall below zero by a reversal alone
    unfinalized  the sum of its deposits that are credited but not final
    held         the sum of its withdrawals that are requested but not settled

    debt         = max(0, held - total)                  what a reversal took beyond what was there
    playable     = max(0, total - held)                  what bets may spend, unfinalized money included
    withdrawable = max(0, total - held - unfinalized)    what a hold may take: final money only (P6)

So debt needs no bookkeeping: a credit lowers it first, because it raises `total`. While there is debt,
nothing is playable or withdrawable. A reversal never touches a hold: the withdrawal may be on its way, and
settling it leaves the debt as it is (both total and held fall); releasing it pays debt off.

Each posting that moves value moves one amount of one asset from one account to another (P1). Kinds with
`resolves` use up one earlier posting of the same account and amount, at most once: a hold is settled or
released, a credit finalized or reversed, never both (P2, P3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple, NewType

import msgspec

from cryptowatch.money import AMOUNT_MAX, BaseUnits

#: The row of ledger_account: a customer's (player, agent, referrer) or the house's.
CustomerAccount = NewType("CustomerAccount", int)
HouseAccount = NewType("HouseAccount", int)


class Kind(StrEnum):
    DEPOSIT_CREDIT = "deposit_credit"  # at soft confirmation: playable, not withdrawable
    DEPOSIT_CREDIT_FINAL = "deposit_credit_final"  # at finality straight away
    DEPOSIT_FINALIZE = "deposit_finalize"  # a credited deposit became final; no value moves
    DEPOSIT_REVERSE = "deposit_reverse"  # a reorg took a credited deposit away
    DEPOSIT_REVERSE_FINAL = "deposit_reverse_final"  # the same below finality: a person decided so
    HOLD = "hold"  # a withdrawal was requested; no value moves
    HOLD_RELEASE = "hold_release"  # ... and canceled, rejected or failed
    HOLD_SETTLE = "hold_settle"  # ... and paid: the whole hold leaves for custody
    BET = "bet"
    WIN = "win"
    REFUND = "refund"
    BONUS = "bonus"
    BONUS_REVERSE = "bonus_reverse"  # what a referral's bonus was paid for is gone
    ADJUSTMENT_CREDIT = "adjustment_credit"
    ADJUSTMENT_DEBIT = "adjustment_debit"
    HOUSE_TRANSFER = "house_transfer"  # fee income, network fees, wallets: no customer's row


class Floor(StrEnum):
    """What of the balance must not be negative after the posting; else it is refused."""

    PLAYABLE = "playable"
    WITHDRAWABLE = "withdrawable"


class Status(StrEnum):
    CREATED = "created"
    EXISTS = "exists"  # the same key with the same content was posted before; its result is given again
    CONFLICT = "conflict"  # the same key with other content was posted before
    INSUFFICIENT_FUNDS = "insufficient_funds"
    ALREADY_RESOLVED = "already_resolved"  # the hold or credit it names was resolved by another posting


DONE: Final = frozenset({Status.CREATED, Status.EXISTS})


@dataclass(frozen=True, slots=True)
class Effect:
    """Signs on the amount, and the floor to keep."""

    total: int
    unfinalized: int
    held: int
    floor: Floor | None = None
    resolves: frozenset[Kind] = frozenset()


EFFECTS: Final[Mapping[Kind, Effect]] = MappingProxyType(
    {
        Kind.DEPOSIT_CREDIT: Effect(1, 1, 0),
        Kind.DEPOSIT_CREDIT_FINAL: Effect(1, 0, 0),
        Kind.DEPOSIT_FINALIZE: Effect(0, -1, 0, None, frozenset({Kind.DEPOSIT_CREDIT})),
        Kind.DEPOSIT_REVERSE: Effect(-1, -1, 0, None, frozenset({Kind.DEPOSIT_CREDIT})),
        Kind.DEPOSIT_REVERSE_FINAL: Effect(
            -1, 0, 0, None, frozenset({Kind.DEPOSIT_FINALIZE, Kind.DEPOSIT_CREDIT_FINAL})
        ),
        Kind.HOLD: Effect(0, 0, 1, Floor.WITHDRAWABLE),
        Kind.HOLD_RELEASE: Effect(0, 0, -1, None, frozenset({Kind.HOLD})),
        Kind.HOLD_SETTLE: Effect(-1, 0, -1, None, frozenset({Kind.HOLD})),
        Kind.BET: Effect(-1, 0, 0, Floor.PLAYABLE),
        Kind.WIN: Effect(1, 0, 0),
        Kind.REFUND: Effect(1, 0, 0),
        Kind.BONUS: Effect(1, 0, 0),
        Kind.BONUS_REVERSE: Effect(-1, 0, 0, None, frozenset({Kind.BONUS})),
        Kind.ADJUSTMENT_CREDIT: Effect(1, 0, 0),
        Kind.ADJUSTMENT_DEBIT: Effect(-1, 0, 0, Floor.PLAYABLE),
        Kind.HOUSE_TRANSFER: Effect(0, 0, 0),
    }
)


class Balance(NamedTuple):
    """A customer's balance of one asset, in base units; see the module for the formulas."""

    total: int = 0
    unfinalized: int = 0
    held: int = 0

    @property
    def debt(self) -> int:
        return max(0, self.held - self.total)

    @property
    def playable(self) -> int:
        return max(0, self.total - self.held)

    @property
    def withdrawable(self) -> int:
        return max(0, self.total - self.held - self.unfinalized)

    def after(self, kind: Kind, amount_base_units: int) -> "Balance":
        """The balance after the posting, whether or not its floor allows it."""
        effect = EFFECTS[kind]
        return Balance(
            self.total + effect.total * amount_base_units,
            self.unfinalized + effect.unfinalized * amount_base_units,
            self.held + effect.held * amount_base_units,
        )

    def allows(self, kind: Kind, amount_base_units: int) -> bool:
        """Whether the posting keeps its kind's floor."""
        match EFFECTS[kind].floor:
            case Floor.PLAYABLE:
                return amount_base_units <= self.playable
            case Floor.WITHDRAWABLE:
                return amount_base_units <= self.withdrawable
            case None:
                return True


class Posting(msgspec.Struct, frozen=True):
    """One entry to be made. `key` is derived from facts (`dep:{id}:{inclusion}:credit`), so that making it
    again is recognized; it is never reused and never pruned. Made by the functions below.

    `from_account` and `to_account` are None where no value moves. `resolves` is the key of the posting that
    this one uses up. `reference` is the caller's own word for what caused it.
    """

    key: str
    kind: Kind
    customer: CustomerAccount | None
    from_account: int | None
    to_account: int | None
    amount_base_units: BaseUnits
    resolves: str | None = None
    reference: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for what can only be a mistake in the program; Postgres refuses it as well."""
        effect = EFFECTS[self.kind]
        if not 0 < self.amount_base_units <= AMOUNT_MAX:
            raise ValueError(f"posting {self.key}: amount {self.amount_base_units} is not within 256 bits")
        if (self.resolves is None) == bool(effect.resolves):
            raise ValueError(f"posting {self.key}: {self.kind} and resolves={self.resolves!r} do not fit")
        if not 0 < len(self.key) <= KEY_CHARACTERS_MAX:
            raise ValueError(f"a posting's key has 1 to {KEY_CHARACTERS_MAX} characters")


KEY_CHARACTERS_MAX: Final = 200


def customer_posting(
    kind: Kind,
    key: str,
    customer: CustomerAccount,
    house: HouseAccount | None,
    amount_base_units: BaseUnits,
    *,
    resolves: str | None = None,
    reference: str | None = None,
) -> Posting:
    """A posting of any kind but `house_transfer`; the kind says which way value goes.

    `house` is the other side (custody for deposits and withdrawals, a game for bets), None where no value
    moves: `deposit_finalize`, `hold`, `hold_release`.
    """
    sign = EFFECTS[kind].total
    if kind is Kind.HOUSE_TRANSFER or (house is None) != (sign == 0):
        raise ValueError(f"posting {key}: {kind} with house account {house}")
    from_account, to_account = (house, customer) if sign > 0 else (customer, house)
    if sign == 0:
        from_account = to_account = None
    return Posting(key, kind, customer, from_account, to_account, amount_base_units, resolves, reference)


def house_transfer(
    key: str,
    from_account: HouseAccount,
    to_account: HouseAccount,
    amount_base_units: BaseUnits,
    *,
    reference: str | None = None,
) -> Posting:
    """Value moves between two house accounts: a withdrawal's fee into fee income, a network fee."""
    if from_account == to_account:
        raise ValueError(f"posting {key}: both sides are account {from_account}")
    return Posting(
        key, Kind.HOUSE_TRANSFER, None, from_account, to_account, amount_base_units, None, reference
    )
