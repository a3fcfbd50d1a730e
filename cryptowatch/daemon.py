"""The composition root: the one file that names concrete parts and plugs them together. Start reading here.

`cryptowatch run` calls `run`. Each role is a handful of loops; one process may run all of them or some. The main flow:
`_watch` -> `Watcher.follow` -> `apply_block` (one database transaction) -> `machine.advance`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from random import Random
from typing import cast

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, start_http_server

from cryptowatch.accounts.traits import note_addresses
from cryptowatch.agents.worker import AgentWorker, agent_rules
from cryptowatch.api.app import create_app
from cryptowatch.api.services import Services
from cryptowatch.chains.connect import ConnectedChain, connect
from cryptowatch.chains.denied import Denied
from cryptowatch.chains.forecast import Forecaster
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.plans import AccountPlanner, CoinPlanner
from cryptowatch.clock import Clock, SystemClock
from cryptowatch.compliance.loops import compliance_loops, screening_loops
from cryptowatch.db.pool import connection, transaction
from cryptowatch.deposits.addresses import derive_ahead
from cryptowatch.deposits.apply import chain_rules
from cryptowatch.deposits.pending import PendingObserver
from cryptowatch.deposits.watcher import Watcher
from cryptowatch.deposits.watchlist import ChainWatchList
from cryptowatch.ids import derived_id
from cryptowatch.instruments import (
    DatabaseInstruments,
    chain_instruments,
    show_marks,
    show_position,
)
from cryptowatch.ledger.balances import roll_up
from cryptowatch.ledger.events import sequence_events
from cryptowatch.payouts.riders import QueuedRiders
from cryptowatch.payouts.rules import PayoutRules, payout_rules
from cryptowatch.payouts.worker import PayoutWorker
from cryptowatch.plant import (
    Plant,
    connected,
    deny_list,
    entropy,
    new_id,
    node_pool,
    open_database,
    tune_garbage_collection,
)
from cryptowatch.referrals.programmes import Given, keep_settings_programme, settings_programme
from cryptowatch.referrals.worker import ReferralWorker
from cryptowatch.sending.coins import CoinReserver
from cryptowatch.sending.market import Market, market_rules
from cryptowatch.sending.reservers import account_reserver, children_for, reserver_for
from cryptowatch.sending.riders import Joining
from cryptowatch.sending.worker import Sender, SendRules
from cryptowatch.settings import Settings
from cryptowatch.settings.chains import BitcoinSettings, EthereumSettings
from cryptowatch.signing.client import SignerClient
from cryptowatch.signing.families import signing_for
from cryptowatch.stream.worker import run_stream
from cryptowatch.telemetry.metrics import create_metrics
from cryptowatch.treasury.audit import BalanceAudit
from cryptowatch.treasury.consolidate import Consolidator, consolidation_rules
from cryptowatch.treasury.keeping import rebalance_rules
from cryptowatch.treasury.rebalancer import Rebalancer
from cryptowatch.treasury.reconcile import Reconciler, reconcile_rules
from cryptowatch.treasury.refills import ColdDesk, proposer_for
from cryptowatch.treasury.upkeep import Upkeep, upkeep_rules
from cryptowatch.webhooks.sealing import Seal, read_seal
from cryptowatch.webhooks.worker import run_webhooks

log = structlog.get_logger(__name__)

ROLES = ("watch", "send", "treasury", "webhooks", "referrals", "stream", "api")

_SENDING_INTERVAL_S = 0.5
_SEQUENCER_INTERVAL_S = 0.05
_ROLL_UP_INTERVAL_S = 1
_TRAITS_INTERVAL_S = 1
_GAUGES_INTERVAL_S = 5
_ADDRESSES_INTERVAL_S = 1


async def run(settings: Settings, roles: Collection[str], clock: Clock | None = None) -> None:
    """Until cancelled, or until something that is not temporary goes wrong: then the error leaves here."""
    clock = clock or SystemClock()
    tune_garbage_collection()
    programme = settings_programme(settings)
    metrics = create_metrics(CollectorRegistry())
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_database(settings))
        chains = {name: connect(name, chain) for name, chain in settings.chains.items()}
        nodes = {
            name: node_pool(chain, clock, chain_instruments(name, metrics, clock))
            for name, chain in chains.items()
        }
        for opened in nodes.values():
            stack.push_async_callback(opened.close)
        async with asyncio.TaskGroup() as tasks:
            plant = Plant(tasks, pool, clock, metrics)
            denied = deny_list(plant, settings, chains)
            seal = read_seal(settings.webhooks.key_file) if {"webhooks", "api"} & {*roles} else Seal()
            for name, chain in chains.items():
                if "watch" in roles:
                    await _watch(plant, chain, nodes[name])
                if "send" in roles:
                    _send(plant, settings, chain, nodes[name], denied)
            _ledger(plant)
            watched = chains if "watch" in roles else {}
            for loop in compliance_loops(pool, clock, settings, watched, denied, metrics.compliance, new_id):
                plant.loop(loop.name, loop.step, loop.interval_s)
            if "treasury" in roles:
                _treasury(plant, settings, chains, nodes)
            if "webhooks" in roles:
                for loop in screening_loops(pool, clock, settings, metrics.compliance, new_id):
                    plant.loop(loop.name, loop.step, loop.interval_s)
                tasks.create_task(
                    run_webhooks(
                        pool,
                        settings.webhooks,
                        clock,
                        metrics.webhooks,
                        metrics.database,
                        Random().random,  # noqa: S311 - jitter
                        seal,
                    )
                )
            if "referrals" in roles:
                await _referrals(plant, settings, programme)
            if "stream" in roles and settings.stream.url is not None:
                tasks.create_task(run_stream(pool, settings.stream, clock, metrics.stream))
            if "api" not in roles and settings.telemetry.metrics_port is not None:
                start_http_server(settings.telemetry.metrics_port, settings.api.host, metrics.registry)
            if "api" in roles:
                await stack.enter_async_context(
                    _api(plant, settings, chains, nodes if "watch" in roles else {}, denied, seal)
                )
            log.info("started", roles=list(roles), chains=list(chains))


async def _watch(plant: Plant, chain: ConnectedChain, nodes: NodePool) -> None:
    """Addresses ahead (there are some before anybody can ask), blocks, mempools."""
    name, settings = chain.chain, chain.settings
    instruments = chain_instruments(name, plant.metrics, plant.clock)
    rules, watchlist = chain_rules(name, settings), ChainWatchList(name)
    watcher = Watcher(
        rules,
        nodes,
        plant.pool,
        plant.clock,
        watchlist,
        start_height=settings.start_height,
        reorg_depth_max=settings.reorg_depth_max,
        fetch_ahead=settings.block_fetch_ahead,
        observe=instruments.on_applied,
    )
    pending = PendingObserver(rules, nodes, plant.pool, plant.clock, watchlist)

    async def derive() -> int:
        for scheme, key in chain.keys.items():
            await derive_ahead(plant.pool, name, scheme, key)
        if chain.cold is not None:
            await derive_ahead(plant.pool, name, chain.cold.scheme, chain.cold.key)
        return 0

    async def follow() -> int:
        try:
            return await watcher.follow()
        finally:
            instruments.show_nodes(nodes)
            if watcher.head is not None and watcher.matched is not None:
                instruments.on_polled(watcher.head, watcher.matched)

    await derive()
    plant.loop(f"addresses:{name}", derive, _ADDRESSES_INTERVAL_S)
    plant.loop(f"watcher:{name}", follow, settings.poll_interval_s)
    plant.loop(f"mempool:{name}", pending.observe, settings.mempool_interval_s)


def _send(
    plant: Plant,
    settings: Settings,
    chain: ConnectedChain,
    nodes: NodePool,
    denied: Callable[[], Denied],
) -> None:
    """The market of fees, queue and batches, then signing, broadcasting and bumping."""
    name, own = chain.chain, chain.settings
    instruments = chain_instruments(name, plant.metrics, plant.clock)
    market = Market(
        nodes,
        plant.pool,
        plant.clock,
        chain.fees,
        market_rules(name, own),
        Forecaster(own.block_interval_s),
        instruments,
    )
    reserver = reserver_for(chain, nodes, plant.pool, settings.signer.policy.get(name))
    payouts = PayoutWorker(
        name,
        nodes,
        plant.pool,
        plant.clock,
        chain.planner,
        chain.fees,
        market,
        reserver,
        payout_rules(settings, name),
        entropy,
        instruments,
        denied,
    )
    sign = signing_for(own.family, SignerClient(settings.signer.socket, settings.signer.timeout_s), name)
    sender = Sender(
        name,
        nodes,
        plant.pool,
        plant.clock,
        chain.planner,
        chain.fees,
        market,
        reserver,
        sign,
        SendRules(fee_growth_max=own.market.fee_growth_max),
        instruments,
        _joining(plant, chain, market, payouts.rules, denied),
        children_for(name, nodes, plant.pool, plant.clock, reserver, entropy),
    )
    plant.loop(f"market:{name}", market.step, own.market.survey_interval_s)
    plant.loop(f"payouts:{name}", payouts.step, _SENDING_INTERVAL_S)
    plant.loop(f"sender:{name}", sender.step, _SENDING_INTERVAL_S)
    if chain.vault is not None:
        upkeep = _upkeep(plant, chain, nodes)
        plant.loop(f"upkeep:{name}", upkeep.step, upkeep.rules.interval_s)
    if isinstance(reserver, CoinReserver):
        merging = _consolidator(plant, settings, chain, market, reserver)
        plant.loop(f"consolidation:{name}", merging.step, merging.rules.interval_s)


def _consolidator(
    plant: Plant, settings: Settings, chain: ConnectedChain, market: Market, reserver: CoinReserver
) -> Consolidator:
    """A wallet of coins needs it, one of accounts does not."""
    assert isinstance(chain.settings, BitcoinSettings)
    rules = consolidation_rules(chain.settings, settings.signer.policy.get(chain.chain))
    return Consolidator(chain.chain, plant.pool, plant.clock, chain.fees, market, reserver, rules, entropy)


def _joining(
    plant: Plant,
    chain: ConnectedChain,
    market: Market,
    rules: PayoutRules,
    denied: Callable[[], Denied],
) -> Joining | None:
    """Coins alone: a transaction of accounts is one batch, whose payments are fixed by its nonce's first attempt."""
    own = chain.settings
    if not isinstance(own, BitcoinSettings) or not own.wallet.join_replacements:
        return None
    riders = QueuedRiders(chain.chain, plant.pool, plant.clock, market, rules, denied)
    return Joining(cast(CoinPlanner, chain.planner), chain.fees, riders)


