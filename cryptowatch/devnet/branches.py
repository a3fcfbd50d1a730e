"""Replaces the last blocks of all nodes by another branch, as a real reorg does.

Called by `control` (POST /reorg). The new blocks are put together here and handed to every node; each node
switches by its own rules, in one step, when the new branch has more work. No node is told to call a block
invalid, so the old branch stays what it would be on a real network: a fork that lost.

Dropped transactions must not return. A node that leaves a block puts its transactions back into its
mempool, and has no call to remove one. So the last block, the one that makes the nodes switch, is handed
over while their clocks stand weeks in the past (their headers are known by then, so nobody minds): what
returns to the mempool is expired when the clocks are right again, and goes at the first occasion.
Everything else was mined again and did not return.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cryptowatch.devnet.blocks import (
    Block,
    Transaction,
    assemble,
    hidden,
    parse_block,
    parse_transaction,
    shown,
)
from cryptowatch.devnet.nodes import BitcoinNode, until_same_head
from cryptowatch.devnet.rpc import RpcError
from cryptowatch.errors import OperatorError

# bitcoind forgets pending transactions after 14 days.
_PAST_S = 30 * 86_400
_ALREADY_KNOWN = {None, "inconclusive", "duplicate", "duplicate-inconclusive"}


class ReorgImpossible(OperatorError):
    """The nodes refuse the branch that was asked for; they are still on the old one."""


@dataclass(frozen=True)
class Reorg:
    """What changed. `dropped`: the transactions of the old branch that are in no block and no mempool now."""

    fork_height: int
    old_blocks: tuple[str, ...]
    new_blocks: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class _Pending:
    """A transaction in a mempool. `time`: when it came; `ancestors` counts itself."""

    raw: str
    time: int
    ancestors: int


_Mempool = Mapping[str, _Pending]


async def reorg(
    nodes: Sequence[BitcoinNode],
    depth: int,
    *,
    drop: Sequence[str] = (),
    include: Sequence[str] = (),
    pay_to: bytes,
    randomness: random.Random,
) -> Reorg:
    """Replace the last `depth` blocks by `depth + 1`; all other transactions keep their place.

    `drop`: transactions left out, with all that spend from them. `include`: raw transactions (hex) for the
    first new block; what conflicts with them is left out too. Answers when every node is on the new branch.
    """
    await until_same_head(nodes)
    first = nodes[0]
    height = int(await first.rpc("getblockcount"))
    if not 1 <= depth < height:
        raise ReorgImpossible(f"depth must be between 1 and {height - 1}, not {depth}")
    hashes = [str(await first.rpc("getblockhash", n)) for n in range(height - depth, height + 1)]
    old = [parse_block(bytes.fromhex(await first.rpc("getblock", name, 0))) for name in hashes[1:]]
    included = [parse_transaction(bytes.fromhex(raw)) for raw in include]
    kept, dropped = _divided(old, {hidden(name) for name in drop}, included)
    new: list[Block] = []
    parent, block_time = hidden(hashes[0]), int((await first.rpc("getblockheader", hashes[0]))["mediantime"])
    for position, content in enumerate([*kept, []]):
        block_time = max(block_time + 1, old[position].time if position < depth else int(time.time()))
        salt = randomness.randbytes(16)
        content = [*included, *content] if position == 0 else content
        new.append(
            assemble(parent, height - depth + 1 + position, block_time, content, pay_to=pay_to, salt=salt)
        )
        parent = new[-1].hash
    before = await _switch(nodes, new)
    gone = await _forgotten(nodes, before, dropped)
    return Reorg(height - depth, tuple(hashes[1:]), tuple(shown(block.hash) for block in new), gone)


def _divided(
    old: Sequence[Block], drop: set[bytes], included: Sequence[Transaction]
) -> tuple[list[list[Transaction]], list[Transaction]]:
    """The old blocks' transactions without coinbases: those that stay, block by block, and those that go."""
    gone = {*drop, *(block.transactions[0].txid for block in old)}
    taken = {coin for tx in included for coin in tx.spends}
    already = {tx.txid for tx in included}
    kept: list[list[Transaction]] = []
    dropped = []
    for block in old:
        kept.append([])
        for tx in block.transactions[1:]:
            if tx.txid in already:
                continue
            if tx.txid in gone or any(coin[0] in gone or coin in taken for coin in tx.spends):
                gone.add(tx.txid)
                dropped.append(tx)
            else:
                kept[-1].append(tx)
    missing = drop - {tx.txid for tx in dropped}
    if missing:
        names = ", ".join(shown(txid) for txid in sorted(missing))
        raise ReorgImpossible(f"to drop, a transaction must be in the blocks that are replaced: {names}")
    return kept, dropped


