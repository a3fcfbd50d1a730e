"""The table of the house's calls: its wallets, the event log and webhooks, chains and fees. Part of `routes`."""

from cryptowatch.api import (
    chains,
    deposits,
    endpoints,
    events,
    fees,
    rebalances,
    reconciliation,
)
from cryptowatch.api.calls import PageQuery, Route
from cryptowatch.api.keys import Scope
from cryptowatch.sending.quotes import FeeQuote
from cryptowatch.treasury.rebalances import RebalanceView
from cryptowatch.webhooks.deliveries import DeliveryView
from cryptowatch.webhooks.endpoints import EndpointSecretView, EndpointView

_ACCOUNT = "/v1/accounts/{account_id}"
_REBALANCE = "/v1/rebalances/{rebalance_id}"
_ENDPOINT = "/v1/webhook-endpoints/{endpoint_id}"

_TREASURY = (
    Route(
        "GET",
        "/v1/wallets",
        Scope.READ,
        "Show what is hot, on its way, and cold",
        rebalances.list_wallets,
        list[rebalances.WalletView],
    ),
    Route(
        "POST",
        "/v1/rebalances",
        Scope.TREASURY,
        "Move money between hot and cold",
        rebalances.create_rebalance,
        RebalanceView,
        body=rebalances.NewRebalance,
        status=202,
        codes=(
            "unknown_chain",
            "unknown_asset",
            "no_cold_wallet",
            "invalid_amount",
            "amount_too_precise",
            "amount_below_minimum",
            "limit_exceeded",
            "rebalance_open",
        ),
        idempotent=True,
    ),
    Route(
        "GET",
        "/v1/rebalances",
        Scope.READ,
        "List rebalances, newest first",
        rebalances.list_all_rebalances,
        rebalances.RebalancePage,
        query=rebalances.RebalancesQuery,
        codes=("invalid_cursor",),
    ),
    Route("GET", _REBALANCE, Scope.READ, "Get a rebalance", rebalances.get_rebalance, RebalanceView),
    Route(
        "GET",
        _REBALANCE + "/unsigned",
        Scope.TREASURY,
        "Get what the cold wallet is to sign for a refill",
        rebalances.get_unsigned,
        rebalances.UnsignedView,
        codes=("wrong_state", "no_cold_wallet"),
    ),
    Route(
        "POST",
        _REBALANCE + "/signed",
        Scope.TREASURY,
        "Hand in a refill that the cold wallet has signed",
        rebalances.take_signed,
        RebalanceView,
        body=rebalances.SignedRefill,
        codes=("wrong_state", "wrong_signature", "chain_halted", "no_cold_wallet"),
        idempotent=True,
    ),
    Route(
        "POST",
        _REBALANCE + "/cancel",
        Scope.TREASURY,
        "Cancel a rebalance that has no transaction yet",
        rebalances.cancel_rebalance,
        RebalanceView,
        body=deposits.Empty,
        codes=("wrong_state",),
        idempotent=True,
    ),
)

_EVENTS = (
    Route(
        "GET",
        "/v1/events",
        Scope.READ,
        "List events after a sequence, oldest first",
        events.list_events,
        events.EventPage,
        query=events.EventsQuery,
        codes=("invalid_cursor",),
    ),
    Route(
        "POST",
        "/v1/webhook-endpoints",
        Scope.ADMIN,
        "Create a webhook endpoint; its secret is shown once",
        endpoints.create_endpoint,
        EndpointSecretView,
        body=endpoints.NewEndpoint,
        status=201,
        codes=("invalid_url", "too_many_endpoints"),
    ),
    Route(
        "GET",
        "/v1/webhook-endpoints",
        Scope.READ,
        "List webhook endpoints, newest first",
        endpoints.list_endpoints,
        endpoints.EndpointPage,
        query=PageQuery,
        codes=("invalid_cursor",),
    ),
    Route("GET", _ENDPOINT, Scope.READ, "Get a webhook endpoint", endpoints.get_endpoint, EndpointView),
    Route(
        "PATCH",
        _ENDPOINT,
        Scope.ADMIN,
        "Change, disable or enable a webhook endpoint",
        endpoints.update_endpoint,
        EndpointView,
        body=endpoints.EndpointPatch,
        codes=("invalid_url",),
    ),
    Route(
        "DELETE",
        _ENDPOINT,
        Scope.ADMIN,
        "Delete a webhook endpoint and what waits for it",
        endpoints.delete_endpoint,
        None,
        status=204,
    ),
    Route(
        "POST",
        _ENDPOINT + "/rotate-secret",
        Scope.ADMIN,
        "Make a new secret; the old one signs too for a while",
        endpoints.rotate_secret,
        EndpointSecretView,
        body=endpoints.Rotation,
    ),
    Route(
        "POST",
        _ENDPOINT + "/test",
        Scope.ADMIN,
        "Send a ping to this endpoint",
        endpoints.test_endpoint,
        EndpointView,
        body=deposits.Empty,
        status=202,
    ),
    Route(
        "POST",
        _ENDPOINT + "/replay",
        Scope.ADMIN,
        "Deliver all events after a sequence again",
        endpoints.replay_endpoint,
        EndpointView,
        body=endpoints.Replay,
        status=202,
    ),
    Route(
        "GET",
        _ENDPOINT + "/deliveries",
        Scope.READ,
        "List an endpoint's deliveries, newest first",
        endpoints.list_deliveries,
        endpoints.DeliveryPage,
        query=endpoints.DeliveriesQuery,
        codes=("invalid_cursor",),
    ),
    Route(
        "POST",
        _ENDPOINT + "/deliveries/{delivery_id}/retry",
        Scope.ADMIN,
        "Start one delivery anew",
        endpoints.retry_delivery,
        DeliveryView,
        body=deposits.Empty,
        status=202,
    ),
)

_SYSTEM = (
    Route(
        "GET",
        "/v1/fees",
        Scope.READ,
        "Show what a payment would bid now, by priority",
        fees.show_fees,
        FeeQuote,
        query=fees.FeesQuery,
        codes=("unknown_chain", "fees_unknown"),
    ),
    Route(
        "GET",
        "/v1/chains",
        Scope.READ,
        "List the chains and their nodes",
        chains.list_chains,
        list[chains.ChainView],
    ),
    Route(
        "GET",
        "/v1/reconciliation",
        Scope.READ,
        "Compare what the chains hold with what the books say",
        reconciliation.list_reconciliation,
        list[reconciliation.ReconciliationView],
    ),
)

HOUSE: tuple[Route, ...] = (*_TREASURY, *_EVENTS, *_SYSTEM)
