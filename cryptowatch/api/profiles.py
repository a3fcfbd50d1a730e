"""What the platform knows of a player beyond the account: terms, traits, duplicates; and `/v1/rates`."""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from cryptowatch.accounts.limits import REFERENCE_DECIMALS
from cryptowatch.accounts.players import Term, TermRuns, begin_term, player_view, read_player
from cryptowatch.accounts.rates import RateView, list_rates, write_rates
from cryptowatch.accounts.traits import Trait, TraitKind, add_traits, find_duplicates, ip_prefix
from cryptowatch.api.accounts import parse_or_refuse
from cryptowatch.api.calls import TEXT, Amount, Call, NoQuery, Reply, Text, not_found
from cryptowatch.api.problems import Problem, refuse
from cryptowatch.db.pool import Connection
from cryptowatch.ids import Kind

#: A self-exclusion for life.
TERM_MAX = timedelta(days=366 * 100)


class TermRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When it ends. It can be made longer, never shorter."""

    until: Annotated[datetime, Meta(tz=True)]


class TraitRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ip_prefix` takes an address too, and keeps its network alone (24 bits of IPv4, 56 of IPv6)."""

    kind: Literal["device", "ip_prefix"]
    value: Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=200)]


class TraitsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    traits: Annotated[list[TraitRequest], Meta(min_length=1, max_length=50)]


class RatesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """asset -> what one whole unit is worth in the reference currency (`accounts.reference_currency`)."""

    rates: Annotated[dict[Text, Amount], Meta(min_length=1, max_length=100)]


class RatesView(msgspec.Struct, frozen=True):
    currency: str
    rates: list[RateView]


async def begin_self_exclusion(call: Call[NoQuery, TermRequest], conn: Connection) -> Reply | Problem:
    return await _begin(call, conn, "self_exclusion")


async def begin_cooling_off(call: Call[NoQuery, TermRequest], conn: Connection) -> Reply | Problem:
    return await _begin(call, conn, "cooling_off")


async def _begin(call: Call[NoQuery, TermRequest], conn: Connection, term: Term) -> Reply | Problem:
    until = call.body.until
    if not call.now < until <= call.now + TERM_MAX:
        raise refuse("invalid_term", "it must end in the future, within a hundred years")
    player = await begin_term(conn, call.path_id(Kind.ACCOUNT), term, until, call.now)
    if player is None:
        raise not_found()
    if isinstance(player, TermRuns):
        raise refuse("term_runs", f"it runs until {player.until.isoformat()} and cannot be shortened")
    return Reply(player_view(player, call.now))


async def report_traits(call: Call[NoQuery, TraitsRequest], conn: Connection) -> Reply | Problem:
    account_id = await _account(call, conn)
    traits = [_trait(one) for one in call.body.traits]
    count_max = call.services.settings.accounts.traits_max
    await add_traits(conn, account_id, traits, count_max=count_max, now=call.now)
    return Reply(None)


def _trait(one: TraitRequest) -> Trait:
    if one.kind == "device":
        return Trait(TraitKind.DEVICE, one.value)
    prefix = ip_prefix(one.value)
    if prefix is None:
        raise refuse("invalid_ip_prefix", "neither an IP address nor a network")
    return Trait(TraitKind.IP_PREFIX, prefix)


async def list_duplicates(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    account_id = await _account(call, conn)
    return Reply(await find_duplicates(conn, account_id, call.services.settings.accounts.shared_by_max))


async def _account(call: Call[NoQuery, object], conn: Connection) -> UUID:
    player = await read_player(conn, call.path_id(Kind.ACCOUNT))
    if player is None:
        raise not_found()
    return player.id


async def set_rates(call: Call[NoQuery, RatesRequest], conn: Connection) -> Reply | Problem:
    rates = dict[str, int]()
    for asset, text in call.body.rates.items():
        if asset not in call.services.decimals:
            raise refuse("unknown_asset", "no such asset")
        rates[asset] = parse_or_refuse(text, REFERENCE_DECIMALS)
        if rates[asset] == 0:
            raise refuse("invalid_amount", "a rate is above zero")
    await write_rates(conn, rates, call.now)
    return await get_rates(call, conn)


async def get_rates(call: Call[NoQuery, object], conn: Connection) -> Reply | Problem:
    currency = call.services.settings.accounts.reference_currency
    return Reply(RatesView(currency, await list_rates(conn)))
