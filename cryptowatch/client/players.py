"""Of one account at a time: terms, traits, what it allows, its statement. Opened as `Client.players`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from cryptowatch.accounts.allowed import AllowedAddressView
from cryptowatch.accounts.players import PlayerView
from cryptowatch.accounts.traits import Duplicate
from cryptowatch.api.accounts import AccountsQuery
from cryptowatch.api.allowed import AllowedAddressRequest
from cryptowatch.api.calls import Page
from cryptowatch.api.profiles import TermRequest, TraitsRequest
from cryptowatch.api.statements import StatementLine, StatementQuery
from cryptowatch.client.paging import pages
from cryptowatch.client.transport import Transport


@dataclass(frozen=True, slots=True)
class Players:
    """Every method raises ApiProblem and OutcomeUnknown (`transport`)."""

    transport: Transport

    def list_accounts(self, query: AccountsQuery = AccountsQuery()) -> AsyncIterator[PlayerView]:  # noqa: B008
        """Newest first, page by page."""
        return pages(self.transport, "/v1/accounts", query, Page[PlayerView])

    async def begin_self_exclusion(self, account_id: str, asked: TermRequest) -> PlayerView:
        return await self.transport.send(
            "POST", f"/v1/accounts/{account_id}/self-exclusion", PlayerView, body=asked
        )

    async def begin_cooling_off(self, account_id: str, asked: TermRequest) -> PlayerView:
        return await self.transport.send(
            "POST", f"/v1/accounts/{account_id}/cooling-off", PlayerView, body=asked
        )

    async def report_traits(self, account_id: str, asked: TraitsRequest) -> None:
        await self.transport.call("POST", f"/v1/accounts/{account_id}/traits", body=asked)

    async def list_duplicates(self, account_id: str) -> list[Duplicate]:
        return await self.transport.send("GET", f"/v1/accounts/{account_id}/duplicates", list[Duplicate])

    def list_statement(
        self,
        account_id: str,
        query: StatementQuery = StatementQuery(),  # noqa: B008
    ) -> AsyncIterator[StatementLine]:
        """Newest first, page by page."""
        return pages(self.transport, f"/v1/accounts/{account_id}/statement", query, Page[StatementLine])

    async def create_allowed(self, account_id: str, asked: AllowedAddressRequest) -> AllowedAddressView:
        return await self.transport.send(
            "POST", f"/v1/accounts/{account_id}/allowed-addresses", AllowedAddressView, body=asked
        )

    async def list_all_allowed(self, account_id: str) -> list[AllowedAddressView]:
        return await self.transport.send(
            "GET", f"/v1/accounts/{account_id}/allowed-addresses", list[AllowedAddressView]
        )

    async def delete_allowed(self, account_id: str, allowed_address_id: str) -> None:
        await self.transport.call(
            "DELETE", f"/v1/accounts/{account_id}/allowed-addresses/{allowed_address_id}"
        )
