"""P5 and P10 of the pool: no forged, stale or slow node moves or holds up what a quorum agrees on."""

import asyncio
from dataclasses import dataclass, field

import pytest

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.backlog import backlog
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.port import BroadcastOutcome, FeeMarket, NodeState
from cryptowatch.chains.standing import CONTRADICTIONS_MAX, ChangeKind
from cryptowatch.errors import NodeRejected, NodeUnavailable
from tests.support.fake_nodes import FakeNode, HandClock, chain

MAIN = chain(101)
HEAD = BlockPoint(100, MAIN[100])
NOTHING: frozenset[bytes] = frozenset()


@dataclass
class Requests:
    """An observer that only remembers."""

    seen: list[tuple[str, str, str | None]] = field(default_factory=list)

    def on_request(self, node: str, method: str, seconds: float, error: str | None) -> None:
        self.seen.append((node, method, error))


def three() -> list[FakeNode]:
    return [FakeNode(name, list(MAIN)) for name in ("a", "b", "c")]


def pool_of(
    nodes: list[FakeNode], clock: HandClock | None = None, requests: Requests | None = None
) -> NodePool:
    return NodePool(
        "bitcoin",
        nodes,
        quorum=len(nodes) // 2 + 1,
        clock=clock or HandClock(),
        lag_blocks_max=3,
        quarantine_s=60,
        observer=requests,
        grace_s=0.01,
    )


def state(pool: NodePool, name: str) -> NodeState:
    return next(status.state for status in pool.statuses() if status.name == name)


def changes(pool: NodePool) -> list[tuple[str, ChangeKind]]:
    """Those that were not told yet, and are from here on."""
    found = pool.changes()
    assert pool.changes() == found
    for change in found:
        pool.told(change)
    assert pool.changes() == []
    return [(change.node, change.kind) for change in found]


async def test_nodes_that_report_the_same_head_agree_without_further_questions() -> None:
    nodes = three()
    pool = pool_of(nodes)
    assert await pool.agreed_head() == HEAD
    assert [node.asked for node in nodes] == [["head"]] * 3
    assert pool.disagreement is None


async def test_the_agreed_head_is_the_highest_block_that_a_quorum_has() -> None:
    nodes = three()
    nodes[0].hashes = chain(106)
    nodes[1].hashes = chain(104)
    assert await pool_of(nodes).agreed_head() == BlockPoint(103, b"main-103")


async def test_p5_a_node_with_forged_blocks_does_not_move_the_head_and_is_put_aside() -> None:
    nodes = three()
    nodes[0].hashes = chain(140, "forged", 90)
    pool = pool_of(nodes)
    for _ in range(CONTRADICTIONS_MAX):
        assert await pool.agreed_head() == HEAD
        assert await pool.agreed_hash(95) == MAIN[95]
    assert state(pool, "a") is NodeState.QUARANTINED
    assert changes(pool) == [("a", ChangeKind.QUARANTINED)]


async def test_a_fork_at_the_top_gives_the_last_block_that_a_quorum_shares() -> None:
    nodes = three()
    for node, branch in zip(nodes, ("x", "y", "z"), strict=True):
        node.hashes = chain(101, branch, 98)
    pool = pool_of(nodes)
    assert await pool.agreed_head() == BlockPoint(97, b"main-97")
    assert await pool.agreed_hash(98) is None


async def test_nodes_that_share_nothing_give_no_head_and_say_why() -> None:
    nodes = three()
    for node in nodes:
        node.hashes = chain(101, node.name)
    pool = pool_of(nodes)
    assert await pool.agreed_head() is None
    assert pool.disagreement == "3 of 3 nodes answer, at most 1 of them agree, 2 must"


