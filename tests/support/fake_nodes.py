"""Nodes of a made-up chain that answer, lag, fail or lie on request: for tests of `chains.nodes` without a
network.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptowatch.chains.backlog import Backlog
from cryptowatch.chains.port import (
    BlockContents,
    BlockRef,
    BroadcastAnswer,
    BroadcastOutcome,
    FeeMarket,
    Interest,
    PendingTransaction,
    RawBlock,
    RawPending,
)
from cryptowatch.errors import NodeLied, NodeUnavailable

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class HandClock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)

    def monotonic_s(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


@dataclass(frozen=True)
class FakeBlock:
    ref: BlockRef
    unproven: bytes = b""

    def contents(self, interest: Interest) -> BlockContents:
        return BlockContents(self.ref, (), (), {}, 0, 0)


@dataclass(frozen=True)
class FakePending:
    tx_hash: bytes

    def contents(self, interest: Interest) -> PendingTransaction | None:
        return None


def chain(length: int, branch: str = "main", fork_height: int = 0) -> list[bytes]:
    """Hashes of the heights 0 to length - 1; below the fork height those of the main branch."""
    names = ["main" if height < fork_height else branch for height in range(length)]
    return [f"{name}-{height}".encode() for height, name in enumerate(names)]


@dataclass
class FakeNode:
    """Everything that it says is an attribute; `silent`, `hanging`, `lying_about_blocks` are its faults."""

    name: str
    hashes: list[bytes]
    mempool: set[bytes] = field(default_factory=set)
    spent: dict[bytes, bytes] = field(default_factory=dict)
    #: What a replacement of a transaction would evict.
    evicted: dict[bytes, int] = field(default_factory=dict)
    funding: dict[bytes, Sequence[str]] = field(default_factory=dict)
    market: FeeMarket = field(default_factory=FeeMarket)
    waiting: Backlog | None = None
    final: tuple[int, bytes] | None = None
    outcome: BroadcastOutcome = BroadcastOutcome.ACCEPTED
    silent: bool = False
    lying_about_blocks: bool = False
    hanging: asyncio.Event | None = None
    asked: list[str] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    fetched: list[bytes] = field(default_factory=list)
    closed: bool = False

    async def _answer(self, method: str) -> None:
        self.asked.append(method)
        if self.hanging is not None:
            await self.hanging.wait()
        if self.silent:
            raise NodeUnavailable(self.name, "silent")

    async def head(self) -> tuple[int, bytes]:
        await self._answer("head")
        return len(self.hashes) - 1, self.hashes[-1]

    async def hash_at(self, height: int) -> bytes | None:
        await self._answer("hash_at")
        return self.hashes[height] if height < len(self.hashes) else None

    async def block(self, block_hash: bytes, height: int) -> RawBlock:
        await self._answer("block")
        if self.lying_about_blocks:
            raise NodeLied(self.name, "block does not hash")
        if block_hash not in self.hashes:
            raise NodeUnavailable(self.name, "does not have the block")
        return FakeBlock(BlockRef(height, block_hash, self.hashes[height - 1], EPOCH))

    async def finalized(self) -> tuple[int, bytes] | None:
        await self._answer("finalized")
        return self.final

    async def pending(
        self,
        known: frozenset[bytes],
        tracked: frozenset[bytes],
    ) -> tuple[frozenset[bytes], Sequence[RawPending]]:
        await self._answer("pending")
        self.fetched += sorted(self.mempool - known)
        return frozenset(self.mempool), [FakePending(tx_hash) for tx_hash in self.mempool - known]

    async def spenders(self, resources: Sequence[bytes]) -> Mapping[bytes, bytes]:
        await self._answer("spenders")
        return {resource: self.spent[resource] for resource in resources if resource in self.spent}

    async def evicted_fees(self, tx_hash: bytes) -> int:
        await self._answer("evicted_fees")
        return self.evicted.get(tx_hash, 0)

    async def funders(self, tx_hash: bytes, position: int, block_hash: bytes) -> Sequence[str] | None:
        await self._answer("funders")
        return self.funding.get(tx_hash)

    async def broadcast(self, raw: bytes, parents: Sequence[bytes] = ()) -> BroadcastAnswer:
        await self._answer("broadcast")
        self.received.append(raw)
        return BroadcastAnswer(self.name, self.outcome, "")

    async def fee_market(self) -> FeeMarket:
        await self._answer("fee_market")
        return self.market

    async def backlog(self) -> Backlog | None:
        await self._answer("backlog")
        return self.waiting

    async def close(self) -> None:
        self.closed = True
