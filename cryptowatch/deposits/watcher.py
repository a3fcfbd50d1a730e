"""Follows one chain: the second hop of the main flow, between `daemon` and `apply.apply_block`.

Every poll it asks the pool where the quorum is, leaves blocks that the quorum left, and applies the next ones, fetching
ahead while it catches up and never skipping one (P5). A reorg below finality, or deeper than is kept, is not followed:
it halts the chain and waits for a person (P6). Two watchers on one database waste work and nothing else, since the
cursor moves by compare-and-set only.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.port import BlockRef, RawBlock
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.deposits import cursor as chain_cursor
from cryptowatch.deposits.apply import Applied, apply_block, finalized_above, rewind
from cryptowatch.deposits.cursor import Cursor
from cryptowatch.deposits.rules import ChainRules
from cryptowatch.deposits.watchlist import ChainWatchList
from cryptowatch.errors import ConcurrentUpdate, NoQuorum
from cryptowatch.sending.halts import forget_acceptance, halt

log = structlog.get_logger(__name__)

#: Told after each block or rewind: (what was applied, blocks still to go).
Observer = Callable[[Applied, int], None]


@dataclass(slots=True)
class Watcher:
    """One chain's watcher. `start_height` None = begin just below the quorum's head of the first start."""

    rules: ChainRules
    nodes: NodePool
    pool: Pool
    clock: Clock
    watchlist: ChainWatchList
    start_height: int | None
    reorg_depth_max: int
    fetch_ahead: int
    observe: Observer
    #: The block up to which the watch list knows all coins.
    matched: BlockPoint | None = None
    rescans: int | None = None
    #: The quorum's head when it was asked for last.
    head: BlockPoint | None = None

    async def follow(self) -> int:
        """Go to the quorum's head as it is now; the blocks applied. Raises NoQuorum, NodeUnavailable and such.

        Safe to call again after any error: the database's cursor is the only memory that matters.
        """
        await self._tell_nodes()
        head = self.head = await self.nodes.agreed_head()
        if head is None:
            raise NoQuorum(f"{self.rules.chain}: no head is agreed by the quorum")
        cursor = await self._cursor(head)
        at = cursor.block
        if at != self.matched or cursor.rescans != self.rescans:
            # The first call, or another process moved the cursor or rescanned: its coins are not in memory yet.
            async with connection(self.pool) as conn:
                await self.watchlist.reload(conn)
            self.matched, self.rescans = at, cursor.rescans
        branch = await self._on_agreed_branch(cursor, head)
        if branch is None:
            return 0
        final_height = await self.nodes.agreed_final(head.height) if self.rules.tagged else None
        return await self._append(branch, head, final_height)

    async def _cursor(self, head: BlockPoint) -> Cursor:
        async with connection(self.pool) as conn:
            cursor = await chain_cursor.read_cursor(conn, self.rules.chain)
        if cursor is not None:
            return cursor
        # Far enough below the head that a reorg of the blocks there now is followed like any other.
        height = max(0, head.height - self.rules.finality)
        if self.start_height is not None:
            height = min(self.start_height, height)
        start = await self._agreed(height)
        raw = await self.nodes.block(start, height)
        async with transaction(self.pool) as conn:
            await chain_cursor.start_cursor(
                conn, self.rules.chain, self.rules.asset, raw.ref, self.clock.now()
            )
        log.info("chain started", chain=self.rules.chain, height=height)
        return Cursor(BlockPoint(height, start), None, reorg_accepted=False, rescans=0)

    async def _agreed(self, height: int) -> bytes:
        found = await self.nodes.agreed_hash(height)
        if found is None:
            raise NoQuorum(f"{self.rules.chain}: no hash is agreed at height {height}")
        return found

    async def _on_agreed_branch(self, cursor: Cursor, head: BlockPoint) -> BlockPoint | None:
        """The cursor's block once it is on the quorum's branch; rewinds when it is not. None: halted, wait."""
        at = cursor.block
        if await self._shares(at, head):
            if cursor.reorg_accepted:
                async with transaction(self.pool) as conn:
                    await forget_acceptance(conn, self.rules.chain)
            return at
        depth_max = self.rules.blocks_kept if cursor.reorg_accepted else self.reorg_depth_max
        fork = await self._fork(at, head, depth_max)
        return None if fork is None else await self._leave(at, fork)

    async def _shares(self, at: BlockPoint, head: BlockPoint) -> bool:
        """Whether our block is on the agreed branch; nodes that are only behind us still share it."""
        if head.height >= at.height:
            return await self._agreed(at.height) == at.hash
        async with connection(self.pool) as conn:
            ours = await chain_cursor.block_at(conn, self.rules.chain, head.height)
        # Below the blocks that are kept, nodes are being set up anew: they are behind, no reorg goes so deep.
        return ours is None or ours.hash == head.hash

    async def _fork(self, at: BlockPoint, head: BlockPoint, depth_max: int) -> BlockRef | None:
        """The last block that both branches share, or None when it is deeper than may be followed."""
        height = min(at.height - 1, head.height)
        while height >= 0 and at.height - height <= depth_max:
            async with connection(self.pool) as conn:
                ours = await chain_cursor.block_at(conn, self.rules.chain, height)
            if ours is None:
                break
            if await self._agreed(height) == ours.hash:
                return ours
            height -= 1
        await self._halt(at, f"the quorum left our branch more than {at.height - height - 1} blocks ago")
        return None

    async def _leave(self, at: BlockPoint, fork: BlockRef) -> BlockPoint | None:
        now = self.clock.now()
        async with transaction(self.pool) as conn:
            # Held from before the look at what is final until it is answered: nobody releases or rescans anything in
            # between, and a person who accepts the reorg meanwhile is not answered by one more halt.
            accepted = (await self._still_at(conn, at)).reorg_accepted
            final = not accepted and await finalized_above(conn, self.rules.chain, fork.height, at.height)
            reason = f"a reorg from {at.height} down to {fork.height} would undo final money"
            if final:
                first = await halt(conn, self.rules.chain, reason, now)
            else:
                applied = await rewind(conn, self.rules, at, fork, accepted, now)
                await chain_cursor.tell_reorg(conn, self.rules.chain, at, fork.height, now)
        if final:
            self._log_halt(first, reason)
            return None
        log.warning("reorg", chain=self.rules.chain, depth=at.height - fork.height, fork_height=fork.height)
        self.observe(applied, 0)
        async with connection(self.pool) as conn:
            await self.watchlist.watch_resources(conn)
        self.matched = BlockPoint(fork.height, fork.hash)
        return self.matched

    async def _still_at(self, conn: Connection, at: BlockPoint) -> Cursor:
        """The cursor, held. Raises ConcurrentUpdate when another process moved it: what was found of our branch may be
        of two branches then, or of none."""
        cursor = await chain_cursor.read_cursor(conn, self.rules.chain, lock=True)
        if cursor is None or cursor.block != at:
            raise ConcurrentUpdate(f"the cursor of {self.rules.chain} is no longer at {at.height}")
        return cursor

    async def _halt(self, at: BlockPoint, reason: str) -> None:
        async with transaction(self.pool) as conn:
            await self._still_at(conn, at)
            first = await halt(conn, self.rules.chain, reason, self.clock.now())
        self._log_halt(first, reason)

    def _log_halt(self, first: bool, reason: str) -> None:
        if first:
            log.critical("chain halted", chain=self.rules.chain, reason=reason)

    async def _append(self, at: BlockPoint, head: BlockPoint, final_height: int | None) -> int:
        applied_blocks = 0
        async with aclosing(self._fetched(at.height + 1, head.height)) as blocks:
            async for raw in blocks:
                if raw.ref.prev_hash != at.hash:
                    break  # the agreed branch changed while we fetched: the next call sees where it forks
                async with connection(self.pool) as conn:
                    await self.watchlist.refresh(conn)
                contents = raw.contents(self.watchlist.interest)
                async with transaction(self.pool) as conn:
                    applied = await apply_block(
                        conn, self.rules, at, contents, self.clock.now(), final_height
                    )
                self.watchlist.applied(contents)
                at = self.matched = BlockPoint(raw.ref.height, raw.ref.hash)
                applied_blocks += 1
                self.observe(applied, head.height - at.height)
        return applied_blocks

    async def _fetched(self, first: int, last: int) -> AsyncGenerator[RawBlock, None]:
        """The agreed blocks in order, with at most `fetch_ahead` of them under way."""
        under_way: deque[asyncio.Task[RawBlock]] = deque()
        heights = iter(range(first, last + 1))
        try:
            while True:
                while len(under_way) < self.fetch_ahead and (height := next(heights, None)) is not None:
                    under_way.append(asyncio.create_task(self._fetch(height)))
                if not under_way:
                    return
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _fetch(self, height: int) -> RawBlock:
        return await self.nodes.block(await self._agreed(height), height)

    async def _tell_nodes(self) -> None:
        """Each change is kept until it is written; who writes it twice adds nothing."""
        for change in self.nodes.changes():
            async with transaction(self.pool) as conn:
                await chain_cursor.tell_node(
                    conn, self.rules.chain, change.node, change.kind, change.reason, self.clock.now()
                )
            self.nodes.told(change)