def _treasury(
    plant: Plant,
    settings: Settings,
    chains: Mapping[str, ConnectedChain],
    nodes: Mapping[str, NodePool],
) -> None:
    """Chain against books, accounts against nodes, hot against cold."""
    own = settings.treasury
    rules = {name: reconcile_rules(chain) for name, chain in settings.chains.items()}
    reconciler = Reconciler(plant.pool, plant.clock, rules, partial(show_position, plant.metrics))
    plant.loop("reconciliation", reconciler.step, own.reconcile_interval_s)
    for name, chain in chains.items():
        if chain.vault is not None:
            audit = BalanceAudit(name, nodes[name], plant.pool, plant.clock)
            plant.loop(f"audit:{name}", audit.step, own.audit_interval_s)
        if chain.cold is not None:
            rebalancer = Rebalancer(
                name,
                chain.cold,
                nodes[name],
                plant.pool,
                plant.clock,
                chain.fees,
                reserver_for(chain, nodes[name], plant.pool, settings.signer.policy.get(name)),
                proposer_for(chain, nodes[name], plant.pool),
                rebalance_rules(settings, name),
                entropy,
                partial(show_marks, plant.metrics),
            )
            plant.loop(f"rebalancer:{name}", rebalancer.step, own.rebalance_interval_s)


