"""Programmes, codes, referrals and rewards. Opened as `Client.referrals`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

from cryptowatch.api.calls import Page, PageQuery
from cryptowatch.api.referrals import (
    CodesQuery,
    LeaderboardQuery,
    NewCode,
    NewReferral,
    ProgrammePatch,
    ReferralsQuery,
    ReferrersQuery,
    Review,
)
from cryptowatch.client.paging import pages
from cryptowatch.client.transport import Transport
from cryptowatch.referrals.codes import CodeView
from cryptowatch.referrals.programmes import ProgrammeView
from cryptowatch.referrals.reports import CostView, LeaderView, ReferrerView, SummaryView
from cryptowatch.referrals.view import ReferralView, RewardView


@dataclass(frozen=True, slots=True)
class Referrals:
    """Every method raises ApiProblem and OutcomeUnknown (`transport`)."""

    transport: Transport

    def list_programmes(self, query: PageQuery = PageQuery()) -> AsyncIterator[ProgrammeView]:  # noqa: B008
        """Newest first, page by page."""
        return pages(self.transport, "/v1/referrals/programmes", query, Page[ProgrammeView])

    async def get_programme(self, programme_id: str) -> ProgrammeView:
        return await self.transport.send("GET", f"/v1/referrals/programmes/{programme_id}", ProgrammeView)

    async def update_programme(self, programme_id: str, asked: ProgrammePatch) -> ProgrammeView:
        return await self.transport.send(
            "PATCH", f"/v1/referrals/programmes/{programme_id}", ProgrammeView, body=asked, repeatable=True
        )

    async def get_programme_cost(self, programme_id: str) -> list[CostView]:
        return await self.transport.send(
            "GET", f"/v1/referrals/programmes/{programme_id}/cost", list[CostView]
        )

    async def get_leaderboard(self, programme_id: str, query: LeaderboardQuery) -> list[LeaderView]:
        return await self.transport.send(
            "GET", f"/v1/referrals/programmes/{programme_id}/leaderboard", list[LeaderView], query=query
        )

    async def list_best_referrers(self, query: ReferrersQuery = ReferrersQuery()) -> list[ReferrerView]:  # noqa: B008
        return await self.transport.send("GET", "/v1/referrals/leaderboard", list[ReferrerView], query=query)

    async def create_referral(self, asked: NewReferral) -> ReferralView:
        return await self.transport.send("POST", "/v1/referrals", ReferralView, body=asked)

    def list_referrals(self, query: ReferralsQuery) -> AsyncIterator[ReferralView]:
        """Newest first, page by page."""
        return pages(self.transport, "/v1/referrals", query, Page[ReferralView])

    async def get_referral_summary(self, account_id: str) -> SummaryView:
        return await self.transport.send("GET", f"/v1/referrals/accounts/{account_id}", SummaryView)

    async def create_code(self, asked: NewCode) -> CodeView:
        return await self.transport.send("POST", "/v1/referrals/codes", CodeView, body=asked)

    async def list_codes(self, query: CodesQuery) -> list[CodeView]:
        return await self.transport.send("GET", "/v1/referrals/codes", list[CodeView], query=query)

    async def delete_code(self, code: str) -> None:
        await self.transport.call("DELETE", f"/v1/referrals/codes/{quote(code, safe='')}")

    async def get_reward(self, reward_id: str) -> RewardView:
        return await self.transport.send("GET", f"/v1/referrals/rewards/{reward_id}", RewardView)

    async def approve_reward(self, reward_id: str, asked: Review, *, idempotency_key: str) -> RewardView:
        return await self.transport.send(
            "POST",
            f"/v1/referrals/rewards/{reward_id}/approve",
            RewardView,
            body=asked,
            idempotency_key=idempotency_key,
        )

    async def reject_reward(self, reward_id: str, asked: Review, *, idempotency_key: str) -> RewardView:
        return await self.transport.send(
            "POST",
            f"/v1/referrals/rewards/{reward_id}/reject",
            RewardView,
            body=asked,
            idempotency_key=idempotency_key,
        )
