"""A programme's terms as the API, the settings and the database hold them, and the way to `rules`. Pure.

Amounts are decimal strings in whole units; what cannot be a programme is told by the member that is wrong.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from cryptowatch.money import InvalidAmount, parse_amount
from cryptowatch.referrals import rules
from cryptowatch.referrals.rules import ONE, Caps, Fraud, Programme

_Amount: TypeAlias = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,77})(\.[0-9]{1,78})?$", max_length=157)]
_Asset: TypeAlias = Annotated[str, Meta(pattern=r"^[^\x00]*$", max_length=40)]
_YEAR_S = 366 * 86_400


class InvalidTerms(ValueError):
    """Names the member that is wrong, and says why."""


class VerifiedTerms(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="verified"
):
    """The account reaches this KYC level."""

    kyc_level: Annotated[int, Meta(ge=1, le=10)] = 1


class FirstDepositTerms(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="first_deposit"
):
    """The first final deposit of at least so much; other assets do not count."""

    minimum: Annotated[dict[_Asset, _Amount], Meta(min_length=1, max_length=50)]


class ActivityTerms(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="activity"
):
    """So much of the asset is bet, without refunds, since the day of the referral."""

    asset: _Asset
    bet: _Amount


class FixedTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fixed"):
    asset: _Asset
    amount: _Amount


class ShareTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="percentage"):
    """Of the deposit that was the act, in its asset: 100000 is ten percent."""

    parts_per_million: Annotated[int, Meta(ge=1, le=ONE)]


class CapTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most that one referrer gets of the asset: over all, at each level, on each day (UTC)."""

    per_referrer: _Amount | None = None
    per_level: _Amount | None = None
    per_day: _Amount | None = None


class FraudTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked at. More than `pace_count` referrals of one referrer within `pace_hours` wait for a person."""

    devices: bool = True
    networks: bool = True
    addresses: bool = True
    pace_count: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    pace_hours: Annotated[int, Meta(ge=1, le=8784)] = 24


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`levels`: the first for the referrer, the second for whoever referred the referrer, and so on.

    `hold_s`: seconds from the act to the payment. `window_s`: seconds after the sign-up in which a code may be entered.
    """

    act: VerifiedTerms | FirstDepositTerms | ActivityTerms
    levels: Annotated[list[FixedTerms | ShareTerms], Meta(min_length=1, max_length=10)]
    caps: Annotated[dict[_Asset, CapTerms], Meta(max_length=50)] = {}
    hold_s: Annotated[int, Meta(ge=0, le=_YEAR_S)] = 604_800
    window_s: Annotated[int, Meta(ge=0, le=_YEAR_S)] = 604_800
    fraud: FraudTerms = FraudTerms()


def read_terms(terms: Terms, decimals: Mapping[str, int]) -> Programme:
    """Raises InvalidTerms for an asset that there is not, an amount that it cannot express, a share of no deposit."""
    is_deposit = isinstance(terms.act, FirstDepositTerms)
    for number, level in enumerate(terms.levels):
        if isinstance(level, ShareTerms) and not is_deposit:
            raise InvalidTerms(f"levels[{number}]: a percentage is of a deposit: the act is none")
    return Programme(
        act=_act(terms.act, decimals),
        levels=[_reward(level, f"levels[{n}]", decimals) for n, level in enumerate(terms.levels)],
        caps={asset: _caps(asset, caps, decimals) for asset, caps in terms.caps.items()},
        hold=timedelta(seconds=terms.hold_s),
        window=timedelta(seconds=terms.window_s),
        fraud=Fraud(
            terms.fraud.devices,
            terms.fraud.networks,
            terms.fraud.addresses,
            terms.fraud.pace_count,
            timedelta(hours=terms.fraud.pace_hours),
        ),
        decimals={asset: decimals[asset] for asset in assets_of(terms)},
    )


def assets_of(terms: Terms) -> set[str]:
    """All that the terms name an amount of."""
    named = set(terms.caps) | {level.asset for level in terms.levels if isinstance(level, FixedTerms)}
    match terms.act:
        case FirstDepositTerms(minimum):
            named |= set(minimum)
        case ActivityTerms(asset):
            named.add(asset)
    return named


def _act(act: VerifiedTerms | FirstDepositTerms | ActivityTerms, decimals: Mapping[str, int]) -> rules.Act:
    match act:
        case VerifiedTerms():
            return rules.Verified(act.kyc_level)
        case FirstDepositTerms():
            minimum = {a: _amount(a, text, f"act.minimum.{a}", decimals) for a, text in act.minimum.items()}
            return rules.FirstDeposit(minimum)
        case ActivityTerms():
            bet = _amount(act.asset, act.bet, "act.bet", decimals)
            if bet == 0:
                raise InvalidTerms("act.bet: is zero")
            return rules.Activity(act.asset, bet)


def _reward(level: FixedTerms | ShareTerms, key: str, decimals: Mapping[str, int]) -> rules.Reward:
    if isinstance(level, ShareTerms):
        return rules.Share(level.parts_per_million)
    # Nothing for one level is a reward of zero.
    return rules.Fixed(level.asset, _amount(level.asset, level.amount, f"{key}.amount", decimals))


def _caps(asset: str, caps: CapTerms, decimals: Mapping[str, int]) -> Caps:
    def units(name: str, text: str | None) -> int | None:
        return None if text is None else _amount(asset, text, f"caps.{asset}.{name}", decimals)

    return Caps(
        units("per_referrer", caps.per_referrer),
        units("per_level", caps.per_level),
        units("per_day", caps.per_day),
    )


def _amount(asset: str, text: str, key: str, decimals: Mapping[str, int]) -> int:
    if asset not in decimals:
        raise InvalidTerms(f"{key}: there is no asset {asset!r}")
    try:
        return parse_amount(text, decimals[asset])
    except InvalidAmount as problem:
        raise InvalidTerms(f"{key}: {problem}") from problem
