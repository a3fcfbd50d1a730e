"""Endpoints and their deliveries. Opened as `Client.webhooks`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from cryptowatch.api.calls import Page, PageQuery
from cryptowatch.api.deposits import Empty
from cryptowatch.api.endpoints import DeliveriesQuery, EndpointPatch, Replay, Rotation
from cryptowatch.client.paging import pages
from cryptowatch.client.transport import Transport
from cryptowatch.webhooks.deliveries import DeliveryView
from cryptowatch.webhooks.endpoints import EndpointSecretView, EndpointView


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Every method raises ApiProblem and OutcomeUnknown (`transport`)."""

    transport: Transport

    def list_endpoints(self, query: PageQuery = PageQuery()) -> AsyncIterator[EndpointView]:  # noqa: B008
        """Newest first, page by page."""
        return pages(self.transport, "/v1/webhook-endpoints", query, Page[EndpointView])

    async def get_endpoint(self, endpoint_id: str) -> EndpointView:
        return await self.transport.send("GET", f"/v1/webhook-endpoints/{endpoint_id}", EndpointView)

    async def update_endpoint(self, endpoint_id: str, asked: EndpointPatch) -> EndpointView:
        return await self.transport.send(
            "PATCH", f"/v1/webhook-endpoints/{endpoint_id}", EndpointView, body=asked, repeatable=True
        )

    async def delete_endpoint(self, endpoint_id: str) -> None:
        await self.transport.call("DELETE", f"/v1/webhook-endpoints/{endpoint_id}")

    async def rotate_secret(self, endpoint_id: str, asked: Rotation) -> EndpointSecretView:
        return await self.transport.send(
            "POST", f"/v1/webhook-endpoints/{endpoint_id}/rotate-secret", EndpointSecretView, body=asked
        )

    async def ping_endpoint(self, endpoint_id: str) -> EndpointView:
        return await self.transport.send(
            "POST", f"/v1/webhook-endpoints/{endpoint_id}/ping", EndpointView, body=Empty()
        )

    async def replay_endpoint(self, endpoint_id: str, asked: Replay) -> EndpointView:
        return await self.transport.send(
            "POST", f"/v1/webhook-endpoints/{endpoint_id}/replay", EndpointView, body=asked
        )

    def list_deliveries(
        self,
        endpoint_id: str,
        query: DeliveriesQuery = DeliveriesQuery(),  # noqa: B008
    ) -> AsyncIterator[DeliveryView]:
        """Newest first, page by page."""
        return pages(
            self.transport, f"/v1/webhook-endpoints/{endpoint_id}/deliveries", query, Page[DeliveryView]
        )

    async def retry_delivery(self, endpoint_id: str, delivery_id: str) -> DeliveryView:
        return await self.transport.send(
            "POST",
            f"/v1/webhook-endpoints/{endpoint_id}/deliveries/{delivery_id}/retry",
            DeliveryView,
            body=Empty(),
        )
