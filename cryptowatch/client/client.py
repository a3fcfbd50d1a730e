"""One method for each call that a platform's backend makes, in the API's own types. Made by `connect`.

Calls that move money take the platform's own `idempotency_key`: the same key is the same effect, however often it is
sent, also by another process after a crash.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp

from cryptowatch.accounts.players import PlayerView
from cryptowatch.agents.hierarchy import AgentView, PlanView
from cryptowatch.agents.listing import StatementView
from cryptowatch.api.accounts import (
    AccountPatch,
    AddressRequest,
    AddressView,
    BalanceView,
    NewAccount,
    NewAccountView,
)
from cryptowatch.api.agents import AgentRequest, NewPlan, StatementsQuery
from cryptowatch.api.calls import Page
from cryptowatch.api.chains import ChainView
from cryptowatch.api.deposits import DepositsQuery, Empty
from cryptowatch.api.endpoints import NewEndpoint
from cryptowatch.api.events import EventsQuery
from cryptowatch.api.live import LAST_ID_HEADER, StreamQuery
from cryptowatch.api.profiles import RatesRequest, RatesView
from cryptowatch.api.referrals import NewProgramme, RewardsQuery
from cryptowatch.api.transfers import BatchRequest, BatchView, RoundView, TransferRequest, TransferView
from cryptowatch.api.withdrawals import Decision, WithdrawalRequest, WithdrawalsQuery
from cryptowatch.client.agents import Agents
from cryptowatch.client.compliance import Compliance
from cryptowatch.client.paging import pages
from cryptowatch.client.players import Players
from cryptowatch.client.referrals import Referrals
from cryptowatch.client.sse import Reader
from cryptowatch.client.transport import ApiProblem, Patience, Transport, query_parameters, read_problem
from cryptowatch.client.treasury import Treasury
from cryptowatch.client.webhooks import Webhooks
from cryptowatch.deposits.view import DepositView
from cryptowatch.ledger.payload import EventView
from cryptowatch.payouts.view import WithdrawalView
from cryptowatch.referrals.programmes import ProgrammeView
from cryptowatch.referrals.view import RewardView
from cryptowatch.webhooks.endpoints import EndpointSecretView

#: A stream shows life every 15 s, if nobody has set it otherwise.
_SILENCE_S = 60.0


@asynccontextmanager
async def connect(
    url: str, key: str, *, timeout_s: float = 35, patience: Patience | None = None
) -> AsyncIterator["Client"]:
    """`timeout_s`: of one try; a little more than the API's own `request_timeout_s`."""
    async with aiohttp.ClientSession(
        url, headers={"Authorization": f"Bearer {key}"}, timeout=aiohttp.ClientTimeout(total=timeout_s)
    ) as session:
        yield Client(Transport(session, patience or Patience()))


