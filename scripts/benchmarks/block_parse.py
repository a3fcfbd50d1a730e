"""`block-parse`: a real block of 4,000 transactions, from bytes to what in it is ours among a million
watched.

Floor: the same bytes fetched over REST by the daemon's own client. Peer: embit reading the same transactions
and their ids. Every figure is milliseconds per 1,000 transactions, the best of some rounds.
"""

import asyncio
import hashlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from embit.transaction import Transaction as EmbitTransaction

from benchmarks._full_block import ADDRESSES, TRANSACTIONS, FullBlock, build_full_block
from benchmarks.reporting import Report
from cryptowatch import devnet
from cryptowatch.chains.bitcoin.contents import BitcoinBlock
from cryptowatch.chains.bitcoin.rpc import RpcClient
from cryptowatch.chains.watchset import WatchList
from cryptowatch.devnet import Net
from cryptowatch.settings import load_settings

WATCHED = 1_000_000
GOAL_MS = 5.0
_ROUNDS = 15
_EMBIT_TRANSACTIONS = 500


async def run(report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="cw-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        async with devnet.up(Path(folder), bitcoin_nodes=1) as net:
            block = await build_full_block(net)
            raw, fetch_ms = await _fetch(net, block)
    await asyncio.to_thread(_measure, report, block, raw, fetch_ms)


async def _fetch(net: Net, block: FullBlock) -> tuple[bytes, float]:
    """Not through the fault proxy."""
    (node,) = load_settings(net.settings_file).chains["bitcoin"].nodes
    url = "http://" + net.bitcoin[0].direct_rpc_url.rpartition("@")[2]
    client = RpcClient(node.name, url, node.auth_file, timeout_s=10)
    raw, best_s = b"", float("inf")
    try:
        for _ in range(_ROUNDS):
            started_s = time.perf_counter()
            raw = await client.rest(f"block/{block.hash.hex()}.bin") or b""
            best_s = min(best_s, time.perf_counter() - started_s)
    finally:
        await client.close()
    return raw, _per_thousand_ms(best_s, TRANSACTIONS + 1)


def _measure(report: Report, block: FullBlock, raw: bytes, fetch_ms: float) -> None:
    others = (b"\x00\x14" + hashlib.sha256(str(n).encode()).digest()[:20] for n in range(WATCHED))
    none_ours = WatchList(others, (n.to_bytes(36, "big") for n in range(100_000)))
    read = BitcoinBlock.read(raw, block.hash, block.height, "BTC")
    count = len(read.transactions.ids)
    parse_ms = _best_ms(lambda: BitcoinBlock.read(raw, block.hash, block.height, "BTC"), count)
    match_ms = _best_ms(lambda: read.contents(none_ours), count)
    none_ours.add_destinations(block.scripts)
    all_ms = _best_ms(lambda: read.contents(none_ours), count)
    assert len(read.contents(none_ours).transfers) == ADDRESSES
    embit_ms = _best_ms(lambda: _embit(read), _EMBIT_TRANSACTIONS)
    ours_ms = parse_ms + match_ms
    unit = "ms per 1,000 tx"
    report(
        "parse and match",
        ours_ms,
        unit,
        "embit, parse and ids only",
        embit_ms,
        embit_ms / ours_ms,
        f"<= {GOAL_MS:g}",
        ours_ms <= GOAL_MS,
    )
    report("  of which parse and prove", parse_ms, unit)
    report("  of which match", match_ms, unit)
    report("  match if all 20,000 outputs are ours", all_ms, unit)
    report(
        "parse and match against the floor",
        ours_ms,
        unit,
        "the bytes over REST",
        fetch_ms,
        fetch_ms / ours_ms,
    )


def _embit(block: BitcoinBlock) -> list[bytes]:
    """The first transactions, one after the other, with their ids."""
    stream = io.BytesIO(block.transactions.raw)
    stream.seek(83)
    return [EmbitTransaction.read_from(stream).txid() for _ in range(_EMBIT_TRANSACTIONS)]


def _best_ms(work: Callable[[], object], count: int) -> float:
    best_s = float("inf")
    for _ in range(_ROUNDS):
        started_s = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - started_s)
    return _per_thousand_ms(best_s, count)


def _per_thousand_ms(seconds: float, count: int) -> float:
    return seconds * 1e6 / count
