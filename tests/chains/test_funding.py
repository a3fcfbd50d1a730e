"""Where a deposit came from: by the first node that knows, whatever the others do."""

import pytest

from cryptowatch.chains.funding import funders_of
from cryptowatch.errors import NodeUnavailable
from tests.support.fake_nodes import FakeNode

TX = b"tx"


def node(name: str, *, knows: bool = False, silent: bool = False) -> FakeNode:
    return FakeNode(name, [], funding={TX: ["payer"]} if knows else {}, silent=silent)


async def test_the_first_node_that_knows_is_believed() -> None:
    nodes = [node("a", silent=True), node("b"), node("c", knows=True), node("d", knows=True)]
    assert await funders_of(nodes, TX, 0, b"block") == ["payer"]
    assert [one.asked for one in nodes] == [["funders"], ["funders"], ["funders"], []]


async def test_what_every_node_says_is_not_there_came_from_nowhere() -> None:
    assert await funders_of([node("a"), node("b")], TX, 0, b"block") == ()


async def test_while_a_node_that_might_know_is_away_it_is_asked_again_later() -> None:
    with pytest.raises(NodeUnavailable, match="where a deposit came from"):
        await funders_of([node("a"), node("b", silent=True)], TX, 0, b"block")
