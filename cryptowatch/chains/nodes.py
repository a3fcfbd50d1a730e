"""A chain's nodes as one: polled side by side, agreed by hash, read with failover, broadcast to together.

`deposits.watcher` reads blocks and pending transactions through it, `sending` broadcasts and asks for fees, the API and
the metrics show `statuses()`. Knows nothing of any chain family beyond `chains.port`. Keeps P5: see `chains.agreement`
on quorum and `chains.standing` on quarantine. Keeps P10: every wait ends with the nodes' own timeouts, and once a
quorum has answered, the others get only `grace_s` more, so a slow node holds up nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from cryptowatch.chains.agreement import (
    BlockPoint,
    agreed,
    agreed_market,
    contradicting,
    highest_possible,
    reference_height,
    why_not_agreed,
)
from cryptowatch.chains.backlog import Backlog, median
from cryptowatch.chains.mempool import MempoolView, PendingChange
from cryptowatch.chains.port import (
    AccountNode,
    AccountState,
    BroadcastAnswer,
    BroadcastOutcome,
    CoinNode,
    FeeMarket,
    Node,
    NodeState,
    NodeStatus,
    RawBlock,
    RawPending,
)
from cryptowatch.chains.standing import NodeChange, Standing
from cryptowatch.clock import Clock
from cryptowatch.errors import NodeLied, NodeRejected, NodeUnavailable, NoQuorum

_T = TypeVar("_T")
#: Order in which nodes are read from; a quarantined one never is.
_READ_ORDER = (NodeState.HEALTHY, NodeState.LAGGING, NodeState.UNREACHABLE)

#: Whether the answers so far (those that are no failure) will do.
_Enough = Callable[[Mapping[str, object]], bool]
NodeFailure = NodeUnavailable | NodeRejected | NodeLied


class NodeObserver(Protocol):
    """Told of every request, for metrics. `error` is the failure's class name, or None."""

    def on_request(self, node: str, method: str, seconds: float, error: str | None) -> None: ...