async def test_a_lost_quorum_gives_nothing_and_a_regained_one_everything_again() -> None:
    nodes = three()
    pool = pool_of(nodes)
    nodes[0].silent = nodes[1].silent = True
    for _ in range(3):
        assert await pool.agreed_head() is None
    assert await pool.agreed_hash(50) is None
    assert pool.disagreement == "1 of 3 nodes answer, 2 must agree"
    assert [status.state for status in pool.statuses()] == [
        NodeState.UNREACHABLE,
        NodeState.UNREACHABLE,
        NodeState.HEALTHY,
    ]
    nodes[0].silent = False
    assert await pool.agreed_head() == HEAD


async def test_above_the_head_nothing_is_agreed() -> None:
    assert await pool_of(three()).agreed_hash(101) is None


async def test_p5_a_stale_node_is_told_as_lagging_and_holds_up_nobody() -> None:
    nodes = three()
    nodes[2].hashes = chain(97)
    pool = pool_of(nodes)
    assert await pool.agreed_head() == HEAD
    assert state(pool, "c") is NodeState.LAGGING
    nodes[2].hashes = list(MAIN)
    assert await pool.agreed_head() == HEAD
    assert state(pool, "c") is NodeState.HEALTHY
    assert changes(pool) == [("c", ChangeKind.QUARANTINED), ("c", ChangeKind.RECOVERED)]


async def test_one_node_with_an_absurd_head_makes_no_other_look_late() -> None:
    nodes = three()
    nodes[0].hashes = chain(5000)
    pool = pool_of(nodes)
    assert await pool.agreed_head() == HEAD
    assert [status.lag_blocks for status in pool.statuses()] == [0, 0, 0]


async def test_p10_a_hanging_node_holds_up_nobody_and_counts_when_it_answers() -> None:
    nodes = three()
    nodes[0].hanging = asyncio.Event()
    pool = pool_of(nodes)
    async with asyncio.timeout(2):
        assert await pool.agreed_head() == HEAD
        assert await pool.agreed_hash(40) == MAIN[40]
    nodes[1].silent = True
    nodes[0].hanging.set()
    nodes[0].hanging = None
    assert await pool.agreed_head() == HEAD
    await pool.close()


async def test_a_slow_honest_node_is_waited_for_while_the_fast_ones_contradict_each_other() -> None:
    nodes = three()
    nodes[0].hashes = chain(101, "forged", 90)
    nodes[2].hanging = asyncio.Event()
    pool = pool_of(nodes)
    asking = asyncio.create_task(pool.agreed_hash(95))
    await asyncio.sleep(0.1)
    assert not asking.done()
    nodes[2].hanging.set()
    assert await asking == MAIN[95]


async def test_callers_at_the_same_time_all_get_the_head() -> None:
    pool = pool_of(three())
    assert await asyncio.gather(*(pool.agreed_head() for _ in range(5))) == [HEAD] * 5


async def test_p5_a_block_comes_from_the_next_node_when_one_lies_and_the_liar_is_put_aside() -> None:
    nodes, clock = three(), HandClock()
    nodes[0].lying_about_blocks = True
    pool = pool_of(nodes, clock)
    assert (await pool.block(MAIN[50], 50)).ref.hash == MAIN[50]
    assert state(pool, "a") is NodeState.QUARANTINED
    await pool.block(MAIN[51], 51)
    assert nodes[0].asked.count("block") == 1


async def test_the_voice_of_a_proven_liar_does_not_count_and_the_quorum_does_not_shrink() -> None:
    nodes, clock = three(), HandClock()
    nodes[0].lying_about_blocks = True
    nodes[2].silent = True
    pool = pool_of(nodes, clock)
    assert await pool.agreed_head() == HEAD
    await pool.block(MAIN[50], 50)
    assert await pool.agreed_head() is None
    assert await pool.agreed_hash(50) is None
    nodes[2].silent = False
    assert await pool.agreed_head() == HEAD


