"""`/v1/accounts`: players, their addresses and balances."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta

from cryptowatch.accounts.limits import REFERENCE_DECIMALS, LimitKind, PlayLimit
from cryptowatch.accounts.players import (
    LimitRules,
    OwnLimits,
    Player,
    PlayerPatch,
    PlayerView,
    Profile,
    Status,
    TermRuns,
    create_player,
    list_players,
    patch_player,
    player_view,
    read_player,
)
from cryptowatch.agents.hierarchy import Refusal, assign_player
from cryptowatch.api.calls import (
    TEXT,
    Call,
    Id,
    Metadata,
    NoQuery,
    Page,
    PageQuery,
    Reply,
    Text,
    body_id,
    not_found,
)
from cryptowatch.api.paging import page, page_size, uuid_cursor
from cryptowatch.api.problems import Problem, refuse
from cryptowatch.api.referrals import ReferralCode, sign_up
from cryptowatch.db.pool import Connection
from cryptowatch.deposits.addresses import assign_address
from cryptowatch.deposits.limits import deposit_limits, deposited, is_full
from cryptowatch.ids import Kind
from cryptowatch.ledger.balances import owner_balances
from cryptowatch.ledger.rules import Balance
from cryptowatch.money import BaseUnits, InvalidAmount, format_amount, parse_amount
from cryptowatch.settings.assets import AssetSettings

#: ISO 3166: a country, or a part of it (`DE`, `US-NJ`).
Jurisdiction = Annotated[str, Meta(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
Tags = Annotated[list[Annotated[str, Meta(pattern=r"^[a-z0-9_.:-]{1,40}$")]], Meta(max_length=50)]


class NewAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`external_id`: what the platform calls the player; creating it again gives the same account.

    `agent_id`: whose player it is, from today on.
    """

    external_id: Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=200)]
    metadata: Metadata = {}
    jurisdiction: Jurisdiction | None = None
    tags: Tags = []
    agent_id: Id | None = None
    #: Who referred the player; taken when the account is created, and refused when there is no such code.
    referral_code: ReferralCode | None = None


class NewAccountView(PlayerView, frozen=True, kw_only=True):
    """`referral_code`: the account's own. `referred_by`: the account that referred it."""

    referral_code: str
    referred_by: str | None


class AccountPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out, or null, stays as it is. `limits` and `metadata` are replaced as a whole.

    `limits`: withdrawal limits by asset, instead of the settings' for all accounts. `allow_list`: withdrawals go
    only to the account's allowed addresses. `play_limits`: what the player set itself on deposits, losses and bets;
    what tightens them holds at once, what loosens them after `accounts.limit_raise_delay_s`.
    """

    status: Status | None = None
    kyc_level: Annotated[int, Meta(ge=0, le=10)] | None = None
    limits: OwnLimits | None = None
    allow_list: bool | None = None
    play_limits: Annotated[list[PlayLimit], Meta(max_length=50)] | None = None
    jurisdiction: Jurisdiction | None = None
    tags: Tags | None = None
    metadata: Metadata | None = None


class AccountsQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    status: Status | None = None


class AddressRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new address each time, unless `reuse`: then the latest one, if there is one."""

    chain: Text
    reuse: bool = False


class AddressView(msgspec.Struct, frozen=True):
    address: str
    chain: str
    assets: list[str]


class BalanceView(msgspec.Struct, frozen=True, gc=False):
    """`playable` may be bet; `withdrawable` may leave; `debt` is what a reorg took beyond what was there."""

    asset: str
    total: str
    playable: str
    withdrawable: str
    unfinalized: str
    held: str
    debt: str


async def create_account(call: Call[NoQuery, NewAccount], conn: Connection) -> Reply | Problem:
    new = call.body
    player, created = await create_player(
        conn,
        call.services.new_id(call.now),
        new.external_id,
        Profile(new.metadata, new.jurisdiction, sorted(set(new.tags))),
        call.now,
    )
    if created and new.agent_id is not None:
        agent_id = body_id(Kind.AGENT, new.agent_id, "unknown_agent")
        assigned = await assign_player(conn, player.id, agent_id, at_once=True, now=call.now)
        if isinstance(assigned, Refusal):
            raise refuse(assigned.code, assigned.detail)
    own, referred_by = await sign_up(call, conn, player.id, new.referral_code if created else None)
    view = msgspec.structs.asdict(player_view(player, call.now))
    return Reply(NewAccountView(**view, referral_code=own, referred_by=referred_by), 201 if created else 200)


async def list_accounts(call: Call[AccountsQuery, None], conn: Connection) -> Reply | Problem:
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    players = await list_players(
        conn, limit=limit + 1, before=uuid_cursor(call.query), status=call.query.status
    )
    return Reply(page(players, limit, lambda player: player.id, lambda player: player_view(player, call.now)))


