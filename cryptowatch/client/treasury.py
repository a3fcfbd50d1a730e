"""Hot and cold wallets, what a payment costs, chain against books. Opened as `Client.treasury`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from cryptowatch.api.calls import Page
from cryptowatch.api.deposits import Empty
from cryptowatch.api.fees import FeesQuery
from cryptowatch.api.rebalances import NewRebalance, RebalancesQuery, SignedRefill, UnsignedView, WalletView
from cryptowatch.api.reconciliation import ReconciliationView
from cryptowatch.client.paging import pages
from cryptowatch.client.transport import Transport
from cryptowatch.sending.quotes import FeeQuote
from cryptowatch.treasury.rebalances import RebalanceView


@dataclass(frozen=True, slots=True)
class Treasury:
    """Every method raises ApiProblem and OutcomeUnknown (`transport`)."""

    transport: Transport

    async def list_wallets(self) -> list[WalletView]:
        return await self.transport.send("GET", "/v1/wallets", list[WalletView])

    async def create_rebalance(self, asked: NewRebalance, *, idempotency_key: str) -> RebalanceView:
        return await self.transport.send(
            "POST", "/v1/rebalances", RebalanceView, body=asked, idempotency_key=idempotency_key
        )

    def list_all_rebalances(self, query: RebalancesQuery = RebalancesQuery()) -> AsyncIterator[RebalanceView]:  # noqa: B008
        """Newest first, page by page."""
        return pages(self.transport, "/v1/rebalances", query, Page[RebalanceView])

    async def get_rebalance(self, rebalance_id: str) -> RebalanceView:
        return await self.transport.send("GET", f"/v1/rebalances/{rebalance_id}", RebalanceView)

    async def get_unsigned(self, rebalance_id: str) -> UnsignedView:
        return await self.transport.send("GET", f"/v1/rebalances/{rebalance_id}/unsigned", UnsignedView)

    async def take_signed(
        self, rebalance_id: str, asked: SignedRefill, *, idempotency_key: str
    ) -> RebalanceView:
        return await self.transport.send(
            "POST",
            f"/v1/rebalances/{rebalance_id}/signed",
            RebalanceView,
            body=asked,
            idempotency_key=idempotency_key,
        )

    async def cancel_rebalance(self, rebalance_id: str, *, idempotency_key: str) -> RebalanceView:
        return await self.transport.send(
            "POST",
            f"/v1/rebalances/{rebalance_id}/cancel",
            RebalanceView,
            body=Empty(),
            idempotency_key=idempotency_key,
        )

    async def show_fees(self, query: FeesQuery) -> FeeQuote:
        return await self.transport.send("GET", "/v1/fees", FeeQuote, query=query)

    async def list_reconciliation(self) -> list[ReconciliationView]:
        return await self.transport.send("GET", "/v1/reconciliation", list[ReconciliationView])
