"""The table of the referrals' calls. Part of `routes`."""

from cryptowatch.api import referrals
from cryptowatch.api.calls import PageQuery, Route
from cryptowatch.api.keys import Scope
from cryptowatch.referrals.codes import CodeView
from cryptowatch.referrals.programmes import ProgrammeView
from cryptowatch.referrals.reports import CostView, LeaderView, ReferrerView, SummaryView
from cryptowatch.referrals.view import ReferralView, RewardView

_REFERRALS = "/v1/referrals"
_PROGRAMMES = _REFERRALS + "/programmes"
_PROGRAMME = _PROGRAMMES + "/{programme_id}"
_CODES = _REFERRALS + "/codes"
_REWARDS = _REFERRALS + "/rewards"
_REWARD = _REWARDS + "/{reward_id}"

_PROGRAMME_ROUTES = (
    Route(
        "POST",
        _PROGRAMMES,
        Scope.ADMIN,
        "Create a referral programme",
        referrals.create_programme,
        ProgrammeView,
        body=referrals.NewProgramme,
        status=201,
        codes=("invalid_terms", "name_taken"),
    ),
    Route(
        "GET",
        _PROGRAMMES,
        Scope.READ,
        "List referral programmes, newest first",
        referrals.list_programmes,
        referrals.ProgrammePage,
        query=PageQuery,
        codes=("invalid_cursor",),
    ),
    Route("GET", _PROGRAMME, Scope.READ, "Get a referral programme", referrals.get_programme, ProgrammeView),
    Route(
        "PATCH",
        _PROGRAMME,
        Scope.ADMIN,
        "Change a referral programme for new referrals, pause or close it",
        referrals.update_programme,
        ProgrammeView,
        body=referrals.ProgrammePatch,
        codes=("invalid_terms",),
    ),
    Route(
        "GET",
        _PROGRAMME + "/cost",
        Scope.READ,
        "Show what a programme costs, by asset",
        referrals.get_programme_cost,
        list[CostView],
    ),
    Route(
        "GET",
        _PROGRAMME + "/leaderboard",
        Scope.READ,
        "List who was paid most of an asset",
        referrals.get_leaderboard,
        list[LeaderView],
        query=referrals.LeaderboardQuery,
        codes=("unknown_asset",),
    ),
)

_REFERRAL_ROUTES = (
    Route(
        "GET",
        _REFERRALS + "/leaderboard",
        Scope.READ,
        "List whose own referrals qualified most often",
        referrals.list_best_referrers,
        list[ReferrerView],
        query=referrals.ReferrersQuery,
    ),
    Route(
        "POST",
        _REFERRALS,
        Scope.ACCOUNTS,
        "Enter a referral code for an account, within the programme's window after its sign-up",
        referrals.create_referral,
        ReferralView,
        body=referrals.NewReferral,
        status=201,
        codes=(
            "unknown_account",
            "unknown_referral_code",
            "own_referral_code",
            "already_referred",
            "referral_window_over",
        ),
    ),
    Route(
        "GET",
        _REFERRALS,
        Scope.READ,
        "List whom an account referred itself, newest accounts first",
        referrals.list_referrals,
        referrals.ReferralPage,
        query=referrals.ReferralsQuery,
        codes=("invalid_cursor",),
    ),
    Route(
        "GET",
        _REFERRALS + "/accounts/{account_id}",
        Scope.READ,
        "Show an account's referral, its counts by level and what it earned",
        referrals.get_referral_summary,
        SummaryView,
    ),
    Route(
        "POST",
        _CODES,
        Scope.ACCOUNTS,
        "Give an account a referral code of its choice",
        referrals.create_code,
        CodeView,
        body=referrals.NewCode,
        status=201,
        codes=("unknown_account", "unknown_programme", "invalid_code", "code_taken", "too_many_codes"),
    ),
    Route(
        "GET",
        _CODES,
        Scope.READ,
        "List an account's referral codes, oldest first",
        referrals.list_codes,
        list[CodeView],
        query=referrals.CodesQuery,
    ),
    Route(
        "DELETE",
        _CODES + "/{code}",
        Scope.ACCOUNTS,
        "Let a referral code refer nobody any more",
        referrals.delete_code,
        None,
        status=204,
    ),
)

_REWARD_ROUTES = (
    Route(
        "GET",
        _REWARDS,
        Scope.READ,
        "List rewards, newest first",
        referrals.list_rewards,
        referrals.RewardPage,
        query=referrals.RewardsQuery,
        codes=("invalid_cursor",),
    ),
    Route("GET", _REWARD, Scope.READ, "Get a reward", referrals.get_reward, RewardView),
    Route(
        "POST",
        _REWARD + "/approve",
        Scope.APPROVALS,
        "Approve a flagged reward",
        referrals.approve_reward,
        RewardView,
        body=referrals.Review,
        codes=("wrong_state",),
        idempotent=True,
    ),
    Route(
        "POST",
        _REWARD + "/reject",
        Scope.APPROVALS,
        "Reject a reward that is not paid yet",
        referrals.reject_reward,
        RewardView,
        body=referrals.Review,
        codes=("wrong_state",),
        idempotent=True,
    ),
)

REFERRALS: tuple[Route, ...] = (*_PROGRAMME_ROUTES, *_REFERRAL_ROUTES, *_REWARD_ROUTES)
