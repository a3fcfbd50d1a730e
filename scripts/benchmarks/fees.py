"""`fees`: a day and a half of simulated congestion on a real bitcoind: which bids would have missed or overpaid.

Every minute of the simulated time the traffic's real transactions reach the node, every other minute our estimator
looks at its mempool; blocks are small, mined by the node from its own template by rate alone, and come at random
intervals, ten minutes on average. Every six minutes everyone bids: we, the node's `estimatesmartfee`, percentiles of
the mempool and of the last block. Nobody sees later minutes. A bid is judged afterwards by what the blocks within its
target took: the lowest rate at which a payment of ours would have been in one of them.

Overpaid is the average over all bids of what was offered beyond that rate, in parts of it (nothing where a bid missed).
That is stricter than what Augur's authors measured: missed is there what is below the 5th percentile of the block's
rates, overpaid what is beyond its 75th. Their figures on mainnet are the goals, and both measures are shown.
Peers are compared on their own trade-off. What a miss costs (`chains.forecast`) gives a line of bids of ours, from the
market's floor, which hardly ever gets in, to one that always does; between two of its points lies whoever bids now one,
now the other (as between two classifiers: Provost and Fawcett, 2001). Ahead is where the line overpays less for as many
misses; where a peer neither missed nor overpaid, level is all that there is.
"""

import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from benchmarks._fee_traffic import LOCK, Payer, raw, size_vb, spending
from benchmarks.reporting import Report
from cryptowatch import devnet
from cryptowatch.chains.backlog import EDGES, Backlog, backlog
from cryptowatch.chains.bitcoin.address import address_of
from cryptowatch.chains.bitcoin.node import BitcoinNode
from cryptowatch.chains.bitcoin.packages import Package, Waiting, packages
from cryptowatch.chains.bitcoin.rpc import RpcClient
from cryptowatch.chains.forecast import Forecaster
from cryptowatch.errors import NodeRejected
from cryptowatch.settings.chains import BitcoinFeeSettings

SEED = 20250701
MINUTES, WARM_UP_MINUTES, LOOK_MINUTES, BID_MINUTES = 2_100, 300, 2, 6
TARGETS = (1, 3, 6, 12, 144)
#: Our side of the comparison with each peer: what a miss may cost, in percent; and who bids the floor at any time.
MISS_COSTS = sorted({int(1.25**step) for step in range(46)})
_DEFAULTS = BitcoinFeeSettings().miss_cost_percent
BLOCK_WEIGHT, RESERVED_WEIGHT = 160_000, 4_000
_COINS, _COIN_SAT, _FAN_OUT = 9_000, 2_000_000, 450
#: A payment of ours: one input, a recipient, the change.
_PROBE_WEIGHT = 141 * 4
_FLOOR = 1_000
MISS_GOAL, OVERPAID_GOAL = 0.141, 0.159

#: Who bids -> target in blocks -> rate
Bids = Mapping[str, Mapping[int, int]]
#: (part of the bids that missed, average overpaid)
Score = tuple[float, float]


@dataclass(frozen=True)
class Block:
    """`lowest`: what a payment of ours had to pay to be in it. The percentiles are of its weight, as Augur measured."""

    lowest: int
    p5: int
    p75: int


@dataclass
class Market:
    """The node, and what is known of its transactions to judge by."""

    rpc: RpcClient
    node: BitcoinNode
    payer: Payer
    forecaster: Forecaster
    entries: dict[str, Waiting] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    last_block: list[Package] = field(default_factory=list)
    refused: int = 0
    pool: Backlog = field(default_factory=lambda: backlog([], BLOCK_WEIGHT))

    async def minute(self, number: int, now: datetime, blocks: int) -> None:
        """Payments arrive, every second time we look, then blocks come."""
        await self.rpc.call("setmocktime", int(now.timestamp()))
        made = self.payer.minute(
            number, statistics.mean([block.lowest for block in self.blocks[-3:]] or [_FLOOR]) / 1_000
        )
        answers = await self.rpc.batch([("sendrawtransaction", (raw(one).hex(), 0)) for one in made])
        self.refused += sum(isinstance(answer, NodeRejected) for answer in answers)
        for one in made:
            parent = one.inputs[0].prev_hash.hex()
            weight = 4 * size_vb(len(one.outputs)) - 3
            self.entries[one.txid.hex()] = Waiting(one.fee, weight, (parent,))
        if number % LOOK_MINUTES == 0:
            self.pool = await self.node.backlog()
            self.forecaster.note(now, len(self.blocks), self.pool)
        for _ in range(blocks):
            await self._mine()

    async def _mine(self) -> None:
        (block_hash,) = await self.rpc.call(
            "generatetoaddress", 1, address_of(b"\x00\x14" + bytes(20), "regtest")
        )
        mined = (await self.rpc.call("getblock", block_hash, 1))["tx"][1:]
        self.payer.mined([bytes.fromhex(tx_id) for tx_id in mined])
        self.last_block = sorted(
            packages({tx_id: self.entries.pop(tx_id) for tx_id in mined}), key=lambda one: one.rate
        )
        percentiles = (max(_percentile(self.last_block, percent), _FLOOR) for percent in (5, 75))
        self.blocks.append(Block(_lowest_that_fits(self.last_block), *percentiles))