@dataclass(frozen=True, slots=True)
class Client:
    """Every method raises ApiProblem and OutcomeUnknown (`transport`).

    What is here is a platform's day; the rest is in `players`, `referrals`, `agents`, `compliance`, `treasury` and
    `webhooks`, by the names of the OpenAPI document's operations.
    """

    transport: Transport

    @property
    def players(self) -> Players:
        return Players(self.transport)

    @property
    def referrals(self) -> Referrals:
        return Referrals(self.transport)

    @property
    def agents(self) -> Agents:
        return Agents(self.transport)

    @property
    def compliance(self) -> Compliance:
        return Compliance(self.transport)

    @property
    def treasury(self) -> Treasury:
        return Treasury(self.transport)

    @property
    def webhooks(self) -> Webhooks:
        return Webhooks(self.transport)

    async def create_account(self, new: NewAccount) -> NewAccountView:
        """The account, also if its external id is known already."""
        return await self.transport.send("POST", "/v1/accounts", NewAccountView, body=new, repeatable=True)

    async def get_account(self, account_id: str) -> PlayerView:
        return await self.transport.send("GET", f"/v1/accounts/{account_id}", PlayerView)

    async def update_account(self, account_id: str, patch: AccountPatch) -> PlayerView:
        path = f"/v1/accounts/{account_id}"
        return await self.transport.send("PATCH", path, PlayerView, body=patch, repeatable=True)

    async def list_balances(self, account_id: str) -> list[BalanceView]:
        return await self.transport.send("GET", f"/v1/accounts/{account_id}/balances", list[BalanceView])

    async def create_address(self, account_id: str, asked: AddressRequest) -> AddressView:
        """Not repeated by itself: each call may take a new address."""
        return await self.transport.send(
            "POST", f"/v1/accounts/{account_id}/addresses", AddressView, body=asked, repeatable=asked.reuse
        )

    async def create_transfer(self, transfer: TransferRequest, *, idempotency_key: str) -> TransferView:
        return await self.transport.send(
            "POST", "/v1/transfers", TransferView, body=transfer, idempotency_key=idempotency_key
        )

    async def create_transfer_batch(self, batch: BatchRequest) -> BatchView:
        """Each transfer has a key of its own, so that the whole may be sent again."""
        return await self.transport.send(
            "POST", "/v1/transfers/batch", BatchView, body=batch, repeatable=True
        )

    async def get_deposit(self, deposit_id: str) -> DepositView:
        return await self.transport.send("GET", f"/v1/deposits/{deposit_id}", DepositView)

    def list_all_deposits(self, query: DepositsQuery = DepositsQuery()) -> AsyncIterator[DepositView]:  # noqa: B008
        """Newest first, page by page."""
        return pages(self.transport, "/v1/deposits", query, Page[DepositView])

    async def create_withdrawal(self, asked: WithdrawalRequest, *, idempotency_key: str) -> WithdrawalView:
        return await self.transport.send(
            "POST", "/v1/withdrawals", WithdrawalView, body=asked, idempotency_key=idempotency_key
        )

    async def get_withdrawal(self, withdrawal_id: str) -> WithdrawalView:
        return await self.transport.send("GET", f"/v1/withdrawals/{withdrawal_id}", WithdrawalView)

    def list_all_withdrawals(
        self,
        query: WithdrawalsQuery = WithdrawalsQuery(),  # noqa: B008
    ) -> AsyncIterator[WithdrawalView]:
        """Newest first, page by page."""
        return pages(self.transport, "/v1/withdrawals", query, Page[WithdrawalView])

    async def approve_withdrawal(
        self, withdrawal_id: str, decision: Decision, *, idempotency_key: str
    ) -> WithdrawalView:
        return await self._decide(withdrawal_id, "approve", decision, idempotency_key)

    async def reject_withdrawal(
        self, withdrawal_id: str, decision: Decision, *, idempotency_key: str
    ) -> WithdrawalView:
        return await self._decide(withdrawal_id, "reject", decision, idempotency_key)

    async def cancel_withdrawal(
        self, withdrawal_id: str, decision: Decision, *, idempotency_key: str
    ) -> WithdrawalView:
        return await self._decide(withdrawal_id, "cancel", decision, idempotency_key)

    async def set_rates(self, asked: RatesRequest) -> RatesView:
        return await self.transport.send("PUT", "/v1/rates", RatesView, body=asked, repeatable=True)

    async def get_rates(self) -> RatesView:
        return await self.transport.send("GET", "/v1/rates", RatesView)

    async def get_round(self, round_: str) -> RoundView:
        return await self.transport.send("GET", f"/v1/rounds/{quote(round_, safe='')}", RoundView)

    async def release_quarantined(self, deposit_id: str, *, idempotency_key: str) -> DepositView:
        path = f"/v1/deposits/{deposit_id}/release"
        return await self.transport.send(
            "POST", path, DepositView, body=Empty(), idempotency_key=idempotency_key
        )

    async def list_chains(self) -> list[ChainView]:
        return await self.transport.send("GET", "/v1/chains", list[ChainView])

    async def create_programme(self, new: NewProgramme) -> ProgrammeView:
        return await self.transport.send("POST", "/v1/referrals/programmes", ProgrammeView, body=new)

    def list_rewards(self, query: RewardsQuery = RewardsQuery()) -> AsyncIterator[RewardView]:  # noqa: B008
        """Newest first, page by page."""
        return pages(self.transport, "/v1/referrals/rewards", query, Page[RewardView])

    async def create_plan(self, new: NewPlan) -> PlanView:
        return await self.transport.send("POST", "/v1/commission-plans", PlanView, body=new)

    async def create_agent(self, new: AgentRequest) -> AgentView:
        return await self.transport.send("POST", "/v1/agents", AgentView, body=new)

    def list_agent_statements(
        self,
        query: StatementsQuery = StatementsQuery(),  # noqa: B008
    ) -> AsyncIterator[StatementView]:
        """Newest first, page by page."""
        return pages(self.transport, "/v1/agent-statements", query, Page[StatementView])

    async def create_endpoint(self, new: NewEndpoint) -> EndpointSecretView:
        return await self.transport.send("POST", "/v1/webhook-endpoints", EndpointSecretView, body=new)

    def list_events(self, query: EventsQuery = EventsQuery()) -> AsyncIterator[EventView]:  # noqa: B008
        """Oldest first, page by page, to the log's end of now."""
        return pages(self.transport, "/v1/events", query, Page[EventView])

    async def stream_events(self, query: StreamQuery = StreamQuery()) -> AsyncIterator[EventView]:  # noqa: B008
        """The events as they happen, without end: a stream that breaks off or ends goes on after the last event seen.

        Raises ApiProblem when the API refuses the stream, for a key that was revoked, for one.
        """
        reader, failures = Reader(None if query.after is None else str(query.after)), 0
        while True:
            try:
                async for event in self._stream(reader, query):
                    failures = 0
                    yield event
            except ApiProblem as refused:
                if refused.status < 500 and refused.status != 429:
                    raise
                failures += 1
            except (aiohttp.ClientError, TimeoutError, OSError):
                failures += 1
            await self.transport.sleep(self.transport.patience.before(failures + 2))

    async def _stream(self, reader: Reader, query: StreamQuery) -> AsyncIterator[EventView]:
        headers = {} if reader.last_id is None else {LAST_ID_HEADER: reader.last_id}
        async with self.transport.session.get(
            "/v1/events/stream",
            params=query_parameters(query),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_read=_SILENCE_S),
        ) as response:
            if response.status != 200:
                raise ApiProblem(read_problem(await response.read(), response.status))
            while line := await response.content.readline():
                event = reader.line(line)
                if event is not None:
                    yield event

    async def _decide(
        self, withdrawal_id: str, what: str, decision: Decision, idempotency_key: str
    ) -> WithdrawalView:
        path = f"/v1/withdrawals/{withdrawal_id}/{what}"
        return await self.transport.send(
            "POST", path, WithdrawalView, body=decision, idempotency_key=idempotency_key
        )