async def test_a_liar_recovers_after_its_term_once_it_agrees() -> None:
    nodes, clock = three(), HandClock()
    nodes[0].lying_about_blocks = True
    pool = pool_of(nodes, clock)
    await pool.block(MAIN[50], 50)
    nodes[0].lying_about_blocks = False
    await pool.agreed_head()
    assert state(pool, "a") is NodeState.QUARANTINED
    clock.seconds += 60
    await pool.agreed_head()
    assert state(pool, "a") is NodeState.HEALTHY
    assert changes(pool) == [("a", ChangeKind.QUARANTINED), ("a", ChangeKind.RECOVERED)]


async def test_when_the_quorum_moves_to_the_branch_of_an_outvoted_node_its_voice_counts() -> None:
    """Or else one honest node that was first on the winning branch could stop the chain."""
    nodes = three()
    nodes[0].hashes = chain(101, "winner", 100)
    pool = pool_of(nodes)
    for _ in range(CONTRADICTIONS_MAX):
        await pool.agreed_head()
    assert state(pool, "a") is NodeState.QUARANTINED
    nodes[0].hashes = nodes[1].hashes = chain(102, "winner", 100)
    nodes[2].silent = True
    assert await pool.agreed_head() == BlockPoint(101, b"winner-101")


async def test_a_block_is_read_from_a_worse_node_when_no_better_one_has_it() -> None:
    nodes = three()
    nodes[2].hashes = chain(97)
    pool = pool_of(nodes)
    await pool.agreed_head()
    nodes[0].silent = nodes[1].silent = True
    assert (await pool.block(MAIN[90], 90)).ref.height == 90


async def test_a_block_that_no_node_can_give_is_unavailable_with_every_reason() -> None:
    nodes = three()
    nodes[1].silent = True
    with pytest.raises(NodeUnavailable, match=r"a: does not have.*b: silent.*c: does not have"):
        await pool_of(nodes).block(b"unheard of", 50)


async def test_a_pending_transaction_is_new_when_a_quorum_has_it_and_is_fetched_once_per_node() -> None:
    nodes = three()
    nodes[0].mempool = {b"t"}
    pool = pool_of(nodes)
    assert (await pool.pending(NOTHING)).new == []
    nodes[1].mempool = {b"t"}
    assert [raw.tx_hash for raw in (await pool.pending(NOTHING)).new] == [b"t"]
    assert (await pool.pending(NOTHING)).new == []
    assert [node.fetched for node in nodes] == [[b"t"], [], []]


async def test_a_transaction_is_gone_when_all_reachable_nodes_dropped_it() -> None:
    nodes = three()
    nodes[0].mempool = {b"t"}
    pool = pool_of(nodes)
    assert (await pool.pending(frozenset({b"t"}))).gone == NOTHING
    nodes[0].mempool = set()
    assert (await pool.pending(frozenset({b"t"}))).gone == {b"t"}


async def test_a_node_that_just_failed_to_answer_leaves_absence_in_doubt() -> None:
    nodes = three()
    nodes[0].silent = True
    pool = pool_of(nodes)
    assert (await pool.pending(frozenset({b"t"}))).gone == NOTHING
    for _ in range(3):
        await pool.agreed_head()
    assert (await pool.pending(frozenset({b"t"}))).gone == {b"t"}


async def test_any_node_that_names_another_spender_is_heard() -> None:
    nodes = three()
    nodes[0].spent = {b"r": b"t1"}
    nodes[2].spent = {b"r": b"t2", b"s": b"t3"}
    pool = pool_of(nodes)
    assert await pool.spenders([b"r", b"s", b"free"]) == {b"r": {b"t1", b"t2"}, b"s": {b"t3"}}
    assert await pool.spenders([]) == {}


@pytest.mark.parametrize(
    ("said", "evicted"),
    [
        ([900, 900, 900], 900),
        ([10**9, 900, 900], 900),  # a liar who says that others built on it
        ([0, 900, 900], 900),  # and one who denies it
        ([0, 0, 900], 0),  # most have it not, and take a replacement for any fee
        ([None, 900, 10**9], 900),  # of two the lower one
        ([None, None, None], 0),
    ],
)
async def test_p5_no_single_node_says_what_a_replacement_must_pay_for(
    said: list[int | None], evicted: int
) -> None:
    nodes = three()
    for node, one in zip(nodes, said, strict=True):
        node.silent = one is None
        node.evicted = {b"t": one or 0}
    assert await pool_of(nodes).evicted_fees(b"t") == evicted


