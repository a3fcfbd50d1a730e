"""`/v1/referrals`: programmes, codes, who was referred, rewards and their review, reports."""

from typing import Annotated, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from cryptowatch.accounts.players import Player, read_player
from cryptowatch.api.calls import TEXT, Call, Id, NoQuery, Page, PageQuery, Reply, Text, body_id, not_found
from cryptowatch.api.paging import page, page_size, uuid_cursor
from cryptowatch.api.problems import Problem, refuse
from cryptowatch.db.pool import Connection
from cryptowatch.ids import Kind, show_id
from cryptowatch.referrals import attribution, codes, programmes, reports, reviews, spelling
from cryptowatch.referrals.attribution import Bounds, Newcomer
from cryptowatch.referrals.machine import Event, State
from cryptowatch.referrals.programmes import ProgrammeState, ProgrammeView
from cryptowatch.referrals.refusal import Refusal
from cryptowatch.referrals.terms import InvalidTerms, Terms, read_terms
from cryptowatch.referrals.view import ReferralView, RewardView, decimals_of, referral_view, reward_view
from cryptowatch.settings import Settings

Answer = TypeVar("Answer")

ProgrammePage = Page[ProgrammeView]
ReferralPage = Page[ReferralView]
RewardPage = Page[RewardView]

#: Read as it is meant: lower case, hyphens, O for 0, I and L for 1.
ReferralCode = Annotated[str, Meta(pattern=spelling.PATTERN, max_length=24)]