async def _switch(nodes: Sequence[BitcoinNode], new: Sequence[Block]) -> dict[str, _Mempool]:
    """Makes the nodes switch; by node, what its mempool holds while the clocks still stand in the past."""

    async def prepare(node: BitcoinNode) -> None:
        for block in new:
            await node.rpc("submitheader", block.header.hex())
        for block in new[:-1]:
            await _submit(node, block)

    async def switch(node: BitcoinNode) -> None:
        await _submit(node, new[-1])

    try:
        await asyncio.gather(*(prepare(node) for node in nodes))
        past = int(time.time()) - _PAST_S
        try:
            await asyncio.gather(*(node.rpc("setmocktime", past) for node in nodes))
            await asyncio.gather(*(switch(node) for node in nodes))
            head = await until_same_head(nodes)
            held = await asyncio.gather(*(_mempool(node) for node in nodes))
        finally:
            await asyncio.gather(*(node.rpc("setmocktime", 0) for node in nodes))
    except RpcError as refusal:
        raise ReorgImpossible(f"a node refused the new branch: {refusal}") from refusal
    if head != shown(new[-1].hash):
        raise ReorgImpossible(
            "the nodes did not follow the new branch: one of its transactions is not valid in it"
        )
    return {node.name: pool for node, pool in zip(nodes, held, strict=True)}


async def _submit(node: BitcoinNode, block: Block) -> None:
    answer = await node.rpc("submitblock", block.raw.hex())
    if answer not in _ALREADY_KNOWN:
        raise ReorgImpossible(f"{node.name} refused a block of the new branch: {answer}")


async def _forgotten(
    nodes: Sequence[BitcoinNode], before: Mapping[str, _Mempool], dropped: Sequence[Transaction]
) -> tuple[str, ...]:
    """Makes every node forget the dropped transactions, and makes sure that it did.

    What others sent while the clocks stood in the past is forgotten as well, and so it is sent again.
    """
    names = tuple(shown(tx.txid) for tx in dropped)
    for node in nodes:
        pool = {**before[node.name], **await _mempool(node)}
        old = {name: entry for name, entry in pool.items() if entry.time < time.time() - _PAST_S / 2}
        for name, entry in old.items():
            if name in await node.rpc("getrawmempool"):
                # The submission itself has no effect; it is the occasion at which expired transactions go.
                await node.rpc("submitpackage", [entry.raw])
        await _send_again(node, old, without=set(names))
    for node in nodes:
        # A node that had not forgotten yet may have told another one that had.
        await _forget(node, set(names))
        left = set(names) & set(await node.rpc("getrawmempool"))
        if left:
            raise ReorgImpossible(f"{node.name} still holds dropped transactions: {', '.join(sorted(left))}")
    return names


async def forget_missed(
    node: BitcoinNode, others: Sequence[BitcoinNode], dropped: set[str]
) -> tuple[str, ...]:
    """Make a node that was down during a reorg forget what the reorg dropped, unless it was sent anew since."""
    elsewhere = {name for other in others for name in await other.rpc("getrawmempool")}
    return await _forget(node, dropped - elsewhere)


async def _forget(node: BitcoinNode, dropped: set[str]) -> tuple[str, ...]:
    """Make a node forget those of these transactions that it holds; which they were.

    Its clock goes forward for a moment, so that its whole mempool is too old; then it gets back what it
    shall keep.
    """
    pool = await _mempool(node)
    gone = dropped & pool.keys()
    if not gone:
        return ()
    try:
        await node.rpc("setmocktime", int(time.time()) + _PAST_S)
        await node.rpc("submitpackage", [pool[next(iter(gone))].raw])
    finally:
        await node.rpc("setmocktime", 0)
    await _send_again(node, pool, without=gone)
    return tuple(sorted(gone))


async def _mempool(node: BitcoinNode) -> _Mempool:
    found = {}
    for name, entry in (await node.rpc("getrawmempool", True)).items():
        with suppress(RpcError):  # it went while we asked
            raw = str(await node.rpc("getrawtransaction", name))
            found[name] = _Pending(raw, int(entry["time"]), int(entry["ancestorcount"]))
    return found


async def _send_again(node: BitcoinNode, pool: _Mempool, *, without: set[str]) -> None:
    """Parents first."""
    for name in sorted(pool.keys() - without, key=lambda name: pool[name].ancestors):
        with suppress(RpcError):
            # A child of a dropped transaction is refused, and is to go with it.
            await node.rpc("sendrawtransaction", pool[name].raw, 0)