async def _referrals(plant: Plant, settings: Settings, given: Given | None) -> None:
    """Referrals and agents. The settings' programme is there before anything is decided."""
    own = settings.referrals
    if given is not None:
        now = plant.clock.now()
        async with transaction(plant.pool) as conn:
            in_force = await keep_settings_programme(conn, derived_id(now, os.urandom(16)), given, now)
        if not in_force:
            log.warning("other terms of the programme are in force", setting="referrals.default_programme")
    worker = ReferralWorker(
        plant.pool, plant.clock, settings.decimals, own.batch_max, own.activity_interval_s
    )
    plant.loop("referrals:feed", worker.follow, own.poll_interval_s)
    plant.loop("referrals:play", worker.look_at_play, own.poll_interval_s)
    plant.loop("referrals:payment", worker.pay, own.poll_interval_s)
    agents = AgentWorker(plant.pool, plant.clock, agent_rules(settings))
    plant.loop("agents", agents.step, settings.agents.interval_s)


def _upkeep(plant: Plant, chain: ConnectedChain, nodes: NodePool) -> Upkeep:
    """Sweeps and gas: a wallet of accounts needs them, one of coins does not."""
    assert isinstance(chain.settings, EthereumSettings)
    return Upkeep(
        chain.chain,
        chain.settings.asset,
        nodes,
        plant.pool,
        plant.clock,
        cast(AccountPlanner, chain.planner),
        chain.fees,
        account_reserver(chain, nodes, plant.pool),
        upkeep_rules(chain.settings),
        entropy,
    )


