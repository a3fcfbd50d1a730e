"""`block-ingest`: a full block that pays 20,000 of a million watched addresses, from bytes to committed credits.

Peer: bitcoind's own descriptor wallet digesting the same block, less what a node without a wallet needs for it.
Everything is real: regtest nodes, Postgres and the wallet's file with their default durability, the daemon's own code.
The wallet counts as having given out all the addresses itself, so it derives none while it works.
"""

import asyncio
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks._full_block import ADDRESSES, TRANSACTIONS, FullBlock, build_full_block, hot_wallet
from benchmarks.reporting import Report
from cryptowatch import devnet
from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.connect import connect
from cryptowatch.clock import SystemClock
from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.deposits import cursor as chain_cursor
from cryptowatch.deposits.apply import apply_block
from cryptowatch.deposits.rules import chain_rules
from cryptowatch.deposits.watchlist import ChainWatchList
from cryptowatch.devnet import Net
from cryptowatch.ledger.accounts import ensure_players
from cryptowatch.plant import node_pool, open_database, tune_garbage_collection
from cryptowatch.settings import load_settings

WATCHED = 1_000_000
#: bitcoind's defaults, which the devnet changes for speed: the wallet's file is synced, as our Postgres' is.
DURABLE = {"unsafesqlitesync": "0", "keypool": "1000"}
GOAL_RATIO = 20


async def run(report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="cw-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        async with devnet.up(Path(folder), node_options=DURABLE) as net:
            await _measure(net, report)


async def _measure(net: Net, report: Report) -> None:
    settings = load_settings(net.settings_file)
    async with open_database(settings) as pool:
        block = await build_full_block(net)
        ours_s, steps = await _ours(net, pool, block)
        wallet_s, bare_s = await _bitcoind(net, block)
    peer_s = wallet_s - bare_s
    report(
        f"{ADDRESSES} deposits in one block, fetched to committed",
        ours_s,
        "s",
        "bitcoind's descriptor wallet",
        peer_s,
        peer_s / ours_s,
        f">= {GOAL_RATIO}",
        peer_s / ours_s >= GOAL_RATIO,
    )
    for step, seconds in steps.items():
        report(f"  of which {step}", seconds, "s")
    report("  bitcoind per output", peer_s / ADDRESSES * 1000, "ms")


async def _ours(net: Net, pool: Pool, block: FullBlock) -> tuple[float, dict[str, float]]:
    """Seconds from the fetched bytes to the commit. The watch list is loaded before, as in a running daemon."""
    settings = load_settings(net.settings_file)
    own = settings.chains["bitcoin"]
    rules, clock = chain_rules("bitcoin", own), SystemClock()
    nodes = node_pool(connect("bitcoin", own), clock, None)
    try:
        async with transaction(pool) as conn:
            await _accounts_and_addresses(conn, block)
            await chain_cursor.start_cursor(conn, "bitcoin", "BTC", block.parent, clock.now())
        watchlist = ChainWatchList("bitcoin")
        async with connection(pool) as conn:
            await conn.execute("VACUUM ANALYZE")
            # As in a server that has run for a while: files of the write-ahead log are there to be used again. Pages
            # that are touched for the first time afterwards are logged whole, as they are there, too.
            await conn.execute("CHECKPOINT")
            await watchlist.reload(conn)
        await nodes.agreed_head()
        tune_garbage_collection()
        fetched_s = time.perf_counter()
        raw = await nodes.block(block.hash, block.height)
        got_s = time.perf_counter()
        contents = raw.contents(watchlist.interest)
        matched_s = time.perf_counter()
        assert contents.transactions == TRANSACTIONS + 1
        async with transaction(pool) as conn:
            parent = BlockPoint(block.parent.height, block.parent.hash)
            applied = await apply_block(conn, rules, parent, contents, clock.now())
        done_s = time.perf_counter()
        assert len(applied.changes) == ADDRESSES
        async with connection(pool) as conn:
            credited = await conn.fetchval("SELECT count(*) FROM deposit WHERE state = 'credited'")
        assert credited == ADDRESSES, f"{credited} credited"
    finally:
        await nodes.close()
    steps = {
        "fetch over REST (not counted)": got_s - fetched_s,
        "match": matched_s - got_s,
        "apply and commit": done_s - matched_s,
    }
    return done_s - got_s, steps


async def _accounts_and_addresses(conn: object, block: FullBlock) -> None:
    """20,000 accounts with an address each, and a crowd of other watched addresses."""
    now = datetime.now(UTC)
    await conn.execute(  # type: ignore[attr-defined]
        "INSERT INTO account (external_id, created_at, updated_at) SELECT 'player-' || n, $1, $1 "
        "FROM generate_series(1, $2::int) n",
        now,
        ADDRESSES,
    )
    await conn.execute(  # type: ignore[attr-defined]
        "INSERT INTO address (chain, destination, address, scheme, branch, key_index, account_id, assigned_at) "
        "SELECT 'bitcoin', u.d, u.t, 84, 0, u.n - 1, a.id, $3 "
        "FROM unnest($1::bytea[], $2::text[]) WITH ORDINALITY u (d, t, n) "
        "JOIN account a ON a.external_id = 'player-' || u.n",
        block.scripts,
        block.texts,
        now,
    )
    players = [(row["id"], "BTC") for row in await conn.fetch("SELECT id FROM account")]  # type: ignore[attr-defined]
    await ensure_players(conn, players)  # type: ignore[arg-type] # as the API does when it gives out an address
    await conn.execute(  # type: ignore[attr-defined]
        "INSERT INTO address (chain, destination, address, scheme, branch, key_index) "
        "SELECT 'bitcoin', '\\x0014'::bytea || substr(sha256(n::text::bytea), 1, 20), 'filler-' || n, 84, 0, n "
        "FROM generate_series($1::int, $2::int) n",
        ADDRESSES,
        WATCHED - 1,
    )
    await conn.execute(  # type: ignore[attr-defined]
        "INSERT INTO derivation (chain, scheme, branch, xpub, next_index) VALUES ('bitcoin', 84, 0, 'bench', $1)",
        WATCHED,
    )


async def _bitcoind(net: Net, block: FullBlock) -> tuple[float, float]:
    """Seconds for the block on a node whose wallet watches the same addresses, and on one without a wallet."""
    watching, bare = net.bitcoin[1].rpc, net.bitcoin[2].rpc
    raw = await net.bitcoin[0].rpc("getblock", block.hash.hex(), 0)
    seconds = []
    for rpc, with_wallet in ((watching, True), (bare, False)):
        await rpc("setnetworkactive", False)
        await rpc("invalidateblock", block.hash.hex())
        if with_wallet:
            await hot_wallet(rpc, "peer", block.mnemonic, ADDRESSES)
        await rpc("syncwithvalidationinterfacequeue")
        started_s = time.perf_counter()
        await rpc("reconsiderblock", block.hash.hex())
        await rpc("syncwithvalidationinterfacequeue")
        seconds.append(time.perf_counter() - started_s)
        assert await rpc("getbestblockhash") == block.hash.hex()
        await asyncio.sleep(0)
    assert raw
    return seconds[0], seconds[1]