async def test_p3_the_bytes_go_to_every_node_and_a_silent_one_is_unknown() -> None:
    nodes = three()
    nodes[0].silent = True
    nodes[1].outcome = BroadcastOutcome.REJECTED
    answers = await pool_of(nodes).broadcast(b"raw")
    assert [(answer.node, answer.outcome) for answer in answers] == [
        ("a", BroadcastOutcome.UNKNOWN),
        ("b", BroadcastOutcome.REJECTED),
        ("c", BroadcastOutcome.ACCEPTED),
    ]


async def test_a_slow_node_still_gets_the_bytes_after_the_others_answered() -> None:
    nodes = three()
    nodes[0].hanging = asyncio.Event()
    pool = pool_of(nodes)
    answers = await pool.broadcast(b"raw")
    assert answers[0].outcome is BroadcastOutcome.UNKNOWN
    nodes[0].hanging.set()
    await asyncio.sleep(0.01)
    assert nodes[0].received == [b"raw"]


async def test_p5_fees_are_what_a_quorum_says_and_no_single_node_moves_them() -> None:
    nodes = three()
    for node, rate, floor in zip(nodes, (1_000, 9_000_000, 3_000), (100, 1_000, 500), strict=True):
        node.market = FeeMarket({2: rate}, floor)
    assert await pool_of(nodes).fee_market() == FeeMarket({2: 3_000}, 500)
    nodes[2].market = FeeMarket({}, 0)
    nodes[0].market = FeeMarket({2: 1_000, 6: 500}, 0)
    assert await pool_of(nodes).fee_market() == FeeMarket({2: 1_000}, 0)


async def test_p5_what_waits_is_what_a_quorum_says_and_no_single_node_moves_it() -> None:
    nodes = three()
    little, much = (backlog([(5_000, weight)], 1_000) for weight in (300, 500))
    nodes[0].waiting, nodes[1].waiting, nodes[2].waiting = much, backlog([(9_000_000, 10**9)], 1_000), little
    found = await pool_of(nodes).backlog()
    assert found is not None and found.above == much.above
    nodes[1].waiting = backlog([], 1_000)
    assert await pool_of(nodes).backlog() == little
    nodes[0].silent = True
    nodes[1].silent = True
    assert await pool_of(nodes).backlog() is None


async def test_every_request_is_told_to_the_observer_with_its_failure() -> None:
    nodes, requests = three(), Requests()
    nodes[0].silent = True
    await pool_of(nodes, requests=requests).agreed_head()
    assert sorted(requests.seen, key=str) == [
        ("a", "head", "NodeUnavailable"),
        ("b", "head", None),
        ("c", "head", None),
    ]


async def test_an_error_of_ours_is_not_taken_for_a_nodes() -> None:
    class Broken(FakeNode):
        async def head(self) -> tuple[int, bytes]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await pool_of([Broken("a", list(MAIN)), *three()[1:]]).agreed_head()


async def test_a_refusal_where_none_is_expected_counts_as_a_failure() -> None:
    class Refusing(FakeNode):
        async def head(self) -> tuple[int, bytes]:
            raise NodeRejected(self.name, -32601, "Method not found")

    pool = pool_of([Refusing("a", list(MAIN)), *three()[1:]])
    assert await pool.agreed_head() == HEAD
    assert pool.statuses()[0].problem == "node a: Method not found (-32601)"


async def test_closing_ends_what_is_under_way_and_closes_every_node() -> None:
    nodes = three()
    nodes[0].hanging = asyncio.Event()
    pool = pool_of(nodes)
    await pool.agreed_head()
    await pool.broadcast(b"raw")
    await pool.close()
    assert all(node.closed for node in nodes)
