"""Agents, their plans, players and statements. Opened as `Client.agents`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from cryptowatch.agents.hierarchy import AgentPlayerView, AgentView, PlanView
from cryptowatch.agents.listing import StatementLineView, StatementView
from cryptowatch.api.agents import (
    AccruedView,
    AgentChange,
    AgentsQuery,
    AssignRequest,
    Decision,
    Dismissal,
    KeyRequest,
    NewKeyView,
)
from cryptowatch.api.calls import Page, PageQuery
from cryptowatch.client.paging import pages
from cryptowatch.client.transport import Transport


@dataclass(frozen=True, slots=True)
class Agents:
    """Every method raises ApiProblem and OutcomeUnknown (`transport`)."""

    transport: Transport

    def list_plans(self, query: PageQuery = PageQuery()) -> AsyncIterator[PlanView]:  # noqa: B008
        """Newest first, page by page."""
        return pages(self.transport, "/v1/commission-plans", query, Page[PlanView])

    async def get_plan(self, plan_id: str) -> PlanView:
        return await self.transport.send("GET", f"/v1/commission-plans/{plan_id}", PlanView)

    def list_agents(self, query: AgentsQuery = AgentsQuery()) -> AsyncIterator[AgentView]:  # noqa: B008
        """Newest first, page by page."""
        return pages(self.transport, "/v1/agents", query, Page[AgentView])

    async def get_agent(self, agent_id: str) -> AgentView:
        return await self.transport.send("GET", f"/v1/agents/{agent_id}", AgentView)

    async def update_agent(self, agent_id: str, asked: AgentChange) -> AgentView:
        return await self.transport.send(
            "PATCH", f"/v1/agents/{agent_id}", AgentView, body=asked, repeatable=True
        )

    async def create_agent_key(self, agent_id: str, asked: KeyRequest) -> NewKeyView:
        return await self.transport.send("POST", f"/v1/agents/{agent_id}/keys", NewKeyView, body=asked)

    def list_agent_players(
        self,
        agent_id: str,
        query: PageQuery = PageQuery(),  # noqa: B008
    ) -> AsyncIterator[AgentPlayerView]:
        """Newest first, page by page."""
        return pages(self.transport, f"/v1/agents/{agent_id}/players", query, Page[AgentPlayerView])

    async def assign_player(self, agent_id: str, asked: AssignRequest) -> AgentPlayerView:
        return await self.transport.send(
            "POST", f"/v1/agents/{agent_id}/players", AgentPlayerView, body=asked
        )

    async def get_accrued(self, agent_id: str) -> AccruedView:
        return await self.transport.send("GET", f"/v1/agents/{agent_id}/accrued", AccruedView)

    async def get_agent_statement(self, statement_id: str) -> StatementView:
        return await self.transport.send("GET", f"/v1/agent-statements/{statement_id}", StatementView)

    def list_statement_lines(
        self,
        statement_id: str,
        query: PageQuery = PageQuery(),  # noqa: B008
    ) -> AsyncIterator[StatementLineView]:
        """Page by page."""
        return pages(
            self.transport, f"/v1/agent-statements/{statement_id}/lines", query, Page[StatementLineView]
        )

    async def pay_agent_statement(
        self, statement_id: str, asked: Decision, *, idempotency_key: str
    ) -> StatementView:
        return await self.transport.send(
            "POST",
            f"/v1/agent-statements/{statement_id}/pay",
            StatementView,
            body=asked,
            idempotency_key=idempotency_key,
        )

    async def reject_agent_statement(
        self, statement_id: str, asked: Decision, *, idempotency_key: str
    ) -> StatementView:
        return await self.transport.send(
            "POST",
            f"/v1/agent-statements/{statement_id}/reject",
            StatementView,
            body=asked,
            idempotency_key=idempotency_key,
        )

    async def dismiss_statement_flag(self, statement_id: str, asked: Dismissal) -> StatementView:
        return await self.transport.send(
            "POST", f"/v1/agent-statements/{statement_id}/dismiss-flag", StatementView, body=asked
        )
