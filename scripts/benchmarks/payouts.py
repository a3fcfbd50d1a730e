"""`payouts`: 1,000 withdrawals in batches of 100 from a wallet of 20,000 coins: selection time and bytes per payout.

Peer: bitcoind's own descriptor wallet with the same keys funding the same recipients at the same rate. Every batch of
ours is signed and shown to the node, which says its size and whether it would relay it.
"""

import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._full_block import hot_wallet
from benchmarks.reporting import Report
from cryptowatch import devnet
from cryptowatch.chains.bitcoin.address import address_of
from cryptowatch.chains.bitcoin.payments import BitcoinPlan, BitcoinPlanner
from cryptowatch.chains.bitcoin.transaction import TxInput, TxOutput, UnsignedTransaction
from cryptowatch.chains.plans import Bid, Coin, Recipient
from cryptowatch.devnet import Net
from cryptowatch.money import BaseUnits
from cryptowatch.signing.bitcoin import input_keys, sign
from cryptowatch.signing.keys import AccountKeys, accounts_from_mnemonic, new_mnemonic
from cryptowatch.signing.messages import KeyPath
from cryptowatch.signing.policy import Refusal

COINS, BATCHES, PAYOUTS_A_BATCH = 20_000, 10, 100
#: At a busy time's rate inputs are spared; at a quiet time's small coins are tidied up on purpose.
BUSY_SAT_KVB, QUIET_SAT_KVB, LONG_TERM_SAT_KVB = 40_000, 3_000, 10_000
_FAN_OUT = 1_000
GOAL_MS, GOAL_VB = 60, 33


