"""The composition root: names concrete parts and plugs them together, the money desk's in `desk`. Start reading here.

`cryptowatch run` calls `run`. Each role is a handful of loops; one process may run all of them or some. The main flow:
`_watch` -> `Watcher.follow` -> `apply_block` (one database transaction) -> `machine.advance`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, start_http_server

from cryptowatch.accounts.traits import note_addresses
from cryptowatch.agents.worker import AgentWorker, agent_rules
from cryptowatch.api.app import create_app
from cryptowatch.api.services import Services
from cryptowatch.chains.connect import ConnectedChain, connect
from cryptowatch.chains.denied import Denied
from cryptowatch.chains.nodes import NodePool
from cryptowatch.clock import Clock, SystemClock
from cryptowatch.compliance.loops import compliance_loops, screening_loops
from cryptowatch.db.pool import connection, transaction
from cryptowatch.deposits.addresses import derive_ahead
from cryptowatch.deposits.pending import PendingObserver
from cryptowatch.deposits.rules import chain_rules
from cryptowatch.deposits.watcher import Watcher
from cryptowatch.deposits.watchlist import ChainWatchList
from cryptowatch.desk import send_loops, treasury_loops
from cryptowatch.ids import derived_id
from cryptowatch.instruments import (
    DatabaseInstruments,
    chain_instruments,
)
from cryptowatch.ledger.balances import roll_up
from cryptowatch.ledger.events import sequence_events
from cryptowatch.plant import (
    Plant,
    connected,
    deny_list,
    new_id,
    node_pool,
    open_database,
    tune_garbage_collection,
)
from cryptowatch.referrals.facts import Promises
from cryptowatch.referrals.programmes import SettingsProgramme, keep_settings_programme, settings_programme
from cryptowatch.referrals.worker import ReferralWorker
from cryptowatch.settings import Settings
from cryptowatch.telemetry.metrics import create_metrics
from cryptowatch.treasury.refills import ColdDesk
from cryptowatch.webhooks.sealing import Seal, read_seal
from cryptowatch.webhooks.worker import run_webhooks

log = structlog.get_logger(__name__)

ROLES = ("watch", "send", "treasury", "webhooks", "referrals", "stream", "api")

_SEQUENCER_INTERVAL_S = 0.05
_ROLL_UP_INTERVAL_S = 1
#: Often, so that it is little each time: a second of thousands of events at once would hold up whoever asks the API.
_TRAITS_INTERVAL_S = 0.2
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
                    send_loops(plant, settings, chain, nodes[name], denied)
            _ledger(plant)
            watched = chains if "watch" in roles else {}
            for loop in compliance_loops(pool, clock, settings, watched, denied, metrics.compliance, new_id):
                plant.loop(loop.name, loop.step, loop.interval_s)
            if "treasury" in roles:
                treasury_loops(plant, settings, chains, nodes)
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
                from cryptowatch.stream.worker import (
                    run_stream,
                )  # few have a stream: others do not load its client

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


async def _referrals(plant: Plant, settings: Settings, programme: SettingsProgramme | None) -> None:
    """Referrals and agents. The settings' programme is there before anything is decided."""
    own = settings.referrals
    if programme is not None:
        now = plant.clock.now()
        async with transaction(plant.pool) as conn:
            in_force = await keep_settings_programme(conn, derived_id(now, os.urandom(16)), programme, now)
        if not in_force:
            log.warning("other terms of the programme are in force", setting="referrals.default_programme")
    worker = ReferralWorker(
        plant.pool, plant.clock, Promises(settings.decimals), own.batch_max, own.activity_interval_s
    )
    plant.loop("referrals:feed", worker.follow, own.poll_interval_s)
    plant.loop("referrals:play", worker.look_at_play, own.poll_interval_s)
    plant.loop("referrals:payment", worker.pay, own.poll_interval_s)
    agents = AgentWorker(plant.pool, plant.clock, agent_rules(settings))
    plant.loop("agents", agents.step, settings.agents.interval_s)


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
