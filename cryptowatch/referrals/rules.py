"""What a programme promises, and what that means for one referral: facts in, decisions out. Pure.

Called by `qualify`, which gathers the facts and writes the decisions, and by `worker`, which asks once more what
speaks against a reward before it is paid. Amounts are integer base units, shares are parts per million, rounded down:
the house never pays more than the share.

Caps are sums over a referrer's rewards that are open or paid, by asset: over all, at each level, on each day (UTC). A
reward is cut to what is left below the lowest of them, so that no order of events brings a sum beyond a cap; a reward
that is rejected or reversed leaves its part to later ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final, TypeAlias, assert_never
from uuid import UUID

import msgspec

ONE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Verified:
    """The platform verified the player up to this level."""

    kyc_level: int


@dataclass(frozen=True, slots=True)
class FirstDeposit:
    """The first final deposit of at least so much, in one of these assets (base units)."""

    minimum: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Activity:
    """The player bet so much of the asset, without refunds, since the day of the referral."""

    asset: str
    bet: int


Act: TypeAlias = Verified | FirstDeposit | Activity


@dataclass(frozen=True, slots=True)
class Fixed:
    asset: str
    amount: int


@dataclass(frozen=True, slots=True)
class Share:
    """Of the deposit that was the act, in its asset."""

    parts_per_million: int


Reward: TypeAlias = Fixed | Share


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that one referrer gets of one asset; None does not limit."""

    per_referrer: int | None = None
    per_level: int | None = None
    per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Fraud:
    """Which rules look. `pace_count` referrals of one referrer within `pace` are still believed."""

    devices: bool = True
    networks: bool = True
    addresses: bool = True
    pace_count: int | None = None
    pace: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Programme:
    """One version of a programme's terms. `levels[0]` is for the referrer, `levels[1]` for theirs, and so on."""

    act: Act
    levels: Sequence[Reward]
    caps: Mapping[str, Caps]
    hold: timedelta
    #: How long after the sign-up a code may still be entered.
    window: timedelta
    fraud: Fraud
    #: By asset that the terms name: how amounts of it are written.
    decimals: Mapping[str, int]


class Deposit(msgspec.Struct, frozen=True):
    id: UUID
    asset: str
    amount: int


class Standing(msgspec.Struct, frozen=True):
    """Where a referred account stands now.

    `deposits` are its first final ones of at least the minimum, one of each asset; `bet` is what it bet of the act's.
    """

    kyc_level: int = 0
    deposits: Sequence[Deposit] = ()
    bet: int = 0


class Done(msgspec.Struct, frozen=True):
    """The act is done; by this deposit, where it is one."""

    deposit: Deposit | None = None


def act_done(act: Act, standing: Standing) -> Done | None:
    match act:
        case Verified(kyc_level):
            return Done() if standing.kyc_level >= kyc_level else None
        case FirstDeposit(minimum):
            enough = [d for d in standing.deposits if d.amount >= minimum.get(d.asset, d.amount + 1)]
            # Ids rise with the time at which deposits were seen.
            return Done(min(enough, key=lambda deposit: deposit.id)) if enough else None
        case Activity(_, bet):
            return Done() if standing.bet >= bet else None
        case _:
            assert_never(act)


class Scope(StrEnum):
    """What a cap counts; `level` and `day` with their number or date behind a colon."""

    ALL = "all"
    LEVEL = "level"
    DAY = "day"


@lru_cache(maxsize=64)
def scopes(level: int, day: date) -> tuple[str, str, str]:
    """Where a reward counts, in the order of `caps_of`."""
    return Scope.ALL, f"{Scope.LEVEL}:{level}", f"{Scope.DAY}:{day.isoformat()}"


def caps_of(caps: Caps) -> tuple[int | None, int | None, int | None]:
    return caps.per_referrer, caps.per_level, caps.per_day


class Promise(msgspec.Struct, frozen=True):
    """What the terms give one ancestor, before caps."""

    level: int
    referrer: UUID
    asset: str
    amount: int


def promised(programme: Programme, done: Done, ancestors: Sequence[UUID]) -> list[Promise]:
    """For each ancestor that the programme has a level for; who would get nothing is left out."""
    found = [
        Promise(level, referrer, *_reward(reward, done))
        for level, (referrer, reward) in enumerate(zip(ancestors, programme.levels, strict=False), start=1)
    ]
    return [promise for promise in found if promise.amount > 0]


def _reward(reward: Reward, done: Done) -> tuple[str, int]:
    if isinstance(reward, Fixed):
        return reward.asset, reward.amount
    assert done.deposit is not None, "terms allow shares of deposits only"
    return done.deposit.asset, done.deposit.amount * reward.parts_per_million // ONE


_CAP_NAMES: Final = ("cap_per_referrer", "cap_per_level", "cap_per_day")


def within(amount: int, caps: Caps, counted: Sequence[int]) -> tuple[int, str | None]:
    """What the caps leave of an amount, and which of them cut it.

    `counted`: what of the referrer's is open or paid already, in each of `scopes`.
    """
    granted, by = amount, None
    for name, cap, used in zip(_CAP_NAMES, caps_of(caps), counted, strict=True):
        if cap is not None and granted > max(0, cap - used):
            granted, by = max(0, cap - used), name
    return granted, by


class Finding(StrEnum):
    """What speaks against a reward: a person must look."""

    SAME_DEVICE = "same_device"
    SIBLING_DEVICE = "sibling_device"
    SAME_NETWORK = "same_network"
    SAME_FUNDING_ADDRESS = "same_funding_address"
    SAME_WITHDRAWAL_ADDRESS = "same_withdrawal_address"
    FUNDED_BY_REFERRER = "funded_by_referrer"
    PACE = "pace"
    CIRCULAR = "circular"
    ACCOUNT_NOT_ACTIVE = "account_not_active"


class Ties(msgspec.Struct, frozen=True):
    """What a referred account and one of its ancestors have to do with each other.

    `shared` are kinds of traits with a value of both; `crossed`: one's withdrawals and the other's deposits share an
    address. `siblings`: another account that the direct referrer referred has the same device. `recent` are that
    referrer's referrals within the pace's time up to this one, with it.
    """

    shared: frozenset[str] = frozenset()
    crossed: bool = False
    siblings: bool = False
    recent: int = 1
    circular: bool = False
    both_active: bool = True


def findings(fraud: Fraud, ties: Ties) -> tuple[Finding, ...]:
    found = (
        (Finding.SAME_DEVICE, fraud.devices and "device" in ties.shared),
        (Finding.SIBLING_DEVICE, fraud.devices and ties.siblings),
        (Finding.SAME_NETWORK, fraud.networks and "ip_prefix" in ties.shared),
        (Finding.SAME_FUNDING_ADDRESS, fraud.addresses and "funding_address" in ties.shared),
        (Finding.SAME_WITHDRAWAL_ADDRESS, fraud.addresses and "withdrawal_address" in ties.shared),
        (Finding.FUNDED_BY_REFERRER, fraud.addresses and ties.crossed),
        (Finding.PACE, fraud.pace_count is not None and ties.recent > fraud.pace_count),
        (Finding.CIRCULAR, ties.circular),
        (Finding.ACCOUNT_NOT_ACTIVE, not ties.both_active),
    )
    return tuple(finding for finding, is_so in found if is_so)
