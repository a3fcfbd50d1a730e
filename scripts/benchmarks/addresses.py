"""`addresses`: addresses derived per second from an extended public key, and the memory of a million watched
ones.

Peers: embit and bitcoinlib's HDKey, deriving the same addresses in the same run. bitcoinlib's taproot
addresses are wrong (they encode a hash instead of BIP341's key), so it is compared for BIP84 only. Floor:
libsecp256k1's point additions alone, one for each P2WPKH address and two for each P2TR one.
"""

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from coincurve import PublicKey
from embit import bip32, script
from embit.networks import NETWORKS

from benchmarks.reporting import Report
from cryptowatch.chains.bitcoin.address import address_of
from cryptowatch.chains.bitcoin.derive import Scheme, derive_scripts, parse_extended_key

ADDRESSES = 4_000
BITCOINLIB_ADDRESSES = 200
GOAL_PER_S = 8_000
WATCHED = 1_000_000
GOAL_RSS_MIB = 300
_ROUNDS = 3

#: What a watcher holds: the adapter, the pool, and the list with a block's worth of questions asked.
_WATCHER = f"""
import hashlib
from cryptowatch.chains import nodes
from cryptowatch.chains.bitcoin import family
from cryptowatch.chains.watchset import WatchList
scripts = (b"\\x00\\x14" + hashlib.sha256(str(n).encode()).digest()[:20] for n in range({WATCHED}))
watched = WatchList(scripts, (n.to_bytes(36, "big") for n in range(100_000)))
watched.destinations([b"\\x00\\x14" + bytes(20)] * 10_000)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


async def run(report: Report) -> None:
    await asyncio.to_thread(_derive, report)
    await asyncio.to_thread(_memory, report)


def _derive(report: Report) -> None:
    root = bip32.HDKey.from_seed(bytes(range(64)))
    for scheme, path in ((Scheme.BIP84, "m/84h/0h/0h"), (Scheme.BIP86, "m/86h/0h/0h")):
        account = root.derive(path).to_public()
        text = account.to_string(NETWORKS["main"]["xpub"])
        kind = "P2WPKH" if scheme is Scheme.BIP84 else "P2TR"
        ours, mine = _per_second(partial(_ours, text, scheme), ADDRESSES)
        theirs, others = _per_second(partial(_embit, account, scheme), ADDRESSES // 4)
        assert mine[: len(others)] == others, "the same addresses"
        report(
            f"{kind} addresses derived",
            ours,
            "/s",
            "embit",
            theirs,
            ours / theirs,
            f">= {GOAL_PER_S}/s",
            ours >= GOAL_PER_S,
        )
        if scheme is Scheme.BIP84:
            slow, others = _per_second(partial(_bitcoinlib, text), BITCOINLIB_ADDRESSES)
            assert mine[: len(others)] == others, "the same addresses"
            report(f"{kind} addresses derived", ours, "/s", "bitcoinlib HDKey", slow, ours / slow)
        floor, _ = _per_second(partial(_additions, 1 + (scheme is Scheme.BIP86)), ADDRESSES)
        report(f"{kind} floor: point additions alone", floor, "/s", "ours", ours, floor / ours)


def _per_second(work: Callable[[int], list[str]], count: int) -> tuple[float, list[str]]:
    """The best of some rounds (a shared machine only ever adds time), and what was made."""
    best_s, made = float("inf"), [""]
    for _ in range(_ROUNDS):
        started_s = time.perf_counter()
        made = work(count)
        best_s = min(best_s, time.perf_counter() - started_s)
    return count / best_s, made


def _ours(text: str, scheme: Scheme, count: int) -> list[str]:
    account = parse_extended_key(text, "main", scheme)
    return [address_of(one.script, "main") or "" for one in derive_scripts(account, scheme, 0, range(count))]


def _embit(account: Any, scheme: Scheme, count: int) -> list[str]:
    make = script.p2wpkh if scheme is Scheme.BIP84 else script.p2tr
    branch = account.child(0)
    return [make(branch.child(index)).address() for index in range(count)]


def _bitcoinlib(text: str, count: int) -> list[str]:
    # Importing it writes a database into this folder, which without the variable is in the user's home.
    os.environ.setdefault("BCL_DATA_DIR", tempfile.mkdtemp(prefix="bitcoinlib-"))
    from bitcoinlib.keys import HDKey

    branch: Any = HDKey(text, witness_type="segwit").child_public(0)
    return [branch.child_public(index).address() for index in range(count)]


def _additions(per_address: int, count: int) -> list[str]:
    point = PublicKey.from_secret(bytes(31) + b"\x01")
    tweak = hashlib.sha256(b"any number below the group's order").digest()
    for _ in range(per_address * count):
        point.add(tweak)
    return []


def _memory(report: Report) -> None:
    """In a process of its own, so that nothing of this one counts."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    found = subprocess.run(
        [sys.executable, "-c", _WATCHER], env=environment, capture_output=True, text=True, check=True
    )
    rss_mib = int(found.stdout) / 1024
    report(
        f"resident memory with {WATCHED:,} watched",
        rss_mib,
        "MiB",
        goal=f"< {GOAL_RSS_MIB} MiB",
        met=rss_mib < GOAL_RSS_MIB,
    )