class NewProgramme(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`is_default`: codes without a programme of their own refer under it, instead of under another one."""

    name: Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=100)]
    terms: Terms
    is_default: bool = False


class ProgrammePatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out, or null, stays as it is. New terms are for new referrals; others keep theirs.

    `state`: a paused programme refers nobody and pays nothing meanwhile; a closed one refers nobody any more.
    """

    state: ProgrammeState | None = None
    is_default: bool | None = None
    terms: Terms | None = None


class NewReferral(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account_id: Id
    code: ReferralCode


class NewCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code of the account's own choice. Without `programme_id` it refers under the default programme."""

    account_id: Id
    code: ReferralCode
    programme_id: Id | None = None


class ReferralsQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whom `referrer_id` referred directly."""

    referrer_id: Id


class RewardsQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`state=flagged`: what waits for a person. `account_id`: who earned it."""

    account_id: Id | None = None
    state: Literal["held", "flagged", "paid", "rejected", "reversed"] | None = None


class ReferrersQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class LeaderboardQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    asset: Text
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class CodesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account_id: Id


class Review(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why, for the record: shown as the reward's `reason`."""

    reason: Annotated[str, Meta(pattern=TEXT, max_length=500)] | None = None


async def sign_up(
    call: Call[object, object], conn: Connection, account_id: UUID, code: str | None
) -> tuple[str, str | None]:
    """An account's own code, and who referred it: by this code, where it is new. Raises Refused for no such code."""
    own = await codes.own_code(conn, account_id, call.services.random_bytes, call.now)
    if code is not None:
        _done(await _attributed(call, conn, Newcomer(account_id, None), code))
    referrer = await attribution.referrer_of(conn, account_id)
    return own, None if referrer is None else show_id(Kind.ACCOUNT, referrer)


async def create_referral(call: Call[NoQuery, NewReferral], conn: Connection) -> Reply | Problem:
    player = await _player(conn, body_id(Kind.ACCOUNT, call.body.account_id, "unknown_account"))
    newcomer = Newcomer(player.id, player.created_at)
    return Reply(_done(await _attributed(call, conn, newcomer, call.body.code)))


async def list_referrals(call: Call[ReferralsQuery, None], conn: Connection) -> Reply | Problem:
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    referrer_id = body_id(Kind.ACCOUNT, call.query.referrer_id, "invalid_request")
    rows = await reports.list_referrals(conn, referrer_id, limit=limit + 1, before=uuid_cursor(call.query))
    return Reply(page(rows, limit, lambda row: row["account_id"], referral_view))


async def get_referral_summary(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    account_id = call.path_id(Kind.ACCOUNT)
    if await read_player(conn, account_id) is None:
        raise not_found()
    return Reply(await reports.summary(conn, account_id, call.services.decimals))


async def create_programme(call: Call[NoQuery, NewProgramme], conn: Connection) -> Reply | Problem:
    new = call.body
    given = _given(call, new.terms)
    programme_id = call.services.new_id(call.now)
    return Reply(
        _done(
            await programmes.create_programme(
                conn, programme_id, new.name, given, is_default=new.is_default, now=call.now
            )
        )
    )


async def update_programme(call: Call[NoQuery, ProgrammePatch], conn: Connection) -> Reply | Problem:
    patch = call.body
    given = None if patch.terms is None else _given(call, patch.terms)
    change = programmes.Change(patch.state, patch.is_default, given)
    view = await programmes.change_programme(conn, call.path_id(Kind.PROGRAMME), change, call.now)
    if view is None:
        raise not_found()
    return Reply(view)


async def get_programme(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    return Reply(await _programme(call, conn))


async def list_programmes(call: Call[PageQuery, None], conn: Connection) -> Reply | Problem:
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    found = await programmes.list_programmes(conn, limit=limit + 1, before=uuid_cursor(call.query))
    return Reply(page(found, limit, lambda pair: pair[0], lambda pair: pair[1]))


async def get_programme_cost(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    await _programme(call, conn)
    programme_id = call.path_id(Kind.PROGRAMME)
    return Reply(await reports.programme_cost(conn, programme_id, call.services.decimals))


async def get_leaderboard(call: Call[LeaderboardQuery, None], conn: Connection) -> Reply | Problem:
    await _programme(call, conn)
    decimals = await reports.known_decimals(conn, call.query.asset, call.services.decimals)
    if decimals is None:
        raise refuse("unknown_asset", "no such asset")
    limit = min(call.query.limit, call.services.settings.api.page_size_max)
    programme_id = call.path_id(Kind.PROGRAMME)
    return Reply(await reports.leaderboard(conn, programme_id, call.query.asset, decimals, limit))


async def list_best_referrers(call: Call[ReferrersQuery, None], conn: Connection) -> Reply | Problem:
    limit = min(call.query.limit, call.services.settings.api.page_size_max)
    return Reply(await reports.best_referrers(conn, limit))


async def create_code(call: Call[NoQuery, NewCode], conn: Connection) -> Reply | Problem:
    new, own = call.body, call.services.settings.referrals
    player = await _player(conn, body_id(Kind.ACCOUNT, new.account_id, "unknown_account"))
    programme_id = None
    if new.programme_id is not None:
        programme_id = body_id(Kind.PROGRAMME, new.programme_id, "unknown_programme")
    chosen = await codes.choose_code(
        conn,
        player.id,
        new.code,
        programme_id,
        reserved=own.reserved_codes,
        count_max=own.codes_per_account_max,
        now=call.now,
    )
    return Reply(_done(chosen))


async def list_codes(call: Call[CodesQuery, None], conn: Connection) -> Reply | Problem:
    account_id = body_id(Kind.ACCOUNT, call.query.account_id, "invalid_request")
    return Reply(list(await codes.list_codes(conn, account_id)))


async def delete_code(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    if not await codes.disable_code(conn, call.path["code"], call.now):
        raise not_found()
    return Reply(None)


async def list_rewards(call: Call[RewardsQuery, None], conn: Connection) -> Reply | Problem:
    query, decimals = call.query, call.services.decimals
    limit = page_size(query, call.services.settings.api.page_size_max)
    referrer_id = None
    if query.account_id is not None:
        referrer_id = body_id(Kind.ACCOUNT, query.account_id, "invalid_request")
    wanted = reports.Filter(referrer_id, None if query.state is None else State(query.state))
    rows = await reports.list_rewards(conn, wanted, limit=limit + 1, before=uuid_cursor(query))
    return Reply(
        page(rows, limit, lambda row: row["id"], lambda row: reward_view(row, decimals_of(row, decimals)))
    )


async def get_reward(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    row = await reports.read_reward(conn, call.path_id(Kind.REWARD))
    if row is None:
        raise not_found()
    return Reply(reward_view(row, decimals_of(row, call.services.decimals)))


async def approve_reward(call: Call[NoQuery, Review], conn: Connection) -> Reply | Problem:
    return await _review(call, conn, Event.APPROVE)


async def reject_reward(call: Call[NoQuery, Review], conn: Connection) -> Reply | Problem:
    return await _review(call, conn, Event.REJECT)


async def _review(
    call: Call[NoQuery, Review], conn: Connection, event: Literal[Event.APPROVE, Event.REJECT]
) -> Reply | Problem:
    answer = await reviews.review(
        conn,
        call.path_id(Kind.REWARD),
        event,
        by=call.caller.shown_id,
        reason=call.body.reason,
        decimals=call.services.decimals,
        now=call.now,
    )
    if answer is None:
        raise not_found()
    return Problem(answer.code, answer.detail) if isinstance(answer, Refusal) else Reply(answer)


async def _attributed(
    call: Call[object, object], conn: Connection, newcomer: Newcomer, code: str
) -> ReferralView | Refusal:
    bounds = _bounds(call.services.settings)
    return await attribution.attribute(conn, newcomer, code, bounds, call.now)


def _bounds(settings: Settings) -> Bounds:
    return Bounds(settings.referrals.levels_max, settings.referrals.circle_steps_max)


def _given(call: Call[object, object], terms: Terms) -> programmes.Given:
    """Raises Refused that names what cannot be a programme's terms."""
    try:
        read_terms(terms, call.services.decimals)
    except InvalidTerms as problem:
        raise refuse("invalid_terms", str(problem)) from problem
    return programmes.Given(terms, call.services.decimals)


async def _player(conn: Connection, account_id: UUID) -> Player:
    player = await read_player(conn, account_id)
    if player is None:
        raise refuse("unknown_account", "no such account")
    return player


async def _programme(call: Call[object, object], conn: Connection) -> ProgrammeView:
    view = await programmes.read_programme(conn, call.path_id(Kind.PROGRAMME))
    if view is None:
        raise not_found()
    return view


def _done(answer: Answer | Refusal) -> Answer:
    """Raises Refused: nothing of it stays."""
    if isinstance(answer, Refusal):
        raise refuse(answer.code, answer.detail)
    return answer
