"""Every Prometheus metric family of the daemon, as one value that the composition root hands to the loops.

Prefix `cryptowatch_`; seconds and blocks as units; amounts of money in the asset's base units. Labels are `chain`,
`node`, `asset`, `state`, `method`, `priority`, `rule` and `consumer` only: never an address, a hash or an id, so that
their number stays bounded (P10). Values are floats, as Prometheus has no others: they are shown, and never come back
into the ledger.
"""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cryptowatch import __version__

NAMESPACE = "cryptowatch"

#: From a fast local node to one that times out.
_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: From a devnet's block to a day of congestion.
_CHAIN_S = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 86_400)
_REORG_BLOCKS = (1, 2, 3, 4, 6, 10, 20, 50, 100)
_BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True)
class NodeMetrics:
    """Per node of a chain. Labels: chain, node; requests also method.

    `state` is 1 for the present one, 0 else.
    """

    head_height: Gauge
    lag_blocks: Gauge
    state: Gauge
    request_seconds: Histogram
    request_errors: Counter


@dataclass(frozen=True)
class ChainMetrics:
    """The watcher's. Label: chain."""

    agreed_head_height: Gauge
    blocks_applied: Counter
    scan_lag_blocks: Gauge
    scan_lag_seconds: Gauge
    reorg_depth_blocks: Histogram
    halted: Gauge


@dataclass(frozen=True)
class DepositMetrics:
    """Labels: chain, asset; `entered` also state."""

    entered: Counter
    credit_seconds: Histogram
    finality_seconds: Histogram


@dataclass(frozen=True)
class PayoutMetrics:
    """Labels: chain, asset for withdrawals, chain for the rest; `entered` and `waiting` also state; the
    oldest queued and the rates also priority.

    `fee_estimator_ready` is 1 while our own estimator knows enough to be asked, 0 else.
    """

    entered: Counter
    waiting: Gauge
    oldest_queued_age_seconds: Gauge
    #: `state` is why: halted, stopped, uncovered, cheaper_fees.
    held: Gauge
    stuck: Gauge
    broadcast_seconds: Histogram
    finality_seconds: Histogram
    payouts_per_transaction: Histogram
    fee_rate_bid: Gauge
    fee_rate_market: Gauge
    fee_estimator_ready: Gauge
    fee_estimator_history_seconds: Gauge
    bumps: Counter
    wallet_balance_base_units: Gauge
    signer_requests: Counter
    signer_refusals: Counter
    deny_list_good: Gauge
    deny_list_lines: Gauge


@dataclass(frozen=True)
class TreasuryMetrics:
    """In base units, but `stopped`. Labels: chain, asset; liabilities asset only."""

    difference: Gauge
    holdings: Gauge
    stopped: Gauge
    liabilities: Gauge
    #: Labels: chain, asset, state (low, target or high).
    wallet_band: Gauge


@dataclass(frozen=True)
class ComplianceMetrics:
    """Cases by rule. `screened` by state: the verdict that was answered, or unanswered."""

    cases_opened: Counter
    cases_open: Gauge
    screened: Counter
    screening_seconds: Histogram
    screenings_pending: Gauge
    source_screenings_pending: Gauge
    source_screening_unanswered_age_seconds: Gauge


@dataclass(frozen=True)
class WebhookMetrics:
    """`attempts` by state: delivered, retrying, dead, disabled."""

    attempts: Counter
    attempt_seconds: Histogram
    undelivered: Gauge
    oldest_undelivered_age_seconds: Gauge


@dataclass(frozen=True)
class ApiMetrics:
    """`request_seconds` by method (the route's pattern, as `POST /v1/transfers`) and state (`2xx`)."""

    request_seconds: Histogram
    in_flight: Gauge
    streams: Gauge
    overloaded: Counter
    rate_limited: Counter


@dataclass(frozen=True)
class DatabaseMetrics:
    """`pool_connections` by state: busy, idle."""

    pool_connections: Gauge
    transaction_seconds: Histogram
    event_log_lag: Gauge


@dataclass(frozen=True)
class StreamMetrics:
    """Of the role `stream`; how far it is behind is `event_log_lag`."""

    connected: Gauge
    published: Counter


@dataclass(frozen=True)
class Metrics:
    """All families, registered in `registry`."""

    registry: CollectorRegistry
    nodes: NodeMetrics
    chains: ChainMetrics
    deposits: DepositMetrics
    payouts: PayoutMetrics
    treasury: TreasuryMetrics
    compliance: ComplianceMetrics
    webhooks: WebhookMetrics
    api: ApiMetrics
    database: DatabaseMetrics
    stream: StreamMetrics


