"""`/v1/accounts`: players, their addresses, balances and statements."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from cryptowatch.accounts.players import (
    OwnLimits,
    Player,
    PlayerView,
    Status,
    create_player,
    list_players,
    patch_player,
    player_view,
    read_player,
)
from cryptowatch.api.calls import TEXT, Call, Metadata, NoQuery, Page, PageQuery, Reply, Text, not_found
from cryptowatch.api.paging import encode_cursor, page, page_size, position_cursor, uuid_cursor
from cryptowatch.api.problems import Problem, refuse
from cryptowatch.api.referrals import ReferralCode, sign_up
from cryptowatch.db.pool import Connection
from cryptowatch.deposits.addresses import assign_address
from cryptowatch.ids import Kind
from cryptowatch.ledger.balances import owner_balances
from cryptowatch.ledger.rules import Balance
from cryptowatch.ledger.rules import Kind as PostingKind
from cryptowatch.ledger.statement import Line, statement
from cryptowatch.money import BaseUnits, InvalidAmount, format_amount, parse_amount


class NewAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`external_id`: what the platform calls the player; creating it again gives the same account."""

    external_id: Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=200)]
    metadata: Metadata = {}
    #: Who referred the player; taken when the account is created, and refused when there is no such code.
    referral_code: ReferralCode | None = None


class NewAccountView(PlayerView, frozen=True, kw_only=True):
    """`referral_code`: the account's own. `referred_by`: the account that referred it."""

    referral_code: str
    referred_by: str | None


class AccountPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out, or null, stays as it is. `limits` and `metadata` are replaced as a whole.

    `limits`: withdrawal limits by asset, instead of the settings' for all accounts. `allow_list`: withdrawals go
    only to the account's allowed addresses.
    """

    status: Status | None = None
    kyc_level: Annotated[int, Meta(ge=0, le=10)] | None = None
    limits: OwnLimits | None = None
    allow_list: bool | None = None
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


class BalanceView(msgspec.Struct, frozen=True):
    """`playable` may be bet; `withdrawable` may leave; `debt` is what a reorg took beyond what was there."""

    asset: str
    total: str
    playable: str
    withdrawable: str
    unfinalized: str
    held: str
    debt: str


class StatementQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    asset: Text | None = None


class StatementLine(msgspec.Struct, frozen=True):
    """One posting: what it changed, signed, and the balance that it left. `source` names what caused it."""

    id: str
    created_at: datetime
    kind: PostingKind
    asset: str
    total_change: str
    held_change: str
    unfinalized_change: str
    balance: BalanceView
    reference: str | None
    source: str


async def create_account(call: Call[NoQuery, NewAccount], conn: Connection) -> Reply | Problem:
    new = call.body
    player, created = await create_player(
        conn, call.services.new_id(), new.external_id, new.metadata, call.now
    )
    own, referred_by = await sign_up(call, conn, player.id, new.referral_code if created else None)
    view = msgspec.structs.asdict(player_view(player))
    return Reply(NewAccountView(**view, referral_code=own, referred_by=referred_by), 201 if created else 200)


async def list_accounts(call: Call[AccountsQuery, None], conn: Connection) -> Reply | Problem:
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    players = await list_players(
        conn, limit=limit + 1, before=uuid_cursor(call.query), status=call.query.status
    )
    return Reply(page(players, limit, lambda player: player.id, player_view))


async def get_account(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    return Reply(player_view(await _player(call, conn)))


async def update_account(call: Call[NoQuery, AccountPatch], conn: Connection) -> Reply | Problem:
    patch = call.body
    player = await patch_player(
        conn,
        call.path_id(Kind.ACCOUNT),
        status=patch.status,
        kyc_level=patch.kyc_level,
        limits=_checked(call, patch.limits),
        allow_list=patch.allow_list,
        metadata=patch.metadata,
        now=call.now,
    )
    if player is None:
        raise not_found()
    return Reply(player_view(player))


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
    player = await _player(call, conn)
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


async def list_balances(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    player = await _player(call, conn)
    found = await owner_balances(conn, "player", player.id)
    decimals = call.services.decimals
    return Reply([balance_view(item.asset, item.balance, decimals[item.asset]) for item in found])


async def list_statement(call: Call[StatementQuery, None], conn: Connection) -> Reply | Problem:
    player, decimals = await _player(call, conn), call.services.decimals
    found = await statement(
        conn,
        "player",
        player.id,
        limit=page_size(call.query, call.services.settings.api.page_size_max),
        before=position_cursor(call.query),
        asset=call.query.asset,
    )
    lines = [_line(line, decimals[line.asset]) for line in found.lines]
    return Reply(Page(lines, None if found.next_before is None else encode_cursor(found.next_before)))


async def _player(call: Call[object, object], conn: Connection) -> Player:
    player = await read_player(conn, call.path_id(Kind.ACCOUNT))
    if player is None:
        raise not_found()
    return player


def balance_view(asset: str, balance: Balance, decimals: int) -> BalanceView:
    return BalanceView(
        asset=asset,
        total=format_amount(balance.total, decimals),
        playable=format_amount(balance.playable, decimals),
        withdrawable=format_amount(balance.withdrawable, decimals),
        unfinalized=format_amount(balance.unfinalized, decimals),
        held=format_amount(balance.held, decimals),
        debt=format_amount(balance.debt, decimals),
    )


def _line(line: Line, decimals: int) -> StatementLine:
    return StatementLine(
        id=f"ln_{line.id}",
        created_at=line.created_at,
        kind=line.kind,
        asset=line.asset,
        total_change=format_amount(line.change.total, decimals),
        held_change=format_amount(line.change.held, decimals),
        unfinalized_change=format_amount(line.change.unfinalized, decimals),
        balance=balance_view(line.asset, line.after, decimals),
        reference=line.reference,
        source=line.key,
    )


AccountPage = Page[PlayerView]
StatementPage = Page[StatementLine]