async def run(report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="cw-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        async with devnet.up(Path(folder), bitcoin_nodes=1) as net:
            accounts, coins = await _fill_wallet(net)
            for rate, when in ((BUSY_SAT_KVB, "busy"), (QUIET_SAT_KVB, "quiet")):
                await _measure(net, accounts, coins, rate, when, report)


async def _measure(
    net: Net,
    accounts: AccountKeys,
    coins: list[Coin],
    rate: int,
    when: str,
    report: Report,
) -> None:
    randomness = random.Random(1)
    planner, free, places = BitcoinPlanner(LONG_TERM_SAT_KVB), list(coins), []
    seconds, sizes, inputs = [], [], []
    for batch in range(BATCHES):
        recipients = [
            Recipient(_foreign(randomness), BaseUnits(int(randomness.lognormvariate(12.2, 1.0)) + 5_000))
            for _ in range(PAYOUTS_A_BATCH)
        ]
        change = accounts.key(KeyPath("bip84", 1, batch)).script
        started_s = time.perf_counter()
        plan = planner.plan(
            free, recipients, [Coin(b"", BaseUnits(0), change, (84, 1, batch))], Bid(rate), batch
        )
        seconds.append(time.perf_counter() - started_s)
        assert isinstance(plan, BitcoinPlan), plan
        sizes.append(await _relayed_vsize(net, accounts, plan))
        inputs.append(len(plan.resources))
        used = set(plan.resources)
        free = [coin for coin in free if coin.resource not in used]
        places.append(recipients)
    peer_s, peer_inputs = await _bitcoind(net, places[:3], rate)
    ours_ms, peer_ms = statistics.median(seconds) * 1000, peer_s * 1000
    report(
        f"selection a batch, {when} ({rate // 1000} sat/vB), median",
        ours_ms,
        "ms",
        "bitcoind's wallet",
        peer_ms,
        peer_ms / ours_ms,
        f"< {GOAL_MS} ms",
        ours_ms < GOAL_MS,
    )
    report(f"  worst of {BATCHES}", max(seconds) * 1000, "ms")
    per_payout = sum(sizes) / (BATCHES * PAYOUTS_A_BATCH)
    goal = (f"<= {GOAL_VB} vB", per_payout <= GOAL_VB) if when == "busy" else (None, None)
    report(f"size of a payout, {when}", per_payout, "vB", "a single payout", 140, 140 / per_payout, *goal)
    report(f"  inputs a batch, {when}", sum(inputs) / BATCHES, "inputs", "bitcoind's wallet", peer_inputs)


async def _relayed_vsize(net: Net, accounts: AccountKeys, plan: BitcoinPlan) -> int:
    """Signed with the real keys and accepted by the node: its own word on the size."""
    paths = [KeyPath("bip84", 1 if path[1] else 0, path[2]) for path in plan.input_paths]
    keys = input_keys(plan.transaction, paths, accounts)
    assert not isinstance(keys, Refusal)
    (answer,) = await net.bitcoin[0].rpc("testmempoolaccept", [sign(plan.transaction, keys).hex()], 0)
    assert answer["allowed"], answer
    return int(answer["vsize"])


async def _bitcoind(net: Net, batches: list[list[Recipient]], rate: int) -> tuple[float, float]:
    """Median seconds and mean inputs of the node's wallet funding the same batches (unsigned, not sent)."""
    wallet = net.bitcoin[0].rpc
    seconds, inputs = [], []
    for recipients in batches:
        outputs: list[dict[str, Any]] = [
            {address_of(r.destination, "regtest") or "": f"{r.amount / 100_000_000:.8f}"} for r in recipients
        ]
        started_s = time.perf_counter()
        funded = await wallet("walletcreatefundedpsbt", [], outputs, 0, {"fee_rate": rate / 1000}, False)
        seconds.append(time.perf_counter() - started_s)
        inputs.append(len((await wallet("decodepsbt", funded["psbt"]))["inputs"]))
    return statistics.median(seconds), statistics.mean(inputs)


async def _fill_wallet(net: Net) -> tuple[AccountKeys, list[Coin]]:
    """20,000 confirmed coins of players' deposits, log-normal amounts, owned by our keys and by bitcoind's wallet."""
    mnemonic = new_mnemonic(bytes(15) + b"\x01")
    accounts = accounts_from_mnemonic(mnemonic, "regtest")
    scripts = await asyncio.to_thread(
        lambda: [accounts.key(KeyPath("bip84", 0, n)).script for n in range(COINS)]
    )
    randomness = random.Random(0)
    amounts = [int(randomness.lognormvariate(12.2, 1.5)) + 3_000 for _ in range(COINS)]
    rpc = net.bitcoin[0].rpc
    coins: list[Coin] = []
    funding = accounts.key(KeyPath("bip84", 1, 0))
    for first in range(0, COINS, _FAN_OUT):
        part = amounts[first : first + _FAN_OUT]
        total = sum(part) + 300_000
        tx_hash = await net.send(address_of(funding.script, "regtest") or "", f"{total / 100_000_000:.8f}")
        found = await rpc("getrawtransaction", tx_hash, 1)
        place = next(out["n"] for out in found["vout"] if out["scriptPubKey"]["hex"] == funding.script.hex())
        fan_out = UnsignedTransaction(
            (TxInput(bytes.fromhex(tx_hash), place, BaseUnits(total), funding.script),),
            tuple(TxOutput(scripts[first + n], BaseUnits(amount)) for n, amount in enumerate(part)),
        )
        await rpc("sendrawtransaction", sign(fan_out, [funding]).hex(), 0)
        coins += [
            Coin(
                fan_out.txid + n.to_bytes(4, "big"), BaseUnits(amount), scripts[first + n], (84, 0, first + n)
            )
            for n, amount in enumerate(part)
        ]
    # In exchange for the faucet's wallet, so that plain calls mean this one.
    await rpc("unloadwallet", "faucet")
    await hot_wallet(rpc, "peer", mnemonic, COINS)
    await net.mine(1)
    return accounts, coins


def _foreign(randomness: random.Random) -> bytes:
    return b"\x00\x14" + randomness.randbytes(20)