async def get_account(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    return Reply(player_view(await called_player(call, conn), call.now))


async def update_account(call: Call[NoQuery, AccountPatch], conn: Connection) -> Reply | Problem:
    patch, services = call.body, call.services
    rules = LimitRules(services.settings.accounts.limit_raise_delay_s, services.decimals)
    wanted = PlayerPatch(
        status=patch.status,
        kyc_level=patch.kyc_level,
        limits=_checked(call, patch.limits),
        allow_list=patch.allow_list,
        play_limits=_checked_play(call, patch.play_limits),
        profile=Profile(
            patch.metadata, patch.jurisdiction, None if patch.tags is None else sorted(set(patch.tags))
        ),
    )
    player = await patch_player(conn, call.path_id(Kind.ACCOUNT), wanted, rules, call.now)
    if player is None:
        raise not_found()
    if isinstance(player, TermRuns):
        raise refuse("term_runs", f"the player excluded itself until {player.until.isoformat()}")
    return Reply(player_view(player, call.now))


def _checked_play(call: Call[object, object], limits: list[PlayLimit] | None) -> list[PlayLimit] | None:
    """Raises Refused as `_checked` does, and for two of the same kind, period and asset."""
    for limit in limits or ():
        decimals = REFERENCE_DECIMALS
        if limit.kind is LimitKind.DEPOSIT and limit.asset is None:
            raise refuse("invalid_request", "a limit on deposits names its asset")
        if limit.asset is not None:
            if limit.asset not in call.services.decimals:
                raise refuse("unknown_asset", "no such asset")
            decimals = call.services.decimals[limit.asset]
        parse_or_refuse(limit.amount, decimals)
    if limits is not None and len({limit.of for limit in limits}) < len(limits):
        raise refuse("invalid_request", "there are two limits of one kind, period and asset")
    return limits


def _checked(call: Call[object, object], limits: OwnLimits | None) -> OwnLimits | None:
    """Raises Refused for an asset that there is not, and an amount that it cannot express."""
    for asset, of_asset in (limits or {}).items():
        decimals = call.services.decimals.get(asset)
        if decimals is None:
            raise refuse("unknown_asset", "no such asset")
        for limit in of_asset:
            if limit.amount is not None:
                parse_or_refuse(limit.amount, decimals)
    return limits


def parse_or_refuse(text: str, decimals: int) -> BaseUnits:
    """Raises Refused (422 invalid_amount) for too many decimals, or more than 256 bits."""
    try:
        return parse_amount(text, decimals)
    except InvalidAmount as problem:
        raise refuse("invalid_amount", str(problem)) from problem


async def create_address(call: Call[NoQuery, AddressRequest], conn: Connection) -> Reply | Problem:
    chain = call.services.settings.chains.get(call.body.chain)
    if chain is None:
        raise refuse("unknown_chain", "no such chain")
    player = await called_player(call, conn)
    await _refuse_when_full(conn, player, chain.asset_settings, call.now)
    scheme = call.services.schemes[call.body.chain]
    address = await assign_address(
        conn,
        call.body.chain,
        scheme,
        player.id,
        sorted(chain.asset_settings),
        reuse=call.body.reuse,
        now=call.now,
    )
    if address is None:
        raise refuse("no_address_free", "all addresses derived ahead are taken; more are on their way")
    return Reply(AddressView(address, call.body.chain, sorted(chain.asset_settings)))


async def _refuse_when_full(
    conn: Connection, player: Player, assets: Mapping[str, AssetSettings], now: datetime
) -> None:
    """Raises Refused when nothing that could arrive there is within what the player wants to deposit."""
    limits = deposit_limits(player, now)
    if limits:
        history = (await deposited(conn, {player.id: limits}, now)).get(player.id, [])
        if all(is_full(limits, asset, own.decimals, history, now) for asset, own in assets.items()):
            raise refuse("deposit_limit_reached", "the player wanted to deposit no more for now")


async def list_balances(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    player = await called_player(call, conn)
    found = await owner_balances(conn, "player", player.id)
    decimals = call.services.decimals
    return Reply([balance_view(item.asset, item.balance, decimals[item.asset]) for item in found])


async def called_player(call: Call[object, object], conn: Connection) -> Player:
    """Whose id is in the path. Raises Refused (404)."""
    player = await read_player(conn, call.path_id(Kind.ACCOUNT))
    if player is None:
        raise not_found()
    return player


def balance_view(asset: str, balance: Balance, decimals: int) -> BalanceView:
    total, unfinalized, held = balance
    if total >= 0 and unfinalized == 0 and held == 0:  # as most are: its parts need not be written one by one
        whole, zero = format_amount(total, decimals), _zero(decimals)
        return BalanceView(asset, whole, whole, whole, zero, zero, zero)
    return BalanceView(
        asset=asset,
        total=format_amount(balance.total, decimals),
        playable=format_amount(balance.playable, decimals),
        withdrawable=format_amount(balance.withdrawable, decimals),
        unfinalized=format_amount(balance.unfinalized, decimals),
        held=format_amount(balance.held, decimals),
        debt=format_amount(balance.debt, decimals),
    )


@lru_cache
def _zero(decimals: int) -> str:
    return format_amount(0, decimals)


AccountPage = Page[PlayerView]