class NodePool:
    """All nodes of one chain. One instance serves any number of concurrent callers of one event loop."""

    def __init__(
        self,
        chain: str,
        nodes: Sequence[Node],
        *,
        quorum: int,
        clock: Clock,
        lag_blocks_max: int,
        quarantine_s: float,
        observer: NodeObserver | None = None,
        grace_s: float = 0.5,
        fork_search_depth_max: int = 100,
    ) -> None:
        """`fork_search_depth_max`: how far below the best possible height a quorum is looked for."""
        self.chain = chain
        self.quorum = quorum
        self._nodes = {node.name: node for node in nodes}
        self._standings = {
            name: Standing(name, lag_blocks_max=lag_blocks_max, quarantine_s=quarantine_s)
            for name in self._nodes
        }
        self._clock = clock
        self._observer = observer
        self._grace_s = grace_s
        self._fork_search_depth_max = fork_search_depth_max
        self._mempool = MempoolView(quorum)
        self._head_round = asyncio.Lock()
        self._head_tasks: dict[str, asyncio.Task[tuple[int, bytes] | NodeFailure]] = {}
        self._left_behind: set[asyncio.Task[Any]] = set()
        self._broken: BaseException | None = None
        #: Why the last `agreed_head` gave None; None when it gave a head.
        self.disagreement: str | None = "not yet asked"

    async def agreed_head(self) -> BlockPoint | None:
        """The highest block on which a quorum agrees, from one round of polls; None without a quorum.

        It can be lower than before without any reorg, when nodes go away. Only another `agreed_hash` at a height that
        was applied tells of a reorg.
        """
        if self._broken is not None:
            raise self._broken
        async with self._head_round:
            heads = await self._poll_heads()
            voices = {name: heads[name] for name in self._voices() if name in heads}
            reference = reference_height(voices)
            head = await self._highest_agreed(heads, voices)
            for name, point in heads.items():
                self._standings[name].note_head(point, max(reference or 0, head.height if head else 0))
            self.disagreement = None if head else why_not_agreed(voices, len(self._nodes), self.quorum)
            return head

    async def agreed_hash(self, height: int) -> bytes | None:
        """The hash that a quorum reports at the height; None without a quorum, or above the agreed head."""
        claims = await self._hashes_at(height, self._voices())
        block_hash = agreed(claims, self.quorum)
        self._judge(claims, block_hash, height, at_head=False)
        return block_hash

    async def agreed_final(self, height: int) -> int | None:
        """Up to which height, at most this one, a quorum calls the agreed branch final; None without a quorum.

        A claim counts only when the quorum has that very block. With a quorum of two: the second-highest claim.
        """
        answers = await self._ask(
            self._voices(), "finalized", lambda node: node.finalized(), _this_many(self.quorum)
        )
        claims = {name: answer for name, answer in answers.items() if isinstance(answer, tuple)}
        agreed_hashes = {claimed: await self.agreed_hash(claimed) for claimed, _ in set(claims.values())}
        heights = sorted(claimed for claimed, hash_ in claims.values() if agreed_hashes[claimed] == hash_)
        return min(height, heights[-self.quorum]) if len(heights) >= self.quorum else None

    async def block(self, block_hash: bytes, height: int) -> RawBlock:
        """The block with this hash, from the fastest good node, proven to belong to the hash; others if it
        fails. What the hash does not commit to is what a quorum says alike, and who said otherwise lied (P5).

        Raises NodeUnavailable when no node can give it. Ask only for a hash that `agreed_hash` gave.
        """
        failures: list[str] = []
        said: dict[str, bytes] = {}
        for name in self._readable():
            answer = await self._request(name, "block", lambda node: node.block(block_hash, height))
            if isinstance(answer, NodeFailure):
                failures.append(str(answer))
                continue
            said[name] = answer.unproven
            alike = {other for other in said if said[other] == answer.unproven}
            if not answer.unproven or len(alike) >= self.quorum:
                for outvoted in said.keys() - alike:
                    self._standings[outvoted].note_lie("contradicts a quorum", self._clock.monotonic_s())
                return answer
        if said:
            failures.append(f"no {self.quorum} nodes say the same of what is not proven")
        raise NodeUnavailable(self.chain, "; ".join(failures) or "every node is quarantined")

    async def accounts(self, addresses: Sequence[bytes], at: BlockPoint) -> Sequence[AccountState]:
        """The accounts' states after a block, as a quorum says them alike. Only for chains of accounts.

        Raises NoQuorum when the nodes differ, NodeUnavailable when too few of them answer.
        """
        return await self._alike(
            "accounts", lambda node: cast(AccountNode, node).accounts(addresses, at.hash)
        )

    async def code(self, address: bytes, at: BlockPoint) -> bytes:
        """The code at an address after a block, as a quorum says it alike. Raises as `accounts` does."""
        return await self._alike("code", lambda node: cast(AccountNode, node).code(address, at.hash))

    async def _alike(self, method: str, call: Callable[[Node], Awaitable[_T]]) -> _T:
        """What a quorum says alike of what no hash proves."""
        given = await self._told(method, call)
        for answer in given:
            if sum(answer == other for other in given) >= self.quorum:
                return answer
        if len(given) < self.quorum:
            raise NodeUnavailable(self.chain, f"too few nodes answer to {method}")
        raise NoQuorum(f"{self.chain}: the nodes differ on {method}")

    async def _told(self, method: str, call: Callable[[Node], Awaitable[_T]]) -> list[_T]:
        """What nodes answer: a quorum of those that can be read, and who else is quick."""
        answers = await self._ask(self._readable(), method, call, _this_many(self.quorum))
        return [answer for answer in answers.values() if not isinstance(answer, NodeFailure)]

    async def pending(self, tracked: frozenset[bytes]) -> PendingChange:
        """One round over the mempools. `tracked`: ids of our unconfirmed transactions; the gone are told.

        `gone` includes what was just mined. Act on it only after applying the blocks up to an `agreed_head` asked for
        after this call: what is still unconfirmed then was evicted everywhere.
        """
        known = self._mempool.known
        names = [n for n in self._readable() if self._standings[n].state is not NodeState.UNREACHABLE]
        answers = await self._ask(
            names, "pending", lambda node: node.pending(known, tracked), _this_many(self.quorum)
        )
        present: dict[str, frozenset[bytes]] = {}
        fetched: list[RawPending] = []
        for name, answer in answers.items():
            if not isinstance(answer, NodeFailure):
                present[name] = answer[0]
                fetched.extend(answer[1])
        return self._mempool.update(present, fetched, tracked, len(present) == len(names))

    async def spenders(self, resources: Sequence[bytes]) -> Mapping[bytes, frozenset[bytes]]:
        """resource -> hashes of pending transactions that use it, by any node: a warning, no proof."""
        if not resources:
            return {}
        found: dict[bytes, frozenset[bytes]] = {}
        for answer in await self._told("spenders", lambda node: node.spenders(resources)):
            for resource, tx_hash in answer.items():
                found[resource] = found.get(resource, frozenset()) | {tx_hash}
        return found

    async def evicted_fees(self, tx_hash: bytes) -> int:
        """The lower median of what nodes say (`CoinNode`): none alone can claim or deny that others built on it."""
        told = await self._told("evicted_fees", lambda node: cast(CoinNode, node).evicted_fees(tx_hash))
        return sorted(told)[(len(told) - 1) // 2] if told else 0

    async def broadcast(self, raw: bytes, parents: Sequence[bytes] = ()) -> list[BroadcastAnswer]:
        """Send the bytes to every node, quarantined ones too: they can do no harm. One answer per node.

        Returns once a quorum has answered and `grace_s` passed; sending to slower nodes goes on in the background, and
        their answer is UNKNOWN. Never raises for a node.
        """
        enough = _this_many(self.quorum)
        answers = await self._ask(
            list(self._nodes), "broadcast", lambda node: node.broadcast(raw, parents), enough, finish=True
        )
        given: list[BroadcastAnswer] = []
        for name in self._nodes:
            answer = answers.get(name, "no answer yet")
            if not isinstance(answer, BroadcastAnswer):
                answer = BroadcastAnswer(name, BroadcastOutcome.UNKNOWN, str(answer))
            given.append(answer)
        return given

    async def fee_market(self) -> FeeMarket:
        """The nodes' view of fees as one; no single node can move it (P5)."""
        return agreed_market(await self._told("fee_market", lambda node: node.fee_market()), self.quorum)

    async def backlog(self) -> Backlog | None:
        """What waits for a block, as the median of the nodes says; None without a quorum, or where none can tell."""
        told = [answer for answer in await self._told("backlog", lambda node: node.backlog()) if answer]
        return median(told) if len(told) >= self.quorum else None

    def statuses(self) -> list[NodeStatus]:
        """Every node as the last rounds left it, in the order of the settings."""
        return [standing.status() for standing in self._standings.values()]

    def changes(self) -> list[NodeChange]:
        """Nodes put aside or recovered that were not told yet, oldest first per node."""
        return [change for standing in self._standings.values() for change in standing.changes()]

    def told(self, change: NodeChange) -> None:
        """One of `changes` is written: it is not among them again."""
        self._standings[change.node].told(change)

    async def close(self) -> None:
        """Cancel what is under way and close every node."""
        tasks = [*self._head_tasks.values(), *self._left_behind]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for node in self._nodes.values():
            await node.close()

    # --- rounds ---------------------------------------------------------------------------------------------

    async def _poll_heads(self) -> dict[str, BlockPoint]:
        """Heads of the nodes that answered in this round. A slower node's poll counts when it ends."""
        for name in self._nodes:
            if name not in self._head_tasks:
                self._head_tasks[name] = asyncio.create_task(
                    self._request(name, "head", lambda node: node.head())
                )
        await self._settle(self._head_tasks, _this_many(self.quorum))
        heads: dict[str, BlockPoint] = {}
        for name, task in list(self._head_tasks.items()):
            if task.done():
                del self._head_tasks[name]
                answer = task.result()
                if not isinstance(answer, NodeFailure):
                    heads[name] = BlockPoint(*answer)
        return heads

    def _voices(self) -> list[str]:
        """Names of the nodes whose reports count."""
        now_s = self._clock.monotonic_s()
        return [name for name, standing in self._standings.items() if standing.has_voice(now_s)]

    async def _highest_agreed(
        self,
        heads: Mapping[str, BlockPoint],
        voices: Mapping[str, BlockPoint],
    ) -> BlockPoint | None:
        top = highest_possible(voices, self.quorum)
        if top is None:
            return None
        for height in range(top, max(-1, top - self._fork_search_depth_max - 1), -1):
            claims = {name: head.hash for name, head in heads.items() if head.height == height}
            claims |= await self._hashes_at(
                height, [name for name, head in heads.items() if head.height > height]
            )
            block_hash = agreed({name: claims[name] for name in claims.keys() & voices.keys()}, self.quorum)
            if block_hash is not None:
                self._judge(claims, block_hash, height, at_head=True)
                return BlockPoint(height, block_hash)
        return None

    def _judge(
        self, claims: Mapping[str, bytes], block_hash: bytes | None, height: int, *, at_head: bool
    ) -> None:
        if block_hash is not None:
            against = contradicting(claims, block_hash)
            for name in claims:
                self._standings[name].note_agreement(
                    name not in against, height, self._clock.monotonic_s(), at_head=at_head
                )

    async def _hashes_at(self, height: int, names: Sequence[str]) -> dict[str, bytes]:
        """What these nodes report at the height. Waits for all of them as long as they do not agree."""

        def enough(answers: Mapping[str, object]) -> bool:
            hashes = {name: answer for name, answer in answers.items() if isinstance(answer, bytes)}
            return agreed(hashes, self.quorum) is not None or len(answers) - len(hashes) >= self.quorum

        answers = await self._ask(names, "hash_at", lambda node: node.hash_at(height), enough)
        return {name: answer for name, answer in answers.items() if isinstance(answer, bytes)}

    def _readable(self) -> list[str]:
        """Names of the nodes to read from, best first."""
        standings = [s for s in self._standings.values() if s.state is not NodeState.QUARANTINED]
        standings.sort(key=lambda s: (_READ_ORDER.index(s.state), s.latency_s or 0.0))
        return [standing.node for standing in standings]

    # --- requests -------------------------------------------------------------------------------------------

    async def _ask(
        self,
        names: Sequence[str],
        method: str,
        call: Callable[[Node], Awaitable[_T]],
        enough: _Enough,
        finish: bool = False,
    ) -> dict[str, _T | NodeFailure]:
        """Ask side by side. Who is late when there is `enough` is canceled, or with `finish` left to end."""
        tasks = {name: asyncio.create_task(self._request(name, method, call)) for name in names}
        try:
            await self._settle(tasks, enough)
        finally:
            for task in tasks.values():
                if not task.done():
                    self._leave_behind(task, cancel=not finish)
        return {name: task.result() for name, task in tasks.items() if task.done()}

    async def _settle(self, tasks: Mapping[str, asyncio.Task[Any]], enough: _Enough) -> None:
        """Wait until there are `enough` answers, and `grace_s` more for the others, or until all ended."""
        while waiting := [task for task in tasks.values() if not task.done()]:
            ended = {name: task.result() for name, task in tasks.items() if task.done()}
            answers = {name: answer for name, answer in ended.items() if not isinstance(answer, NodeFailure)}
            timeout_s = self._grace_s if enough(answers) else None
            done, _ = await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return

    def _leave_behind(self, task: asyncio.Task[Any], *, cancel: bool) -> None:
        if cancel:
            task.cancel()
        self._left_behind.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[Any]) -> None:
        """A late request ended. The next round raises an error for which no node is to blame."""
        self._left_behind.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._broken = task.exception()

    async def _request(
        self, name: str, method: str, call: Callable[[Node], Awaitable[_T]]
    ) -> _T | NodeFailure:
        """One request: its outcome as a value, counted in the node's standing and told to the observer."""
        standing = self._standings[name]
        started_s = self._clock.monotonic_s()
        answer: _T | NodeFailure
        try:
            answer = await call(self._nodes[name])
        except (NodeUnavailable, NodeRejected, NodeLied) as failure:
            answer = failure
        ended_s = self._clock.monotonic_s()
        match answer:
            case NodeLied():
                standing.note_lie(str(answer), ended_s)
            case NodeUnavailable() | NodeRejected():
                standing.note_failure(str(answer))
            case _:
                standing.note_answer(ended_s - started_s)
        if self._observer is not None:
            error = type(answer).__name__ if isinstance(answer, NodeFailure) else None
            self._observer.on_request(name, method, ended_s - started_s, error)
        return answer


def _this_many(count: int) -> _Enough:
    return lambda answers: len(answers) >= count