@asynccontextmanager
async def _api(
    plant: Plant,
    settings: Settings,
    chains: Mapping[str, ConnectedChain],
    nodes: Mapping[str, NodePool],
    denied: Callable[[], Denied],
    seal: Seal,
) -> AsyncIterator[None]:
    """Serves until the end, then answers what it has begun to answer."""
    runner = web.AppRunner(
        create_app(
            Services(
                pool=plant.pool,
                settings=settings,
                clock=plant.clock,
                metrics=plant.metrics,
                read_address={name: chain.read_address for name, chain in chains.items()},
                schemes={name: chain.scheme for name, chain in chains.items()},
                node_statuses={name: node_pool.statuses for name, node_pool in nodes.items()},
                random_bytes=os.urandom,
                denied=denied,
                cold_desks={
                    name: ColdDesk(chain.planner, chain.cold, coins=chain.vault is None)
                    for name, chain in chains.items()
                    if chain.cold is not None
                },
                webhook_seal=seal,
            )
        ),
        access_log=None,
        shutdown_timeout=settings.api.request_timeout_s,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.api.host, settings.api.port)
        await site.start()
        log.info("listening", addresses=runner.addresses)
        yield
    finally:
        await runner.cleanup()


def _ledger(plant: Plant) -> None:
    """What every process may do, whatever its roles: order events, note what they say, fold balances, show gauges."""
    gauges = DatabaseInstruments(plant.pool, plant.metrics, plant.clock)

    async def fold() -> int:
        async with connection(plant.pool) as conn:
            await roll_up(conn)
        return 0

    async def note() -> int:
        async with transaction(plant.pool) as conn:
            return await note_addresses(conn)

    plant.loop("sequencer", connected(plant.pool, sequence_events), _SEQUENCER_INTERVAL_S)
    plant.loop("traits", note, _TRAITS_INTERVAL_S)
    plant.loop("roll-up", fold, _ROLL_UP_INTERVAL_S)
    plant.loop("gauges", gauges.step, _GAUGES_INTERVAL_S)