class _Families:
    """Declares families under the one prefix in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace=NAMESPACE, registry=self._registry)

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=NAMESPACE, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, namespace=NAMESPACE, registry=self._registry, buckets=buckets)


def create_metrics(registry: CollectorRegistry) -> Metrics:
    """Registers every family. Once per registry: a second call on the same one raises ValueError."""
    families = _Families(registry)
    families.gauge("build_info", "Always 1; the label says what runs.", "version").labels(__version__).set(1)
    return Metrics(
        registry=registry,
        nodes=_nodes(families),
        chains=_chains(families),
        deposits=_deposits(families),
        payouts=_payouts(families),
        treasury=_treasury(families),
        compliance=_compliance(families),
        webhooks=_webhooks(families),
        api=_api(families),
        database=_database(families),
        stream=_stream(families),
    )


def _nodes(f: _Families) -> NodeMetrics:
    return NodeMetrics(
        head_height=f.gauge("node_head_height", "The node's own best height.", "chain", "node"),
        lag_blocks=f.gauge("node_lag_blocks", "Blocks behind the agreed head.", "chain", "node"),
        state=f.gauge("node_state", "1 for the state that the node is in.", "chain", "node", "state"),
        request_seconds=f.histogram(
            "node_request_seconds", "Time of one request to a node.", _REQUEST_S, "chain", "node", "method"
        ),
        request_errors=f.counter(
            "node_request_errors", "Requests that a node failed to answer.", "chain", "node", "method"
        ),
    )


def _chains(f: _Families) -> ChainMetrics:
    return ChainMetrics(
        agreed_head_height=f.gauge("agreed_head_height", "The head that the quorum agrees on.", "chain"),
        blocks_applied=f.counter("blocks_applied", "Blocks applied to the database.", "chain"),
        scan_lag_blocks=f.gauge("scan_lag_blocks", "Agreed blocks not applied yet.", "chain"),
        scan_lag_seconds=f.gauge(
            "scan_lag_seconds", "Age of the oldest agreed block not applied yet.", "chain"
        ),
        reorg_depth_blocks=f.histogram(
            "reorg_depth_blocks", "Blocks left in a reorg.", _REORG_BLOCKS, "chain"
        ),
        halted=f.gauge("chain_halted", "1 while the chain's payouts wait for a person.", "chain"),
    )


def _deposits(f: _Families) -> DepositMetrics:
    return DepositMetrics(
        entered=f.counter("deposits", "Deposits that entered a state.", "chain", "asset", "state"),
        credit_seconds=f.histogram(
            "deposit_credit_seconds",
            "From first sight of the deposit to its credit.",
            _CHAIN_S,
            "chain",
            "asset",
        ),
        finality_seconds=f.histogram(
            "deposit_finality_seconds",
            "From first sight of the deposit to its finality.",
            _CHAIN_S,
            "chain",
            "asset",
        ),
    )


def _payouts(f: _Families) -> PayoutMetrics:
    return PayoutMetrics(
        entered=f.counter("withdrawals", "Withdrawals that entered a state.", "chain", "asset", "state"),
        waiting=f.gauge(
            "withdrawals_waiting", "Withdrawals that are in a state now.", "chain", "asset", "state"
        ),
        oldest_queued_age_seconds=f.gauge(
            "withdrawal_oldest_queued_age_seconds",
            "Age of the oldest queued withdrawal of a priority.",
            "chain",
            "priority",
        ),
        held=f.gauge("withdrawals_held", "Queued ones that cannot leave now.", "chain", "asset", "state"),
        stuck=f.gauge("transactions_stuck", "Late ones whose fee cannot be raised any more.", "chain"),
        broadcast_seconds=f.histogram(
            "withdrawal_broadcast_seconds", "From request to first broadcast.", _CHAIN_S, "chain", "asset"
        ),
        finality_seconds=f.histogram(
            "withdrawal_finality_seconds", "From request to finality.", _CHAIN_S, "chain", "asset"
        ),
        payouts_per_transaction=f.histogram(
            "payouts_per_transaction", "Withdrawals paid by one transaction.", _BATCH, "chain"
        ),
        fee_rate_bid=f.gauge(
            "fee_rate_bid",
            "The latest bid, in the family's unit (sat/kvB, wei per gas).",
            "chain",
            "priority",
        ),
        fee_rate_market=f.gauge(
            "fee_rate_market", "What the market asks now, same unit.", "chain", "priority"
        ),
        fee_estimator_ready=f.gauge(
            "fee_estimator_ready", "1 while our own fee estimator has history enough.", "chain"
        ),
        fee_estimator_history_seconds=f.gauge(
            "fee_estimator_history_seconds", "Time that our own fee estimator watched the pool.", "chain"
        ),
        bumps=f.counter("fee_bumps", "Transactions replaced by one that pays more.", "chain"),
        wallet_balance_base_units=f.gauge(
            "wallet_balance_base_units",
            "The hot wallet's unspent coins, or what its accounts hold; unswept: on deposit addresses.",
            "chain",
            "asset",
            "state",
        ),
        signer_requests=f.counter("signer_requests", "Signatures asked of the signer.", "chain"),
        signer_refusals=f.counter("signer_refusals", "Signatures that the signer's policy refused.", "chain"),
        deny_list_good=f.gauge(
            "deny_list_good", "0 while the deny list's file cannot be used: an older list is."
        ),
        deny_list_lines=f.gauge("deny_list_lines", "Lines of the deny list in use."),
    )


def _treasury(f: _Families) -> TreasuryMetrics:
    return TreasuryMetrics(
        difference=f.gauge(
            "reconciliation_difference_base_units",
            "On the chain beyond what the books explain.",
            "chain",
            "asset",
        ),
        holdings=f.gauge("holdings_base_units", "Confirmed coins of ours.", "chain", "asset"),
        stopped=f.gauge(
            "payouts_stopped", "1 while payouts of the asset wait for an explanation.", "chain", "asset"
        ),
        liabilities=f.gauge("liabilities_base_units", "What the house owes its players.", "asset"),
        wallet_band=f.gauge(
            "wallet_band_base_units",
            "Marks of the band in which the hot wallet is kept.",
            "chain",
            "asset",
            "state",
        ),
    )


def _compliance(f: _Families) -> ComplianceMetrics:
    return ComplianceMetrics(
        cases_opened=f.counter("cases_opened", "Cases that a rule opened.", "rule"),
        cases_open=f.gauge("cases_open", "Cases that nobody decided yet.", "rule"),
        screened=f.counter(
            "screening_requests", "Questions to the screening provider by its answer.", "state"
        ),
        screening_seconds=f.histogram(
            "screening_request_seconds", "Time of one question to the screening provider.", _REQUEST_S
        ),
        screenings_pending=f.gauge(
            "screenings_pending", "Withdrawals that wait for the screening provider's verdict."
        ),
        source_screenings_pending=f.gauge(
            "source_screenings_pending", "Deposits whose sources wait for the screening provider's verdict."
        ),
        source_screening_unanswered_age_seconds=f.gauge(
            "source_screening_unanswered_age_seconds",
            "How long the screening provider is asked in vain about the deposit that waits longest for an answer.",
        ),
    )


def _webhooks(f: _Families) -> WebhookMetrics:
    return WebhookMetrics(
        attempts=f.counter("webhook_deliveries", "Delivery attempts by what became of them.", "state"),
        attempt_seconds=f.histogram("webhook_attempt_seconds", "Time of one delivery attempt.", _REQUEST_S),
        undelivered=f.gauge("webhook_undelivered", "Deliveries that wait for an attempt."),
        oldest_undelivered_age_seconds=f.gauge(
            "webhook_oldest_undelivered_age_seconds", "Age of the oldest delivery that waits."
        ),
    )


def _api(f: _Families) -> ApiMetrics:
    return ApiMetrics(
        request_seconds=f.histogram("api_request_seconds", "Time to answer.", _REQUEST_S, "method", "state"),
        in_flight=f.gauge("api_requests_in_flight", "Requests being answered."),
        streams=f.gauge("api_event_streams", "Streams of events that are open."),
        rate_limited=f.counter("api_rate_limited", "Requests refused because a key calls too often."),
        overloaded=f.counter("api_overloaded", "Requests refused because too many are under way."),
    )


def _database(f: _Families) -> DatabaseMetrics:
    return DatabaseMetrics(
        pool_connections=f.gauge("db_pool_connections", "Connections of the pool.", "state"),
        transaction_seconds=f.histogram("db_transaction_seconds", "Time a transaction was open.", _REQUEST_S),
        event_log_lag=f.gauge("event_log_lag_events", "Events that a consumer has not read yet.", "consumer"),
    )


def _stream(f: _Families) -> StreamMetrics:
    return StreamMetrics(
        connected=f.gauge("stream_connected", "1 while the event stream's server takes events."),
        published=f.counter("stream_published_events", "Events that the event stream's server has stored."),
    )