def _lowest_that_fits(block: Sequence[Package]) -> int:
    """What a payment of ours had to pay to be chosen: more than whatever would have had to make room for it."""
    room, taken, needed = BLOCK_WEIGHT - RESERVED_WEIGHT, sum(package.weight for package in block), _FLOOR
    for package in block:
        if taken + _PROBE_WEIGHT <= room:
            break
        taken, needed = taken - package.weight, package.rate + 1
    return max(needed, _FLOOR)


async def run(report: Report) -> None:
    options = {
        "blockmaxweight": str(BLOCK_WEIGHT),
        "blockreservedweight": str(RESERVED_WEIGHT),
        # By rate alone, as miners choose. Bitcoin Knots keeps room in each block for old coins at any rate, where no
        # payment of ours could be; other nodes pass over the setting.
        "blockprioritysize": "0",
    }
    with tempfile.TemporaryDirectory(prefix="cw-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        async with devnet.up(Path(folder), bitcoin_nodes=1, node_options=options) as net:
            market = await _open(net)
            try:
                bids = await _two_days(market)
            finally:
                await market.rpc.close()
    assert market.refused < len(market.blocks), f"{market.refused} payments were refused"
    _judge(bids, market.blocks, report)


async def _open(net: devnet.Net) -> Market:
    """A node with coins that anyone can spend, all of them in blocks."""
    address = address_of(LOCK, "regtest")
    assert address is not None
    coins: list[tuple[bytes, int, int]] = []
    rpc = RpcClient("market", net.bitcoin[0].direct_rpc_url, None, timeout_s=60)
    for _ in range(_COINS // _FAN_OUT):
        total = (_COIN_SAT + 10_000) * _FAN_OUT
        tx_id = await net.send(address, f"{total / 100_000_000:.8f}")
        found = (await net.bitcoin[0].rpc("getrawtransaction", tx_id, 1))["vout"]
        index = next(out["n"] for out in found if out["scriptPubKey"]["hex"] == LOCK.hex())
        fan_out = spending(bytes.fromhex(tx_id), index, total, [_COIN_SAT] * _FAN_OUT)
        await rpc.call("sendrawtransaction", raw(fan_out).hex(), 0)
        coins += [(fan_out.txid, n, _COIN_SAT) for n in range(_FAN_OUT)]
    await net.mine(2 * _COINS // _FAN_OUT)
    assert not await rpc.call("getrawmempool")
    node = BitcoinNode(rpc, network="regtest", asset="BTC", block_weight=BLOCK_WEIGHT - RESERVED_WEIGHT)
    payer = Payer(random.Random(SEED), BLOCK_WEIGHT // 4, MINUTES, coins)
    return Market(rpc, node, payer, Forecaster(600))


async def _two_days(market: Market) -> list[tuple[int, Bids]]:
    """(blocks found before it, what everyone bid) for each time of bidding."""
    randomness, start, bids = random.Random(SEED + 1), datetime.now(UTC), []
    next_block = randomness.expovariate(0.1)
    for number in range(MINUTES):
        blocks = 0
        while next_block < number + 1:
            blocks += 1
            next_block += randomness.expovariate(0.1)
        await market.minute(number, start + timedelta(minutes=number), blocks)
        if number >= WARM_UP_MINUTES and number % BID_MINUTES == 0 and not blocks:
            bids.append((len(market.blocks), await _bids(market)))
    return bids


async def _bids(market: Market) -> Bids:
    ours = {
        _ours(cost): {t: max(market.forecaster.rate(t, cost, _FLOOR) or 0, _FLOOR) for t in TARGETS}
        for cost in {*MISS_COSTS, *_DEFAULTS.values()}
    }
    ours[_ours(0)] = dict.fromkeys(TARGETS, _FLOOR)
    node = {
        f"estimatesmartfee {mode}": await _estimates(market.rpc, mode)
        for mode in ("economical", "conservative")
    }
    naive = {f"mempool's p{p}": _pool_percentile(market.pool, p) for p in (50, 75)}
    naive |= {f"last block's p{p}": _percentile(market.last_block, p) for p in (10, 50)}
    return ours | node | {name: dict.fromkeys(TARGETS, max(rate, _FLOOR)) for name, rate in naive.items()}


async def _estimates(rpc: RpcClient, mode: str) -> dict[int, int]:
    answers = await rpc.batch([("estimatesmartfee", (target, mode)) for target in TARGETS])
    return {
        target: max(int(answer["feerate"] * 100_000_000), _FLOOR)
        for target, answer in zip(TARGETS, answers, strict=True)
        if isinstance(answer, dict) and "feerate" in answer
    }


def _percentile(block: Sequence[Package], percent: int) -> int:
    """The rate below which so much of the weight is; `block` from the lowest on."""
    wanted = sum(package.weight for package in block) * percent / 100
    for package in block:
        wanted -= package.weight
        if wanted <= 0:
            return package.rate
    return _FLOOR


def _pool_percentile(pool: Backlog, percent: int) -> int:
    wanted = pool.above[0] * (100 - percent) / 100
    return next(rate for rate, above in zip(EDGES, pool.above, strict=True) if above <= wanted)


def _judge(bids: Sequence[tuple[int, Bids]], blocks: Sequence[Block], report: Report) -> None:
    for target in [target for target in TARGETS if target <= len(blocks) - bids[0][0]]:
        fair = [
            (everyone, blocks[height : height + target])
            for height, everyone in bids
            if height + target <= len(blocks) and all(target in of for of in everyone.values())
        ]
        scores = {
            name: _score(
                [(everyone[name][target], min(b.lowest for b in within)) for everyone, within in fair]
            )
            for name in fair[0][0]
        }
        within = "next block" if target == 1 else f"{target} blocks"
        goals = (MISS_GOAL, OVERPAID_GOAL) if target == 1 else None
        own = _ours(_default(target))
        _show(f"{within}, {len(fair)} bids ({own})", scores[own], goals, report)
        mine = {name: score for name, score in scores.items() if name.startswith("ours")}
        line = _lower_hull(list(mine.values()))
        for peer in [name for name in scores if name not in mine]:
            _compare(within, peer, scores[peer], line, report)
    urgent = _ours(_default(1))
    ours = [(everyone[urgent][1], blocks[height]) for height, everyone in bids if height < len(blocks)]
    missed = sum(bid < block.p5 for bid, block in ours) / len(ours)
    overpaid = statistics.mean(max(0, bid - block.p75) / block.p75 for bid, block in ours)
    _show("next block, as Augur measured", (missed, overpaid), (MISS_GOAL, OVERPAID_GOAL), report)


def _default(target: int) -> int:
    """By the settings: the next block is for urgent payments, a day for economy ones."""
    return _DEFAULTS["urgent" if target == 1 else "economy" if target == TARGETS[-1] else "normal"]


def _ours(miss_cost_percent: int) -> str:
    return f"ours, a miss costs {miss_cost_percent} %"


def _score(pairs: Sequence[tuple[int, int]]) -> Score:
    missed = sum(bid < lowest for bid, lowest in pairs) / len(pairs)
    return missed, statistics.mean(max(0, bid - lowest) / lowest for bid, lowest in pairs)


def _show(what: str, score: Score, goals: Score | None, report: Report) -> None:
    for number, figure in enumerate(("missed", "overpaid")):
        told = (
            (None, None)
            if goals is None
            else (f"< {100 * goals[number]:.1f} %", score[number] < goals[number])
        )
        report(f"{what}: {figure}", 100 * score[number], "%", None, None, None, *told)


def _lower_hull(points: Sequence[Score]) -> list[Score]:
    """The corners of the line below all points, from the fewest misses on."""
    corners: list[Score] = []
    for x, y in sorted(points):
        if corners and x == corners[-1][0]:
            continue
        while len(corners) > 1:
            (ax, ay), (bx, by) = corners[-2:]
            if (by - ay) * (x - ax) < (y - ay) * (bx - ax):
                break
            corners.pop()
        corners.append((x, y))
    return corners


def _overpaid_at(missed: float, line: Sequence[Score]) -> float | None:
    """What the line overpays for as many misses; None: it never misses so little."""
    best = line[0][1] if missed >= line[0][0] else None
    for (ax, ay), (bx, by) in pairwise(line):
        if ax <= missed:
            best = by if missed >= bx else ay + (by - ay) * (missed - ax) / (bx - ax)
    return best


def _compare(blocks: str, peer: str, theirs: Score, line: Sequence[Score], report: Report) -> None:
    missed, overpaid = theirs
    ours = _overpaid_at(missed, line)
    report(
        f"  {blocks}: overpaid for {100 * missed:.1f} % missed",
        float("inf") if ours is None else 100 * ours,
        "%",
        peer,
        100 * overpaid,
        overpaid / ours if ours else None,
        "level" if overpaid == 0 else "ahead",
        ours is not None and (ours < overpaid or ours == overpaid == 0),
    )
